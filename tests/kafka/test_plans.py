"""What a poll's call reads of the tables, on databases that mislead the planner; see tests/sql/test_plans.py."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from consumer.adapters.postgres.migrations.migrator import migrate
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.kafka.topics import event
from tests.servers import empty_database_on
from tests.sql.inbox import Inbox
from tests.sql.test_plans import LOAD, TABLES, YOUNGER_KEYS, Meter, analyze

CALL = """
    select router.take_records(%s, %s::text[], %s::text[], %s::boolean[], false, 'g', array['events', 'events'],
                               array[0, 1], array[null, null]::bigint[], array[1, 2]::bigint[])
"""


@pytest.fixture
def bare(any_postgres: EmbeddedPostgres) -> Iterator[Inbox]:
    """A database of its own in which only the test analyses tables."""
    if any_postgres.major < 15:
        pytest.skip("Postgres 14 has no way to write the counters out at once")
    with ExitStack() as stack:
        dsn = stack.enter_context(empty_database_on(any_postgres))
        migrate(dsn)
        inbox = stack.enter_context(Inbox(dsn))
        for table in TABLES:
            inbox.run(f"alter table {table} set (autovacuum_enabled = off)")
        inbox.run(YOUNGER_KEYS)
        yield inbox


def calls(session: Inbox, prefix: str, size: int) -> dict[str, Callable[[], Any]]:
    """Each kind of record, new and again."""
    people = "q" if prefix == "empty" else "p"  # those of the load are not there yet
    events = [event(n, event_id=f"{prefix} {n}", author_id=f"{people}{1 + n}" if n % 5 else None) for n in range(size)]
    old = [event(n, event_id=f"old {1 + n}", channel=["instagram", "whatsapp"][(1 + n) % 2]) for n in range(size)]

    def call(records: list[dict[str, Any]], *, named: bool = False, keep: bool = False) -> Callable[[], Any]:
        lines = "\n".join("" if named else json.dumps(record) for record in records)
        channels, ids = [record["channel"] for record in records], [record["event_id"] for record in records]
        return lambda: session.run(CALL, lines, channels, ids, [keep] * len(records))

    return {
        "events": call(events),
        "events again": call(events),
        "names": call(events, named=True),
        "change records of rows": call(events, keep=True),
        "change records of no rows": call([each | {"event_id": f"{each['event_id']} c"} for each in events], keep=True),
        **({} if prefix == "empty" else {"old events told anew": call(old)}),
        "names of nobody": call([each | {"event_id": f"{each['event_id']} x"} for each in events], named=True),
    }


def check(inbox: Inbox, session: Inbox, prefix: str, size: int) -> None:
    """No call may scan a table, or read more of any index than a few entries for each record."""
    meter = Meter(inbox)
    for name, call in calls(session, prefix, size).items():
        usage = meter.during(session, call)
        assert not set(usage.scans_of_tables) & {*TABLES, "kafka_positions"}, f"{name}: {usage.scans_of_tables}"
        greedy = {index: entries for index, entries in usage.entries.items() if entries > 12 * size + 200}
        assert not greedy, f"{prefix}, {name}: {size} records read {greedy}"
        wide = {relation: pages for relation, pages in usage.pages.items() if pages > 40 * size + 200}
        assert not wide, f"{prefix}, {name}: {size} records touched pages {wide}"


def test_speed_does_not_depend_on_statistics(bare: Inbox) -> None:
    """Empty; freshly loaded and never analysed, with new plans and with those of the empty tables; analysed."""
    early = bare.another()
    check(bare, early, "empty", 20)
    bare.run(LOAD)
    check(bare, bare.another(), "fresh", 100)
    check(bare, early, "kept", 100)
    analyze(bare)
    check(bare, bare.another(), "analysed", 100)
    check(bare, bare.another(), "thousand", 1000)
