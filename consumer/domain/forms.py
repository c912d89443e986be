"""What the value and the headers of a Kafka record mean.

Three forms: the event itself, a Debezium change record of webhook_events (its envelope, or flattened), and
`{"channel", "event_id"}`. Each may be wrapped: in a CloudEvents 1.0 envelope (structured JSON, or binary with ce_
headers), in the {"schema", "payload"} of Kafka Connect's JSON converter, in a JSON string, and behind the five bytes of
a schema registry. schemas/events/asyncapi.yaml has examples. With a header "provider" the value is none of these, but
the body of a webhook, byte for byte.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.domain.json_texts import members
from consumer.domain.providers import PROVIDERS
from consumer.domain.records import Codec, Flaw, Flawed, Headers, Meaning, Skip
from consumer.domain.webhook import Body, Intake

_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_TYPE = re.compile(r"(application|text)/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
# A number that a parser may not give back as it was: it has a fraction, an exponent, or more digits than 64 bits hold.
_INEXACT = re.compile(r"[:\[,]\s*-?(?:\d+[.eE]|\d{19})")
_REFERENCE = {"channel", "event_id"}
_ATTRIBUTES = ("specversion", "id", "source", "type")
_CHANGE = {"before", "after", "op"}
_FLATTENED = {"__op", "__deleted"}
_TRANSACTION = {"status", "id", "event_count", "data_collections"}
_TEXTS = ("channel", "type", "event_id", "author_id", "author_name", "content", "post_id")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium writes, unless told otherwise, for a large value that a change left alone and the log does not hold."""
_MOST_WRAPPINGS = 5


def interpret(
    value: bytes | None, headers: Headers, codec: Codec, *, largest: int, unavailable: str = UNAVAILABLE
) -> tuple[Meaning, str | None]:
    """What a record means, and the traceparent that it carries.

    Args:
        value: as it was read.
        headers: as they were read; names may repeat, the last one counts.
        codec: how JSON is read and written.
        largest: a value of more bytes is not parsed.
        unavailable: what stands in change records for a value that the connector does not have.
    """
    named = {name.lower(): text or b"" for name, text in headers} if headers else {}
    trace = _trace_of(named.get("traceparent") or named.get("ce_traceparent")) if named else None
    try:
        meaning, inner_trace = _whole(value, named, codec, largest, unavailable)
    except _Broken as broken:
        return broken.flawed, trace
    return meaning, trace or inner_trace


class _Broken(Exception):
    def __init__(self, flaw: Flaw, reason: str) -> None:
        super().__init__(reason)
        self.flawed = Flawed(flaw=flaw, reason=reason)


def _whole(
    value: bytes | None, named: Mapping[str, bytes], codec: Codec, largest: int, unavailable: str
) -> tuple[Meaning, str | None]:
    if value is None:
        return Skip.TOMBSTONE, None
    if len(value) > largest:
        raise _Broken(Flaw.TOO_BIG, f"{len(value):,} bytes are more than the {largest:,} that are taken")
    if "provider" in named:
        return _body(value, named), None
    if "ce_specversion" in named:
        _check_binary_envelope(named)
    # Behind a zero byte and the four of an id, as a schema registry has it; no JSON begins like that.
    is_framed = value[:1] == b"\x00" and len(value) > 5
    content = value[5:] if is_framed else value
    try:
        document = _json(content, codec)
    except _Broken as broken:
        if not is_framed:
            raise
        framed = f"begins with a zero byte, as values framed for a schema registry do, but is {broken.flawed.reason}"
        raise _Broken(Flaw.NOT_JSON, framed) from None
    return _unwrapped(document, content.decode(), codec, unavailable)


def _body(value: bytes, named: Mapping[str, bytes]) -> Body:
    """The body of a webhook; what is wrong with it, if anything, is found out when it is taken apart."""
    provider = named["provider"].decode(errors="replace").strip().lower()
    account = named.get("account", b"").decode(errors="replace").strip() or None
    if provider not in PROVIDERS:
        raise _Broken(Flaw.NOT_AN_EVENT, f"the header provider must be one of {', '.join(PROVIDERS)}")
    if provider == "telegram" and account is None:
        raise _Broken(Flaw.NOT_AN_EVENT, "a body of Telegram needs a header account, with the id of the bot")
    return Body(provider=provider, account=account if provider == "telegram" else None, content=value)


def _json(value: bytes | str, codec: Codec) -> Any:  # noqa: ANN401 - as the parser has it
    try:
        return codec.loads(value)
    except ValueError as error:
        if not value.strip():
            raise _Broken(Flaw.NOT_JSON, "the value is empty") from None
        raise _Broken(Flaw.NOT_JSON, f"not JSON: {error}") from None


def _unwrapped(  # the document is what a parser gives
    document: Any,  # noqa: ANN401
    text: str,
    codec: Codec,
    unavailable: str,
) -> tuple[Meaning, str | None]:
    """The meaning of what is inside of all wrappings.

    Args:
        document: what was read from `text`.
        text: as it was written; "" where it is not at hand, and writing the document gives the same.
        codec: see `interpret`.
        unavailable: see `interpret`.
    """
    trace = op = None
    is_enveloped = False
    for _ in range(_MOST_WRAPPINGS):
        match document:
            case None:
                return Skip.TOMBSTONE, trace
            case str():
                document, text = _json(document, codec), document
            case {"schema": None | dict(), "payload": _, **others} if not others:
                document, text = _member(document, text, "payload", codec)
            case {"specversion": _} if not is_enveloped:
                is_enveloped = True
                trace, op = _trace_of(document.get("traceparent")), document.get("iodebeziumop")
                document, text = _data_of_envelope(document, text, codec)
            case dict():
                return _meaning(document, text, codec, unavailable, op), trace
            case _:
                break
    raise _Broken(Flaw.NOT_AN_EVENT, f"must be an object, not {_kind(document)}")


def _member(document: Mapping[str, Any], text: str, name: str, codec: Codec) -> tuple[Any, str]:
    """One member of an object, with its text where numbers make a difference."""
    return document[name], members(text, codec.loads)[name] if _INEXACT.search(text) else ""


def _meaning(document: dict[str, Any], text: str, codec: Codec, unavailable: str, op: object) -> Meaning:
    """The meaning of an object that wraps nothing; `op`: of a change record whose envelope has it."""
    if document.keys() & _CHANGE:
        return _change(document.get("op", op), document.get("after"), codec, unavailable)
    if document.keys() & _FLATTENED:
        return _flattened(document, codec, unavailable)
    if document.keys() == {"ts_ms"}:
        return Skip.HEARTBEAT
    if document.get("status") in ("BEGIN", "END") and document.keys() - {"ts_ms"} <= _TRANSACTION:
        return Skip.TRANSACTION
    # A line feed is white space, since strings have it escaped: the text stays what it was.
    line = text.replace("\n", " ") if text else codec.dumps(document)
    if problem := codec.problem(document, line):
        raise _Broken(Flaw.NOT_AN_EVENT, problem)
    named_only = document.keys() == _REFERENCE
    return Intake(channel=document["channel"], event_id=document["event_id"], line=None if named_only else line)


def _change(op: object, row: object, codec: Codec, unavailable: str) -> Meaning:
    """The meaning of a change of webhook_events. The row here, if there is one, is at least as new, and is kept."""
    match op:
        case "d" | "t":
            return Skip.DELETE
        case "m":
            return Skip.NOTHING_TO_ROUTE
        case "c" | "r" | "u":
            pass
        case None:
            raise _Broken(Flaw.NOT_A_CHANGE, "op is missing")
        case _:
            raise _Broken(Flaw.NOT_A_CHANGE, "op must be c, r, u, d, t or m")
    if not isinstance(row, dict):
        raise _Broken(Flaw.NOT_A_CHANGE, f"after must be an object, not {_kind(row)}")
    if op == "u" and (row.get("routed_at") is not None or row.get("parked_until") is not None):
        return Skip.NOTHING_TO_ROUTE
    event: dict[str, Any] = {name: row[name] for name in _TEXTS if row.get(name) is not None}
    line = problem = None
    if unavailable not in (row.get(name) for name in (*_TEXTS, "raw_payload")):
        line, problem = _line_of(event, row, codec)
    else:
        named = {name: event[name] for name in _REFERENCE if name in event}
        problem = codec.problem(named, codec.dumps(named))
    if problem is None:
        return Intake(channel=event["channel"], event_id=event["event_id"], line=line, keep=True)
    if not all(_is_name(event.get(name)) for name in _REFERENCE) or event["event_id"] == unavailable:
        raise _Broken(Flaw.NOT_AN_EVENT, problem)
    # The table takes more than the schema does: what was read from it is there, as a rule.
    return Intake(channel=event["channel"], event_id=event["event_id"], line=None, keep=True, otherwise=problem)


def _line_of(event: dict[str, Any], row: Mapping[str, Any], codec: Codec) -> tuple[str | None, str | None]:
    """The row as an event's line, or what is wrong with it. jsonb comes as text, and goes on as it is."""
    try:
        event = event | {"event_date": _time(row.get("event_date"))}
        payload = row.get("raw_payload")
        if not isinstance(payload, str):
            event["raw_payload"] = payload
            line = codec.dumps(event)
        else:
            line = codec.dumps(event)[:-1] + ',"raw_payload":' + payload.replace("\n", " ") + "}"
            event["raw_payload"] = _json(payload, codec)
    except _Broken as broken:
        return None, f"{'raw_payload' if 'event_date' in event else 'event_date'}: {broken.flawed.reason}"
    return line, codec.problem(event, line)


def _flattened(row: Mapping[str, Any], codec: Codec, unavailable: str) -> Meaning:
    """The meaning of what Debezium's ExtractNewRecordState makes of a change record."""
    if row.get("__deleted") in ("true", True):
        return Skip.DELETE
    return _change(row.get("__op", "r"), row, codec, unavailable)


def _is_name(value: object) -> bool:
    """Whether the table can be asked for it."""
    return isinstance(value, str) and "\0" not in value


def _time(value: object) -> object:
    """A time as the schema wants it. Debezium writes timestamptz as text, and timestamp as a number since 1970."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    unit = next((unit for unit, least in ((10**9, 10**17), (10**6, 10**14), (10**3, 10**11)) if abs(value) >= least), 1)
    try:
        return (_EPOCH + timedelta(microseconds=value * 10**6 // unit)).isoformat()
    except OverflowError:
        raise _Broken(Flaw.NOT_A_CHANGE, "out of range") from None


def _data_of_envelope(envelope: Mapping[str, Any], text: str, codec: Codec) -> tuple[object, str]:
    """What a CloudEvents envelope in structured mode carries."""
    _check_attributes({name: envelope.get(name) for name in _ATTRIBUTES})
    content_type = envelope.get("datacontenttype")
    if content_type is not None and not (isinstance(content_type, str) and _JSON_TYPE.fullmatch(content_type)):
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "datacontenttype is not JSON")
    if "data" in envelope:
        return _member(envelope, text, "data", codec)
    encoded = envelope.get("data_base64")
    if not isinstance(encoded, str):
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "data is missing")
    try:
        decoded = b64decode(encoded, validate=True)
    except ValueError:
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "data_base64 is not base64") from None
    return _json(decoded, codec), decoded.decode()


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
