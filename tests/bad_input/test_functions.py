"""Arguments of the public functions that no client should send, and that some will."""

import uuid
from typing import Any

import psycopg
import pytest

from tests.bad_input.conftest import Service

NOBODY = uuid.UUID(int=2)
INGEST = "select public.ingest_webhook_event(%s, %s, %s, %s, %s, %s, %s::timestamptz, %s, %s::uuid, %s::jsonb)"
DEEP = "[" * 900 + "]" * 900


def ingest(**odd: Any) -> tuple[str, tuple[Any, ...]]:
    """A call of `ingest_webhook_event` with something odd in it."""
    given: dict[str, Any] = {
        "channel": "instagram",
        "type": "message",
        "event_id": uuid.uuid4().hex,
        "author_id": "functions",
        "author_name": "Functions",
        "content": "content",
        "event_date": "2026-01-31T09:30:00Z",
        "post_id": None,
        "conversation_id": None,
        "raw_payload": "{}",
    } | odd
    return INGEST, tuple(given.values())


def instagram(body: str) -> tuple[str, tuple[Any, ...]]:
    """A call of `ingest_instagram_webhook`."""
    return "select public.ingest_instagram_webhook(%s::jsonb)", (body,)


Call = tuple[str, tuple[Any, ...]]
CALLS: dict[str, tuple[Call, Any]] = {
    "ingest: no channel": (ingest(channel=None), "23502"),
    "ingest: an unknown channel": (ingest(channel="telegraph"), "23514"),
    "ingest: a channel of a megabyte": (ingest(channel="c" * 1_000_000), "22001"),
    "ingest: no id": (ingest(event_id=None), "23502"),
    "ingest: an id that no index can hold": (ingest(event_id="".join(map(chr, range(33, 9000)))), "22001"),
    "ingest: a conversation that is not there": (ingest(conversation_id=str(NOBODY)), "23503"),
    "ingest: a date that is none": (ingest(event_date="yesterday evening"), "22007"),
    "ingest: the 31st of February": (ingest(event_date="2026-02-31"), "22008"),
    "ingest: a date beyond all calendars": (ingest(event_date="999999-01-01"), "22008"),
    "ingest: a payload that is no JSON": (ingest(raw_payload="{'a': 1}"), "22P02"),
    "route: nothing": (("select public.route_webhook_event(null, null)", ()), "P0001"),
    "route: an event that is not there": (("select public.route_webhook_event('instagram', 'gone')", ()), "P0001"),
    "route: a channel that is SQL": (("select public.route_webhook_event(%s, '')", ("' or true --",)), "P0001"),
    "route many: fewer than none": (("select public.route_unrouted_events(null, -2147483648)", ()), 0),
    "route many: more than there can be": (("select public.route_unrouted_events(null, 2147483647)", ()), 0),
    "route many: nobody knows how many": (("select public.route_unrouted_events(null, null)", ()), 0),
    "route many: an unknown channel": (("select public.route_unrouted_events('telegraph', 10)", ()), 0),
    "analyze: nothing": (("select public.analyze_message_simple(null)", ()), "P0001"),
    "analyze: a message that is not there": (("select public.analyze_message_simple(%s)", (NOBODY,)), "P0001"),
    "analyze: an id that is none": (("select public.analyze_message_simple('1')", ()), "22P02"),
    "reply: a message that is not there": (("select public.auto_reply_stub(%s)", (NOBODY,)), "P0001"),
    "reply template: nothing": (("select public.ai_reply_template(null)", ()), "P0001"),
    "instagram: nothing": (("select public.ingest_instagram_webhook(null)", ()), 0),
    "instagram: a string": (instagram('"instagram"'), 0),
    "instagram: a list of itself": (instagram(DEEP), 0),
    "instagram: entries that are a number": (instagram('{"object": "instagram", "entry": 7}'), 0),
    "instagram: changes that are a string": (instagram('{"object": "instagram", "entry": [{"changes": "x"}]}'), 0),
    "instagram: messages that are null": (
        instagram('{"object": "instagram", "entry": [null, {"changes": [{"value": {"messages": [null, 1]}}]}]}'),
        0,
    ),
    "instagram: a time of forty digits": (
        instagram(
            '{"object": "instagram", "entry": [{"messaging": [{"sender": {"id": "i"}, "timestamp": '
            + "9" * 40
            + ', "message": {"mid": "forty-digits", "text": "x"}}]}]}'
        ),
        1,
    ),
    "instagram: ten thousand entries of nothing": (
        instagram('{"object": "instagram", "entry": [' + ",".join(["{}"] * 10_000) + "]}"),
        0,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_nobody_should_make(service: Service, name: str) -> None:
    """It returns, or fails with the SQLSTATE that says why; the service does not notice."""
    (query, arguments), expected = CALLS[name]
    with service.undisturbed():
        assert outcome(service, query, arguments) == expected


def outcome(service: Service, query: str, arguments: tuple[Any, ...]) -> Any:
    """What a call returns, or the SQLSTATE of its error."""
    try:
        row = service.db.execute(query.encode(), arguments).fetchone()
    except psycopg.Error as error:
        return error.sqlstate
    assert row is not None
    return row[0]
