"""What the value and the headers of a Kafka record mean.

Three forms: the event itself, a Debezium change record of webhook_events (its envelope, or flattened), and
`{"channel", "event_id"}`. Each may be wrapped: in a CloudEvents 1.0 envelope (structured JSON, or binary with ce_
headers), in the {"schema", "payload"} of Kafka Connect's JSON converter, in a JSON string, and behind the bytes of a
schema registry. schemas/events/asyncapi.yaml has examples. With a header "provider" the value is none of these, but the
body of a webhook, byte for byte.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from consumer.domain.json_texts import Written
from consumer.domain.providers import BOT, PROVIDERS
from consumer.domain.records import UNAVAILABLE, Codec, Flaw, Flawed, Headers, Meaning, Skip
from consumer.domain.traces import trace_of
from consumer.domain.webhook import Body, Intake

_JSON_TYPE = re.compile(r"(application|text)/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_REFERENCE = {"channel", "event_id"}
_WRAPPER = {"schema", "payload"}
_ATTRIBUTES = ("specversion", "id", "source", "type")
_CHANGE = {"before", "after", "op"}
_FLATTENED = {"__op", "__deleted"}
_MARKS = _CHANGE | _FLATTENED | {"specversion"}
_DATABASES_OWN = {"id", "created_at", "routed_at"}
"""Columns that only the database fills in: what has all of them is a row."""
_TIMES = {"ts_ms", "ts_us", "ts_ns"}
_TRANSACTION = {"status", "id", "event_count", "data_collections"} | _TIMES
_SIGNAL = {"id", "type", "data"}
_TEXTS = ("channel", "type", "event_id", "author_id", "author_name", "content", "post_id")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAUSIBLE = (631_152_000, 4_102_444_800)
"""1990 and 2100 in seconds since 1970: in other units that is other numbers, so that a number's unit can be told."""
_MOST_WRAPPINGS = 8
_FRAMES = (5, 9)
"""Bytes in front of the value: a zero byte and an id of four bytes, or of eight in some registries."""


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
    reading = _Reading(codec, unavailable)
    if named:
        reading.trace = trace_of(named.get("traceparent") or named.get("ce_traceparent"))
    try:
        return reading.whole(value, named, largest), reading.trace
    except _Broken as broken:
        return broken.flawed, reading.trace


class _Broken(Exception):
    def __init__(self, flaw: Flaw, reason: str) -> None:
        super().__init__(reason)
        self.flawed = Flawed(flaw=flaw, reason=reason)


class _Reading:
    """Of one record: what is found on the way from its value to its meaning."""

    __slots__ = ("codec", "is_enveloped", "op", "trace", "unavailable")

    def __init__(self, codec: Codec, unavailable: str) -> None:
        self.codec = codec
        self.unavailable = unavailable
        self.trace: str | None = None
        self.op: object = None
        """Of a change record, if it stands outside of it: in a header or in an envelope."""
        self.is_enveloped = False

    def whole(self, value: bytes | None, named: Mapping[str, bytes], largest: int) -> Meaning:
        """The meaning of a record with this value and these headers."""
        if value is None:
            return Skip.TOMBSTONE
        if len(value) > largest:
            raise _Broken(Flaw.TOO_BIG, f"{len(value):,} bytes are more than the {largest:,} that are taken")
        if named:
            if "provider" in named:
                return _body(value, named)
            if "ce_specversion" in named:
                _check_binary_envelope(named)
            self.op = self._text_of(named.get("ce_iodebeziumop")) or self._text_of(named.get("__op"))
        try:
            document = self.codec.loads(value)
        except ValueError as error:
            document, value = self._unframed(value, error)
        if type(document) is dict and "event_id" in document and "channel" in document and _MARKS.isdisjoint(document):
            return self._event(document, value.replace(b"\n", b" ").decode())
        return self._unwrapped(document, value.decode())

    def _text_of(self, header: bytes | None) -> object:
        """A header's text; Connect writes it as such, or as JSON."""
        if not header:
            return None
        try:
            found = self.codec.loads(header)
        except ValueError:
            return header.decode(errors="replace")
        return found.get("payload") if isinstance(found, dict) else found

    def _unframed(self, value: bytes, error: ValueError) -> tuple[object, bytes]:
        """What is behind the bytes that a schema registry's serializer puts in front; no JSON begins like them."""
        if value[:1] != b"\0":
            raise _not_json(value, error)
        for size in _FRAMES:
            try:
                document = self.codec.loads(value[size:])
            except ValueError:
                continue
            if isinstance(document, dict | str | None):
                return document, value[size:]
        reason = "not JSON: begins with a zero byte, as values framed for a schema registry do, with no JSON behind it"
        raise _Broken(Flaw.NOT_JSON, reason)

    def _unwrapped(
        self,
        document: Any,  # noqa: ANN401 - as the parser has it
        text: str,
    ) -> Meaning:
        """The meaning of what is inside of all wrappings."""
        written = Written(text)
        for _ in range(_MOST_WRAPPINGS):
            if isinstance(document, dict):
                keys = document.keys()
                if keys == _WRAPPER and isinstance(document["schema"], dict | None):
                    document, written = document["payload"], written.of("payload")
                elif "specversion" in keys and not self.is_enveloped:
                    self.is_enveloped = True
                    document, written = self._data_of_envelope(document, written)
                else:
                    return self._object(document, written)
            elif isinstance(document, str):
                document, written = self._json_in(document), Written(document)
            elif document is None:
                return Skip.TOMBSTONE
            else:
                break
        raise _Broken(Flaw.NOT_AN_EVENT, f"must be an object, not {_kind(document)}")

    def _json_in(self, text: str) -> object:
        try:
            return self.codec.loads(text)
        except ValueError:
            raise _Broken(Flaw.NOT_AN_EVENT, "must be an object, not a string without JSON in it") from None

    def _data_of_envelope(self, envelope: Mapping[str, Any], written: Written) -> tuple[object, Written]:
        """What a CloudEvents envelope in structured mode carries."""
        self.trace = self.trace or trace_of(envelope.get("traceparent"))
        self.op = envelope.get("iodebeziumop")
        _check_attributes({name: envelope.get(name) for name in _ATTRIBUTES})
        content_type = envelope.get("datacontenttype")
        if content_type is not None and not (isinstance(content_type, str) and _JSON_TYPE.fullmatch(content_type)):
            raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "datacontenttype is not JSON")
        if "data" in envelope:
            return envelope["data"], written.of("data")
        encoded = envelope.get("data_base64")
        if not isinstance(encoded, str):
            raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "data is missing")
        try:
            decoded = b64decode(encoded, validate=True)
        except ValueError:
            raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "data_base64 is not base64") from None
        try:
            return self.codec.loads(decoded), Written(decoded.decode())
        except ValueError as error:
            raise _not_json(decoded, error) from None

    def _object(self, document: dict[str, Any], written: Written) -> Meaning:
        """The meaning of an object that wraps nothing and is not plainly an event."""
        keys = document.keys()
        if not keys.isdisjoint(_FLATTENED) or (keys >= _REFERENCE and "op" in keys):  # the prefix "__" can be changed
            if document.get("__deleted") in ("true", True):
                return Skip.DELETE
            op = document.get("__op") or document.get("op") or self.op or _op_of(document)
            return self._change(op, document, written)
        if not keys.isdisjoint(_CHANGE):
            op = document.get("op") or self.op
            if op is None and self.is_enveloped:  # Debezium may be told to leave its own attributes out
                op = _op_of(document.get("after"), document.get("before"))
            return self._change(op, document.get("after"), written.of("after"))
        if "ts_ms" in keys and keys <= _TIMES:
            return Skip.HEARTBEAT
        if document.get("status") in ("BEGIN", "END") and keys <= _TRANSACTION:
            return Skip.TRANSACTION
        return self._event(document, written.line(document, self.codec.loads, self.codec.dumps))

    def _event(self, document: dict[str, Any], line: str) -> Meaning:
        """The meaning of what should be an event, or its name, or else a row without anything that marks it as such."""
        if self.op is not None and (skip := _skip(self.op, document)):
            return skip
        problem = self.codec.problem(document, line)
        if self.op is not None or ("routed_at" in document and document.keys() >= _DATABASES_OWN):
            if problem is not None or self.unavailable in map(document.get, _TEXTS):
                return self._change(self.op or _op_of(document), document, Written(line))
        elif problem is not None:
            raise _Broken(Flaw.NOT_AN_EVENT, problem)
        named_only = len(document) == len(_REFERENCE)
        return Intake(channel=document["channel"], event_id=document["event_id"], line=None if named_only else line)

    def _change(self, op: object, row: object, written: Written) -> Meaning:
        """The meaning of a change of webhook_events. The row here, if there is one, is at least as new, and is kept."""
        if skip := _skip(op, row):
            return skip
        if op is None:
            raise _Broken(Flaw.NOT_A_CHANGE, "op is missing")
        if op not in ("c", "r", "u"):
            raise _Broken(Flaw.NOT_A_CHANGE, "op must be c, r, u, d, t or m")
        if not isinstance(row, dict):
            raise _Broken(Flaw.NOT_A_CHANGE, f"after must be an object, not {_kind(row)}")
        event = {name: row[name] for name in _TEXTS if row.get(name) is not None}
        channel, event_id = event.get("channel"), event.get("event_id")
        if channel is None and row.keys() == _SIGNAL:  # of the table by which Debezium is told what to do
            return Skip.NOTHING_TO_ROUTE
        if self.unavailable in (channel, event_id):
            raise _Broken(Flaw.NOT_AN_EVENT, "the connector does not have its channel and event_id")
        line = None
        if self.unavailable in event.values() or row.get("raw_payload") == self.unavailable:
            problem = self._problem_of({name: event[name] for name in _REFERENCE if name in event})
        else:
            line, problem = self._line_of(event, row, written)
        if _is_name(channel) and _is_name(event_id):
            if problem is not None:  # the table takes more than the schema does: what was read from it is there
                line = None
            return Intake(channel=channel, event_id=event_id, line=line, keep=True, otherwise=problem)
        raise _Broken(Flaw.NOT_AN_EVENT, problem or "channel and event_id must be strings")

    def _problem_of(self, event: dict[str, Any]) -> str | None:
        try:
            return self.codec.problem(event, self.codec.dumps(event))
        except ValueError as error:
            return str(error)

    def _line_of(self, event: dict[str, Any], row: Mapping[str, Any], written: Written) -> tuple[str, str | None]:
        """The row as an event's line, and what is wrong with it. jsonb comes as text, and goes on as it is."""
        try:
            whole = event | {"event_date": _time(row.get("event_date"))}
            line = self.codec.dumps(whole)
        except ValueError as error:
            return "", str(error)
        payload = row.get("raw_payload")
        if isinstance(payload, str):
            text = payload.replace("\n", " ")
            try:
                payload = self.codec.loads(payload)
            except ValueError as error:
                reason = f"raw_payload is not JSON: {error}"
                if not payload.lstrip().startswith(("{", "[")):
                    reason += "; what a connector writes for a value that it does not have belongs into "
                    reason += "KAFKA_UNAVAILABLE_VALUE"
                return "", reason
        else:
            text = "null"
            if payload is not None:
                text = written.of("raw_payload").line(payload, self.codec.loads, self.codec.dumps)
        line = f'{line[:-1]},"raw_payload":{text}}}'
        return line, self.codec.problem(whole | {"raw_payload": payload}, line)


def _skip(op: object, row: object) -> Skip | None:
    """Why a change is skipped, if it is."""
    if op in ("d", "t"):
        return Skip.DELETE
    if op == "m":
        return Skip.NOTHING_TO_ROUTE
    is_done = isinstance(row, dict) and (row.get("routed_at") is not None or row.get("parked_until") is not None)
    return Skip.NOTHING_TO_ROUTE if op == "u" and is_done else None


def _op_of(row: object, before: object = None) -> str:
    """Of a change that does not say it. A parked row is an update's: to try it again would park it again, for ever."""
    if not isinstance(row, dict):
        return "d"
    return "r" if before is None and row.get("parked_until") is None else "u"


def _is_name(value: object) -> TypeGuard[str]:
    """Whether the table can be asked for it."""
    return isinstance(value, str) and "\0" not in value


def _body(value: bytes, named: Mapping[str, bytes]) -> Body:
    """The body of a webhook; what is wrong with it, if anything, is found out when it is taken apart."""
    provider = named["provider"].decode(errors="replace").strip().lower()
    account = named.get("account", b"").decode(errors="replace").strip()
    if provider not in PROVIDERS:
        raise _Broken(Flaw.NOT_AN_EVENT, f"the header provider must be one of {', '.join(PROVIDERS)}")
    if provider != "telegram":
        return Body(provider=provider, account=None, content=value)
    if not account:
        raise _Broken(Flaw.NOT_AN_EVENT, "a body of Telegram needs a header account, with the id of the bot")
    if not BOT.fullmatch(account):
        raise _Broken(Flaw.NOT_AN_EVENT, "the header account must be the id of the bot, which is a number")
    return Body(provider=provider, account=account, content=value)


def _not_json(value: bytes, error: ValueError) -> _Broken:
    if not value.strip():
        return _Broken(Flaw.NOT_JSON, "the value is empty")
    return _Broken(Flaw.NOT_JSON, f"not JSON: {error}")


def _time(value: object) -> object:
    """A time as the schema wants it. Debezium writes timestamptz as text, and timestamp as a number since 1970.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    unit = next((unit for unit in (1, 10**3, 10**6, 10**9) if _PLAUSIBLE[0] <= value // unit < _PLAUSIBLE[1]), None)
    if unit is None:
        raise ValueError("event_date is a number that is no time of these years, whatever its unit is")
    return (_EPOCH + timedelta(microseconds=value * 10**6 // unit)).isoformat()


def _check_binary_envelope(named: Mapping[str, bytes]) -> None:
    """The headers of a CloudEvent in binary mode; the value is the data itself."""
    _check_attributes({name: (named.get(f"ce_{name}") or b"").decode(errors="replace") for name in _ATTRIBUTES})
    content_type = named.get("content-type")
    if content_type is not None and not _JSON_TYPE.fullmatch(content_type.decode(errors="replace")):
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "content-type is not JSON")


def _check_attributes(attributes: Mapping[str, object]) -> None:
    if attributes["specversion"] != "1.0":
        raise _Broken(Flaw.NOT_A_CLOUD_EVENT, "specversion must be 1.0")
    for name, value in attributes.items():
        if not isinstance(value, str) or not value:
            raise _Broken(Flaw.NOT_A_CLOUD_EVENT, f"{name} must be a string that is not empty")


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
