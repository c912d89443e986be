"""Where the time of a warm batch goes, and what each index and key costs an event.

The backend's own CPU time is what is compared, where the system tells it (Linux): other programs disturb it least, and
a batch of known people spends nine tenths of its time there.
"""

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.harness import SETTINGS, Bench, connect, machine, median, percentile, value
from consumer.embedded_postgres.server import EmbeddedPostgres, all_binaries

CALL = """
select (b.batch).claimed, (b.batch).reached_at::text, (b.batch).reached_id::text
from (select router.route_batch(%s::integer, %s::timestamptz, %s::uuid) as batch offset 0) b
"""
START = ("-infinity", "00000000-0000-0000-0000-000000000000")
# What routing itself looks up by, or needs for ON CONFLICT, cannot be removed.
REMOVABLE = """
select 'index ' || i.indexrelid::regclass::text as what,
       case when c.conname is null then format('drop index %s', i.indexrelid::regclass)
            else format('alter table %s drop constraint %I', i.indrelid::regclass, c.conname) end as statement
from pg_index i
join pg_class t on t.oid = i.indrelid
left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('u', 'p')
where t.relnamespace = 'public'::regnamespace and t.relname in ('webhook_events', 'messages', 'conversations')
  and i.indexrelid::regclass::text not in ('router_ready_by_arrival', 'conversations_contact_id_idx', 'router_threads',
                                           'messages_channel_provider_message_id_key', 'webhook_events_pkey',
                                           'conversations_pkey', 'messages_pkey')
union all
select format('key %s (%s)', c.conrelid::regclass, (select string_agg(a.attname, ', ') from pg_attribute a
                                                   where a.attrelid = c.conrelid and a.attnum = any (c.conkey))),
       format('alter table %s drop constraint %I', c.conrelid::regclass, c.conname)
from pg_constraint c
where c.connamespace = 'public'::regnamespace and c.contype = 'f'
  and c.conrelid in ('public.webhook_events'::regclass, 'public.messages'::regclass)
order by 1
"""
FUNCTIONS = """
select funcname, calls, total_time, self_time
from pg_stat_user_functions
where schemaname = 'router'
order by self_time desc
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an event cost, in microseconds and bytes."""

    events: int
    wall: float
    cpu: float
    """Of the backend."""
    wal: float


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, to the nanosecond; wall time where the system does not tell."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    return time.perf_counter()


def batches(connection: psycopg.Connection, *, size: int, warm: int) -> Cost:
    """Routes what is pending in batches, the first `warm` of them not counted.

    CPU time is that of the batch at the lower quartile: whatever else runs on the machine only adds to it.
    """
    at, last, claimed = *START, size
    for _ in range(warm):
        claimed, at, last = connection.execute(CALL, (size, at, last)).fetchone() or (0, at, last)
    connection.execute("select pg_stat_reset()")
    begin = value(connection, "select pg_current_wal_insert_lsn()")
    pid, started, cpu, events = connection.info.backend_pid, time.perf_counter(), list[float](), 0
    while True:
        before = cpu_seconds(pid)
        claimed, at, last = connection.execute(CALL, (size, at, last)).fetchone() or (0, at, last)
        if claimed < size:
            break
        cpu.append((cpu_seconds(pid) - before) / claimed)
        events += claimed
    wall = time.perf_counter() - started
    wal = int(value(connection, "select pg_current_wal_insert_lsn() - %s::pg_lsn", (begin,)))
    return Cost(events=events, wall=wall / events * 1e6, cpu=percentile(cpu, 0.25) * 1e6, wal=wal / events)


def functions(bench: Bench, count: int, size: int) -> tuple[Cost, list[dict[str, Any]]]:
    """Each function of the router, with what it spends itself and with what it calls."""
    with bench.scratch(bench.backlog(count)) as dsn, connect(dsn) as connection:
        connection.execute("set track_functions = 'all'")
        cost = batches(connection, size=size, warm=5)
        connection.execute("select pg_stat_force_next_flush()")
        found = [
            {
                "function": name,
                "calls_a_batch": calls / (cost.events / size),
                "with_callees": total / cost.events * 1e3,
                "self": own / cost.events * 1e3,
            }
            for name, calls, total, own in connection.execute(FUNCTIONS)
        ]
    return cost, found


def prices(bench: Bench, count: int, rounds: int) -> tuple[Cost, dict[str, float]]:
    """CPU microseconds an event that go with each index or key; each drop in turn with the whole, medians of both."""
    with connect(bench.dsn(bench.backlog(count))) as connection:
        removable = connection.execute(REMOVABLE).fetchall()
    costs: dict[str, list[Cost]] = defaultdict(list)
    for number in range(rounds):
        for what, statement in [("", "select"), *removable]:
            bench.say(f"  round {number + 1} of {rounds}: {what or 'everything in place'}")
            with bench.scratch(bench.backlog(count)) as dsn, connect(dsn) as connection:
                connection.execute(statement.encode())
                costs[what].append(batches(connection, size=1000, warm=3))
    whole = costs.pop("")
    base = median([cost.cpu for cost in whole])
    found = {what: base - median([cost.cpu for cost in some]) for what, some in costs.items()}
    middle = sorted(whole, key=lambda cost: cost.cpu)[len(whole) // 2]
    return middle, dict(sorted(found.items(), key=lambda item: -item[1]))


class Plans:
    """Collects what auto_explain says about every statement, nested ones included."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._texts: list[str] = []
        connection.add_notice_handler(lambda notice: self._texts.append(notice.message_primary or ""))

    def clear(self) -> None:
        """Forgets what was said so far."""
        self._texts.clear()

    def found(self) -> Iterator[dict[str, Any]]:
        """The plans, parsed."""
        for text in self._texts:
            _, mark, plan = text.partition("plan:\n")
            if mark:
                yield json.loads(plan)


def triggers(bench: Bench, count: int) -> tuple[int, list[dict[str, Any]]] | None:
    """Time of each trigger and of each statement, by auto_explain, on the newest Postgres here that has it."""
    for binaries in sorted(all_binaries(), key=lambda found: -found.major):
        server = EmbeddedPostgres.start(binaries=binaries, settings=SETTINGS)
        try:
            with connect(server.dsn()) as connection:
                try:
                    connection.execute("load 'auto_explain'")
                except psycopg.Error:
                    continue
            other = Bench(quick=bench.quick, console=Console(quiet=True), server=server)
            return server.major, explained(other, count)
        finally:
            server.stop("immediate")
    return None


def explained(bench: Bench, count: int) -> list[dict[str, Any]]:
    """Statements and triggers of warm batches, µs an event, the most expensive first."""
    spent: dict[tuple[str, str], float] = defaultdict(float)
    with bench.scratch(bench.backlog(count)) as dsn, connect(dsn) as connection:
        connection.execute("load 'auto_explain'")
        for name, given in {
            "log_min_duration": "1",  # ms: writing down the look-ups of foreign keys would cost more than they do
            "log_nested_statements": "on",
            "log_analyze": "on",
            "log_timing": "on",
            "log_triggers": "on",
            "log_format": "json",
        }.items():
            connection.execute(f"set auto_explain.{name} = '{given}'".encode())
        plans = Plans(connection)
        connection.execute("set client_min_messages = log")
        at, last, events = *START, 0
        for number in range(count // 1000):
            claimed, at, last = connection.execute(CALL, (1000, at, last)).fetchone() or (0, at, last)
            if number < 5:
                plans.clear()
            else:
                events += claimed
        for plan in plans.found():
            statement = " ".join(plan["Query Text"].split())
            node = plan["Plan"]
            own = node.get("Actual Total Time", 0.0)
            for trigger in plan.get("Triggers", []):
                name = trigger.get("Constraint Name", trigger["Trigger Name"])
                spent["trigger", f"{name} on {trigger['Relation']}"] += trigger["Time"]
            spent["statement", statement[:90]] += own
    return [
        {"kind": kind, "what": what, "microseconds": total / events * 1e3}
        for (kind, what), total in sorted(spent.items(), key=lambda item: -item[1])
    ]


def run(bench: Bench) -> None:
    """Measures, prints, and records the figures in docs/figures.json."""
    count, rounds = bench.pick(quick=15_000, full=30_000), bench.pick(quick=1, full=3)
    bench.say("functions of a warm batch of 1,000, and of one event")
    cost, big = functions(bench, count, 1000)
    cost_alone, alone = functions(bench, count // 10, 1)
    bench.say("indexes and keys, dropped one at a time")
    whole, found = prices(bench, count, rounds)
    bench.say("statements and triggers, by auto_explain")
    explanation = triggers(bench, count)
    about = machine(bench)
    sections: list[tuple[str, list[str], list[list[str]]]] = [
        (
            (
                f"Functions, batches of 1,000: {cost.wall:.0f} µs an event with the commit, {cost.cpu:.0f} µs of CPU, "
                f"{cost.wal:,.0f} bytes of WAL"
            ),
            ["function", "self µs", "with callees µs", "calls a batch"],
            [[f["function"], f"{f['self']:.1f}", f"{f['with_callees']:.1f}", f"{f['calls_a_batch']:.1f}"] for f in big],
        ),
        (
            f"Functions, single events: {cost_alone.wall:,.0f} µs with the commit, {cost_alone.cpu:.0f} µs of CPU",
            ["function", "self µs", "with callees µs", "calls a batch"],
            [
                [f["function"], f"{f['self']:.1f}", f"{f['with_callees']:.1f}", f"{f['calls_a_batch']:.1f}"]
                for f in alone
            ],
        ),
        (
            f"What goes with each index or key: CPU µs an event, of {whole.cpu:.0f} in all",
            ["index or key", "µs"],
            [[what, f"{price:.1f}"] for what, price in found.items()],
        ),
    ]
    if explanation is not None:
        sections.append(
            (
                f"Statements and triggers by auto_explain, Postgres {explanation[0]}; it slows all of them down",
                ["kind", "µs an event", "what"],
                [[line["kind"], f"{line['microseconds']:.1f}", line["what"]] for line in explanation[1][:24]],
            )
        )
    for title, headings, rows in sections:
        shown = Table(*headings, title=title, title_justify="left", box=None)
        for row in rows:
            shown.add_row(*row)
        bench.console.print(shown)
        bench.console.print()
    report.record(
        "profile",
        {
            "date": time.strftime("%Y-%m-%d"),
            "machine": {name: about[name] for name in ("processor", "cpus", "postgres")},
            "sections": [{"title": title, "headings": headings, "rows": rows} for title, headings, rows in sections],
        },
    )
