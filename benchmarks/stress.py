"""Routing in tables that are large, or that somebody's old snapshot keeps from being cleaned."""

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from benchmarks import events
from benchmarks.harness import (
    Bench,
    Row,
    Service,
    await_routed,
    committed,
    connect,
    drain,
    median,
    pending,
    percentile,
    value,
)
from benchmarks.writers import Writers

TABLES = "('contacts', 'contact_channels', 'conversations', 'messages', 'message_analysis', 'webhook_events')"
# Parents first: foreign keys need the key that they refer to.
CONSTRAINTS = f"""
select c.conrelid::regclass::text as table_name, c.conname, c.contype, pg_get_constraintdef(c.oid) as definition
from pg_constraint c
join pg_class t on t.oid = c.conrelid
where t.relnamespace = 'public'::regnamespace and t.relname in {TABLES} and c.contype in ('p', 'u', 'f')
order by c.contype = 'f', c.contype <> 'p'
"""
INDEXES = f"""
select i.indexrelid::regclass::text as index_name, pg_get_indexdef(i.indexrelid) as definition
from pg_index i
join pg_class t on t.oid = i.indrelid
where t.relnamespace = 'public'::regnamespace and t.relname in {TABLES}
  and not exists (select from pg_constraint c where c.conindid = i.indexrelid)
"""
EVENTS_A_PERSON = 10
PEOPLE = """
create unlogged table public.bench_person as
select i as number, gen_random_uuid() as contact, gen_random_uuid() as conversation,
       (array['instagram', 'whatsapp', 'facebook', 'tiktok', 'youtube'])[1 + i % 5] as channel
from generate_series(0, {people} - 1) as g (i);

analyze public.bench_person;

insert into public.contacts (id, full_name) select contact, 'Past person ' || number from public.bench_person;

insert into public.contact_channels (contact_id, channel, external_id, display_name, display_name_at, is_primary)
select contact, channel, 'past-person-' || number, 'Past person ' || number, now() - interval '1 day', true
from public.bench_person;

insert into public.conversations (id, contact_id, channel, last_message_at)
select conversation, contact, channel, now() - interval '1 day' - number * interval '1 second' from public.bench_person;
"""
# Two statements, for two sessions.
HISTORY = """
insert into public.messages (conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                             sent_at)
select p.conversation, p.contact, p.channel, 'inbound', 'What a person wrote to us on a day long ago, number ' || e.i,
       'past-' || e.i, now() - interval '400 days' + e.i * interval '5 seconds'
from generate_series(1, {events}) as e (i)
join public.bench_person p on p.number = e.i * 7919::bigint % {people};

insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date,
                                   conversation_id, created_at, routed_at)
select p.channel, 'message', 'past-' || e.i, 'past-person-' || p.number, 'Past person ' || p.number,
       'What a person wrote to us on a day long ago, number ' || e.i,
       now() - interval '400 days' + e.i * interval '5 seconds',
       p.conversation, now() - interval '400 days' + e.i * interval '5 seconds',
       now() - interval '400 days' + e.i * interval '5 seconds'
from generate_series(1, {events}) as e (i)
join public.bench_person p on p.number = e.i * 7919::bigint % {people};
"""


def write_history(dsn: str, count: int) -> None:
    """Routed events with all their rows. Indexes and keys are made afterwards, two at a time, as they were."""
    with connect(dsn) as connection:
        constraints = connection.execute(CONSTRAINTS).fetchall()
        indexes = connection.execute(INDEXES).fetchall()
    adding: dict[bool, list[str]] = {False: [], True: []}
    for table, name, kind, definition in constraints:
        adding[kind == "f"].append(f'alter table {table} add constraint "{name}" {definition}')
    numbers = {"people": count // EVENTS_A_PERSON, "events": count}
    dropping = [f'alter table {table} drop constraint "{name}"' for table, name, _, _ in reversed(constraints)]
    in_turn(dsn, [*dropping, *(f"drop index {name}" for name, _ in indexes)], sessions=1)
    in_turn(dsn, statements(PEOPLE.format(**numbers)), sessions=1)
    in_turn(dsn, statements(HISTORY.format(**numbers)), sessions=2)
    for group in ([definition for _, definition in indexes], adding[False], adding[True]):
        in_turn(dsn, group, sessions=2)
    in_turn(dsn, ["drop table public.bench_person", "vacuum analyze"], sessions=1)


def statements(script: str) -> list[str]:
    """The statements of a script that has no semicolon elsewhere."""
    return [statement for statement in script.split(";") if statement.strip()]


def in_turn(dsn: str, work: list[str], *, sessions: int) -> None:
    """Runs statements in so many sessions, without triggers, with memory to sort in."""

    def run(statement: str) -> None:
        with connect(dsn) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute("set work_mem = '256MB'")
            connection.execute("set maintenance_work_mem = '512MB'")
            connection.execute(statement.encode())

    with ThreadPoolExecutor(sessions) as pool:
        for done in [pool.submit(run, statement) for statement in work]:
            done.result()


def history(bench: Bench, meanwhile: Callable[[], None] | None = None) -> None:
    """A database with years behind it against an empty one. `meanwhile` runs beside the building of it."""
    past = bench.pick(quick=200_000, full=5_000_000)
    count = bench.pick(quick=10_000, full=40_000)
    bench.say(f"{past:,} routed events of history")
    old = bench.database()
    begun = time.perf_counter()
    beside = threading.Thread(target=meanwhile) if meanwhile else None
    if beside:
        beside.start()
    write_history(bench.dsn(old), past)
    built = time.perf_counter() - begun
    if beside:
        beside.join()
    with connect(bench.dsn(old)) as connection:
        connection.execute("checkpoint")
    ratios, rates = [], []
    for number in range(bench.rounds(2)):
        # The same load on both sides: nobody vacuums, since the next drain follows at once.
        prefix = f"round-{number}-"
        with connect(bench.dsn(old)) as connection:
            events.load(connection, count, prefix=prefix, people=f"{prefix}person-")
        with Service(bench.dsn(old)) as service:
            await_routed(bench.dsn(old), service)
        with_history = committed(bench.dsn(old), like=f"{prefix}%").rate
        with bench.scratch() as empty:
            with connect(empty) as connection:
                events.load(connection, count, prefix=prefix, people=f"{prefix}person-")
            without = drain(empty).rate
        rates.append((with_history, without))
        ratios.append(with_history / without)
    bench.drop(old)
    bench.add(
        Row(
            key="history",
            what=f"{past:,} routed events of history ÷ none",
            measured=median(ratios),
            target=0.85,
            sense=">=",
            note=f"{median([a for a, _ in rates]):,.0f}/s against {median([b for _, b in rates]):,.0f}/s",
            details={"events": count, "per_second": rates, "ratios": ratios, "seconds_to_build": built},
        )
    )


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


def old_snapshot(bench: Bench) -> None:
    """A transaction stays open for minutes while events arrive: nothing that was routed since can be cleaned away."""
    rate = 800
    calm = bench.pick(quick=5, full=30)
    held = bench.pick(quick=20, full=600)
    bench.say(f"REPEATABLE READ snapshot held for {held} s at {rate} events/s")
    with bench.scratch() as dsn:
        log = CallLog(bench, dsn)
        with Service(dsn) as service, connect(dsn) as observer:
            service.await_ready()
            Writers(bench, dsn, clients=8, seconds=2, rate=rate, quiet=True).finish()
            await_routed(dsn, service)
            marks = [log.position()]
            Writers(bench, dsn, clients=8, seconds=calm, rate=rate, quiet=True).finish()
            await_routed(dsn, service)
            marks.append(log.position())
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
            what="  p99 of a routing call with ÷ without",
            measured=details["call_p99_ms"][1] / details["call_p99_ms"][0],
            target=2.0,
            sense="<=",
            note=f"{details['call_p99_ms'][1]:.1f} against {details['call_p99_ms'][0]:.1f} ms; "
            f"{details['call_p99_of_the_last_tenth_ms']:.1f} in the last tenth",
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
