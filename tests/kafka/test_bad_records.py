"""Every kind of record that can never be processed, and the dead letter that says so; a good one follows each."""

import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import psycopg
import pytest

from consumer.domain.records import Flaw, Headers
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.kafka.broker import Cluster
from tests.kafka.inbox import assert_one_message_each, until_messages
from tests.kafka.scene import kafka_env
from tests.kafka.topics import Topics, event, unique
from tests.processes import running
from tests.servers import empty_database_on
from tests.waiting import await_for

LARGEST = 20_000


class Kind(NamedTuple):
    """A bad record, and what its dead letter says."""

    value: object
    flaw: Flaw
    says: str
    """Found in the message, as a regular expression."""
    code: str = ""
    headers: Headers = ()


def but(**more: Any) -> dict[str, Any]:
    """An event with something else in it."""
    return event(10_000) | more


def change(**more: Any) -> dict[str, Any]:
    """Debezium's envelope around an event."""
    return {"before": None, "after": but(raw_payload="{}"), "op": "c"} | more


def cloud(**more: Any) -> dict[str, Any]:
    """A CloudEvents envelope; what is None is left out."""
    whole = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "data": but()} | more
    return {name: value for name, value in whole.items() if value is not None}


def binary(**more: bytes) -> list[tuple[str, bytes]]:
    """The headers of a CloudEvent in binary mode."""
    attributes = {"specversion": b"1.0", "id": b"1", "source": b"/x", "type": b"t"} | more
    return [(name if name == "content-type" else f"ce_{name}", value) for name, value in attributes.items()]


TEXT = json.dumps(but()).encode()
STRINGS = TEXT
for _ in range(9):
    STRINGS = json.dumps(STRINGS.decode()).encode()
GONE = "__debezium_unavailable_value"
JSON, EVENT, CHANGE, CLOUD = Flaw.NOT_JSON, Flaw.NOT_AN_EVENT, Flaw.NOT_A_CHANGE, Flaw.NOT_A_CLOUD_EVENT

KINDS = {
    "empty": Kind(b"", JSON, "empty"),
    "blank": Kind(b" \n\t ", JSON, "empty"),
    "plain text": Kind(b"hello", JSON, "not JSON"),
    "cut off": Kind(TEXT[:-10], JSON, "not JSON"),
    "two documents": Kind(TEXT + b" " + TEXT, JSON, "not JSON"),
    "invalid UTF-8": Kind(TEXT.replace(b"text", b"\xff\xfe"), JSON, "UTF-8"),
    "byte order mark": Kind(b"\xef\xbb\xbf" + TEXT, JSON, "not JSON"),
    "UTF-16": Kind(TEXT.decode().encode("utf-16"), JSON, "not JSON"),
    "single quotes": Kind(b"{'channel':'x'}", JSON, "not JSON"),
    "NaN": Kind(b'{"channel":"x","event_id":"1","raw_payload":{"n":NaN}}', JSON, "not JSON"),
    "infinite number": Kind(b'{"channel":"x","event_id":"1","raw_payload":{"n":1e999}}', JSON, "infinity"),
    "half a surrogate pair": Kind(b'{"channel":"x","event_id":"\\ud800"}', JSON, "surrogate"),
    "control character": Kind(b'{"channel":"x","event_id":"\x01"}', JSON, "control character"),
    "too deep": Kind(b'{"a":' * 2000 + b"1" + b"}" * 2000, JSON, "depth"),
    "Avro, framed for a schema registry": Kind(b"\x00\x00\x00\x00\x01\x12instagram\x04m1", JSON, "schema registry"),
    "Protobuf, framed for a schema registry": Kind(b"\x00\x00\x00\x00\x01\x00\x0a\x01x", JSON, "schema registry"),
    "compressed": Kind(gzip.compress(TEXT), JSON, "not JSON"),
    "too big": Kind(but(content="x" * LARGEST), Flaw.TOO_BIG, "20,000"),
    "a number": Kind(b"7", EVENT, "not a number"),
    "a string": Kind(b'"event"', EVENT, "not a string"),
    "a string in many strings": Kind(STRINGS, EVENT, "not a string"),
    "several events": Kind(b"[" + TEXT + b"]", EVENT, "not an array"),
    "an empty object": Kind({}, EVENT, "channel is missing.*event_id is missing"),
    "no channel": Kind({"event_id": "1"}, EVENT, "channel is missing"),
    "no event_id": Kind({"channel": "instagram"}, EVENT, "event_id is missing"),
    "an empty event_id": Kind(but(event_id=""), EVENT, "event_id is empty"),
    "event_id is a number": Kind(but(event_id=7), EVENT, "event_id must be a string"),
    "event_id is too long": Kind(but(event_id="x" * 513), EVENT, "event_id is longer than 512"),
    "a misspelt field": Kind(but(autor_id="a"), EVENT, "unknown field 'autor_id'"),
    "an unknown type": Kind(but(type="story"), EVENT, "type must be message or comment"),
    "content is an object": Kind(but(content={"text": "x"}), EVENT, "content must be a string"),
    "author_id is a number": Kind(but(author_id=7), EVENT, "author_id must be a string"),
    "a date in words": Kind(but(event_date="yesterday"), EVENT, "event_date is not a time"),
    "a date without offset": Kind(but(event_date="2026-01-31T09:30:00"), EVENT, "event_date is not a time"),
    "a day that is not": Kind(but(event_date="2026-02-30T09:30:00Z"), EVENT, "event_date is not a time"),
    "raw_payload is text": Kind(but(raw_payload="{}"), EVENT, "raw_payload must be an object"),
    "conversation_id is no uuid": Kind(but(conversation_id="7"), EVENT, "conversation_id is not a UUID"),
    "NUL in the text": Kind(but(content="a\0b"), EVENT, r"content contains the character \\u0000"),
    "NUL deep in the payload": Kind(but(raw_payload={"a": [{"b\0": 1}]}), EVENT, r"raw_payload contains .*\\u0000"),
    "a flattened change of nothing": Kind({"__op": "c", "id": 7}, EVENT, "channel is missing"),
    "a change without op": Kind({"before": None, "after": but()}, CHANGE, "op is missing"),
    "a change with an unknown op": Kind(change(op="x"), CHANGE, "op must be"),
    "an insert without after": Kind(change(after=None), CHANGE, "after must be an object"),
    "a wrapper around text": Kind({"schema": {}, "payload": "text"}, EVENT, "not a string"),
    "a wrapper around something": Kind({"schema": {}, "payload": {"a": 1}}, EVENT, "channel is missing.*unknown field"),
    "a change before all time": Kind(change(after=but(event_date=-(10**11) + 1)), EVENT, "event_date is "),
    "a change of another table": Kind(change(after={"id": 7}), EVENT, "channel is missing"),
    "a change with a broken payload": Kind(change(after=but(raw_payload="{")), EVENT, "raw_payload is not JSON"),
    "a change with a placeholder": Kind(change(after=but(raw_payload="__x")), EVENT, "KAFKA_UNAVAILABLE_VALUE"),
    "a change without its name": Kind(
        change(after=but(event_id=GONE)), EVENT, "does not have its channel and event_id"
    ),
    "a change of an empty id": Kind(change(after=but(event_id="")), EVENT, "event_id is empty"),
    "a change in the year 20000": Kind(change(after=but(event_date="+20000-01-01T00:00:00Z")), EVENT, "event_date"),
    "a change with an array": Kind(change(after=but(raw_payload="[1]")), EVENT, "raw_payload must be an object"),
    "CloudEvents 0.3": Kind(cloud(specversion="0.3"), CLOUD, "specversion must be 1.0"),
    "a CloudEvent without id": Kind(cloud(id=None), CLOUD, "id must be a string"),
    "a CloudEvent without data": Kind(cloud(data=None), CLOUD, "data is missing"),
    "a CloudEvent of XML": Kind(cloud(datacontenttype="text/xml"), CLOUD, "datacontenttype is not JSON"),
    "a CloudEvent with broken base64": Kind(cloud(data=None, data_base64="?"), CLOUD, "not base64"),
    "a CloudEvent of Debezium with an unknown op": Kind(
        cloud(iodebeziumop="x", data={"before": None, "after": but()}), CHANGE, "op must be"
    ),
    "a CloudEvent with text": Kind(cloud(data="hello"), EVENT, "not a string"),
    "a binary CloudEvent of another version": Kind(
        but(), CLOUD, "specversion must be 1.0", headers=binary(specversion=b"2")
    ),
    "a binary CloudEvent without type": Kind(but(), CLOUD, "type must be a string", headers=binary(type=b"")),
    "a binary CloudEvent of Avro": Kind(
        but(), CLOUD, "content-type is not JSON", headers=binary(**{"content-type": b"application/avro"})
    ),
    "a body for a bot by its name": Kind(
        {}, EVENT, "account must be the id", headers=[("provider", b"telegram"), ("account", b"@shop")]
    ),
    "the name of nobody": Kind(
        {"channel": "instagram", "event_id": "nobody"}, Flaw.NOT_FOUND, "event not found", "P0002"
    ),
    "a channel that the table has not": Kind(but(channel="fax"), Flaw.REFUSED, "check constraint", "23514"),
    "a conversation that is not there": Kind(
        but(conversation_id="7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00"), Flaw.REFUSED, "foreign key", "23503"
    ),
    "what a trigger forbids": Kind(but(content="forbidden"), Flaw.REFUSED, "not here", "P0001"),
}


@pytest.fixture(scope="module")
def letters(kafka: Cluster, postgres_server: EmbeddedPostgres, schema_template: str) -> Iterator[dict[str, Any]]:
    """The dead letter of each kind, after one run over all of them, with a good record after each."""
    with empty_database_on(postgres_server, template=schema_template) as dsn:
        yield asyncio.run(_run(kafka, dsn))


async def _run(kafka: Cluster, dsn: str) -> dict[str, Any]:
    topics = Topics(kafka.bootstrap)
    topic, group = await topics.create(unique("events"), partitions=3), unique("group")
    dead = f"{topic}.dead"
    records: list[tuple[object, Headers, int]] = []
    for number, (name, kind) in enumerate(KINDS.items()):
        records.append((kind.value, [*kind.headers, ("kind", name.encode())], number % 3))
        records.append((event(number), (), number % 3))
    await topics.send_each(topic, records)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(
            """create function forbid() returns trigger language plpgsql as
               $$begin raise exception 'not here'; end$$;
               create trigger forbid before insert on webhook_events for each row when (new.content = 'forbidden')
                   execute function forbid()"""
        )
        env = kafka_env(kafka.bootstrap, topic, dead, group) | {"WEBHOOK_ROUTER_KAFKA_MAX_RECORD_BYTES": str(LARGEST)}
        with running(dsn, env=env) as router:
            until_messages(db, len(KINDS))

            async def committed() -> bool:
                return sum((await topics.committed(group, topic)).values()) == 2 * len(KINDS)

            await await_for(committed, timeout=120, what=f"all offsets, {router.lines}")
            assert router.metric("webhook_router_kafka_dead_letters_total") == len(KINDS)
            assert "forbidden" not in str(router.lines), "what is in a record is never logged"
        assert_one_message_each(db, len(KINDS))
    return {dict(letter.headers)["kind"].decode(): letter for letter in await topics.read(dead)}


@pytest.mark.parametrize("name", KINDS)
def test_a_bad_record_is_a_dead_letter_that_says_why(name: str, letters: dict[str, Any]) -> None:
    """The header names the error, and its message the place; the record itself is as it was."""
    kind, letter = KINDS[name], letters[name]
    headers = dict(letter.headers)
    assert headers["webhook-router-error"].decode() == kind.flaw
    assert re.search(kind.says, headers["webhook-router-error-message"].decode()), headers
    assert headers.get("webhook-router-error-code", b"").decode() == kind.code
    assert letter.value == (kind.value if isinstance(kind.value, bytes) else orjson.dumps(kind.value))
    assert [(name, value) for name, value in letter.headers if not name.startswith("webhook-router-")] == [
        *kind.headers,
        ("kind", name.encode()),
    ]
