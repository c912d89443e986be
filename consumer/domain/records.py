"""What a Kafka record means: an event to store and route, the name of one, a body, nothing to do, or a flaw.

Four forms: the event itself, a Debezium change record of webhook_events, `{"channel", "event_id"}`, and each of these
in a CloudEvents 1.0 envelope (structured JSON, or binary with ce_ headers). schemas/events/asyncapi.yaml has examples.
With a header "provider" the value is none of these, but the body of a webhook, byte for byte.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from consumer.domain.lag import Partition
from consumer.domain.providers import PROVIDERS
from consumer.domain.routing import Batch
from consumer.domain.webhook import Body, Intake

Headers = Sequence[tuple[str, bytes | None]]


class Flaw(StrEnum):
    """Why a record can never be processed; a label of metrics and a header of its dead letter."""

    TOO_BIG = "too_big"
    NOT_JSON = "not_json"
    NOT_AN_EVENT = "not_an_event"
    """None of the known forms, or one that violates the event schema."""
    NOT_A_CHANGE = "not_a_change"
    """Looks like a Debezium record, but is not one."""
    NOT_A_CLOUD_EVENT = "not_a_cloud_event"
    NOT_FOUND = "not_found"
    """Names an event that is not in webhook_events."""
    REFUSED = "refused"
    """By the database; the dead letter has its SQLSTATE."""


class Skip(StrEnum):
    """Why a record is skipped, although nothing is wrong with it."""

    TOMBSTONE = "tombstone"
    DELETE = "delete"
    """An event was deleted, or the table truncated: what was routed stays."""
    NOTHING_TO_ROUTE = "nothing_to_route"
    """A change of an event that is already routed or parked: mostly the mark that routing itself makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flawed:
    """A record that can never be processed."""

    flaw: Flaw
    reason: str
    code: str = ""
    """SQLSTATE, when the database said so."""


Meaning = Intake | Body | Skip | Flawed


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as it was read."""

    partition: Partition
    offset: int
    timestamp: float
    """Unix seconds, as the producer or the broker set it."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    meaning: Meaning
    trace: str | None
    """The W3C traceparent that came with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record for the dead-letter topic, and why it goes there."""

    record: Record
    flawed: Flawed


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An intake that the database has not accepted."""

    place: int
    """Index of the intake in its call."""
    code: str
    """SQLSTATE; P0002: names an event that does not exist."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOutcome:
    """What became of the intakes of one committed call: those not refused are routed, were so before, or are parked."""

    batch: Batch
    """The events among them that had been neither routed nor parked before."""
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """JSON and the event schema, handed in so that this module needs no library."""

    loads: Callable[[bytes | str], Any]
    """Raises ValueError."""
    dumps: Callable[[object], str]
    """Without line feeds."""
    problem: Callable[[dict[str, Any], str], str | None]
    """What is wrong with an event, given as it was read and as text."""


_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_TYPE = re.compile(r"(application|text)/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_REFERENCE = {"channel", "event_id"}
_ATTRIBUTES = ("specversion", "id", "source", "type")
_CHANGE = {"before", "after", "op"}
_TEXTS = ("channel", "type", "event_id", "author_id", "author_name", "content", "post_id")
# What Debezium writes for a large value that the change did not touch and the log does not have.
_UNAVAILABLE = "__debezium_unavailable_value"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def interpret(value: bytes | None, headers: Headers, codec: Codec, *, largest: int) -> tuple[Meaning, str | None]:
    """What a record means, and the traceparent that it carries.

    Args:
        value: as it was read.
        headers: as they were read; names may repeat, the last one counts.
        codec: how JSON is read and written.
        largest: a value of more bytes is not parsed.
    """
    named = {name.lower(): text or b"" for name, text in headers} if headers else {}
    trace = _trace_of(named.get("traceparent") or named.get("ce_traceparent")) if named else None
    try:
        meaning, inner_trace = _whole(value, named, codec, largest)
    except _Broken as broken:
        return broken.flawed, trace
    return meaning, trace or inner_trace


class _Broken(Exception):
    def __init__(self, flaw: Flaw, reason: str) -> None:
        super().__init__(reason)
        self.flawed = Flawed(flaw=flaw, reason=reason)


def _whole(value: bytes | None, named: Mapping[str, bytes], codec: Codec, largest: int) -> tuple[Meaning, str | None]:
    if value is None:
        return Skip.TOMBSTONE, None
    if len(value) > largest:
        raise _Broken(Flaw.TOO_BIG, f"{len(value):,} bytes are more than the {largest:,} that are taken")
    if "provider" in named:
        return _body(value, named), None
    if "ce_specversion" in named:
        _check_binary_envelope(named)
    document = _json(value, codec)
    if isinstance(document, dict) and "specversion" in document:
        return _meaning(_data_of_envelope(document, codec), None, codec), _trace_of(document.get("traceparent"))
    return _meaning(document, value, codec), None


def _body(value: bytes, named: Mapping[str, bytes]) -> Body:
    """The body of a webhook; what is wrong with it, if anything, is found out when it is taken apart."""
    provider = named["provider"].decode(errors="replace").strip().lower()
    account = named.get("account", b"").decode(errors="replace").strip() or None
    if provider not in PROVIDERS:
        raise _Broken(Flaw.NOT_AN_EVENT, f"the header provider must be one of {', '.join(PROVIDERS)}")
    if provider == "telegram" and account is None:
        raise _Broken(Flaw.NOT_AN_EVENT, "a body of Telegram needs a header account, with the id of the bot")
    return Body(provider=provider, account=account if provider == "telegram" else None, content=value)


def _json(value: bytes | str, codec: Codec) -> object:
    try:
        return codec.loads(value)
    except ValueError as error:
        if not value.strip():
            raise _Broken(Flaw.NOT_JSON, "the value is empty") from None
        if value[:1] == b"\x00":
            framed = "not JSON: begins with a zero byte, as values framed for a schema registry do; send plain JSON"
            raise _Broken(Flaw.NOT_JSON, framed) from None
        raise _Broken(Flaw.NOT_JSON, f"not JSON: {error}") from None


def _meaning(document: object, raw: bytes | None, codec: Codec) -> Meaning:
    """The meaning of one of the first three forms; `raw`: its text, where it is the whole value."""
    if not isinstance(document, dict):
        raise _Broken(Flaw.NOT_AN_EVENT, f"must be an object, not {_kind(document)}")
    if document.keys() == {"schema", "payload"} and isinstance(document["schema"], dict | None):
        document, raw = document["payload"], None
        if document is None:
            return Skip.TOMBSTONE
        if not isinstance(document, dict):
            raise _Broken(Flaw.NOT_A_CHANGE, f"payload must be an object, not {_kind(document)}")
        if not document.keys() & _CHANGE:
            raise _Broken(Flaw.NOT_A_CHANGE, "payload has neither before, after nor op")
    if document.keys() & _CHANGE:
        return _change(document, codec)
    # A line feed is white space, since strings have it escaped: the text stays what it was, big numbers included.
    text = codec.dumps(document) if raw is None else raw.replace(b"\n", b" ").decode()
    if problem := codec.problem(document, text):
        raise _Broken(Flaw.NOT_AN_EVENT, problem)
    named_only = document.keys() == _REFERENCE
    return Intake(channel=document["channel"], event_id=document["event_id"], line=None if named_only else text)


def _change(envelope: Mapping[str, Any], codec: Codec) -> Meaning:
    """The meaning of a Debezium envelope. The row in the database, if there is one, is at least as new, and is kept."""
    match envelope.get("op"):
        case "d" | "t":
            return Skip.DELETE
        case "m":
            return Skip.NOTHING_TO_ROUTE
        case "c" | "r" | "u" as op:
            pass
        case None:
            raise _Broken(Flaw.NOT_A_CHANGE, "op is missing")
        case _:
            raise _Broken(Flaw.NOT_A_CHANGE, "op must be c, r, u, d, t or m")
    row = envelope.get("after")
    if not isinstance(row, dict):
        raise _Broken(Flaw.NOT_A_CHANGE, f"after must be an object, not {_kind(row)}")
    if op == "u" and (row.get("routed_at") is not None or row.get("parked_until") is not None):
        return Skip.NOTHING_TO_ROUTE
    event: dict[str, Any] = {name: row[name] for name in _TEXTS if row.get(name) is not None}
    complete = all(row.get(name) != _UNAVAILABLE for name in (*_TEXTS, "raw_payload"))
    if complete:
        event |= {"event_date": _time(row.get("event_date")), "raw_payload": _payload(row.get("raw_payload"), codec)}
    else:
        event = {name: event[name] for name in _REFERENCE if name in event}
    text = codec.dumps(event)
    if problem := codec.problem(event, text):
        raise _Broken(Flaw.NOT_AN_EVENT, problem)
    return Intake(channel=event["channel"], event_id=event["event_id"], line=text if complete else None, keep=True)


def _time(value: object) -> object:
    """A time as the schema wants it. Debezium writes timestamptz as text, and timestamp as a number since 1970."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    unit = next((unit for unit, least in ((10**9, 10**17), (10**6, 10**14), (10**3, 10**11)) if abs(value) >= least), 1)
    try:
        return (_EPOCH + timedelta(microseconds=value * 10**6 // unit)).isoformat()
    except OverflowError:
        raise _Broken(Flaw.NOT_A_CHANGE, "event_date is out of range") from None


def _payload(value: object, codec: Codec) -> object:
    """raw_payload; Debezium writes jsonb as text."""
    return _json(value, codec) if isinstance(value, str) else value


def _data_of_envelope(envelope: Mapping[str, Any], codec: Codec) -> object:
    """What a CloudEvents envelope in structured mode carries."""
    _check_attributes({name: envelope.get(name) for name in _ATTRIBUTES})
    content_type = envelope.get("datacontenttype")
    if content_type is not None and not (isinstance(content_type, str) and _JSON_TYPE.fullmatch(content_type)):
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "datacontenttype is not JSON")
    if "data" in envelope:
        return envelope["data"]
    encoded = envelope.get("data_base64")
    if not isinstance(encoded, str):
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "data is missing")
    try:
        return _json(b64decode(encoded, validate=True), codec)
    except ValueError:
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "data_base64 is not base64") from None


def _check_binary_envelope(named: Mapping[str, bytes]) -> None:
    """The headers of a CloudEvent in binary mode; the value is the data itself."""
    _check_attributes(
        {
            name: (named.get(f"ce_{name}") or b"").decode(errors="replace")
            for name in ("specversion", "id", "source", "type")
        }
    )
    content_type = named.get("content-type")
    if content_type is not None and not _JSON_TYPE.fullmatch(content_type.decode(errors="replace")):
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "content-type is not JSON")


def _check_attributes(attributes: Mapping[str, object]) -> None:
    if attributes["specversion"] != "1.0":
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "specversion must be 1.0")
    for name, value in attributes.items():
        if not isinstance(value, str) or not value:
            raise _Broken(Flaw.NOT_A_CLOUD_EVENT, f"{name} must be a string that is not empty")


def _trace_of(value: object) -> str | None:
    """The value if it is a traceparent: what comes from outside is not copied into a log unchecked."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return text if isinstance(text, str) and _TRACE.fullmatch(text) else None


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"
