"""Rows that somebody with the right to insert has put into the table, however odd."""

import uuid
from typing import Any

import psycopg
import pytest

from tests.bad_input.conftest import Service

INSERT = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                       conversation_id, raw_payload)
    values (%(channel)s, %(type)s, %(event_id)s, %(author_id)s, %(author_name)s, %(content)s,
            %(event_date)s::timestamptz, %(post_id)s, %(conversation_id)s, %(raw_payload)s::jsonb)
"""
RANDOM = "".join(uuid.UUID(int=number * 7919 + 1).hex + str(hash(number)) for number in range(2000))
"""Text that does not compress, so that its size is felt by an index."""
SQL = "'); drop table public.messages; --"

ODD: dict[str, tuple[dict[str, Any], str]] = {
    # Times.
    "a date without end": ({"event_date": "infinity"}, "parked 22008"),
    "a date without beginning": ({"event_date": "-infinity"}, "parked 22008"),
    "a date before Christ": ({"event_date": "4713-01-01 00:00:00+00 BC"}, "routed"),
    "the last date there is": ({"event_date": "294276-12-31 23:59:59+00"}, "routed"),
    "no date": ({"event_date": None}, "routed"),
    # Ids.
    "an empty id": ({"event_id": ""}, "routed"),
    "an id of spaces": ({"event_id": "   "}, "routed"),
    "an id that no index can hold": ({"event_id": RANDOM}, "error 54000"),
    "an id with line feeds": ({"event_id": "a\r\nb\tc"}, "routed"),
    "an id with SQL": ({"event_id": SQL}, "routed"),
    "an author that no index can hold": ({"author_id": RANDOM}, "parked 54000"),
    "an author of spaces": ({"author_id": " \t "}, "routed"),
    "an author with SQL": ({"author_id": SQL}, "routed"),
    "a post that no index can hold": ({"type": "comment", "author_id": None, "post_id": RANDOM}, "parked 54000"),
    "a comment on nothing by nobody": ({"type": "comment", "author_id": None}, "routed"),
    # Texts.
    "no content": ({"content": None}, "routed"),
    "twenty megabytes of content": ({"content": "x" * 20_000_000}, "routed"),
    "content with a NUL": ({"content": "a\0b"}, "error client"),
    "content with half a character": ({"content": "a\ud800b"}, "error client"),
    "content with every control character": ({"content": "".join(map(chr, range(1, 32)))}, "routed"),
    "content that writes from right to left": ({"content": "\u202egnirts\u202c \u200b\ufeff"}, "routed"),
    "content beyond the first plane": ({"content": "\U0010ffff\U0001f469\u200d\U0001f680"}, "routed"),
    "content of format strings": ({"content": "%s %n %x {0} ${jndi:x} $1 \\1 %%"}, "routed"),
    "content with dollar quotes": ({"content": "$function$ $$ '' \" \\"}, "routed"),
    "a name of a megabyte": ({"author_name": "n" * 1_000_000}, "routed"),
    "a name of spaces": ({"author_name": "  "}, "routed"),
    "a name with SQL": ({"author_name": SQL}, "routed"),
    # What belongs to a set.
    "a channel that nobody knows": ({"channel": "carrier pigeon"}, "error 23514"),
    "a channel in capitals": ({"channel": "INSTAGRAM"}, "error 23514"),
    "no channel": ({"channel": None}, "error 23502"),
    "a type that nobody knows": ({"type": "reaction"}, "error 23514"),
    "no type": ({"type": None}, "error 23502"),
    "a conversation that is not there": ({"conversation_id": str(uuid.UUID(int=1))}, "error 23503"),
    "a conversation that is no id": ({"conversation_id": "12"}, "error 22P02"),
    # Payloads.
    "a payload that is no object": ({"raw_payload": "[1, null, 1e400]"}, "routed"),
    "no payload": ({"raw_payload": None}, "error 23502"),
    "a payload with a NUL": ({"raw_payload": '{"a": "\\u0000"}'}, "error 22P05"),
    "a payload with half a character": ({"raw_payload": '{"a": "\\ud800"}'}, "error 22P02"),
    "a payload that is not a number": ({"raw_payload": '{"a": NaN}'}, "error 22P02"),
    "a payload of a thousand levels": ({"raw_payload": "[" * 1000 + "]" * 1000}, "routed"),
    "a payload of twenty thousand levels": ({"raw_payload": "[" * 20_000 + "]" * 20_000}, "error 54001"),
    "a payload of twenty megabytes": ({"raw_payload": '{"a": "' + "x" * 20_000_000 + '"}'}, "routed"),
    "a payload with a key twice": ({"raw_payload": '{"a": 1, "a": 2}'}, "routed"),
}


def outcome(service: Service, given: dict[str, Any]) -> str:
    """What becomes of an event: error with its SQLSTATE, or that of the driver, parked or routed."""
    try:
        service.db.execute(INSERT, given)
    except (UnicodeEncodeError, psycopg.Error) as error:
        return f"error {getattr(error, 'sqlstate', None) or 'client'}"
    service.until_done(given["event_id"])
    return service.state(given["event_id"])


@pytest.mark.parametrize("name", ODD)
def test_an_odd_event(service: Service, name: str) -> None:
    """Refused by the table, parked, or routed as it is; the good event that came with it is routed in any case."""
    odd, expected = ODD[name]
    given: dict[str, Any] = {
        "channel": "instagram",
        "type": "message",
        "event_id": uuid.uuid4().hex,
        "author_id": uuid.uuid4().hex,
        "author_name": None,
        "content": "content",
        "event_date": "2026-01-31T09:30:00Z",
        "post_id": None,
        "conversation_id": None,
        "raw_payload": "{}",
    } | odd
    with service.undisturbed():
        assert outcome(service, given) == expected
    if expected.startswith("error"):
        return
    message = service.db.execute(
        "select content_text from public.messages where channel = 'instagram' and provider_message_id = %s",
        (given["event_id"],),
    ).fetchone()
    assert message == ((given["content"],) if expected == "routed" else None)  # as it is, or not at all
    service.db.execute("delete from public.webhook_events where event_id = %s", (given["event_id"],))


def test_a_hundred_bad_ones_among_good_ones(service: Service) -> None:
    """Each is parked alone, in one drain, and the rest of the batch is routed."""
    with service.undisturbed(calls=40):
        service.db.execute(
            """insert into public.webhook_events (channel, type, event_id, author_id, content, event_date)
               select 'instagram', 'message', 'mixed-' || i, 'author ' || i % 30, 'content',
                      case when i % 10 = 0 then 'infinity' else now() end
               from generate_series(1, 1000) i"""
        )
    states = service.db.execute(
        """select routed_at is not null, count(*) from public.webhook_events where event_id like 'mixed-%'
           group by 1 order by 1"""
    ).fetchall()
    assert states == [(False, 100), (True, 900)]
    service.db.execute("delete from public.webhook_events where event_id like 'mixed-%' and routed_at is null")
