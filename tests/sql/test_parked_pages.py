"""Lists of parked events page by page, and their numbers by error, whatever else the tables hold."""

from collections import Counter
from typing import Any

import pytest

from tests.sql.inbox import Inbox

PARK = """
    with parked as (
        insert into webhook_events (channel, type, event_id, author_id, event_date, parked_until)
        select (array['instagram', 'whatsapp', 'facebook'])[1 + i %% 3], 'message', %(name)s || i, 'a', now(),
               case when i %% 2 = 0 then timestamptz 'infinity' else now() + interval '1 hour' end
        from generate_series(1, %(events)s) i
        returning id, channel, event_id, parked_until
    )
    insert into router.parked_events (event_id, channel, error_code, error_message, first_parked_at, last_parked_at,
                                      next_attempt_at, discarded_at)
    select p.id, p.channel, case when n.i %% 4 = 0 then '22008' when n.i %% 4 = 1 then '23514' else 'RF001' end,
           case n.i %% 8 when 0 then 'event_date is not a finite time' when 4 then 'date of Alice is out of range'
                         when 1 then 'check_violation (table public.messages)' when 5 then 'check_violation: too long'
                         else 'error (function judge())' end,
           now() - n.i * interval '1 min', %(at)s, p.parked_until, case when n.i %% 10 = 9 then now() end
    from parked p
    cross join lateral (select replace(p.event_id, %(name)s, '')::integer as i) n
"""
LIST = """
    select id, event_id, last_parked_at
    from router.parked(p_limit => 10, p_before => %s, p_before_id => %s)
"""
FILTERS: list[dict[str, object]] = [
    {},
    {"p_channel": "WhatsApp"},
    {"p_state": "dead"},
    {"p_state": "waiting", "p_channel": "facebook"},
    {"p_state": "discarded"},
    {"p_error_class": "23"},
    {"p_error_class": "rf001", "p_error_message": "error (function judge())"},
    {"p_error_class": "22008", "p_error_message": "datetime_field_overflow"},
    {"p_error_message": "event_date is not a finite time"},
    {"p_error_message": "too long", "p_state": "waiting"},
    {"p_older_than": "10 min", "p_newer_than": "20 min"},
]
READ = """
    select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::integer
    from pg_stat_xact_user_tables where relname in ('webhook_events', 'parked_events')
"""


def park(inbox: Inbox, name: str, events: int, at: str = "2026-01-01 12:00+00") -> None:
    """Parks events at one moment, of three channels, in all states, with five errors."""
    inbox.connection.execute(PARK.encode(), {"name": name, "events": events, "at": at})


def pages(inbox: Inbox, *, between: str = "") -> list[str]:
    """The event_ids of all pages; after the first one something happens."""
    found: list[str] = []
    place: tuple[Any, Any] = (None, None)
    while rows := inbox.rows(LIST, *place):
        found += [row["event_id"] for row in rows]
        place = rows[-1]["last_parked_at"], rows[-1]["id"]
        if between and len(found) == len(rows):
            inbox.run(between)
    return found


def test_pages_show_each_event_once(any_inbox: Inbox) -> None:
    """Whatever the page ends at, one of many of the same moment; discarded ones are left out."""
    park(any_inbox, "b", 20)
    park(any_inbox, "a", 20, "2026-01-01 12:01+00")
    park(any_inbox, "c", 3, "2026-01-01 11:00+00")
    found = pages(any_inbox)
    assert sorted(found) == sorted(
        [f"{name}{i}" for name, events in (("a", 20), ("b", 20), ("c", 3)) for i in range(1, events + 1) if i % 10 != 9]
    )
    assert [name[0] for name in found] == ["a"] * 18 + ["b"] * 18 + ["c"] * 3
    (last,) = any_inbox.rows("select id, last_parked_at from router.parked() order by last_parked_at, id limit 1")
    assert any_inbox.rows(LIST, last["last_parked_at"], last["id"]) == []


def test_pages_stay_while_events_come_and_go(any_inbox: Inbox) -> None:
    """What is parked meanwhile comes before the place, what is released is missing, no other is."""
    park(any_inbox, "e", 40)
    shown = pages(any_inbox)
    gone = shown[3:6] + shown[15:30:2]
    more = f"""
        {PARK % {"name": "'new '", "events": 25, "at": "'2026-01-01 13:00+00'"}};
        update webhook_events set parked_until = null where event_id in ({", ".join(f"'{name}'" for name in gone)});
        update router.parked_events set last_parked_at = '2026-01-01 14:00+00'
        where event_id = (select id from webhook_events where event_id = '{shown[20]}')
    """
    expected = shown[:10] + [name for name in shown[10:] if name not in {*gone, shown[20]}]
    assert pages(any_inbox, between=more) == expected


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_counts_and_decisions_agree_with_the_list(any_inbox: Inbox, filters: dict[str, object]) -> None:
    """By the message as it is shown; what the application has deleted or routed is nowhere."""
    park(any_inbox, "e", 60)
    any_inbox.run("delete from webhook_events where event_id in ('e1', 'e2')")
    any_inbox.run("update webhook_events set routed_at = now(), parked_until = null where event_id in ('e4', 'e5')")
    named = ", ".join(f"{name} => %s" for name in filters)
    rows = any_inbox.rows(
        f"select id, state, channel, error_code, error_message, first_parked_at from router.parked({named})",
        *filters.values(),
    )
    groups = any_inbox.rows(f"select * from router.parked_groups({named})", *filters.values())
    assert rows
    for state in ("waiting", "dead", "discarded"):
        listed = Counter((row["error_code"], row["error_message"]) for row in rows if row["state"] == state)
        assert listed == {
            (group["error_code"], group["error_message"]): group[state] for group in groups if group[state]
        }
    assert sum(group["events"] for group in groups) == len(rows)
    for group in groups:
        mine = [
            row
            for row in rows
            if (row["error_code"], row["error_message"]) == (group["error_code"], group["error_message"])
        ]
        assert group["channels"] == sorted({row["channel"] for row in mine})
        assert group["first_parked_at"] == min(row["first_parked_at"] for row in mine)
        assert "Alice" not in group["error_message"]
    assert [group["events"] for group in groups] == sorted((group["events"] for group in groups), reverse=True)
    assert any_inbox.value("select count(*) from router.parked(p_error_message => 'check_violation: too long')") == 0
    for decision in ("discard_parked", "retry_parked"):
        with any_inbox.connection.transaction(force_rollback=True):
            call = f"select matched from router.{decision}({named})"
            assert any_inbox.value(call, *filters.values()) == len(rows)


def test_no_more_are_counted_than_asked_for(any_inbox: Inbox) -> None:
    """Those that were parked last; looked_at says whether there may be others."""
    park(any_inbox, "old", 30, "2026-01-01 11:00+00")
    park(any_inbox, "e", 20)
    for most, events in ((10, 10), (18, 18), (1000, 45), (None, 45)):
        groups = any_inbox.rows("select events, looked_at from router.parked_groups(p_most => %s::integer)", most)
        assert sum(group["events"] for group in groups) == events
        assert {group["looked_at"] for group in groups} == {events}


@pytest.mark.parametrize("known", ["nothing", "empty tables"])
def test_what_a_page_costs(any_inbox: Inbox, known: str) -> None:
    """A page reads a page, the numbers read each parked event twice, whatever the planner knows, and nothing else."""
    if known == "empty tables":
        any_inbox.run("analyze webhook_events")
        any_inbox.run("analyze router.parked_events")
    with any_inbox.connection.transaction(force_rollback=True):
        park(any_inbox, "e", 5000)
        any_inbox.run(
            """
            insert into webhook_events (channel, type, event_id, author_id, event_date, routed_at)
            select 'instagram', 'message', 'routed ' || i, 'a', now(), case when i % 2 = 0 then now() end
            from generate_series(1, 10000) i
            """
        )
        place = any_inbox.row("select last_parked_at, id from router.parked() offset 2500 limit 1")
        ids = any_inbox.column("select id from webhook_events where event_id like 'e10%'")
        error = "p_error_class => '22008', p_error_message => 'event_date is not a finite time'"
        calls: dict[str, tuple[str, tuple[object, ...], int]] = {
            "first": ("router.parked(p_limit => 50)", (), 300),
            "later": (
                "router.parked(null, null, null, null, null, null, 50, null, null, %s, %s)",
                tuple(place.values()),
                300,
            ),
            "of an error": (f"router.parked(p_limit => 50, {error})", (), 5000 + 1000),
            "ids": ("router.parked(%s)", (ids,), 4 * len(ids)),
            "numbers": ("router.parked_groups()", (), 2 * 5000 + 100),
        }
        for name, (call, values, most) in calls.items():
            before = any_inbox.value(READ)
            assert any_inbox.value(f"select count(*) from {call}", *values)
            assert any_inbox.value(READ) - before <= most, name
