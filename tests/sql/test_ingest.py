"""ingest_webhook_event: storing events, and what a redelivery may change."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from consumer.adapters.event_schema import event_schema
from tests.sql.inbox import Inbox


def test_row_comes_back(inbox: Inbox) -> None:
    """The row comes back as the contract's columns, unrouted, and is what the table holds."""
    row = inbox.ingest(
        "e1", author_name="Alice", content="hi", post_id="p1", raw_payload={"a": [1, None]}, type_="comment"
    )
    stored = inbox.event("e1")
    assert set(row) == {
        "id", "channel", "type", "event_id", "author_id", "author_name", "content", "event_date", "post_id",
        "conversation_id", "raw_payload", "created_at", "routed_at",
    }  # fmt: skip
    assert row["id"] == str(stored["id"])
    assert (row["channel"], row["type"], row["event_id"]) == ("instagram", "comment", "e1")
    assert (row["author_id"], row["author_name"], row["content"], row["post_id"]) == ("a1", "Alice", "hi", "p1")
    assert row["raw_payload"] == stored["raw_payload"] == {"a": [1, None]}
    assert row["routed_at"] is None
    assert row["conversation_id"] is None
    assert stored["event_date"] == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("channel", ["instagram", "Instagram", "INSTAGRAM", "  instagram "])
def test_channel_is_lower_cased(inbox: Inbox, channel: str) -> None:
    """The channel is stored in lower case, so that each spelling means the same event."""
    inbox.ingest("e1")
    assert inbox.ingest("e1", channel=channel)["channel"] == "instagram"
    assert inbox.count("webhook_events") == 1


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("comment", "comment"),
        ("COMMENT", "comment"),
        ("message", "message"),
        ("reaction", "message"),
        ("", "message"),
        (None, "message"),
    ],
)
def test_type_is_comment_or_else_message(inbox: Inbox, given: str | None, stored: str) -> None:
    """What is not a comment is a message."""
    assert inbox.ingest("e1", type_=given)["type"] == stored


def test_no_date_means_now(inbox: Inbox) -> None:
    """Without a date the event happens now; without a payload it has an empty one."""
    inbox.ingest("e1", event_date=None)
    stored = inbox.event("e1")
    assert datetime.now(UTC) - stored["event_date"] < timedelta(minutes=1)
    assert stored["raw_payload"] == {}


def test_refused(inbox: Inbox) -> None:
    """An unknown channel, no channel and no event_id are errors of the caller, and leave nothing."""
    with pytest.raises(psycopg.errors.CheckViolation):
        inbox.ingest("e1", channel="carrier pigeon")
    with pytest.raises(psycopg.errors.NotNullViolation):
        inbox.ingest("e1", channel=None)
    with pytest.raises(psycopg.errors.NotNullViolation):
        inbox.ingest(None)
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        inbox.ingest("e1", raw_payload={"text": "a\0b"})
    assert inbox.count("webhook_events") == 0


LIMITS = {
    field: of["maxLength"]
    for field, of in event_schema().schema["properties"].items()
    if "maxLength" in of and field not in {"channel", "event_date"}
}


@pytest.mark.parametrize("field", LIMITS)
def test_longer_than_the_event_schema_allows(any_inbox: Inbox, field: str) -> None:
    """The limits of the event's JSON schema hold for every caller, in characters; an error names field and limit."""
    for letter in "xé":
        any_inbox.ingest(**{"event_id": letter} | {field: letter * LIMITS[field]})
        with pytest.raises(
            psycopg.errors.StringDataRightTruncation, match=f"^{field} is longer than {LIMITS[field]} char"
        ):
            any_inbox.ingest(**{"event_id": letter} | {field: letter * (LIMITS[field] + 1)})
    assert any_inbox.count("webhook_events") == 2


def test_lines_longer_than_the_event_schema_allows(any_inbox: Inbox) -> None:
    """Each such line is refused with the reason, whoever calls, and the others are stored."""
    lines = [json.dumps({"channel": "instagram", "event_id": f"e{n}" * (300 if n % 7 == 0 else 1)}) for n in range(200)]
    answer = any_inbox.row("select * from router.ingest_lines(%s)", "\n".join(lines))
    assert answer["inserted"] == 200 - 29
    assert answer["refused"] == [n + 1 for n in range(200) if n % 7 == 0]
    assert set(zip(answer["codes"], answer["reasons"], strict=True)) == {
        ("22001", "event_id is longer than 512 characters")
    }


def test_same_id_on_two_channels(inbox: Inbox) -> None:
    """An event is known by channel and event_id together."""
    assert inbox.ingest("e1")["id"] != inbox.ingest("e1", channel="whatsapp")["id"]
    assert inbox.count("webhook_events") == 2


def test_redelivery_updates_content(inbox: Inbox) -> None:
    """A redelivery is the same row with the new content."""
    first = inbox.ingest("e1", author_name="Al", content="helo", post_id="p1", raw_payload={"v": 1})
    second = inbox.ingest(
        "e1",
        author_id="a2",
        author_name="Alice",
        content="hello",
        event_date="2026-01-02 12:00+00",
        post_id="p2",
        raw_payload={"v": 2},
    )
    assert second["id"] == first["id"]
    assert second["created_at"] == first["created_at"]
    stored = inbox.event("e1")
    assert (stored["author_id"], stored["author_name"], stored["content"]) == ("a2", "Alice", "hello")
    assert (stored["post_id"], stored["raw_payload"]) == ("p2", {"v": 2})
    assert stored["event_date"] == datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert inbox.count("webhook_events") == 1


def test_redelivery_shows_nothing_of_others(any_inbox: Inbox) -> None:
    """Whoever knows an id learns what he has given himself and whether it is routed, and nothing that others said."""
    chosen = any_inbox.value("insert into conversations (channel) values ('instagram') returning id")
    any_inbox.insert(
        "e1",
        type="comment",
        author_id="secret-author",
        author_name="Secret Name",
        content="secret content",
        post_id="secret-post",
        raw_payload='{"secret": true}',
        conversation_id=chosen,
    )
    stored = any_inbox.event("e1")
    for routed in (False, True):
        if routed:
            any_inbox.route("e1")
        answer = any_inbox.ingest("e1", channel=" INSTAGRAM ", author_id=None, content=None, event_date=None)
        assert answer == {
            "id": str(stored["id"]), "channel": "instagram", "type": "message", "event_id": "e1", "author_id": None,
            "author_name": None, "content": None, "event_date": None, "post_id": None, "conversation_id": None,
            "raw_payload": {}, "created_at": answer["created_at"], "routed_at": answer["routed_at"],
        }  # fmt: skip
        assert datetime.fromisoformat(answer["created_at"]) == stored["created_at"]
        assert (answer["routed_at"] is not None) == routed
    own = any_inbox.value("insert into conversations (channel) values ('instagram') returning id")
    answer = any_inbox.ingest(
        "e1", type_="comment", author_name="Me", post_id="p", conversation_id=own, raw_payload=[1]
    )
    assert (answer["type"], answer["author_id"], answer["author_name"], answer["content"]) == (
        "comment", "a1", "Me", "hello"
    )  # fmt: skip
    assert (answer["post_id"], answer["conversation_id"], answer["raw_payload"]) == ("p", str(own), [1])
    assert datetime.fromisoformat(answer["event_date"]) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert any_inbox.event("e1")["conversation_id"] == chosen


def test_redelivery_shows_no_column_of_the_application(database: str) -> None:
    """Columns that the application has added are in the row, as null where they were filled by others."""
    with Inbox(database) as inbox:
        inbox.run("alter table webhook_events add column note text default 'default'")
        assert inbox.ingest("e1")["note"] == "default"
        inbox.run("update webhook_events set note = 'secret'")
        assert inbox.ingest("e1")["note"] is None


def test_redelivery_forgets_nothing(inbox: Inbox) -> None:
    """What a redelivery leaves out stays as it was, the date too."""
    inbox.ingest("e1", author_name="Alice", post_id="p1", raw_payload={"v": 1})
    before = inbox.event("e1")
    inbox.ingest("e1", author_id=None, author_name=None, content=None, event_date=None, post_id=None)
    assert inbox.event("e1") == before


def test_redelivery_without_news_writes_nothing(inbox: Inbox) -> None:
    """The same delivery again does not even make a new row version, and returns the row all the same."""
    first = inbox.ingest("e1", raw_payload={"v": 1})
    version = inbox.value("select xmin::text || ctid::text from webhook_events")
    assert inbox.ingest("e1", raw_payload={"v": 1}) == first
    assert inbox.value("select xmin::text || ctid::text from webhook_events") == version


@pytest.mark.parametrize("content", ["hello", "hello again"])
def test_redelivery_never_takes_back_routing(any_inbox: Inbox, content: str) -> None:
    """A routed event stays routed, in its conversation and with its one message, whatever a redelivery says."""
    any_inbox.ingest("e1")
    any_inbox.route("e1")
    before, message = any_inbox.event("e1"), any_inbox.message("e1")
    other = any_inbox.value("insert into conversations (channel) values ('instagram') returning id")
    row = any_inbox.ingest("e1", content=content, conversation_id=other)
    after = any_inbox.event("e1")
    assert row["routed_at"] is not None
    assert (after["routed_at"], after["conversation_id"]) == (before["routed_at"], before["conversation_id"])
    assert any_inbox.route_unrouted() == 0
    assert any_inbox.message("e1") == message


def test_redelivery_may_name_the_conversation(inbox: Inbox) -> None:
    """A redelivery that knows the conversation of an event that has none yet decides where it goes."""
    chosen = inbox.value("insert into conversations (channel) values ('instagram') returning id")
    inbox.ingest("e1")
    inbox.ingest("e1", conversation_id=chosen)
    assert inbox.route("e1").conversation_id == chosen


def test_redelivery_ends_the_wait_of_a_parked_event(any_inbox: Inbox) -> None:
    """A redelivery that repairs a parked event makes it ready at once; once routed, nothing of the parking is left."""
    any_inbox.insert("e1", event_date="infinity")
    assert any_inbox.batch().parked == 1
    assert any_inbox.batch().claimed == 0
    any_inbox.ingest("e1", event_date="2026-01-01 12:00+00")
    assert any_inbox.batch().inserted == 1
    assert any_inbox.rows("select * from router.parked_events") == []
    assert any_inbox.event("e1")["parked_until"] is None


def test_redelivery_does_not_raise_the_dead(inbox: Inbox) -> None:
    """A dead event waits for an operator: redeliveries, which providers send for days, do not try it again."""
    inbox.insert("e1", event_date="infinity")
    inbox.batch()
    inbox.run("update webhook_events set parked_until = 'infinity'")
    inbox.ingest("e1", event_date="2026-01-01 12:00+00")
    assert inbox.batch().claimed == 0
    assert inbox.route_unrouted() == 0


def test_redelivery_without_news_does_not_end_the_wait(inbox: Inbox) -> None:
    """The same delivery again would only fail again."""
    inbox.insert("e1", event_date="infinity", raw_payload="{}")
    inbox.batch()
    inbox.ingest("e1", event_date=None)
    assert inbox.batch().claimed == 0
    assert inbox.count("webhook_events") == 1


def test_concurrent_deliveries_are_one_event(inbox: Inbox) -> None:
    """Sixteen deliveries of one event from four sessions at once make one row, and all of them get it."""
    sessions = [inbox.another() for _ in range(4)]

    def deliver(number: int) -> str:
        row = sessions[number].ingest("e1")
        return str(row["id"])

    with ThreadPoolExecutor(4) as pool:
        ids = {row for _ in range(4) for row in pool.map(deliver, range(4))}
    assert len(ids) == 1
    assert inbox.count("webhook_events") == 1
