"""Routing in a database that has years behind it, against one that does not."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

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
)

TABLES = "('contacts', 'contact_channels', 'conversations', 'messages', 'message_analysis', 'webhook_events')"
# Parents first: foreign keys need the key that they refer to, those of other tables too.
CONSTRAINTS = f"""
select c.conrelid::regclass::text as table_name, c.conname, c.contype, pg_get_constraintdef(c.oid) as definition
from pg_constraint c
join pg_class t on t.oid = case c.contype when 'f' then c.confrelid else c.conrelid end
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """Drains beside history and without it."""

    ratios: list[float]
    per_second: list[tuple[float, float]]
    """With history and without."""
    seconds_to_build: float

    @property
    def note(self) -> str:
        """Both rates."""
        old, new = (median(rates) for rates in zip(*self.per_second, strict=True))
        return f"medians: with {old:,.0f}/s, without {new:,.0f}/s"


def drains(bench: Bench, past: int, count: int, *, source: str, meanwhile: Callable[[], None] | None = None) -> Aged:
    """Drains backlogs of `count` events in copies of a template without events, beside `past` routed ones and without.

    `meanwhile` runs beside the writing of the history.
    """
    old = bench.database(source)
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
        with bench.scratch(source) as empty:
            with connect(empty) as connection:
                events.load(connection, count, prefix=prefix, people=f"{prefix}person-")
            without = drain(empty).rate
        rates.append((with_history, without))
        ratios.append(with_history / without)
    bench.drop(old)
    return Aged(ratios=ratios, per_second=rates, seconds_to_build=built)


def measure(bench: Bench, meanwhile: Callable[[], None] | None = None) -> None:
    """A database with years behind it against an empty one."""
    past = bench.pick(quick=60_000, full=5_000_000)
    count = bench.pick(quick=10_000, full=40_000)
    bench.say(f"{past:,} routed events of history")
    found = drains(bench, past, count, source=bench.schema(), meanwhile=meanwhile)
    bench.add(
        Row(
            key="history",
            what=f"{past:,} routed events of history ÷ none",
            measured=median(found.ratios),
            target=0.85,
            sense=">=",
            note=found.note,
            details={"events": count, **asdict(found)},
        )
    )
