"""Many sessions at once: no deadlock, nothing twice, nothing left out."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sql.inbox import Inbox

EVENTS = 5000
DEADLINE_SECONDS = 60.0

TRIGGER = """
create function public.count_messages() returns trigger language plpgsql as
$$ begin
    update conversations
    set metadata = jsonb_set(metadata, '{messages}', to_jsonb(coalesce((metadata ->> 'messages')::int, 0) + 1))
    where id = new.conversation_id;
    perform public.analyze_message_simple(new.id);
    return null;
end $$;
create trigger count_messages after insert on messages for each row execute function public.count_messages();
"""
"""What applications do: something in the conversation's metadata for each message, and its analysis."""

LOAD = """
insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id)
select (array['instagram', 'whatsapp'])[1 + i %% 2],
       case when i %% 10 = 0 then 'comment' else 'message' end,
       'e' || i,
       case when i %% 10 = 0 then null when i %% 3 = 0 then 'new ' || i %% 700 else 'regular ' || i %% 20 end,
       'Name ' || (hashint4(i) & 7),
       case when i %% 50 = 1 then 'urgent' else 'hello' end,
       timestamptz '2026-01-01 12:00+00' + (hashint4(i * 7) & 1023) * interval '1 minute',
       case when i %% 10 = 0 then 'post ' || i %% 30 end
from generate_series(1, %s) i
"""
"""Few regulars, some strangers, comments without an author, changing names; times in no order, many of them equal."""


def until_done(session: Inbox, work: Callable[[], int]) -> int:
    """Works until everything is routed, and returns how often."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    calls = 0
    while time.monotonic() < deadline:
        calls += 1
        if work() == 0 and not session.value("select exists (select from webhook_events where routed_at is null)"):
            return calls
    raise AssertionError("events are left after the deadline")


def check_everything(inbox: Inbox) -> None:
    """Each event has exactly one message, each author one contact, each contact and each post one open conversation."""
    assert inbox.value("select count(*) from webhook_events where routed_at is null") == 0
    assert inbox.rows("select * from router.parked_events") == []
    assert inbox.count("messages") == EVENTS
    assert (
        inbox.value(
            """
            select count(*) from webhook_events w
            join messages m on m.channel = w.channel and m.provider_message_id = w.event_id
                           and m.conversation_id = w.conversation_id and m.sent_at = w.event_date
            left join contact_channels k on k.channel = w.channel and k.external_id = w.author_id
            where m.contact_id is not distinct from k.contact_id and (w.author_id is null) = (k.id is null)
            """
        )
        == EVENTS
    )
    authors = inbox.value("select count(distinct (channel, author_id)) from webhook_events where author_id is not null")
    threads = inbox.value("select count(distinct (channel, post_id)) from webhook_events where author_id is null")
    assert inbox.count("contacts") == inbox.count("contact_channels") == authors
    assert inbox.count("conversations") == authors + threads
    late = """
    select count(*) from conversations v
    where v.last_message_at <> (select max(m.sent_at) from messages m where m.conversation_id = v.id)
       or (v.metadata ->> 'messages')::int <> (select count(*) from messages m where m.conversation_id = v.id)
    """
    assert inbox.value(late) == 0
    wrong_names = """
    select count(*)
    from contact_channels k join contacts c on c.id = k.contact_id
    cross join lateral (
        select w.author_name as name from webhook_events w
        where w.channel = k.channel and w.author_id = k.external_id
        order by w.event_date desc, w.author_name collate "C" desc limit 1
    ) w
    where k.display_name is distinct from w.name or c.full_name is distinct from w.name
    """
    assert inbox.value(wrong_names) == 0


def test_eight_sessions(any_inbox: Inbox) -> None:
    """Batches of all kinds and single calls over the same people and events, with triggers of the application."""
    any_inbox.run(TRIGGER)
    any_inbox.run(LOAD, EVENTS)
    sessions = [any_inbox.another() for _ in range(8)]
    events = [
        (row["channel"], row["event_id"]) for row in any_inbox.rows("select channel, event_id from webhook_events")
    ]
    start = threading.Barrier(len(sessions))

    def route(number: int) -> int:
        session, chance = sessions[number], random.Random(number)
        start.wait(DEADLINE_SECONDS)
        match number:
            case 0 | 1 | 2 | 3:
                return until_done(session, lambda: session.batch(chance.randint(50, 300)).claimed)
            case 4:
                return until_done(session, lambda: session.route_unrouted(None, chance.randint(50, 200)))
            case 5:
                return until_done(session, lambda: session.route_unrouted("whatsapp", 100))
            case _:
                for channel, event in chance.sample(events, 400):
                    session.route(event, channel=channel)
                return until_done(session, lambda: session.route_unrouted(None, 10))

    with ThreadPoolExecutor(len(sessions)) as pool:
        calls = list(pool.map(route, range(len(sessions))))
    assert all(calls)
    check_everything(any_inbox)


GATE = """
create function public.gate() returns trigger language plpgsql as
$$ begin perform pg_advisory_xact_lock_shared(7, 7); return new; end $$;
"""
"""Whoever has locked its first row waits here until the test lets all go on at once."""


@pytest.fixture
def people(inbox: Inbox) -> Inbox:
    """Two people who have written as Ann at the beginning of 2026, and the gate."""
    for author in ("a1", "a2"):
        inbox.insert(f"first of {author}", author_id=author, author_name="Ann")
    assert inbox.batch().inserted == 2
    inbox.run(GATE)
    return inbox


def meet(inbox: Inbox) -> None:
    """Two sessions route two events each, in the order of arrival, meet at the gate, and must both come through."""
    sessions = [inbox.another(), inbox.another()]
    inbox.run("select pg_advisory_lock(7, 7)")
    with ThreadPoolExecutor(2) as pool:
        routing = []
        for session in sessions:
            session.run("set deadlock_timeout = '100ms'")
            routing.append(pool.submit(session.batch, 2))
            inbox.wait_until_blocked(session)
        inbox.run("select pg_advisory_unlock(7, 7)")
        assert [batch.result(timeout=90).inserted for batch in routing] == [2, 2]


def test_triggers_that_write_conversations(people: Inbox) -> None:
    """Triggers write conversations in the order of messages; opposite orders in two batches do not deadlock.

    The events are late: last_message_at does not move, so that routing itself has nothing to write there.
    """
    people.run(TRIGGER)
    people.run("create trigger gate before update on conversations for each row execute function public.gate()")
    for place, author in enumerate(("a1", "a2", "a2", "a1")):
        people.insert(f"e{place}", author_id=author, event_date="2025-01-01", created_at=f"2025-01-0{place + 1}")
    meet(people)
    assert people.value("select sum((metadata ->> 'messages')::int) from conversations") == 4


def test_names_in_opposite_orders(people: Inbox) -> None:
    """One batch renames the first author and moves the second one's time, another the other way round: no deadlock."""
    people.run("create trigger gate before update on contact_channels for each row execute function public.gate()")
    for place, (author, name, day) in enumerate(
        [("a1", "Bea", 4), ("a2", "Ann", 2), ("a1", "Ann", 3), ("a2", "Cleo", 5)]
    ):
        people.insert(
            f"e{place}",
            author_id=author,
            author_name=name,
            event_date=f"2026-02-0{day}",
            created_at=f"2026-03-0{place + 1}",
        )
    meet(people)
    assert people.contact_of("a1")["full_name"] == people.contact_of("a1")["display_name"] == "Bea"
    assert people.contact_of("a2")["full_name"] == people.contact_of("a2")["display_name"] == "Cleo"
