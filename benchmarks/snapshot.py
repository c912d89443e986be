"""Routing while an old snapshot keeps routed rows from being vacuumed."""

import re
import threading
import time
from itertools import pairwise
from typing import Any, Self

from benchmarks.harness import Bench, Row, Service, await_routed, connect, pending, percentile, value
from benchmarks.writers import PEOPLE, Writers

CALL = re.compile(r"duration: ([\d.]+) ms  execute [^:]*: select claimed.* from router\.route_batch", re.DOTALL)


class CallLog:
    """Durations of the service's routing calls, from the server's log, which writes down the calls of one database."""

    def __init__(self, bench: Bench, dsn: str) -> None:
        self._log = bench.server.folder / "server.log"
        with connect(dsn) as connection:
            # Writers give PGOPTIONS against it: logging them all would be work of its own.
            connection.execute(
                "do $$ begin execute format('alter database %I set log_min_duration_statement = 0', "
                "current_database()); end $$"
            )
        self._start = self.position()

    def position(self) -> int:
        """Where the log ends now."""
        return self._log.stat().st_size

    def durations(self, start: int, end: int) -> list[float]:
        """Milliseconds of each call logged between two positions."""
        with self._log.open("rb") as log:
            log.seek(start)
            text = log.read(end - start).decode(errors="replace")
        entries = re.split(r"\n(?=\d{4}-\d\d-\d\d )", text)
        return [float(match[1]) for entry in entries if (match := CALL.search(entry))]


CLAIM = """
select router.claim_by_arrival(1000, now() - interval '2 seconds', '00000000-0000-0000-0000-000000000000', 'infinity',
                               0, 1)
"""
CLAIM_EVERY = 0.05


class Claims:
    """Times claims as the service makes them, from its watermark on, and gives back at once what they take."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn, prepare_threshold=0)
        self._ended = threading.Event()
        self._milliseconds: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._ended.wait(CLAIM_EVERY):
            with self._connection.transaction(force_rollback=True):
                begun = time.perf_counter()
                self._connection.execute(CLAIM)
                self._milliseconds.append((time.perf_counter() - begun) * 1e3)

    def taken(self) -> list[float]:
        """Milliseconds of each claim since this was last called."""
        found, self._milliseconds = self._milliseconds, []
        return found


def old_snapshot(bench: Bench) -> None:
    """A transaction stays open for minutes while events arrive: nothing that was routed since can be cleaned away."""
    rate = 800
    calm = bench.pick(quick=4, full=20)
    held = bench.pick(quick=8, full=600)
    bench.say(f"REPEATABLE READ snapshot held for {held} s at {rate} events/s")
    with bench.scratch() as dsn:
        log = CallLog(bench, dsn)
        with Service(dsn) as service, connect(dsn) as observer, Claims(dsn) as claims:
            service.await_ready()
            Writers(bench, dsn, clients=8, seconds=2, rate=rate, quiet=True).finish()
            await_routed(dsn, service)
            marks = [log.position()]
            claims.taken()
            Writers(bench, dsn, clients=8, seconds=calm, rate=rate, quiet=True).finish()
            await_routed(dsn, service)
            marks.append(log.position())
            claimed = [claims.taken()]
            with connect(dsn) as holder:
                holder.execute("begin isolation level repeatable read")
                holder.execute("select count(*) from public.webhook_events")
                before = value(observer, "select count(*) from public.webhook_events where routed_at is not null")
                begun = time.perf_counter()
                written = Writers(bench, dsn, clients=8, seconds=held, rate=rate, quiet=True).finish()
                lasted = time.perf_counter() - begun
                routed = (
                    value(observer, "select count(*) from public.webhook_events where routed_at is not null") - before
                )
                left = pending(observer)
                marks.append(log.position())
                claimed.append(claims.taken())
                holder.execute("rollback")
            released = time.perf_counter()
            await_routed(dsn, service)
            gone = time.perf_counter() - released
    without, with_snapshot = (log.durations(start, end) for start, end in pairwise(marks))
    tail = with_snapshot[-max(len(with_snapshot) // 10, 100) :]
    details: dict[str, Any] = {
        "seconds": lasted,
        "written": written.events,
        "routed_meanwhile": routed,
        "pending_at_release": left,
        "calls": len(with_snapshot),
        "claims": [len(each) for each in claimed],
        "claim_p50_ms": [percentile(each, 0.5) for each in claimed],
        "claim_p99_ms": [percentile(each, 0.99) for each in claimed],
        "call_p50_ms": [percentile(without, 0.5), percentile(with_snapshot, 0.5)],
        "call_p99_ms": [percentile(without, 0.99), percentile(with_snapshot, 0.99)],
        "call_p99_of_the_last_tenth_ms": percentile(tail, 0.99),
    }
    bench.add(
        Row(
            key="snapshot-rate",
            what=f"snapshot held for {held} s at {rate} events/s: routed ÷ written",
            measured=routed / written.events,
            target=0.95,
            sense=">=",
            details=details,
        )
    )
    bench.add(
        Row(
            key="snapshot-p99",
            what="  p99 of a claim with ÷ without",
            measured=details["claim_p99_ms"][1] / details["claim_p99_ms"][0],
            target=2.0,
            sense="<=",
            note=f"{details['claim_p99_ms'][1]:.1f} against {details['claim_p99_ms'][0]:.1f} ms",
        )
    )
    bench.add(
        Row(
            key="snapshot-call-p99",
            what="  p99 of a whole routing call with ÷ without",
            measured=details["call_p99_ms"][1] / details["call_p99_ms"][0],
            note=f"{details['call_p99_ms'][1]:.1f} against {details['call_p99_ms'][0]:.1f} ms; "
            f"{details['call_p99_of_the_last_tenth_ms']:.1f} in the last tenth; "
            f"{written.events / PEOPLE:,.0f} events a person",
        )
    )
    bench.add(
        Row(
            key="snapshot-release",
            what="  backlog gone after release",
            measured=gone,
            target=10.0,
            sense="<=",
            unit="s",
            note=f"{left:,} pending at release",
        )
    )
