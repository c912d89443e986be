"""Pages that a claim touches: as many with a held snapshot, and with parked events, as without."""

import json
import re
from typing import Any

import psycopg

from tests.perf.backlog import load, park

ROUTE = """
select (b.batch).reached_at::text, (b.batch).reached_id::text
from (select router.route_batch(1000, %s::timestamptz, %s::uuid) as batch offset 0) b
"""
CLAIM = """
explain (analyze, buffers, timing off, summary off, format json)
select router.claim_by_arrival(100, %s::timestamptz, %s::uuid, 'infinity', 0, 1)
"""
START = ("-infinity", "00000000-0000-0000-0000-000000000000")
Cursor = tuple[Any, ...]


def pages(connection: psycopg.Connection, after: Cursor) -> int:
    """Pages touched by a claim of 100 events behind `after`, which is rolled back."""
    touched = []
    for _ in range(3):  # the first one plans, and sets hint bits
        with connection.transaction(force_rollback=True):
            row = connection.execute(CLAIM, after).fetchone()
        assert row is not None
        plan = row[0][0] if not isinstance(row[0], str) else json.loads(row[0])[0]
        touched.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
    return int(touched[-1])


def drain(connection: psycopg.Connection, batches: int, after: Cursor = START) -> Cursor:
    """Routes so many full batches; returns where they ended."""
    for _ in range(batches):
        row = connection.execute(ROUTE, after).fetchone()
        assert row is not None
        after = row
    return after


def measured(dsn: str, *, held: bool = False, parked: int = 0) -> int:
    """Pages of a claim of 100 behind the watermark, after 10,000 routed events."""
    with psycopg.connect(dsn, autocommit=True) as connection, psycopg.connect(dsn) as holder:
        if parked:
            park(connection, parked)
        load(connection, 10_100)
        connection.execute("vacuum analyze")
        if held:
            holder.execute("set transaction isolation level repeatable read")
            holder.execute("select count(*) from public.webhook_events")
        after = drain(connection, 10)
        touched = pages(connection, after)
        holder.rollback()
    return touched


def empty(dsn: str) -> None:
    """Makes the tables as they were."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "truncate public.webhook_events, public.messages, public.conversations, public.contact_channels, "
            "public.contacts, router.parked_events cascade"
        )


def test_claim_behind_the_watermark_does_not_pay_for_a_held_snapshot(counting: str) -> None:
    """Rows routed since the snapshot stay in the index as dead entries; a claim that starts behind never sees them."""
    plain = measured(counting)
    empty(counting)
    assert measured(counting, held=True) <= plain * 1.25


def test_claim_does_not_pay_for_parked_events(counting: str) -> None:
    """Parked events are not in the index that a claim reads."""
    plain = measured(counting)
    empty(counting)
    assert measured(counting, parked=5_000) <= plain * 1.25


def test_an_idle_look_touches_a_handful_of_pages(counting: str) -> None:
    """With nothing to do, a claim from the watermark reads the end of an index."""
    with psycopg.connect(counting, autocommit=True) as connection:
        load(connection, 3_000)
        connection.execute("vacuum analyze")
        after = drain(connection, 3)
        assert pages(connection, after) <= 12


def test_recorded_versions_are_numbers() -> None:
    """The record is read by people: majors and whole bytes."""
    from tests.perf.test_batch_costs import RECORDED

    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert recorded
    assert all(re.fullmatch(r"1[4-9]|[2-9]\d", major) and value > 0 for major, value in recorded.items())
