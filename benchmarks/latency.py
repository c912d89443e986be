"""From the commit of an insert to the commit of its effects.

Primary method: the server's own commit timestamps (track_commit_timestamp) of both transactions, to the microsecond,
with nobody looking on. Both are taken at the start of a commit, before its flush to disk, so their difference is the
time from durable to durable up to the jitter of one flush. Cross-check at rest: a third connection that asks for the
row by its key as fast as it can, from before the insert; its resolution is one round trip, and it burns most of a core.
"""

import random
import time

from benchmarks.harness import Bench, Row, Service, await_routed, connect, percentile
from benchmarks.writers import PEOPLE, Writers, write_one

# A message's xmin is the routing transaction (or its subtransaction, which has the same timestamp).
LATENCIES = """
select extract(epoch from pg_xact_commit_timestamp(m.xmin) - pg_xact_commit_timestamp(w.post_id::xid)) * 1000
from public.webhook_events w
join public.messages m on m.channel = w.channel and m.provider_message_id = w.event_id
where w.event_id like 'live-%'
order by w.created_at
"""
CLIENTS = 16


def by_timestamps(dsn: str) -> list[float]:
    """Milliseconds of each live event."""
    with connect(dsn) as connection:
        return [float(row[0]) for row in connection.execute(LATENCIES)]


class Observer:
    """A third connection that waits for one event after another, as fast as it can ask."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn, prepare_threshold=0)
        self.round_trips: list[float] = []

    def wait(self, event: str, deadline: float = 10.0) -> float:
        """The perf_counter time at which the event was seen to be routed."""
        begun = time.perf_counter()
        while True:
            asked = time.perf_counter()
            row = self._connection.execute(
                "select routed_at is not null from public.webhook_events where id = %s", (event,)
            ).fetchone()
            seen = time.perf_counter()
            self.round_trips.append(seen - asked)
            if row == (True,):
                return seen
            if seen - begun > deadline:
                raise RuntimeError("an event was not routed within 10 s")

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def warm_up(dsn: str) -> None:
    """Routes some events of the same people, so that plans, caches and contacts are there."""
    with connect(dsn) as connection:
        for number in range(60):
            write_one(connection, number + 1)
    await_routed(dsn)
    with connect(dsn) as connection:
        connection.execute("update public.webhook_events set event_id = replace(event_id, 'live-', 'warm-')")
        connection.execute(
            "update public.messages set provider_message_id = replace(provider_message_id, 'live-', 'warm-')"
        )


def idle(bench: Bench) -> None:
    """One event every 50 to 150 ms."""
    count = bench.pick(quick=40, full=100)
    watched = bench.pick(quick=10, full=30)
    bench.say(f"latency at rest, {count} events")
    chance = random.Random(1)
    with bench.scratch() as dsn, Service(dsn) as service:
        service.await_listening()
        warm_up(dsn)
        with connect(dsn) as writer:
            for _ in range(count):
                time.sleep(chance.uniform(0.05, 0.15))
                write_one(writer, chance.randint(1, PEOPLE))
            await_routed(dsn, service)
            exact = by_timestamps(dsn)
            observer, observed = Observer(dsn), []
            for _ in range(watched):
                time.sleep(chance.uniform(0.05, 0.15))
                event = write_one(writer, chance.randint(1, PEOPLE))
                committed = time.perf_counter()
                observed.append((observer.wait(event) - committed) * 1000)
            observer.close()
    resolution = percentile(observer.round_trips, 0.5) * 1000
    details = {
        "events": len(exact),
        "p50_ms": percentile(exact, 0.5),
        "p90_ms": percentile(exact, 0.9),
        "p99_ms": percentile(exact, 0.99),
        "max_ms": max(exact),
        "observer_p50_ms": percentile(observed, 0.5),
        "observer_p99_ms": percentile(observed, 0.99),
        "observer_resolution_ms": resolution,
    }
    note = (
        f"an observer that polls by key saw p50 {details['observer_p50_ms']:.1f}, p99 {details['observer_p99_ms']:.1f} "
        f"(resolution {resolution:.2f} ms)"
    )
    for q, target in ((50, 3.0), (99, 10.0)):
        bench.add(
            Row(
                key=f"idle-p{q}",
                what=f"latency at rest, commit to commit, p{q}",
                measured=details[f"p{q}_ms"],
                target=target,
                sense="<=",
                unit="ms",
                note=note if q == 50 else "",
                details=details if q == 50 else {},
            )
        )


def live_peak(bench: Bench) -> float:
    """Events a second from the first insert to the last effect, when writers insert one a commit as fast as they can.

    Writers, server and service share the CPUs, so this is less than the service makes of a backlog.
    """
    with bench.scratch() as dsn, Service(dsn) as service:
        service.await_ready()
        begun = time.perf_counter()
        written = Writers(bench, dsn, clients=CLIENTS, seconds=bench.pick(quick=2, full=8)).finish()
        await_routed(dsn, service)
        return written.events / (time.perf_counter() - begun)


def under_load(bench: Bench, rate: float, seconds: float) -> dict[str, float]:
    """Latencies while events arrive at a rate, one a commit."""
    with bench.scratch() as dsn, Service(dsn) as service:
        service.await_ready()
        written = Writers(bench, dsn, clients=CLIENTS, seconds=seconds, rate=rate).finish()
        await_routed(dsn, service)
        exact = by_timestamps(dsn)
    settled = exact[len(exact) // 20 :]  # the contacts of all people are made in the first twentieth
    return {
        "events": len(exact),
        "seconds": seconds,
        "offered_per_second": rate,
        "written_per_second": written.per_second,
        "p50_ms": percentile(settled, 0.5),
        "p90_ms": percentile(settled, 0.9),
        "p99_ms": percentile(settled, 0.99),
        "max_ms": max(settled),
        "p99_with_warm_up_ms": percentile(exact, 0.99),
    }


def loaded(bench: Bench) -> None:
    """Half of the peak: of what this machine inserts, one a commit, and routes."""
    seconds = bench.pick(quick=4, full=60)
    bench.say("latency under load")
    peak = live_peak(bench)
    found = under_load(bench, peak / 2, seconds)
    bench.add(
        Row(
            key="loaded-p99",
            what="latency at half of peak throughput (inserted one a commit, and routed), p99",
            measured=found["p99_ms"],
            target=50,
            sense="<=",
            unit="ms",
            note=f"p50 {found['p50_ms']:.1f} ms; {found['written_per_second']:,.0f}/s, {seconds} s, peak {peak:,.0f}/s",
            details={"peak_per_second": peak, **found},
        )
    )
