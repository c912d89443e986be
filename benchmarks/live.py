"""Events that arrive one a commit at a steady rate: what one costs, and how what it leaves behind grows.

The service may be another checkout's, with that checkout's schema, so that two versions meet the same traffic.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.harness import ROOT, Bench, Row, Service, await_routed, connect, median, percentile, value
from benchmarks.throughput import pairs
from benchmarks.writers import Writers, write_one

RATE = 500.0
CLIENTS = 16
TABLES = ("webhook_events", "messages", "conversations", "contacts", "contact_channels")
COUNTS = """
select pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::float8 as wal,
       (select s.wal_fpi::float8 from pg_catalog.pg_stat_wal s) as full_pages,
       pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::float8 as xids,
       pg_catalog.pg_database_size(pg_catalog.current_database())::float8 as bytes
"""
# Counted when one starts, which is when whole pages are logged again; the control file tells it only when it has ended.
CHECKPOINTS = "select c.num_timed + c.num_requested from pg_catalog.pg_stat_checkpointer c"
CHECKPOINTS_BEFORE_17 = "select c.checkpoints_timed + c.checkpoints_req from pg_catalog.pg_stat_bgwriter c"
BY_TABLE = """
select s.relname, s.n_tup_ins, s.n_dead_tup, s.autovacuum_count, pg_catalog.pg_relation_size(s.relid),
       pg_catalog.pg_indexes_size(s.relid)
from pg_catalog.pg_stat_user_tables s where s.schemaname = 'public' and s.relname = any (%s)
"""
BACKENDS = """
select a.pid from pg_catalog.pg_stat_activity a
where a.datname = pg_catalog.current_database() and a.application_name like 'webhook-router%'
"""
# A message's xmin is the routing transaction (or its subtransaction, which has the same timestamp).
LATENCIES = """
select extract(epoch from i.at)::float8, (extract(epoch from pg_xact_commit_timestamp(m.xmin) - i.at) * 1000)::float8
from public.webhook_events w
cross join lateral (select pg_xact_commit_timestamp(w.post_id::xid) as at offset 0) i
join public.messages m on m.channel = w.channel and m.provider_message_id = w.event_id
where w.event_id like 'live-%'
"""
CLAIM = """
explain (analyze, buffers, timing off, summary off, format json)
select router.claim_by_arrival(100, %s::timestamptz, '00000000-0000-0000-0000-000000000000', 'infinity', 0, 1)
"""
BLOCK = 50
ALONE = "select * from public.route_webhook_event('whatsapp', %s)"


def python_of(checkout: Path) -> str:
    """The interpreter of a checkout: its own environment's where it has one."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def version_of(checkout: Path) -> str:
    """The commit of a checkout, or its folder's name where git does not know."""
    found = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or checkout.name


class ServiceOf(Service):
    """`python -m consumer run` of a checkout."""

    def __init__(self, checkout: Path, dsn: str, **settings: object) -> None:
        super().__init__(dsn, program=(python_of(checkout), "-m", "consumer", "run"), folder=checkout, **settings)


@contextlib.contextmanager
def database_of(bench: Bench, checkout: Path) -> Iterator[str]:
    """The DSN of a database with the checkout's schema, which lives for one measurement."""

    def migrate(dsn: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WEBHOOK_ROUTER_")}
        subprocess.run(
            [python_of(checkout), "-m", "consumer", "migrate"],
            cwd=checkout,
            env=environment | {"WEBHOOK_ROUTER_DATABASE_URL": dsn},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    template = None
    if checkout != ROOT:
        template = bench.template(f"schema_of_{str(checkout).replace('/', '_')}"[-50:], migrate, source="template1")
    with bench.scratch(template) as dsn:
        yield dsn


def cpu_of(pid: int) -> float | None:
    """Seconds of CPU that a process has used, all threads; None when it is gone."""
    try:
        return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    except (OSError, IndexError):
        return None


class Watch:
    """Samples of a database and of the service that works on it."""

    def __init__(self, connection: psycopg.Connection, service: Service) -> None:
        self._connection, self._service = connection, service
        self._backends: dict[int, float] = {}
        self.samples: list[dict[str, Any]] = []

    def sample(self) -> dict[str, Any]:
        """Takes one, and keeps it."""
        cursor = self._connection.execute(COUNTS)
        names = [column.name for column in cursor.description or ()]
        taken: dict[str, Any] = dict(zip(names, cursor.fetchone() or (), strict=True)) | {"at": time.time()}
        old = self._connection.info.server_version < 170000
        taken["checkpoints"] = int(value(self._connection, CHECKPOINTS_BEFORE_17 if old else CHECKPOINTS))
        taken["tables"] = {
            row[0]: dict(zip(("inserted", "dead", "vacuums", "heap", "indexes"), row[1:], strict=True))
            for row in self._connection.execute(BY_TABLE, (list(TABLES),))
        }
        for (pid,) in self._connection.execute(BACKENDS):
            if (used := cpu_of(pid)) is not None:
                self._backends[pid] = used
        taken["backends"] = sum(self._backends.values())
        taken["python"] = cpu_of(self._service.process.pid) or 0.0
        taken["memory"] = self._service.rss()
        self.samples.append(taken)
        return taken


def settle(dsn: str, service: Service) -> None:
    """Routes some events first, so that plans, caches and the service's sessions are there."""
    with connect(dsn) as connection:
        for number in range(60):
            write_one(connection, number + 1)
        await_routed(dsn, service)
        connection.execute("update public.webhook_events set event_id = replace(event_id, 'live-', 'warm-')")
        connection.execute(
            "update public.messages set provider_message_id = replace(provider_message_id, 'live-', 'warm-')"
        )


def traffic(bench: Bench, checkout: Path, *, rate: float, seconds: float, every: float) -> dict[str, Any]:
    """Everything that was seen while events arrived: samples, latencies and what a claim touches at the end."""
    with database_of(bench, checkout) as dsn, ServiceOf(checkout, dsn) as service, connect(dsn) as connection:
        service.await_listening()
        settle(dsn, service)
        watch = Watch(connection, service)
        watch.sample()
        begun = time.monotonic()
        writers = Writers(bench, dsn, clients=CLIENTS, seconds=seconds, rate=rate)
        finished = False
        try:
            due = begun + every
            while due < begun + seconds - every / 2:
                time.sleep(max(0.0, due - time.monotonic()))
                service.check()
                watch.sample()
                due += every
            written = writers.finish()
            finished = True
        finally:
            if not finished:
                writers.stop()
        await_routed(dsn, service)
        last = watch.sample()
        latencies = [(float(at), float(ms)) for at, ms in connection.execute(LATENCIES)]
        batches = value(
            connection,
            "select count(distinct pg_xact_commit_timestamp(xmin)) from public.webhook_events "
            "where event_id like 'live-%'",
        )
        pages = {}
        recent = value(connection, "select (max(created_at) - interval '1 second')::text from public.webhook_events")
        for name, after in (("claim_pages_beginning", "-infinity"), ("claim_pages_watermark", recent)):
            with connection.transaction(force_rollback=True):
                plan = value(connection, CLAIM, (after,))[0]["Plan"]
            pages[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        indexes = dict(
            connection.execute(
                "select i.indexrelname, pg_relation_size(i.indexrelid) from pg_stat_user_indexes i "
                "where i.schemaname = 'public' and i.relname = 'webhook_events' order by 1"
            ).fetchall()
        )
    assert last is watch.samples[-1]
    return {
        "rate": rate,
        "seconds": seconds,
        "events": written.events,
        "batches": batches,
        "samples": watch.samples,
        "latencies": latencies,
        "indexes": indexes,
        **pages,
    }


def an_event(first: dict[str, Any], last: dict[str, Any], name: str) -> float:
    """What one counter grew by for each event between two samples."""
    events = inserted(last) - inserted(first)
    return float((last[name] - first[name]) / events) if events else float("nan")


def inserted(sample: dict[str, Any]) -> int:
    """Events that had been inserted by then."""
    return int(sample["tables"]["webhook_events"]["inserted"])


def costs(seen: dict[str, Any]) -> dict[str, float]:
    """What one event cost over the whole of it, and how long it took."""
    first, last = seen["samples"][0], seen["samples"][-1]
    ordered = sorted(seen["latencies"])
    settled = [ms for _, ms in ordered[len(ordered) // 20 :]]  # most contacts are made in the first twentieth
    backends, python = (an_event(first, last, name) * 1e6 for name in ("backends", "python"))
    return {
        "backends_us": backends,
        "python_us": python,
        "cpu_us": backends + python,
        "p50_ms": percentile(settled, 0.5),
        "p99_ms": percentile(settled, 0.99),
        "xids": an_event(first, last, "xids"),
        "wal_bytes": an_event(first, last, "wal"),
        "events_a_batch": seen["events"] / seen["batches"],
    }


# Rows of `make bench`


def beside(bench: Bench) -> list[tuple[str, Path]]:
    """This checkout, and the one that it is compared with."""
    return [("", ROOT), *([("against", bench.against)] if bench.against else [])]


def steady(bench: Bench) -> None:
    """500 events a second, one a commit."""
    seconds = bench.pick(quick=5, full=60)
    bench.say(f"live traffic of {RATE:g}/s")
    found = {
        name: costs(traffic(bench, checkout, rate=RATE, seconds=seconds, every=seconds))
        for name, checkout in beside(bench)
    }
    now, before = found[""], found.get("against")
    for key, what, target, unit in (
        ("cpu_us", "CPU of backends and Python an event", 350.0, "µs"),
        ("p50_ms", "commit to commit, p50", 5.0, "ms"),
        ("p99_ms", "commit to commit, p99", 20.0, "ms"),
        ("xids", "transaction ids an event, its insert's own included", 1.6, ""),
        ("wal_bytes", "WAL an event", 4096.0, "bytes"),
    ):
        other = f"{before[key]:,.1f} in the other checkout" if before else ""
        parts = f"backends {now['backends_us']:.0f}, Python {now['python_us']:.0f}; " if key == "cpu_us" else ""
        parts += f"{now['events_a_batch']:.1f} events a batch; " if key == "xids" else ""
        bench.add(
            Row(
                key=f"live-{key.partition('_')[0]}",
                what=f"live traffic of {RATE:g}/s, single-row commits: {what}",
                measured=now[key],
                target=target,
                sense="<=",
                unit=unit,
                note=(parts + other).removesuffix("; "),
                details={"here": now, "against": before} if key == "cpu_us" else {},
            )
        )


def peak_of(bench: Bench, checkout: Path, seconds: float) -> float:
    """Events a second from the first insert to the last effect, one a commit as fast as the writers can."""
    with database_of(bench, checkout) as dsn, ServiceOf(checkout, dsn) as service:
        service.await_ready()
        begun = time.perf_counter()
        written = Writers(bench, dsn, clients=CLIENTS, seconds=seconds).finish()
        await_routed(dsn, service)
        return written.events / (time.perf_counter() - begun)


def peak(bench: Bench) -> None:
    """As many as go through; a ratio where there is another checkout to compare with."""
    seconds, rounds = bench.pick(quick=2, full=8), bench.rounds(5)
    bench.say("peak of live traffic")
    what = "peak of live traffic, inserted one a commit and routed"
    if bench.against is None:
        rates = [peak_of(bench, ROOT, seconds) for _ in range(rounds)]
        bench.add(Row(key="live-peak", what=what, measured=median(rates), unit="/s", details={"per_second": rates}))
        return
    other, sides = bench.against, {True: list[float](), False: list[float]()}

    def once(*, here: bool) -> float:
        sides[here].append(peak_of(bench, ROOT if here else other, seconds))
        return sides[here][-1]

    ratios = pairs(lambda: once(here=True), lambda: once(here=False), rounds)
    bench.add(
        Row(
            key="live-peak",
            what=f"{what} ÷ the same of the other checkout",
            measured=median(ratios),
            target=1.3,
            sense=">=",
            note=f"medians: {median(sides[True]):,.0f}/s, other {median(sides[False]):,.0f}/s",
            details={"ratios": ratios, "per_second": sides[True], "per_second_against": sides[False]},
        )
    )


def alone_in(bench: Bench, checkout: Path, count: int) -> float:
    """Microseconds of a backend for one call that routes one event, its commit included, plans cached.

    Of blocks of calls, that at the lower quartile: whatever else runs on the machine only adds to it.
    """
    with database_of(bench, checkout) as dsn, connect(dsn, prepare_threshold=0) as connection:
        with connect(dsn) as writer:
            for number in range(count + 200):
                write_one(writer, number % 200 + 1)
        keys = [
            row[0] for row in connection.execute("select event_id from public.webhook_events order by created_at, id")
        ]
        pid = connection.info.backend_pid
        for key in keys[:200]:
            connection.execute(ALONE, (key,))
        blocks = []
        for begin in range(200, len(keys), BLOCK):
            before = cpu_of(pid)
            for key in keys[begin : begin + BLOCK]:
                connection.execute(ALONE, (key,))
            after = cpu_of(pid)
            if before is None or after is None:
                raise RuntimeError("/proc does not tell the CPU of a backend")
            blocks.append((after - before) / len(keys[begin : begin + BLOCK]) * 1e6)
        left = value(connection, "select count(*) from public.webhook_events where routed_at is null")
    if left:
        raise RuntimeError(f"{left} events were not routed")
    return percentile(blocks, 0.25)


def alone(bench: Bench) -> None:
    """One event a call, of a person who is known."""
    count, rounds = bench.pick(quick=500, full=3000), bench.rounds(5)
    bench.say("single events, routed alone")
    found: dict[str, list[float]] = {name: [] for name, _ in beside(bench)}
    for number in range(rounds):
        for name, checkout in beside(bench)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(alone_in(bench, checkout, count))
    other = f"{median(found['against']):.0f} µs in the other checkout" if "against" in found else ""
    ratios = [a / b for a, b in zip(found[""], found["against"], strict=True)] if other else []
    bench.add(
        Row(
            key="alone",
            what="CPU of a backend for a single event, routed alone by route_webhook_event",
            measured=median(found[""]),
            target=280,
            sense="<=",
            unit="µs",
            note=f"{other}, median of the ratios of pairs {median(ratios):.2f}" if other else "",
            details={"us": found[""], "us_against": found.get("against", []), "ratios_against": ratios},
        )
    )
