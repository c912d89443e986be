"""ingest_instagram_webhook: both shapes of body, and what is no customer's message."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.inbox import Inbox

SENT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def take(inbox: Inbox, body: Any) -> int:
    """Calls ingest_instagram_webhook."""
    answer: int = inbox.value("select public.ingest_instagram_webhook(%s)", Jsonb(body))
    return answer


def change(mid: str, text: str = "hello", stamp: Any = 1_700_000_000, author: str = "a1", name: str = "Alice") -> Any:
    """One entry of the shape with changes; its time is in seconds."""
    message = {"id": mid, "from": {"id": author, "username": name}, "text": {"body": text}, "timestamp": stamp}
    return {"id": "page", "changes": [{"field": "messages", "value": {"messages": [message]}}]}


def messaging(mid: str, text: str | None = "hello", stamp: Any = 1_700_000_000_000, **message: Any) -> Any:
    """One entry of the shape with messaging; its time is in milliseconds."""
    body = {"mid": mid, **({} if text is None else {"text": text}), **message}
    return {"id": "page", "messaging": [{"sender": {"id": "a1"}, "recipient": {"id": "page"}, "timestamp": stamp,
                                         "message": body}]}  # fmt: skip


def test_both_shapes(any_inbox: Inbox) -> None:
    """All messages of all entries are taken, with seconds and milliseconds, and can be routed."""
    body = {"object": "instagram", "entry": [change("m1", "one"), messaging("m2", "two"), change("m3", "three")]}
    assert take(any_inbox, body) == 3
    for event, text, name in (("m1", "one", "Alice"), ("m2", "two", None), ("m3", "three", "Alice")):
        row = any_inbox.event(event)
        assert (row["channel"], row["type"], row["author_id"]) == ("instagram", "message", "a1")
        assert (row["content"], row["author_name"], row["event_date"]) == (text, name, SENT)
    assert any_inbox.event("m2")["raw_payload"] == body["entry"][1]["messaging"][0]
    assert any_inbox.route_unrouted() == 3
    assert any_inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 3}


def test_several_messages_of_one_change(inbox: Inbox) -> None:
    """No message of a list is left out."""
    entry = change("m0")
    first = entry["changes"][0]["value"]["messages"][0]
    entry["changes"][0]["value"]["messages"] = [{**first, "id": f"m{number}"} for number in range(20)]
    assert take(inbox, {"object": "instagram", "entry": [entry]}) == 20
    assert inbox.count("webhook_events") == 20


def test_text_and_author_as_plain_strings(inbox: Inbox) -> None:
    """Text and sender may stand there without an object around them."""
    entry = change("m1")
    entry["changes"][0]["value"]["messages"] = [{"id": "m1", "from": "a9", "text": "plain", "timestamp": "1700000000"}]
    assert take(inbox, {"object": "instagram", "entry": [entry]}) == 1
    row = inbox.event("m1")
    assert (row["author_id"], row["content"], row["event_date"]) == ("a9", "plain", SENT)


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        "instagram",
        7,
        {"object": "page", "entry": [messaging("m1")]},
        {"object": None, "entry": [messaging("m1")]},
        {"object": "instagram"},
        {"object": "instagram", "entry": None},
        {"object": "instagram", "entry": "x"},
        {"object": "instagram", "entry": [1, "x", None, {}, {"changes": 1}, {"messaging": {"message": "x"}}]},
        {"object": "instagram", "entry": [{"changes": [{"value": {"messages": [1, None, [], {"id": {}}]}}]}]},
        {"object": "instagram", "entry": [messaging("m1", None), messaging("m2", ""), messaging("", "x")]},
        {"object": "instagram", "entry": [messaging("m1", is_echo=True)]},
        {"object": "instagram", "entry": [messaging("m1", None, is_deleted=True)]},
        {"object": "instagram", "entry": [messaging("m1", None, attachments=[{"type": "image"}])]},
        {"object": "instagram", "entry": [{"messaging": [{"sender": {"id": "a1"}, "read": {"mid": "m1"}}]}]},
        {"object": "instagram", "entry": [{"messaging": [{"message": {"mid": "m1", "text": "nobody"}}]}]},
    ],
)
def test_nothing_to_take(inbox: Inbox, body: Any) -> None:
    """Other objects, broken bodies, echoes, and messages without text or sender are 0 messages, never an error."""
    assert take(inbox, body) == 0
    assert inbox.count("webhook_events") == 0


def test_object_instead_of_sender_or_text(inbox: Inbox) -> None:
    """A sender or text in a shape unknown is none, rather than a contact named after a piece of JSON."""
    entry = change("m1")
    entry["changes"][0]["value"]["messages"] = [
        {"id": "m1", "from": {"username": "alice"}, "text": {"body": "x"}},
        {"id": "m2", "from": {"id": "a1"}, "text": {"caption": "x"}},
    ]
    assert take(inbox, {"object": "instagram", "entry": [entry]}) == 0


@pytest.mark.parametrize("object_", ["instagram", "Instagram", "instagram_business_account"])
def test_object_of_instagram(inbox: Inbox, object_: str) -> None:
    """Instagram's objects are known by the beginning of their name."""
    assert take(inbox, {"object": object_, "entry": [messaging("m1")]}) == 1


def test_times(any_inbox: Inbox) -> None:
    """Seconds, milliseconds, digits and ISO are understood in both shapes; a time that is none costs no message."""
    stamps: list[Any] = [1_700_000_000, "1700000000", 1_700_000_000_000, "1700000000000", 1_700_000_000.0,
                         "2023-11-14T22:13:20+0000", "2023-11-14T22:13:20.000Z"]  # fmt: skip
    odd: list[Any] = [
        None,
        "",
        "yesterday",
        "2023-13-45T99:00:00Z",
        -5,
        10**30,
        "999999999999999",
        "١٧٠٠٠٠٠٠٠٠",
        {},
        True,
    ]
    entries = []
    for number, stamp in enumerate(stamps + odd):
        entries += [change(f"c{number}", stamp=stamp), messaging(f"m{number}", stamp=stamp)]
    assert take(any_inbox, {"object": "instagram", "entry": entries}) == 2 * len(stamps + odd)
    for number, stamp in enumerate(stamps + odd):
        for shape in "cm":
            date = any_inbox.event(f"{shape}{number}")["event_date"]
            if number < len(stamps):
                assert date == SENT, stamp
            else:
                assert abs(datetime.now(UTC) - date) < timedelta(minutes=1), stamp


def test_redelivery(any_inbox: Inbox) -> None:
    """The same body again is taken again and changes nothing: one event, one message."""
    body = {"object": "instagram", "entry": [change("m1"), messaging("m2")]}
    assert take(any_inbox, body) == 2
    assert any_inbox.route_unrouted() == 2
    assert take(any_inbox, body) == 2
    assert any_inbox.route_unrouted() == 0
    assert any_inbox.count("webhook_events") == any_inbox.count("messages") == 2


def test_same_message_twice_in_a_body(inbox: Inbox) -> None:
    """A message that stands twice in a body is one event."""
    take(inbox, {"object": "instagram", "entry": [change("m1"), change("m1"), messaging("m1")]})
    assert inbox.count("webhook_events") == 1


def test_message_beyond_the_limits(any_inbox: Inbox) -> None:
    """A message that no customer of Instagram can have sent is skipped with a warning: it must not cost the others."""
    warnings: list[str] = []
    any_inbox.connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    entries = [
        change("m1"),
        *(change(f"{number}" * 600) for number in range(5)),
        change("m2", author="a" * 600),
        messaging("m3"),
    ]
    assert take(any_inbox, {"object": "instagram", "entry": entries}) == 2
    assert any_inbox.column("select event_id from webhook_events order by 1") == ["m1", "m3"]
    assert warnings == [
        f"a message of an Instagram webhook is skipped: {field} is longer than 512 characters"
        for field in ["event_id"] * 5 + ["author_id"]
    ]
