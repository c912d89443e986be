"""webhook_events.routed_by: each way into routing says by which path an event was routed."""

import json
from typing import Any

from psycopg.types.json import Jsonb

from tests.sql.inbox import Inbox
from tests.sql.taking import line, take
from tests.sql.test_intake_comments import comment, own

ZERO = "'00000000-0000-0000-0000-000000000000'"
LATE = "update webhook_events set parked_until = now(), created_at = now() - interval '6 seconds' where event_id = %s"


def paths(inbox: Inbox) -> dict[str, str | None]:
    """By event_id."""
    return {row["event_id"]: row["routed_by"] for row in inbox.rows("select event_id, routed_by from webhook_events")}


def path_after(inbox: Inbox, call: str, *values: Any) -> str | None:
    """That of one more event, which `call` routes."""
    event = f"e{inbox.count('webhook_events')}"
    inbox.insert(event)
    inbox.rows(call, *values)
    row = inbox.event(event)
    assert row["routed_at"] is not None, call
    path: str | None = row["routed_by"]
    return path


def records(key: str, **more: Any) -> tuple[Any, ...]:
    """The arguments of one record that brings an event."""
    columns = {"channel": "instagram", "event_id": key, "author_id": "a1"} | more
    return json.dumps(columns), ["instagram"], [key], [False]


def test_what_routes_rows_of_the_table(any_inbox: Inbox) -> None:
    """The loops of the service, also those of an earlier release, the sweep of a scheduler, and the public API."""
    inbox = any_inbox
    newest = "(select id from webhook_events where routed_at is null)"
    of_old = f"select router.route_batch(10, '-infinity', {ZERO}, 'infinity', null, 0, 1)"
    for call, path in (
        ("select router.route_batch(10)", "hot"),
        (of_old, "hot"),
        ("select router.route_batch(10, p_path => 'sweep')", "sweep"),
        (f"select router.route_one({newest}, false)", "call"),
        (f"select router.route_one({newest}, false, 'sweep')", "sweep"),
        ("select router.route_oldest(null, 10)", "sweep"),
        ("select public.route_unrouted_events()", "call"),
        ("select public.route_webhook_event(channel, event_id) from webhook_events where routed_at is null", "call"),
    ):  # fmt: skip
        assert path_after(inbox, call) == path, call
    inbox.value("select public.ingest_route_analyze('instagram', 'message', 'x', 'a1', null, 'hello', now(), '{}')")
    assert inbox.event("x")["routed_by"] == "call"
    assert "routed_by" not in inbox.ingest("x"), "the public API returns what it did"


def test_an_attempt_later_tells_its_own(any_inbox: Inbox) -> None:
    """What is parked has none yet; what somebody has opened again gets that of the call which routes it then."""
    inbox = any_inbox
    inbox.insert("e1", event_date="infinity")
    assert (inbox.batch().parked, paths(inbox)) == (1, {"e1": None})
    inbox.run("update webhook_events set event_date = now(), parked_until = now()")
    assert (inbox.retry().inserted, paths(inbox)) == (1, {"e1": "sweep"})
    inbox.reopen("e1")
    assert inbox.row("select state, routed_by from router.explain('instagram', 'e1')") == {
        "state": "ready", "routed_by": None,
    }  # fmt: skip
    inbox.batch()
    assert inbox.value("select routed_by from router.explain('Instagram', 'e1')") == "hot"
    # Whatever an application has kept in a column of that name is not told.
    inbox.run("update webhook_events set routed_by = 'Jane Doe'")
    assert inbox.value("select routed_by from router.explain('instagram', 'e1')") is None


def test_what_brings_events(any_inbox: Inbox) -> None:
    """Records and deliveries, also of a release that says no path, and under keys that a trigger has given them."""
    inbox = any_inbox
    inbox.run(
        """create function pg_temp.rekey() returns trigger language plpgsql as
           $$ begin new.event_id := replace(new.event_id, 'odd', 'even'); return new; end $$;
           create trigger rekey before insert on webhook_events for each row execute function pg_temp.rekey()"""
    )
    for key in ("k1", "k odd"):
        inbox.rows("select router.ingest_and_route(%s, %s, %s, %s)", *records(key))
    inbox.rows("select router.take_records(%s, %s, %s, %s, false, 'g', '{}', '{}', '{}', '{}')", *records("k2"))
    assert paths(inbox) == {"k1": "kafka", "k even": "kafka", "k2": "kafka"}

    take(inbox, line("g1"), line("g odd"))
    heads = [{"provider": "whatsapp", "digest": "00", "version": 1, "kinds": {}}]
    stored = "select router.take_deliveries(%s, array[''::bytea], null, null, true)"
    inbox.rows(stored, Jsonb(heads))
    heads[0]["id"] = inbox.value("select max(id) from router.deliveries")
    again = "select router.take_deliveries(%s, array[null::bytea], %s, null)"
    inbox.rows(again, Jsonb(heads), json.dumps(line("i1")))
    inbox.rows(again.replace("null)", "null, false, 'kafka')"), Jsonb(heads), json.dumps(line("k3")))
    inbox.run("drop trigger rekey on webhook_events")
    assert {key: path for key, path in paths(inbox).items() if not key.startswith("k ")} == {
        "k1": "kafka", "k2": "kafka", "g1": "gateway", "g even": "gateway", "i1": "intake", "k3": "kafka",
    }  # fmt: skip


def test_comments_that_have_waited(any_inbox: Inbox) -> None:
    """One that another comment releases is routed by its call; one whose time is over, by the call that looks."""
    inbox = any_inbox
    take(inbox, own("c2", "c1", 2))
    assert paths(inbox) == {"c2": None}
    take(inbox, comment("c1", 1))
    assert paths(inbox) == {"c1": "gateway", "c2": "gateway"}
    for event, call in (("c4", "select router.sweep_waiting(100, null)"),
                        ("c6", "select router.sweep_waiting(100, null, 'sweep')")):  # fmt: skip
        take(inbox, own(event, "gone"))
        inbox.run(LATE, event)
        inbox.rows(call)
    assert (inbox.event("c4")["routed_by"], inbox.event("c6")["routed_by"]) == ("intake", "sweep")


def test_a_trigger_that_routes_another_event(any_inbox: Inbox) -> None:
    """Each keeps its own path."""
    inbox = any_inbox
    inbox.run(
        """create function pg_temp.other() returns trigger language plpgsql as
           $$ begin
               if new.provider_message_id = 'outer' then
                   perform public.route_webhook_event('instagram', 'inner');
               end if;
               return new;
           end $$;
           create trigger other before insert on messages for each row execute function pg_temp.other()"""
    )
    inbox.insert("inner", created_at="2026-01-02")
    inbox.insert("outer", created_at="2026-01-01")
    assert inbox.batch(1).inserted == 1
    inbox.run("drop trigger other on messages")
    assert paths(inbox) == {"outer": "hot", "inner": "call"}
