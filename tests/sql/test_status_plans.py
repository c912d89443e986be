"""What effects cost must not depend on statistics: see test_plans.py."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import empty_database_on
from tests.sql.conftest import DatabaseOn
from tests.sql.effects import apply, at, effect, make, reaction, status, sweep, wamid, write
from tests.sql.inbox import Inbox
from tests.sql.test_plans import LOAD, YOUNGER_KEYS, Meter

TABLES = (
    "messages",
    "conversations",
    "contact_channels",
    "contacts",
    "message_delivery",
    "message_reactions",
    "waiting",
    "watermarks",
)
EVERY_TABLE = """
    select c.oid::regclass::text from pg_class c
    where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'router'::regnamespace)
"""
SIZE = 100
TOKEN = "3EB0C7A1D2F4E5B6A789"
MORE = """
set session_replication_role = replica;
update messages set direction = 'outbound';
insert into message_delivery (message_id, status, sent_at)
select id, 'sent', sent_at from messages where provider_message_id like 'old %5';
insert into router.waiting (channel, atom_id, kind, target, person, effect, expires_at)
select 'instagram', 'waiting ' || i, 'status', 'unknown ' || i, 'p' || i,
       jsonb_build_object('id', 'waiting ' || i, 'kind', 'status', 'channel', 'instagram', 'target', 'unknown ' || i,
                          'content', '{"status": "read"}'::jsonb),
       now() + interval '7 days'
from generate_series(1, 20000) i;
insert into router.watermarks (channel, account, person, status, until, at)
select 'instagram', 'page', 'p' || i, 'read', '2025-12-31', '2025-12-31' from generate_series(1, 20000) i;
reset session_replication_role;
"""


@pytest.fixture
def bare(any_postgres: EmbeddedPostgres, template_on: DatabaseOn) -> Iterator[Inbox]:
    """A database of its own in which nobody analyses tables but the test."""
    if any_postgres.major < 15:
        pytest.skip("Postgres 14 has no way to write the counters out at once")
    with ExitStack() as stack:
        dsn = stack.enter_context(empty_database_on(any_postgres, template=template_on(any_postgres)))
        inbox = stack.enter_context(Inbox(dsn))
        # What a vacuum reads would count as ours.
        for table in inbox.column(EVERY_TABLE):
            inbox.run(f"alter table {table} set (autovacuum_enabled = off)")
        inbox.run(YOUNGER_KEYS)
        yield inbox


def settle(session: Inbox, message_ids: list[str]) -> None:
    """Messages that have been waited for."""
    for message_id in message_ids:
        make(session, message_id, 2, channel="instagram")


def calls(session: Inbox, prefix: str, first: int, size: int) -> dict[str, Callable[[], Any]]:
    """What is called with so many effects, of people and messages that are there."""
    of: dict[str, Any] = {"channel": "instagram", "account": None}
    numbers = [first + 2 * number for number in range(size)]  # even ones are of this channel
    people = [f"p{1 + number % 50_000}" for number in numbers]
    known = [status("delivered", f"old {number}", 1, **of) for number in numbers]
    unknown = [status("delivered", f"{prefix} {number}", 1, **of) for number in numbers]
    tokens = [
        status("read", wamid(person, f"{TOKEN}{number:06}"), 1, **of, token=f"{TOKEN}{number:06}", person=person)
        for number, person in zip(numbers, people, strict=True)
    ]
    reactions = [reaction(f"{prefix} r{number}", f"old {number}", 1, "x", **of) for number in numbers]
    marks = [
        effect("read_until", f"{prefix} w{number}", None, 1, until=at(1), **of, person=person, canonical=person)
        for number, person in zip(numbers, people, strict=True)
    ]
    return {
        "statuses": lambda: apply(session, *known),
        "statuses again": lambda: apply(session, *known),
        "statuses that wait": lambda: apply(session, *unknown),
        "statuses that wait, by token": lambda: apply(session, *tokens),
        "reactions": lambda: apply(session, *reactions),
        "watermarks": lambda: apply(session, *marks),
        "sweep": lambda: session.row(
            "select * from router.sweep_waiting(%s, %s)", size // 2, '{"stage": "waiting", "channel": "instagram"}'
        ),
        "sweep of watermarks": lambda: session.row(
            "select * from router.sweep_waiting(%s, %s)", size // 2, '{"stage": "watermarks"}'
        ),
        "settle": partial(settle, session, [f"{prefix} {number}" for number in numbers[:3]]),
    }


def check(inbox: Inbox, session: Inbox, prefix: str, *, first: int, size: int = SIZE) -> None:
    """No call may scan a table, or read more of any index than some entries for each effect."""
    meter = Meter(inbox)
    for name, call in calls(session, prefix, first, size).items():
        usage = meter.during(session, call)
        assert not set(usage.scans_of_tables) & set(TABLES), f"{name}: {usage.scans_of_tables}"
        greedy = {index: entries for index, entries in usage.entries.items() if entries > 12 * size + 200}
        assert not greedy, f"{prefix}: {name} with {size} effects read {greedy}"
        wide = {relation: pages for relation, pages in usage.pages.items() if pages > 40 * size + 200}
        assert not wide, f"{prefix}: {name} with {size} effects touched pages {wide}"


def warm(session: Inbox) -> None:
    """Plans all statements, and keeps the plans, on tables of a handful of rows."""
    for number in range(2):
        write(session, f"old {number}", channel="instagram", of=f"p{number}", account=None)
    for number in range(8):
        for call in calls(session, f"warm{number}", 0, 2).values():
            call()
    session.run("delete from messages; delete from conversations; delete from contacts; delete from webhook_events")
    session.run("delete from router.waiting; delete from router.watermarks")


def test_effects_on_tables_that_mislead_the_planner(bare: Inbox) -> None:
    """Planned while nearly empty; freshly loaded; analysed."""
    early = bare.another()
    warm(early)
    bare.run(LOAD)
    bare.run(MORE)
    check(bare, early, "kept", first=1000)
    check(bare, bare.another(), "fresh", first=3000)
    for table in ("messages", "conversations", "contact_channels", "message_delivery", "message_reactions"):
        bare.run(f"vacuum analyze {table}")
    bare.run("vacuum analyze router.waiting; ")
    bare.run("vacuum analyze router.watermarks")
    check(bare, bare.another(), "analysed", first=5000)
    assert sweep(bare, 10_000)["applied"] == 0
