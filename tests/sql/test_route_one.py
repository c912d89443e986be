"""route_webhook_event: what one event becomes."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.sql.inbox import Inbox, Routed

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_unknown_event(any_inbox: Inbox) -> None:
    """An event that nobody has stored is an error by the name that applications look for, on each channel alone."""
    any_inbox.ingest("e1")
    for channel, event in (("instagram", "e2"), ("whatsapp", "e1"), (None, "e1"), ("instagram", None)):
        with pytest.raises(psycopg.errors.RaiseException, match=r"^event not found"):
            any_inbox.value("select public.route_webhook_event(%s, %s)", channel, event)
    assert any_inbox.counts() == {"contacts": 0, "contact_channels": 0, "conversations": 0, "messages": 0}


def test_everything_that_an_event_makes(any_inbox: Inbox) -> None:
    """A first message makes the contact, its channel, the conversation and the message, with these columns."""
    any_inbox.ingest("e1", author_name="Alice", content="hi")
    routed = any_inbox.route("e1")

    contact = any_inbox.row("select * from contacts")
    assert (contact["full_name"], contact["tags"], contact["metadata"]) == ("Alice", [], {})
    channel = any_inbox.row("select * from contact_channels")
    assert (channel["contact_id"], channel["channel"], channel["external_id"]) == (contact["id"], "instagram", "a1")
    assert (channel["display_name"], channel["is_primary"]) == ("Alice", True)
    conversation = any_inbox.row("select * from conversations")
    assert (conversation["contact_id"], conversation["channel"]) == (contact["id"], "instagram")
    assert (conversation["status"], conversation["last_message_at"]) == ("open", NOON)
    assert (conversation["channel_conversation_id"], conversation["subject"]) == (None, None)
    message = any_inbox.row("select * from messages")
    assert routed == Routed(conversation_id=conversation["id"], message_id=message["id"])
    assert (message["conversation_id"], message["contact_id"]) == (conversation["id"], contact["id"])
    assert (message["channel"], message["provider_message_id"]) == ("instagram", "e1")
    assert (message["direction"], message["message_type"], message["content_text"]) == ("inbound", "text", "hi")
    assert (message["sent_at"], message["media_url"], message["metadata"]) == (NOON, None, {})
    event = any_inbox.event("e1")
    assert event["conversation_id"] == conversation["id"]
    assert event["routed_at"] is not None


def test_again(any_inbox: Inbox) -> None:
    """Called again, in any spelling of the channel, it returns the same ids and writes nothing."""
    any_inbox.ingest("e1", author_name="Alice")
    first = any_inbox.route("e1")
    before = any_inbox.event("e1")
    for channel in ("instagram", "INSTAGRAM", " Instagram "):
        assert any_inbox.route("e1", channel=channel) == first
    assert any_inbox.event("e1") == before
    assert any_inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}


def test_author_is_known_by_channel(inbox: Inbox) -> None:
    """One author's events share contact and conversation; the same id on another channel is somebody else."""
    inbox.ingest("e1")
    inbox.ingest("e2")
    inbox.ingest("e3", channel="whatsapp")
    one, two, three = inbox.route("e1"), inbox.route("e2"), inbox.route("e3", channel="whatsapp")
    assert one.conversation_id == two.conversation_id != three.conversation_id
    assert inbox.counts() == {"contacts": 2, "contact_channels": 2, "conversations": 2, "messages": 3}


def test_newest_of_open_duplicates(any_inbox: Inbox) -> None:
    """Where a contact has several open conversations on the channel, the newest by creation is the one."""
    any_inbox.ingest("e0")
    any_inbox.route("e0")
    contact = any_inbox.contact_of()["id"]
    any_inbox.run("update conversations set created_at = '2026-01-05'")
    ids: dict[str, UUID] = {}
    for name, day, channel, status in (
        ("older", "2026-01-04", "instagram", "open"),
        ("newest", "2026-01-06", "instagram", "open"),
        ("closed", "2026-01-07", "instagram", "closed"),
        ("elsewhere", "2026-01-08", "whatsapp", "open"),
    ):
        ids[name] = any_inbox.value(
            "insert into conversations (contact_id, channel, status, created_at) values (%s, %s, %s, %s) returning id",
            contact,
            channel,
            status,
            day,
        )
    any_inbox.insert("e1")
    any_inbox.insert("e2")
    assert any_inbox.route("e1").conversation_id == ids["newest"]
    assert any_inbox.route_unrouted() == 1
    assert any_inbox.event("e2")["conversation_id"] == ids["newest"]
    assert any_inbox.count("conversations") == 5


@pytest.mark.parametrize("status", ["closed", "pending", "archived"])
def test_conversation_that_is_not_open(inbox: Inbox, status: str) -> None:
    """A new message of a contact whose conversations are not open starts a new one; the old one is left alone."""
    inbox.ingest("e1")
    first = inbox.route("e1").conversation_id
    inbox.run("update conversations set status = %s", status)
    inbox.ingest("e2", event_date="2026-01-02 12:00+00")
    assert inbox.route("e2").conversation_id != first
    old = inbox.row("select * from conversations where id = %s", first)
    assert (old["status"], old["last_message_at"]) == (status, NOON)
    assert inbox.conversation_of("e2")["status"] == "open"
    assert inbox.count("contacts") == 1


@pytest.mark.parametrize("status", ["open", "closed"])
@pytest.mark.parametrize("author", ["a1", None])
def test_conversation_named_beforehand(inbox: Inbox, status: str, author: str | None) -> None:
    """An event that names its conversation goes there, whatever its state; its author becomes a contact anyway."""
    chosen = inbox.value("insert into conversations (channel, status) values ('instagram', %s) returning id", status)
    inbox.ingest("e1", conversation_id=chosen, author_id=author)
    assert inbox.route("e1").conversation_id == chosen
    assert inbox.count("conversations") == 1
    assert inbox.count("contacts") == (0 if author is None else 1)
    assert inbox.message("e1")["contact_id"] == (None if author is None else inbox.contact_of()["id"])
    assert inbox.conversation_of("e1")["last_message_at"] == NOON


@pytest.mark.parametrize("blank", [None, "", "   "])
def test_no_author(any_inbox: Inbox, blank: str | None) -> None:
    """Each message of nobody known has a conversation of its own, without a contact."""
    any_inbox.ingest("e1", author_id=None, author_name="Ghost")
    any_inbox.run("update webhook_events set author_id = %s", blank)
    any_inbox.insert("e2", author_id=blank)
    assert any_inbox.route("e1").conversation_id != any_inbox.route("e2").conversation_id
    assert any_inbox.counts() == {"contacts": 0, "contact_channels": 0, "conversations": 2, "messages": 2}
    assert any_inbox.message("e1")["contact_id"] is None
    assert any_inbox.conversation_of("e1")["contact_id"] is None


def test_comments_of_a_post(any_inbox: Inbox) -> None:
    """Comments of one post without an author share a conversation, by channel; so does a batch with single calls."""
    for event, channel, post in (
        ("c1", "instagram", "p1"),
        ("c2", "instagram", "p1"),
        ("c3", "instagram", "p2"),
        ("c4", "facebook", "p1"),
    ):
        any_inbox.ingest(event, channel=channel, type_="comment", author_id=None, post_id=post)
    one, two, three = (any_inbox.route(event).conversation_id for event in ("c1", "c2", "c3"))
    assert one == two != three
    assert any_inbox.route("c4", channel="facebook").conversation_id != one
    assert any_inbox.message("c1")["metadata"] == {"type": "comment", "post_id": "p1"}
    any_inbox.insert("c5", type="comment", author_id=None, post_id="p1")
    assert any_inbox.route_unrouted() == 1
    assert any_inbox.event("c5")["conversation_id"] == one


@pytest.mark.parametrize("post", [None, "", " "])
def test_comments_of_no_post(inbox: Inbox, post: str | None) -> None:
    """Comments that name neither author nor post have nothing in common."""
    inbox.insert("c1", type="comment", author_id=None, post_id=post)
    inbox.insert("c2", type="comment", author_id=None, post_id=post)
    assert inbox.route("c1").conversation_id != inbox.route("c2").conversation_id
    assert inbox.message("c1")["metadata"] == {"type": "comment"}


STRANGERS = [
    {"type": "message", "event_id": "p1"},
    {"type": "comment", "event_id": "p1"},
    {"type": "comment", "event_id": "c9", "post_id": "m1"},
    {"type": "comment", "event_id": "c9", "post_id": "message:m1"},
    {"type": "comment", "event_id": "c9", "post_id": "comment:c2"},
    {"type": "comment", "event_id": "c9", "post_id": "post:message:m1"},
    {"type": "comment", "event_id": "message:m1"},
    {"type": "message", "event_id": "comment:c2"},
    {"type": "message", "event_id": "message:m1"},
]


@pytest.mark.parametrize("stranger", STRANGERS, ids=str)
def test_no_id_leads_into_the_thread_of_others(any_inbox: Inbox, stranger: dict[str, str]) -> None:
    """No choice of ids brings an event without an author to a message, to a comment of no post, or to other posts."""
    any_inbox.insert("m1", author_id=None)
    any_inbox.insert("c1", author_id=None, type="comment", post_id="p1")
    any_inbox.insert("c2", author_id=None, type="comment")
    if stranger.get("post_id") != "message:m1":
        any_inbox.insert("c3", author_id=None, type="comment", post_id="message:m1")
    routed = any_inbox.batch().inserted
    before = set(any_inbox.column("select id from conversations"))
    assert len(before) == routed >= 3
    any_inbox.insert(stranger["event_id"], author_id=None, type=stranger["type"], post_id=stranger.get("post_id"))
    assert any_inbox.route(stranger["event_id"]).conversation_id not in before


def test_threads_of_posts_with_odd_names(any_inbox: Inbox) -> None:
    """Comments of one post share a thread, whatever the post's id; it is the thread's name, if it can be."""
    for number, post in enumerate(("p1", "message:m1", "post:p1", "Message:m1")):
        any_inbox.insert(f"c{number}", author_id=None, type="comment", post_id=post)
        any_inbox.insert(f"d{number}", author_id=None, type="comment", post_id=post)
    any_inbox.insert("m1", author_id=None)
    any_inbox.insert("c9", author_id=None, type="comment")
    assert any_inbox.batch().inserted == 10
    threads = any_inbox.column(
        'select channel_conversation_id from conversations order by channel_conversation_id collate "C"'
    )
    assert threads == ["Message:m1", "comment:c9", "message:m1", "p1", "post:message:m1", "post:post:p1"]


def test_threads_of_the_release_before(any_inbox: Inbox) -> None:
    """A thread that is named by the bare id of its event keeps it when that is re-opened; comments join a post's."""
    old = {
        name: any_inbox.value(
            "insert into conversations (channel, channel_conversation_id) values ('instagram', %s) returning id", name
        )
        for name in ("m1", "c1", "p1")
    }
    any_inbox.insert("m1", author_id=None)
    any_inbox.insert("c1", author_id=None, type="comment")
    for event in ("m1", "c1"):
        any_inbox.run(
            """
            insert into messages (conversation_id, channel, direction, provider_message_id)
            values (%s, 'instagram', 'inbound', %s)
            """,
            old[event],
            event,
        )
    any_inbox.insert("c2", author_id=None, type="comment", post_id="p1")
    assert any_inbox.batch().inserted == 1
    for event, thread in (("m1", "m1"), ("c1", "c1"), ("c2", "p1")):
        assert any_inbox.event(event)["conversation_id"] == old[thread]
        any_inbox.reopen(event)
        assert any_inbox.route(event).conversation_id == old[thread]
    assert any_inbox.count("conversations") == 3


def test_comments_after_the_thread_was_closed(inbox: Inbox) -> None:
    """A closed thread is over: the next comment opens a new one, and the one after joins that."""
    for number in (1, 2, 3):
        inbox.ingest(f"c{number}", type_="comment", author_id=None, post_id="p1")
    first = inbox.route("c1").conversation_id
    inbox.run("update conversations set status = 'closed'")
    second = inbox.route("c2").conversation_id
    assert second != first
    assert inbox.route("c3").conversation_id == second


def test_comment_of_an_author(inbox: Inbox) -> None:
    """A comment with an author belongs to the author's conversation, not to the post's."""
    inbox.ingest("c1", type_="comment", author_id=None, post_id="p1")
    inbox.ingest("c2", type_="comment", post_id="p1")
    inbox.ingest("e1")
    thread, comment, message = inbox.route("c1"), inbox.route("c2"), inbox.route("e1")
    assert comment.conversation_id == message.conversation_id != thread.conversation_id
    assert inbox.message("c2")["metadata"] == {"type": "comment", "post_id": "p1"}


def test_thread_of_a_contact_is_no_thread(inbox: Inbox) -> None:
    """Applications give contacts' conversations thread ids; comments without an author stay out of those."""
    inbox.ingest("e1")
    private = inbox.route("e1").conversation_id
    inbox.run("update conversations set channel_conversation_id = 'p1'")
    inbox.ingest("c1", type_="comment", author_id=None, post_id="p1")
    assert inbox.route("c1").conversation_id != private


def test_no_event_date(inbox: Inbox) -> None:
    """An event without a date was sent when it arrived."""
    inbox.insert("e1", event_date=None, created_at="2026-01-03 12:00+00")
    inbox.route("e1")
    arrival = datetime(2026, 1, 3, 12, tzinfo=UTC)
    assert inbox.message("e1")["sent_at"] == arrival
    assert inbox.conversation_of("e1")["last_message_at"] == arrival


@pytest.mark.parametrize("date", ["infinity", "-infinity"])
def test_endless_event_date(inbox: Inbox, date: str) -> None:
    """A date that is no time is the caller's error here: nothing is made and nothing is parked."""
    inbox.insert("e1", event_date=date)
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        inbox.route("e1")
    assert sum(inbox.counts().values()) == 0
    assert inbox.value("select parked_until from webhook_events") is None
    assert inbox.rows("select * from router.parked_events") == []


def test_last_message_at_never_goes_back(any_inbox: Inbox) -> None:
    """It is the latest time, in whatever order events come, and also where it was empty or set by hand."""
    for event, date in (("e2", "2026-01-02"), ("e1", "2026-01-01"), ("e3", "2026-01-03")):
        any_inbox.ingest(event, event_date=f"{date} 12:00+00")
    latest = []
    for event in ("e2", "e1", "e3"):
        any_inbox.route(event)
        latest.append(any_inbox.value("select last_message_at from conversations").day)
    assert latest == [2, 2, 3]
    any_inbox.run("update conversations set last_message_at = null")
    any_inbox.ingest("e4", event_date="2026-01-01 13:00+00")
    any_inbox.route("e4")
    assert any_inbox.value("select last_message_at from conversations") == datetime(2026, 1, 1, 13, tzinfo=UTC)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("author", ["a1", None])
def test_message_from_the_future(any_inbox: Inbox, author: str | None, is_known: bool) -> None:
    """A message keeps the time that it claims; its conversation moves on to the arrival, no further, and goes on."""
    post: dict[str, Any] = {"author_id": author, "type": "comment", "post_id": "p1"}
    if is_known:
        any_inbox.insert("e0", **post)
        any_inbox.route("e0")
    any_inbox.insert("e1", **post, event_date="2126-01-01", created_at="2026-01-02")
    any_inbox.route("e1")
    assert any_inbox.message("e1")["sent_at"] == datetime(2126, 1, 1, tzinfo=UTC)
    assert any_inbox.value("select last_message_at from conversations") == datetime(2026, 1, 2, tzinfo=UTC)
    any_inbox.insert("e2", **post, event_date="2026-01-03", created_at="2026-01-04")
    assert any_inbox.batch().inserted == 1
    assert any_inbox.value("select last_message_at from conversations") == datetime(2026, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("author", ["a1", None])
def test_message_that_exists(any_inbox: Inbox, direction: str, author: str | None) -> None:
    """An event whose message is there already makes and changes nothing: it is marked with that conversation."""
    conversation = any_inbox.value(
        """
        insert into conversations (channel, status, last_message_at, updated_at)
        values ('instagram', 'closed', '2025-01-01', '2025-01-01') returning id
        """
    )
    message = any_inbox.value(
        """
        insert into messages (conversation_id, channel, direction, content_text, provider_message_id)
        values (%s, 'instagram', %s, 'by hand', 'e1') returning id
        """,
        conversation,
        direction,
    )
    before = any_inbox.row("select * from conversations")
    any_inbox.insert("e1", author_id=author, author_name="Alice")
    assert any_inbox.route("e1") == Routed(conversation_id=conversation, message_id=message)
    assert any_inbox.row("select * from conversations") == before
    assert any_inbox.message("e1")["content_text"] == "by hand"
    assert any_inbox.counts() == {"contacts": 0, "contact_channels": 0, "conversations": 1, "messages": 1}
    assert any_inbox.event("e1")["routed_at"] is not None


def test_trigger_that_refuses_the_message(any_inbox: Inbox) -> None:
    """A trigger of the application may refuse a message (spam, say): the event is done with, and nothing loops."""
    any_inbox.run(
        """
        create function public.refuse() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger refuse before insert on messages for each row when (new.content_text = 'spam')
            execute function public.refuse();
        """
    )
    any_inbox.insert("e1", content="spam")
    any_inbox.insert("e2", content="fine")
    answer = any_inbox.value("select public.route_webhook_event('instagram', 'e1')")
    assert answer["message_id"] is None
    any_inbox.insert("e3", content="spam", conversation_id=any_inbox.event("e1")["conversation_id"])
    assert any_inbox.route_unrouted() == 2
    assert any_inbox.column("select content_text from messages") == ["fine"]
    assert any_inbox.value("select count(*) from webhook_events where routed_at is null") == 0


def test_deleted_conversation(inbox: Inbox) -> None:
    """When its conversation was deleted, a re-opened event is new again; before that, it has neither id."""
    inbox.ingest("e1")
    first = inbox.route("e1")
    inbox.run("delete from conversations")
    assert inbox.value("select public.route_webhook_event('instagram', 'e1')") == {
        "conversation_id": None,
        "message_id": None,
    }
    inbox.reopen("e1")
    second = inbox.route("e1")
    assert second.conversation_id != first.conversation_id
    assert inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}


def test_deleted_contact(inbox: Inbox) -> None:
    """An author whose contact was deleted, with its channels, becomes a new contact."""
    inbox.ingest("e1")
    inbox.route("e1")
    inbox.run("delete from contacts")
    inbox.ingest("e2")
    inbox.route("e2")
    assert inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 2, "messages": 2}


def test_parked_event(inbox: Inbox) -> None:
    """Routing a parked event by name tries it at once, and forgets that it was parked."""
    inbox.insert("e1", event_date="infinity")
    inbox.batch()
    inbox.run("update webhook_events set event_date = '2026-01-01 12:00+00'")
    inbox.route("e1")
    assert inbox.event("e1")["parked_until"] is None
    assert inbox.rows("select * from router.parked_events") == []


TEXTS = {
    "empty": "",
    "one megabyte": "x" * 1_000_000,
    "emoji": "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 e\u0301",
    "right to left": "\u202eمرحبا بالعالم שלום\u202c",
    "quotes": """it's "quoted" \\ $1 %s %% {} $$ ; -- /* */ drop table messages; \\' \\\\""",
    "escape as text": r"\u0000 \x00 \n \000",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\ufeff\uffff",
    "array look-alike": '{NULL,"a,b",(x)}',
}


@pytest.mark.parametrize("event_id_too", [False, True])
def test_texts_stay_as_they_are(any_inbox: Inbox, event_id_too: bool) -> None:
    """Contents, names and ids come out as they went in, through the single call and through a batch."""
    for number, (name, text) in enumerate(TEXTS.items()):
        short = text[:400]
        any_inbox.ingest(
            short + name if event_id_too else name,
            author_id=short.strip() + name,
            author_name=short,
            content=text,
            type_="comment",
            post_id=short + name,
            raw_payload={"text": text},
        )
        if number % 2:
            any_inbox.route(short + name if event_id_too else name)
    assert any_inbox.route_unrouted() == len(TEXTS) / 2
    for name, text in TEXTS.items():
        short = text[:400]
        event = short + name if event_id_too else name
        message = any_inbox.message(event)
        assert message["content_text"] == text, name
        assert message["metadata"] == {"type": "comment", "post_id": (short + name).strip(" ")}, name
        contact = any_inbox.contact_of(short.strip() + name)
        assert contact["display_name"] == contact["full_name"] == (short or None), name
        assert any_inbox.event(event)["raw_payload"] == {"text": text}, name
