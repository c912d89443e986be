"""route_unrouted_events and router.route_batch: claiming, order, limits, and events that were re-opened."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.sql.inbox import Inbox

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def routed(inbox: Inbox) -> list[str]:
    """Ids of the routed events, in the order of their routing."""
    return inbox.column("select event_id from webhook_events where routed_at is not null order by routed_at, event_id")


def test_what_is_pending_is_routed(any_inbox: Inbox) -> None:
    """It returns how many events it handled; with nothing to do, nothing happens and it returns 0."""
    assert any_inbox.route_unrouted() == 0
    any_inbox.insert_many(25, authors=5)
    assert any_inbox.route_unrouted(limit=10) == 10
    assert any_inbox.route_unrouted(limit=10) == 10
    assert any_inbox.route_unrouted(limit=10) == 5
    assert any_inbox.route_unrouted(limit=10) == 0
    assert any_inbox.counts() == {"contacts": 5, "contact_channels": 5, "conversations": 5, "messages": 25}
    assert any_inbox.value("select count(distinct provider_message_id) from messages") == 25


def test_defaults(inbox: Inbox) -> None:
    """Without arguments it takes a hundred events of every channel; the arguments have the contract's names."""
    inbox.insert_many(60)
    inbox.insert_many(60, channel="whatsapp")
    assert inbox.value("select public.route_unrouted_events()") == 100
    assert inbox.value("select public.route_unrouted_events(p_limit => 5)") == 5
    assert inbox.value("select public.route_unrouted_events(p_channel => 'whatsapp', p_limit => null)") <= 15


@pytest.mark.parametrize("channel", ["whatsapp", "WhatsApp", " WHATSAPP "])
def test_one_channel(any_inbox: Inbox, channel: str) -> None:
    """A channel, in any spelling, limits it to that channel's events; an unknown one has none."""
    any_inbox.insert_many(5)
    any_inbox.insert_many(5, channel="whatsapp")
    assert any_inbox.route_unrouted("carrier pigeon") == 0
    assert any_inbox.route_unrouted(channel) == 5
    assert set(any_inbox.column("select channel from messages")) == {"whatsapp"}
    assert any_inbox.route_unrouted() == 5


def test_limit_is_clamped(any_inbox: Inbox) -> None:
    """p_limit is taken as 1 when less, 100 when null, 10,000 when more."""
    any_inbox.insert_many(10_150, authors=20)
    assert any_inbox.route_unrouted(limit=0) == 1
    assert any_inbox.route_unrouted(limit=-5) == 1
    assert any_inbox.route_unrouted(limit=None) == 100
    assert any_inbox.route_unrouted(limit=1_000_000_000) == 10_000
    assert any_inbox.route_unrouted(limit=1_000_000_000) == 48


@pytest.mark.parametrize("channel", [None, "instagram"])
def test_oldest_first(any_inbox: Inbox, channel: str | None) -> None:
    """The oldest event_date comes first, whatever the arrival; events without a date come last."""
    any_inbox.insert("none", event_date=None, created_at="2020-01-01")
    for name, day in (("third", 3), ("first", 1), ("fourth", 4), ("second", 2)):
        any_inbox.insert(name, event_date=f"2026-01-0{day}", author_id=None)
    for _ in range(5):
        assert any_inbox.route_unrouted(channel, 1) == 1
    assert routed(any_inbox) == ["first", "second", "third", "fourth", "none"]


def test_batch_goes_by_arrival(any_inbox: Inbox) -> None:
    """The service's call takes events in the order of their arrival, whatever their event_date."""
    for name, day in (("third", 3), ("first", 1), ("second", 2)):
        any_inbox.insert(name, created_at=f"2026-01-0{day}", event_date=f"2026-02-0{5 - day}", author_id=None)
    for _ in range(3):
        assert any_inbox.batch(1).claimed == 1
    assert routed(any_inbox) == ["first", "second", "third"]


def test_what_a_batch_reports(any_inbox: Inbox) -> None:
    """A batch reports counts, channels and ages of what it routed, and where the next one goes on."""
    any_inbox.insert_many(3)
    any_inbox.insert_many(2, channel="whatsapp")
    any_inbox.insert("old", created_at="2020-01-01")
    batch = any_inbox.batch(4)
    assert (batch.claimed, batch.inserted, batch.parked, batch.dead) == (4, 4, 0, 0)
    assert batch.channels is not None
    assert batch.ages is not None
    assert len(batch.channels) == len(batch.ages) == 4
    assert max(batch.ages) > 86_400 * 365
    assert min(batch.ages) < 60
    assert any_inbox.value("select count(*) from webhook_events where id = %s", batch.reached_id) == 1
    rest = any_inbox.batch(4)
    assert (rest.claimed, rest.inserted) == (2, 2)
    assert any_inbox.value("select %s::timestamptz > now() - interval '1 minute'", rest.reached_at)
    empty = any_inbox.batch(4)
    assert (empty.claimed, empty.inserted, empty.channels, empty.ages) == (0, 0, None, None)


def test_window(any_inbox: Inbox) -> None:
    """The bounds on (created_at, id) are exclusive, and a batch's end is the next one's beginning."""
    for number in range(1, 10):
        any_inbox.insert(f"e{number}", created_at=f"2026-01-0{(number + 2) // 3}", author_id=None)
    zero = "00000000-0000-0000-0000-000000000000"
    first = any_inbox.window(2, "2026-01-01", zero, "2026-01-03")
    assert (first.claimed, first.reached_at[:10]) == (2, "2026-01-01")
    second = any_inbox.window(10, first.reached_at, first.reached_id, "2026-01-03")
    assert second.claimed == 4
    assert any_inbox.window(10, "2026-01-01", "ffffffff-ffff-ffff-ffff-ffffffffffff", "2026-01-03").claimed == 0
    assert any_inbox.window(10, "2026-01-02", zero, "infinity").claimed == 3


@pytest.mark.parametrize("keep_conversation", [False, True])
@pytest.mark.parametrize("call", ["one", "many", "channel", "batch"])
def test_reopened_event_is_only_marked(inbox: Inbox, call: str, keep_conversation: bool) -> None:
    """An event that was re-opened is marked again, whatever its age: its message and all else stays as it was."""
    inbox.insert("e1", author_name="Alice", created_at="2020-01-01", event_date="2020-01-01")
    inbox.insert("e2", created_at="2026-01-01")
    assert inbox.route_unrouted() == 2
    conversation = inbox.event("e1")["conversation_id"]
    inbox.run("update conversations set status = 'closed', last_message_at = '2019-01-01', updated_at = '2019-01-01'")
    inbox.run("update contacts set full_name = null")
    inbox.run("update contact_channels set display_name = null, display_name_at = null")
    tables = ("contacts", "contact_channels", "conversations", "messages")
    before = {table: inbox.rows(f"select * from {table} order by id") for table in tables}
    inbox.reopen("e1", keep_conversation=keep_conversation)
    match call:
        case "one":
            assert inbox.route("e1").conversation_id == conversation
        case "many":
            assert inbox.route_unrouted() == 1
        case "channel":
            assert inbox.route_unrouted("instagram") == 1
        case _:
            batch = inbox.batch()
            assert (batch.claimed, batch.inserted, batch.parked, batch.channels) == (1, 0, 0, ["instagram"])
    assert inbox.event("e1")["conversation_id"] == conversation
    assert inbox.event("e1")["routed_at"] is not None
    assert {table: inbox.rows(f"select * from {table} order by id") for table in tables} == before


def test_reopened_among_new_ones(any_inbox: Inbox) -> None:
    """In one batch, re-opened events are marked, new ones of the same people routed, and preset ones honoured."""
    any_inbox.insert_many(20, authors=4)
    any_inbox.route_unrouted()
    theirs = {row["event_id"]: row["conversation_id"] for row in any_inbox.rows("select * from webhook_events")}
    any_inbox.run("update conversations set status = 'closed'")
    any_inbox.reopen(*[f"e{number}" for number in range(1, 11)])
    any_inbox.reopen("e11", "e12", keep_conversation=True)
    chosen = any_inbox.value("insert into conversations (channel) values ('instagram') returning id")
    any_inbox.insert_many(8, prefix="new", authors=8)
    any_inbox.insert("preset", author_id="a1", conversation_id=chosen)
    assert any_inbox.route_unrouted() == 21
    for event, conversation in theirs.items():
        assert any_inbox.event(event)["conversation_id"] == conversation
    assert any_inbox.event("preset")["conversation_id"] == chosen
    assert any_inbox.count("messages") == 29
    assert any_inbox.count("contacts") == 8
    assert any_inbox.value("select count(*) from conversations where status = 'open'") == 9


def test_messages_that_were_there_first(any_inbox: Inbox) -> None:
    """Events of strangers whose messages the application has inserted itself make no contact and no conversation."""
    conversation = any_inbox.value(
        "insert into conversations (channel, last_message_at) values ('instagram', '2019-01-01') returning id"
    )
    any_inbox.run(
        """
        insert into messages (conversation_id, channel, direction, provider_message_id)
        select %s, 'instagram', 'inbound', 'e' || i from generate_series(1, 50) i
        """,
        conversation,
    )
    any_inbox.insert_many(100, authors=100)
    any_inbox.run("update webhook_events set author_id = null where event_id = 'e50'")
    assert any_inbox.route_unrouted() == 100
    assert any_inbox.counts() == {"contacts": 50, "contact_channels": 50, "conversations": 51, "messages": 100}
    assert any_inbox.value("select count(*) from webhook_events where conversation_id = %s", conversation) == 50
    assert any_inbox.value("select last_message_at from conversations where id = %s", conversation).year == 2019


def test_everything_again(any_inbox: Inbox) -> None:
    """Re-opening all events and routing them in other portions changes nothing."""
    any_inbox.insert_many(60, authors=7)
    for number in range(1, 7):
        any_inbox.insert(f"c{number}", type="comment", author_id=None, post_id=f"p{number % 2}")
    any_inbox.route_unrouted()
    look = "select id, full_name, updated_at from contacts order by id"
    look_at = "select * from conversations order by id"
    before = (any_inbox.rows(look), any_inbox.rows(look_at), any_inbox.rows("select * from messages order by id"))
    for limit in (1000, 7):
        any_inbox.run("update webhook_events set routed_at = null, conversation_id = null")
        while any_inbox.route_unrouted(limit=limit):
            pass
        after = (any_inbox.rows(look), any_inbox.rows(look_at), any_inbox.rows("select * from messages order by id"))
        assert after == before


def test_events_in_other_hands_are_passed_over(any_inbox: Inbox) -> None:
    """What another session has claimed is neither waited for nor taken twice."""
    any_inbox.insert_many(30, authors=30)
    other = any_inbox.another()
    with any_inbox.transaction():
        assert any_inbox.route_unrouted(limit=10) == 10
        other.run("set lock_timeout = '5s'")
        assert other.batch(10).inserted == 10
        assert other.route_unrouted() == 10
        assert other.route_unrouted() == 0
    assert any_inbox.count("messages") == 30


def test_comments_across_batches(any_inbox: Inbox) -> None:
    """Comments of a post without an author share one conversation over batches, alone and at the same time."""
    for number in range(30):
        any_inbox.insert(f"c{number}", type="comment", author_id=None, post_id=f"p{number % 3}", channel="facebook")
    other = any_inbox.another()
    any_inbox.batch(10)
    with ThreadPoolExecutor(1) as pool:
        any_inbox.run("update conversations set status = 'closed'")
        with any_inbox.transaction():
            assert any_inbox.batch(10).inserted == 10
            second = pool.submit(other.route_unrouted)
            any_inbox.another().wait_until_blocked(other)
        assert second.result(timeout=90) == 10
    assert any_inbox.value("select count(*) from conversations where status = 'open'") == 3
    assert any_inbox.count("conversations") == 6


@pytest.mark.parametrize("author", [None, "", "  "])
def test_nobody_in_a_batch(inbox: Inbox, author: str | None) -> None:
    """Messages of nobody known each get a conversation of their own, in one batch as well."""
    for number in range(5):
        inbox.insert(f"e{number}", author_id=author)
    assert inbox.route_unrouted() == 5
    assert inbox.counts() == {"contacts": 0, "contact_channels": 0, "conversations": 5, "messages": 5}


def test_author_ids_that_only_look_alike(inbox: Inbox) -> None:
    """Ids differ by case and by accents; spaces around them do not count."""
    for number, author in enumerate(["ann", "Ann", "änn", "ann ", " ann"]):
        inbox.insert(f"e{number}", author_id=author)
    assert inbox.route_unrouted() == 5
    assert sorted(inbox.column("select external_id from contact_channels")) == ["Ann", "ann", "änn"]


def test_last_message_at_in_a_batch(inbox: Inbox) -> None:
    """A batch moves a conversation to the latest of its events, and leaves one that is ahead as it is, untouched."""
    inbox.insert("e1", event_date="2026-01-05", author_id="a1")
    inbox.insert("e2", event_date="2026-01-05", author_id="a2")
    inbox.route_unrouted()
    ahead = inbox.row(
        "select xmin::text, updated_at from conversations where id = %s", inbox.event("e2")["conversation_id"]
    )
    inbox.insert("e3", event_date="2026-01-07", author_id="a1")
    inbox.insert("e4", event_date="2026-01-06", author_id="a1")
    inbox.insert("e5", event_date="2026-01-04", author_id="a2")
    assert inbox.route_unrouted() == 3
    assert inbox.conversation_of("e1")["last_message_at"] == datetime(2026, 1, 7, tzinfo=UTC)
    assert inbox.conversation_of("e2")["last_message_at"] == datetime(2026, 1, 5, tzinfo=UTC)
    again = inbox.row(
        "select xmin::text, updated_at from conversations where id = %s", inbox.event("e2")["conversation_id"]
    )
    assert again == ahead


@pytest.mark.parametrize("created_at", ["infinity", "-infinity"])
def test_endless_arrival(any_inbox: Inbox, created_at: Any) -> None:
    """An arrival that is no time, which only a wrong import makes, does not hold up the others."""
    any_inbox.insert("e1", created_at=created_at)
    any_inbox.insert("e2")
    assert any_inbox.route_unrouted() == 2
    assert any_inbox.value("select count(*) from webhook_events where routed_at is null") == 0
    any_inbox.insert("e3", created_at="-infinity", author_id="a3")
    assert any_inbox.batch().claimed == 1


KEYS = """
select count(distinct k.id)
from (select id from contacts union all select id from conversations union all select id from messages) k
where k.id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
  and abs(('x' || left(replace(k.id::text, '-', ''), 12))::bit(48)::bigint - extract(epoch from now()) * 1000) < 3600000
"""


def test_keys_of_a_batch(any_inbox: Inbox) -> None:
    """What routing makes gets keys in the order of time, and no two are the same."""
    for number in range(50):
        any_inbox.ingest(f"e{number}", author_id=f"a{number}")
    any_inbox.ingest("c1", type_="comment", author_id=None, post_id="p1")
    assert any_inbox.batch().inserted == 51
    assert any_inbox.value(KEYS) == 50 + 51 + 51


def test_keys_of_the_application(any_inbox: Inbox) -> None:
    """Tables that were missing give rows of others such keys as well, where Postgres has them."""
    thread = any_inbox.value("insert into conversations (channel) values ('instagram') returning id")
    assert thread.version == (7 if any_inbox.connection.info.server_version >= 180000 else 4)
