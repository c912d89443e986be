"""The forms that other people's tools give an event: what each of them means."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.adapters.kafka.decoding import codec
from consumer.domain.forms import interpret
from consumer.domain.json_texts import cut
from consumer.domain.records import Flaw, Flawed, Meaning, Skip
from consumer.domain.webhook import Intake

EVENT = {"channel": "instagram", "event_id": "m_1", "author_id": "a_1", "content": "Hello"}
ROW: dict[str, Any] = {
    **EVENT,
    "id": "0190",
    "created_at": "2026-01-31T09:30:01Z",
    "routed_at": None,
    "parked_until": None,
    "normalized": None,
    "raw_payload": '{"n": 1.10}',
}
DONE: dict[str, Any] = {"routed_at": "2026-01-01T00:00:00Z"}
BIG = "184467440737095516161234"


def meaning(value: Any, **options: Any) -> Meaning:
    """Of a value that is bytes, or is to be written as JSON."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return interpret(text, (), codec(), largest=100_000, **options)[0]


def intake(value: Any, **options: Any) -> Intake:
    """As `meaning`, of one that is an intake."""
    found = meaning(value, **options)
    assert isinstance(found, Intake), found
    return found


def change(**row: Any) -> dict[str, Any]:
    """A change record of Debezium."""
    return {"before": None, "after": ROW | row, "op": "c", "ts_ms": 1}


def cloud_event(data: object, **more: Any) -> dict[str, Any]:
    """An envelope as Debezium's own converter makes it."""
    return {
        "id": "name:x;lsn:1;txId:2",
        "source": "/debezium/postgresql/x",
        "specversion": "1.0",
        "type": "io.debezium.connector.postgresql.DataChangeEvent",
        "datacontenttype": "application/json",
        "iodebeziumop": "c",
        "data": data,
        **more,
    }


class TestWrappings:
    """What stands around an event changes nothing."""

    @pytest.mark.parametrize(
        "wrapped",
        [
            {"schema": None, "payload": EVENT},
            {"schema": {"type": "struct", "fields": []}, "payload": EVENT},
            json.dumps(EVENT),
            {"schema": {"type": "string", "optional": False}, "payload": json.dumps(EVENT)},
            b"\x00\x00\x00\x00\x07" + json.dumps(EVENT).encode(),
            b"\x00" + bytes(7) + b"\x07" + json.dumps(EVENT).encode(),
            b"\x00\x00\x00\x00\x07" + json.dumps({"schema": None, "payload": json.dumps(json.dumps(EVENT))}).encode(),
            cloud_event(EVENT),
            cloud_event(json.dumps(EVENT)),
            cloud_event({"schema": {}, "payload": EVENT}),
            {"schema": {}, "payload": cloud_event({"schema": {}, "payload": json.dumps(EVENT)})},
        ],
    )
    def test_an_event_in_it_is_that_event(self, wrapped: object) -> None:
        """And its line is the event's."""
        found = intake(wrapped)
        assert (found.channel, found.event_id, found.keep) == ("instagram", "m_1", False)
        assert json.loads(found.line or "") == EVENT

    @pytest.mark.parametrize("number", [BIG, "1.10", "-0.0", "1E5", "12345678901234567890.5", "-9223372036854775809"])
    @pytest.mark.parametrize(
        "wrapping",
        ["plain", "schema", "cloud event", "base64", "string", "change", "change with an object", "flattened", "row",
         "change in a cloud event", "framed"],
    )  # fmt: skip
    def test_numbers_keep_their_text(self, number: str, wrapping: str) -> None:
        """On every road: what Postgres gets is what was sent."""
        event = '{"channel":"instagram","event_id":"m_1","raw_payload":{"n":' + number + "}}"
        payload = '{"n": ' + number + "}"
        envelope = '{"specversion":"1.0","id":"1","source":"s","type":"t",'
        with_object = json.dumps(change(raw_payload=0)).replace('"raw_payload": 0', '"raw_payload": ' + payload)
        wrapped = {
            "plain": event,
            "schema": '{"schema":null,"payload":' + event + "}",
            "cloud event": envelope + '"data":' + event + "}",
            "base64": envelope + '"data_base64":"' + b64encode(event.encode()).decode() + '"}',
            "string": json.dumps(event),
            "change": json.dumps(change(raw_payload=payload)),
            "change with an object": with_object,
            "change in a cloud event": envelope
            + '"iodebeziumop":"c","data":{"schema":{},"payload":'
            + with_object
            + "}}",
            "flattened": json.dumps({**ROW, "raw_payload": payload, "__op": "c"}),
            "row": json.dumps({**ROW, "raw_payload": payload}),
            "framed": "\x00\x00\x00\x00\x07" + event,
        }[wrapping]
        line = intake(wrapped.encode()).line or ""
        assert f":{number}}}" in line.replace(": ", ":")

    @pytest.mark.parametrize(
        ("text", "flaw", "said"),
        [
            (b'"event"', Flaw.NOT_AN_EVENT, "must be an object, not a string"),
            (b'""', Flaw.NOT_AN_EVENT, "must be an object, not a string"),
            (b'{"schema":{},"payload":7}', Flaw.NOT_AN_EVENT, "must be an object, not a number"),
            (b'{"schema":{},"payload":{"channel":"x","event_id":"1","autor":"a"}}', Flaw.NOT_AN_EVENT, "unknown field"),
            (b"\x00", Flaw.NOT_JSON, "zero byte"),
            (b"\x00\x00\x00\x00\x07", Flaw.NOT_JSON, "zero byte"),
            (b"\x00\x00\x00\x00\x077", Flaw.NOT_JSON, "zero byte"),
            (b"\xff\xfe{\x00}\x00", Flaw.NOT_JSON, "not JSON"),
        ],
    )
    def test_what_is_in_none_is_said(self, text: bytes, flaw: Flaw, said: str) -> None:
        """In the words that fit what is found inside."""
        found = meaning(text)
        assert isinstance(found, Flawed)
        assert found.flaw is flaw
        assert said in found.reason

    def test_a_trace_of_an_envelope_comes_with_the_flaw_inside(self) -> None:
        """It leads to whoever sent it."""
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        value = json.dumps(cloud_event({"a": 1}, traceparent=trace)).encode()
        assert interpret(value, (), codec(), largest=10_000)[1] == trace

    def test_behind_a_registrys_bytes_is_no_json(self) -> None:
        """Avro and Protobuf are still not read."""
        found = meaning(b"\x00\x00\x00\x00\x07\x0aab")
        assert isinstance(found, Flawed)
        assert found.flaw is Flaw.NOT_JSON
        assert "zero byte" in found.reason

    def test_what_is_nested_deeply_comes_through(self) -> None:
        """What a parser reads it may be unable to write: 1,024 levels and 254 for ours."""
        deep = '{"a":' * 500 + "1" + "}" * 500
        event = '{"channel":"instagram","event_id":"m_1","raw_payload":' + deep + "}"
        for text in (
            event,
            '{"schema":null,"payload":' + event + "}",
            json.dumps(change(raw_payload=deep)),
            json.dumps(change(raw_payload=0)).replace('"raw_payload": 0', '"raw_payload": ' + deep),
        ):
            assert deep in (intake(text.encode()).line or "")

    def test_strings_in_strings_end(self) -> None:
        """However often somebody wraps one."""
        text: object = EVENT
        for _ in range(20):
            text = json.dumps(text)
        assert isinstance(meaning(text), Flawed)


class TestSkipped:
    """Records with which nothing is wrong."""

    @pytest.mark.parametrize(
        ("value", "skip"),
        [
            (b"null", Skip.TOMBSTONE),
            ({"schema": None, "payload": None}, Skip.TOMBSTONE),
            ({"ts_ms": 1700000000000}, Skip.HEARTBEAT),
            ({"schema": {}, "payload": {"ts_ms": 1700000000000}}, Skip.HEARTBEAT),
            ({"status": "BEGIN", "id": "571", "event_count": None, "data_collections": None}, Skip.TRANSACTION),
            (
                {"status": "END", "id": "571", "event_count": 2, "data_collections": [{"event_count": 2}], "ts_ms": 1},
                Skip.TRANSACTION,
            ),
            ({"schema": {}, "payload": {"status": "BEGIN", "id": "571:3", "ts_ms": 1}}, Skip.TRANSACTION),
            (b"\x00\x00\x00\x00\x07null", Skip.TOMBSTONE),
            (json.dumps("null").encode(), Skip.TOMBSTONE),
            (cloud_event(None), Skip.TOMBSTONE),
            (cloud_event({"before": ROW, "after": None}, iodebeziumop="d"), Skip.DELETE),
            (cloud_event({"before": None, "after": None}, iodebeziumop="t"), Skip.DELETE),
            (cloud_event({"before": ROW, "after": None}, iodebeziumop=None), Skip.DELETE),
            (cloud_event({"before": ROW, "after": ROW | DONE}, iodebeziumop="u"), Skip.NOTHING_TO_ROUTE),
            (cloud_event({**ROW, **DONE}, iodebeziumop="u"), Skip.NOTHING_TO_ROUTE),
            (
                {"op": "m", "ts_ms": 1, "source": {}, "message": {"prefix": "x", "content": "eA=="}},
                Skip.NOTHING_TO_ROUTE,
            ),
            (
                {"before": None, "after": {"id": "1", "type": "execute-snapshot", "data": "{}"}, "op": "c"},
                Skip.NOTHING_TO_ROUTE,
            ),
            ({**ROW, "__deleted": "true"}, Skip.DELETE),
            ({**ROW, "__op": "d"}, Skip.DELETE),
            ({**ROW, "__deleted": True}, Skip.DELETE),
            ({**ROW, **DONE, "__op": "u"}, Skip.NOTHING_TO_ROUTE),
        ],
    )
    def test_it_is_skipped(self, value: object, skip: Skip) -> None:
        """And counted under that name."""
        assert meaning(value) is skip


class TestChanges:
    """Rows of webhook_events, as a connector tells them."""

    @pytest.mark.parametrize(
        "record",
        [
            cloud_event({"before": None, "after": ROW}),
            cloud_event({"schema": {}, "payload": {"before": None, "after": ROW}}),
            {**ROW, "__op": "c", "__deleted": "false"},
            {**ROW, "__deleted": "false"},
            {
                "schema": {},
                "payload": {**ROW, "__op": "r", "__source_ts_ms": 5, "__lsn": 7, "__table": "webhook_events"},
            },
            ROW,
            cloud_event(ROW),
            cloud_event({"before": None, "after": ROW}, iodebeziumop=None),
            b"\x00\x00\x00\x00\x07" + json.dumps(change()).encode(),
            json.dumps(change()),
        ],
    )
    def test_other_envelopes_hold_the_same_row(self, record: object) -> None:
        """Debezium's own CloudEvents, and what its flattening leaves."""
        found = intake(record)
        assert found.keep
        assert found.line == intake(change()).line

    @pytest.mark.parametrize(
        ("column", "value", "said"),
        [
            ("event_date", "infinity", "event_date"),
            ("event_date", "-0044-03-15T00:00:00Z", "event_date"),
            ("event_date", "+20000-01-01T00:00:00Z", "event_date"),
            ("event_date", -9 * 10**16, "event_date"),
            ("raw_payload", "[1, 2]", "raw_payload"),
            ("raw_payload", '"text"', "raw_payload"),
            ("raw_payload", "7", "raw_payload"),
            ("raw_payload", '{"n": 1e400}', "raw_payload"),
            ("raw_payload", '{"n": 1' + "0" * 400 + "}", "raw_payload"),
            ("raw_payload", '{"a":' * 2000 + "1" + "}" * 2000, "raw_payload"),
            ("raw_payload", {"a": "\0"}, "raw_payload"),
            ("raw_payload", "__gone__", "KAFKA_UNAVAILABLE_VALUE"),
            ("content", {"a": 1}, "content"),
            ("author_id", "x" * 600, "author_id"),
            ("channel", "c" * 100, "channel"),
            ("event_id", "x" * 600, "event_id"),
            ("event_id", "", "event_id"),
        ],
    )
    def test_a_row_that_the_schema_refuses_is_named(self, column: str, value: object, said: str) -> None:
        """The table takes more than the schema does; only if the row is not there is the record at fault."""
        found = intake(change(**{column: value}))
        assert found.line is None
        assert (found.channel, found.event_id) == (
            value if column == "channel" else "instagram",
            value if column == "event_id" else "m_1",
        )
        assert said in (found.otherwise or "")

    @pytest.mark.parametrize("event_id", [None, 7, "a\0b"])
    def test_without_a_name_it_is_a_flaw(self, event_id: object) -> None:
        """There is nothing that the table could be asked for."""
        assert isinstance(meaning(change(event_id=event_id)), Flawed)

    def test_a_placeholder_of_ones_own(self) -> None:
        """It names the event, and never becomes a text."""
        for record in (change(content="__gone__"), change(raw_payload="__gone__"), ROW | {"content": "__gone__"}):
            found = intake(record, unavailable="__gone__")
            assert (found.line, found.event_id, found.keep, found.otherwise) == (None, "m_1", True, None)
        assert intake(change(content="__gone__")).line is not None
        assert isinstance(meaning(change(event_id="__gone__"), unavailable="__gone__"), Flawed)
        assert intake({**EVENT, "content": "__gone__"}, unavailable="__gone__").line is not None, "no change record"

    @pytest.mark.parametrize(
        ("header", "skip"),
        [
            (("__op", b"d"), Skip.DELETE),
            (("__op", b'"d"'), Skip.DELETE),
            (("__op", b'{"schema":{"type":"string"},"payload":"u"}'), Skip.NOTHING_TO_ROUTE),
            (("ce_iodebeziumop", b"d"), Skip.DELETE),
            (("__op", b"c"), None),
            (("__op", None), None),
        ],
    )
    def test_the_operation_may_be_in_a_header(self, header: tuple[str, bytes | None], skip: Skip | None) -> None:
        """As flattening leaves it there when told to (add.headers)."""
        found = interpret(json.dumps(ROW | DONE).encode(), [header], codec(), largest=10_000)[0]
        assert found is skip if skip else isinstance(found, Intake) and found.keep


SCALARS = st.sampled_from(
    ["null", "true", "-0", "1.10", BIG, "1e400", "1e-400", "NaN", "-Infinity", '"__debezium_unavailable_value"', '"c"',
     '"u"', '"d"', '""', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', '"1.0"', '"application/json"', '"e30="', '"x"',
     '"2026-01-31T09:30:00Z"', "1769851800000000", "-9000000000000000000", "18446744073709551615", '"{\\"a\\": 1.10}"',
     '"instagram"', "[" * 300 + "]" * 300, '{"a":' * 1100 + "1" + "}" * 1100]
)  # fmt: skip
NAMES = st.sampled_from(
    [*EVENT, *ROW, "before", "after", "op", "__op", "__deleted", "schema", "payload", "specversion", "source", "type",
     "data", "data_base64", "datacontenttype", "iodebeziumop", "event_date", "ts_ms", "status", "\\u0000", "\x01"]
)  # fmt: skip


def _object(pairs: list[tuple[str, str]]) -> str:
    """Names may come twice."""
    return "{" + ",".join(f'"{name}": {text}' for name, text in pairs) + "}"


TEXTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(st.tuples(NAMES, inner), max_size=6).map(_object)
        | st.lists(inner, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]")
        | inner.map(json.dumps)
        | inner.map(lambda text: '{"schema":null,"payload":' + text + "}")
        | inner.map(
            lambda text: _object([*((name, json.dumps(value)) for name, value in ROW.items()), ("after", text)])
        )
        | inner.map(lambda text: '{"before":null,"op":"c","after":' + text + "}")
        | inner.map(lambda text: '{"specversion":"1.0","id":"1","source":"s","type":"t","data":' + text + "}")
        | inner.map(lambda text: _object([("channel", '"instagram"'), ("event_id", '"m"'), ("raw_payload", text)]))
    ),
    max_leaves=12,
)
WHOLE = [
    json.dumps(each).encode()
    for each in (EVENT, ROW, change(), cloud_event(change()), {"schema": None, "payload": ROW | {"__op": "c"}})
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    value=TEXTS.map(str.encode)
    | st.builds(
        lambda whole, place, cut, put: whole[: place % len(whole)] + put + whole[place % len(whole) + cut :],
        st.sampled_from(WHOLE),
        st.integers(0, 10_000),
        st.integers(0, 8),
        st.binary(max_size=6) | TEXTS.map(str.encode),
    ),
    frame=st.sampled_from([b"", b"\x00\x00\x00\x00\x07", b"\x00" * 9, b"\xef\xbb\xbf", b"\xff\xfe", b" \n"]),
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                ["__op", "ce_iodebeziumop", "ce_specversion", "ce_id", "provider", "account", "traceparent"]
            ),
            st.sampled_from([None, b"", b"c", b"d", b"1.0", b"{", b"{}", b"[]", b"\xff", b"telegram", b"7"]),
        ),
        max_size=2,
    ),
)
def test_nothing_makes_it_fail(value: bytes, frame: bytes, headers: list[tuple[str, bytes | None]]) -> None:
    """Whatever comes has a meaning, and what goes to the database is JSON on one line that names its event."""
    found = interpret(frame + value, headers, codec(), largest=100_000)[0]
    if isinstance(found, Flawed):
        assert found.reason
    if isinstance(found, Intake):
        assert "\0" not in found.channel + found.event_id
        if found.line is not None:
            assert "\n" not in found.line
            line = codec().loads(found.line)
            assert (line["channel"], line["event_id"]) == (found.channel, found.event_id)
            assert codec().problem(line, found.line) is None


class _Members(list[Any]):
    """Of an object; names may come twice."""


def _written(value: Any) -> str:
    if isinstance(value, _Members):
        return "{ " + " ,".join(f"{json.dumps(name)} : {_written(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + " ]"
    return json.dumps(value, ensure_ascii=False)


WORDS = st.sampled_from(["a", "b", '"', "\\", '\\"', "}", ":", ",", "é"]) | st.text(max_size=3)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-99, 99) | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(WORDS, inner), max_size=4).map(_Members),
    ),
    st.lists(WORDS, max_size=3),
)
def test_what_is_cut_out_is_what_a_parser_finds(inner: object, path: list[str]) -> None:
    """Whatever is in strings and in members that have the name twice."""
    for name in reversed(path):
        inner = _Members([("a", inner), (name, 7), (name, [inner]), (name, {"a": 1}), (name, inner), ("\0", inner)])
    text = _written(_Members([("a", inner), ("b", inner)]))
    found: Any = json.loads(text)
    for name in ("b", *path):
        found = found[name]
    assert json.loads(cut(text, ("b", *path), json.loads)) == found
