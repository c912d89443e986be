"""What is waiting, as the database counts it: whatever times events carry, and routed ones cost nothing."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import ANY

import pytest

from tests.sql.inbox import Inbox
from tests.sql.test_plans import Meter, Usage, pages_of_claim
from tests.waiting import wait_for

ALL = "router.backlog()"
RECENT = "router.recent_backlog(60)"
INTO = """
insert into webhook_events (channel, type, event_id, author_id, event_date, created_at)
select 'instagram', 'message', '{0} ' || i, 'p' || i, now(), {1} from generate_series(1, {2}) i
"""


@pytest.fixture
def table(any_database: str) -> Iterator[Inbox]:
    """A database of its own that nobody vacuums, and whose events need no time of arrival."""
    with Inbox(any_database) as inbox:
        inbox.run("alter table webhook_events set (autovacuum_enabled = off), alter column created_at drop not null")
        yield inbox


def insert(inbox: Inbox, name: str, created_at: str, count: int = 1) -> None:
    """Events of one time of arrival, an SQL expression."""
    inbox.run(INTO.format(name, created_at, count))


def counted(inbox: Inbox, call: str = ALL) -> tuple[int, float]:
    """How many are ready, and the age of the oldest."""
    row: dict[str, Any] = inbox.row(f"select ready, oldest_seconds from {call}")
    assert math.isfinite(row["oldest_seconds"])
    assert row["oldest_seconds"] >= 0
    return row["ready"], row["oldest_seconds"]


@pytest.mark.parametrize("created_at", ["null", "'-infinity'", "'infinity'", "now() + interval '1 year'"])
def test_an_event_without_an_age(table: Inbox, created_at: str) -> None:
    """It is counted, whether all are or recent ones alone, with an age of 0; beside others the age is theirs."""
    insert(table, "odd", created_at, 3)
    for call in (ALL, RECENT, "router.status()"):
        assert counted(table, call) == (3, 0)
    insert(table, "old", "now() - interval '10 seconds'")
    for call in (ALL, RECENT, "router.status()"):
        ready, age = counted(table, call)
        assert ready == 4
        assert 10 <= age < 60


@pytest.mark.parametrize("created_at", ["'4713-01-01 BC'", "'1970-01-01'", "'294276-12-31'"])
def test_an_event_of_another_age(table: Inbox, created_at: str) -> None:
    """No time that can be stored is too long ago, or too far away."""
    insert(table, "odd", created_at)
    for call in (ALL, "router.status()", "router.recent_backlog(1e308)", "router.recent_backlog('infinity')"):
        assert counted(table, call)[0] == 1


def test_recent_events_alone(table: Inbox) -> None:
    """Those that arrived within so many seconds; parked ones are counted whenever they arrived."""
    insert(table, "old", "now() - interval '1 hour'", 5)
    insert(table, "new", "now() - interval '10 seconds'", 2)
    insert(table, "parked", "now() - interval '1 day'", 4)
    table.run("update webhook_events set parked_until = 'infinity' where event_id like 'parked %'")
    assert counted(table)[0] == 7
    assert counted(table, RECENT)[0] == 2
    assert counted(table, "router.recent_backlog(7200)")[0] == 7
    assert counted(table, "router.recent_backlog(0)")[0] == 0
    assert counted(table, "router.recent_backlog(-5)")[0] == 0
    assert counted(table, "router.recent_backlog('nan')")[0] == 7
    assert table.row(f"select dead from {RECENT}") == {"dead": 4}


def by_channel(inbox: Inbox, arguments: str = "") -> dict[str, tuple[int, float, bool]]:
    """Channel → how many are ready, the age of the oldest, whether there may be more; in their order."""
    rows = inbox.rows(f"select * from router.backlog_by_channel({arguments})")
    return {row["channel"]: (row["ready"], row["oldest_seconds"], row["is_partial"]) for row in rows}


def test_what_is_ready_by_channel(table: Inbox) -> None:
    """The oldest first; times of arrival that are none, or none yet, are counted and have no age."""
    table.run("alter table webhook_events drop constraint webhook_events_channel_check")
    assert by_channel(table) == {}
    insert(table, "old", "now() - interval '1 hour'", 2)
    insert(table, "odd", "null")
    insert(table, "older", "'-infinity'")
    insert(table, "later", "now() + interval '1 year'")
    table.run("update webhook_events set channel = 'odd' where event_id !~ '^old '")
    insert(table, "ours", "now() - interval '10 seconds'", 3)
    insert(table, "parked", "now() - interval '1 day'", 4)
    insert(table, "routed", "now() - interval '1 day'", 4)
    table.run("update webhook_events set channel = 'telegram' where event_id like 'ours %'")
    table.run("update webhook_events set parked_until = 'infinity' where event_id like 'parked %'")
    table.run("update webhook_events set routed_at = now() where event_id like 'routed %'")
    found = by_channel(table)
    assert [(channel, ready, partial) for channel, (ready, _, partial) in found.items()] == [
        ("instagram", 2, False),
        ("telegram", 3, False),
        ("odd", 3, False),
    ]
    ages = [age for _, age, _ in found.values()]
    assert ages[0] == pytest.approx(3600, abs=60)
    assert ages[1] == pytest.approx(10, abs=60)
    assert ages[2] == 0
    recent = by_channel(table, "60")
    assert {channel: ready for channel, (ready, _, _) in recent.items()} == {"telegram": 3, "odd": 3}
    assert by_channel(table, "60, -1") == {}


def test_a_count_by_channel_ends_at_a_bound(table: Inbox) -> None:
    """It reads so many entries of the index, and says that there is more; strangers make up channels as they like."""
    table.run("alter table webhook_events drop constraint webhook_events_channel_check")
    insert(table, "waiting", "now() - interval '1 hour' + i * interval '1 ms'", 3000)
    table.run("update webhook_events set channel = 'late' where split_part(event_id, ' ', 2)::int > 40")
    assert by_channel(table, "null, 50") == {"instagram": (40, ANY, True), "late": (10, ANY, True)}
    meter = Meter(table)
    session = table.another()
    usage = meter.during(session, lambda: by_channel(session, "null, 50"))
    assert set(usage.entries) == {"router_ready_by_arrival"}
    assert usage.entries["router_ready_by_arrival"] <= 100  # dead entries among them
    assert not usage.scans_of_tables
    table.run("update webhook_events set channel = repeat('x', 1000) || event_id")
    assert len(by_channel(table)) == 1
    rows = table.rows("select * from router.backlog_by_channel()")
    assert len(rows) == 100
    assert all(row["is_partial"] and len(row["channel"]) == 200 for row in rows)


def over_the_dead(meter: Meter, session: Inbox, call: str) -> Usage | None:
    """What a count reads, once it reads the entries of the twenty that wait and no others."""
    usage = meter.during(session, partial(counted, session, call))
    return usage if usage.entries["router_ready_by_arrival"] == 20 else None


@pytest.mark.parametrize("known", ["never analysed", "analysed", "planned while empty"])
def test_routed_events_cost_a_count_nothing(table: Inbox, known: str) -> None:
    """Twenty thousand of them, not vacuumed: the count reads none of them, nor an index of the application."""
    session = table.another()
    if known == "planned while empty":
        table.run("analyze webhook_events")
        for call in (ALL, RECENT):
            counted(session, call)
    insert(table, "routed", "now() - interval '1 hour' + i * interval '1 ms'", 20_000)
    table.run("update webhook_events set routed_at = now()")
    insert(table, "waiting", "clock_timestamp()", 20)
    if known == "analysed":
        table.run("analyze webhook_events")
    meter = Meter(table)
    for call in (ALL, RECENT):
        # The first one since then finds the entries dead, and says so to those after it; but not while some session of
        # the server has an old snapshot.
        usage = wait_for(partial(over_the_dead, meter, session, call), what="a count that meets no dead entries")
        assert usage is not None
        assert not usage.scans_of_tables
        assert set(usage.entries) <= {"router_ready_by_arrival", "router_parked_by_next_attempt"}, usage
        assert usage.pages["webhook_events"] <= 25, usage
    assert pages_of_claim(session, RECENT) <= 40


def test_a_steady_flow_costs_a_count_nothing(table: Inbox) -> None:
    """While events are routed as they come, their dead entries make room for those of the next ones."""
    for number in range(100):
        insert(table, f"flow {number}", "clock_timestamp()", 50)
        while table.batch(1000).claimed:
            pass
    insert(table, "waiting", "clock_timestamp()", 20)
    wait_for(lambda: pages_of_claim(table, ALL) <= 40, what="no old snapshot on this server any more")


def test_a_snapshot_costs_a_count_of_recent_events_nothing(table: Inbox) -> None:
    """While an old transaction keeps the dead entries alive, only a count of all events pays for them."""
    insert(table, "waiting", "now()", 20)
    before = pages_of_claim(table, RECENT)
    reader = table.another()
    with reader.transaction():
        reader.run("set transaction isolation level repeatable read")
        reader.count("messages")
        insert(table, "routed", "now() - interval '1 hour' + i * interval '1 ms'", 10_000)
        table.run("update webhook_events set routed_at = now() where event_id like 'routed %'")
        recent, everything = (pages_of_claim(table, call) for call in (RECENT, ALL))
    assert recent <= 1.2 * before + 10
    assert everything > 5 * recent, "the snapshot has kept nothing alive: the test shows nothing"
