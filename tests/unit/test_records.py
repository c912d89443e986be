"""What a Kafka record means: every form, what is skipped, and times, keys and traces on the way."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.kafka.decoding import codec
from consumer.domain.forms import interpret
from consumer.domain.records import Flaw, Flawed, Headers, Meaning, Skip
from consumer.domain.webhook import Body, Intake, key_of

EVENT = {
    "channel": "instagram",
    "event_id": "m_1",
    "author_id": "a_1",
    "content": "Olá",
    "event_date": "2026-01-31T09:30:00Z",
    "raw_payload": {"id": 1},
}
ROW = {
    "id": "7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00",
    "channel": "instagram",
    "type": "message",
    "event_id": "m_1",
    "author_id": "a_1",
    "author_name": None,
    "content": "Olá",
    "event_date": "2026-01-31T09:30:00.123456Z",
    "post_id": None,
    "conversation_id": None,
    "raw_payload": '{"id": 1}',
    "created_at": "2026-01-31T09:30:01Z",
    "routed_at": None,
    "parked_until": None,
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def meaning(value: object, headers: Headers = (), largest: int = 100_000) -> Meaning:
    """Of a record with this value, as JSON unless it is bytes."""
    body = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return interpret(body, headers, codec(), largest=largest)[0]


def line(value: object, headers: Headers = ()) -> dict[str, Any]:
    """The event that goes to the database."""
    found = meaning(value, headers)
    assert isinstance(found, Intake), found
    assert found.line is not None
    assert "\n" not in found.line
    document: dict[str, Any] = json.loads(found.line)
    return document


def change(op: str, after: object = ROW, before: object = None) -> dict[str, Any]:
    """Debezium's envelope."""
    return {"before": before, "after": after, "op": op, "source": {"table": "webhook_events"}, "ts_ms": 1}


def envelope(data: object, **more: object) -> dict[str, Any]:
    """A CloudEvent in structured mode."""
    return {"specversion": "1.0", "id": "1", "source": "/inbox", "type": "webhook_event", "data": data} | more


class TestEvent:
    def test_an_event_goes_on_as_it_was_written(self) -> None:
        """Byte by byte: no number loses its digits."""
        text = b'{"channel":"x","event_id":"1","raw_payload":{"n":123456789012345678901234567890.10}}'
        assert meaning(text) == Intake(channel="x", event_id="1", line=text.decode())

    def test_line_feeds_become_spaces(self) -> None:
        """Pretty-printed JSON is one line for the database; what is in strings stays."""
        assert line(json.dumps(EVENT | {"content": "a\nb"}, indent=2).encode()) == EVENT | {"content": "a\nb"}

    def test_channel_and_event_id_alone_name_an_event(self) -> None:
        """The database has it, or the record is a dead letter."""
        named = {"channel": "instagram", "event_id": "m_1"}
        assert meaning(named) == Intake(channel="instagram", event_id="m_1", line=None)

    def test_a_tombstone_is_passed_over(self) -> None:
        """Compacted topics have them."""
        assert meaning(None) is Skip.TOMBSTONE


class TestChange:
    @pytest.mark.parametrize("op", ["c", "r", "u"])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_an_unrouted_row_is_an_event(self, op: str, wrapped: bool) -> None:
        """Inserts, snapshots and updates, with the schema wrapper and without; the row in the table wins."""
        value = {"schema": {"type": "struct"}, "payload": change(op)} if wrapped else change(op)
        found = meaning(value)
        assert isinstance(found, Intake)
        assert found.keep
        assert line(value) == {
            "channel": "instagram",
            "type": "message",
            "event_id": "m_1",
            "author_id": "a_1",
            "content": "Olá",
            "event_date": "2026-01-31T09:30:00.123456Z",
            "raw_payload": {"id": 1},
        }

    @pytest.mark.parametrize("op", ["d", "t"])
    def test_deletes_are_passed_over(self, op: str) -> None:
        """What was routed stays."""
        assert meaning(change(op, after=None, before=ROW)) is Skip.DELETE

    @pytest.mark.parametrize("column", ["routed_at", "parked_until"])
    def test_updates_that_route_nothing_are_passed_over(self, column: str) -> None:
        """Our own mark comes back as an update, and so does the parking of an event: routing it would never end."""
        assert meaning(change("u", ROW | {column: "2026-01-31T09:30:02Z"})) is Skip.NOTHING_TO_ROUTE

    def test_a_routed_row_of_a_snapshot_is_taken(self) -> None:
        """The database knows better whether it is routed: the snapshot may be of another one."""
        assert line(change("r", ROW | {"routed_at": "2026-01-31T09:30:02Z"}))["event_id"] == "m_1"

    def test_logical_messages_are_passed_over(self) -> None:
        """They belong to no table."""
        assert meaning({"op": "m", "message": {"prefix": "x"}}) is Skip.NOTHING_TO_ROUTE

    def test_a_value_that_debezium_has_not_is_never_stored(self) -> None:
        """A large value that an update did not touch is not in the log: only the row has it."""
        found = meaning(change("u", ROW | {"content": "__debezium_unavailable_value"}))
        assert found == Intake(channel="instagram", event_id="m_1", line=None, keep=True)

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (1_769_851_800, "2026-01-31T09:30:00+00:00"),
            (1_769_851_800_250, "2026-01-31T09:30:00.250000+00:00"),
            (1_769_851_800_250_001, "2026-01-31T09:30:00.250001+00:00"),
            (1_769_851_800_250_001_999, "2026-01-31T09:30:00.250001+00:00"),
        ],
    )
    def test_times_as_numbers_are_read(self, number: int, text: str) -> None:
        """A column without time zone comes as seconds, milli-, micro- or nanoseconds."""
        assert line(change("c", ROW | {"event_date": number}))["event_date"] == text

    def test_the_payload_may_be_an_object(self) -> None:
        """Some converters write jsonb as JSON instead of text."""
        assert line(change("c", ROW | {"raw_payload": {"id": 2}}))["raw_payload"] == {"id": 2}


class TestCloudEvent:
    @pytest.mark.parametrize("data", [EVENT, change("c"), {"schema": None, "payload": change("c")}])
    def test_structured_mode_carries_each_form(self, data: object) -> None:
        """The event of the data, whatever form it has."""
        assert line(envelope(data))["event_id"] == "m_1"
        assert line(envelope(data, datacontenttype="application/json; charset=utf-8"))["event_id"] == "m_1"

    def test_structured_mode_may_name_an_event(self) -> None:
        """The short form."""
        named = {"channel": "instagram", "event_id": "m_1"}
        assert meaning(envelope(named)) == Intake(channel="instagram", event_id="m_1", line=None)

    def test_data_may_be_base64(self) -> None:
        """The specification has it for data that is not JSON; an event may come this way too."""
        value = envelope(None) | {"data_base64": "eyJjaGFubmVsIjoieCIsImV2ZW50X2lkIjoiMSJ9"}
        del value["data"]
        assert meaning(value) == Intake(channel="x", event_id="1", line=None)

    def test_binary_mode_is_the_event_with_headers(self) -> None:
        """The value is the data itself."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"1"),
            ("ce_source", b"/inbox"),
            ("ce_type", b"webhook_event"),
            ("content-type", b"application/json"),
        ]
        assert line(EVENT, headers) == EVENT

    def test_an_envelope_in_an_envelope_is_a_flaw(self) -> None:
        """Once is enough."""
        found = meaning(envelope(envelope(EVENT)))
        assert isinstance(found, Flawed)
        assert found.flaw is Flaw.NOT_AN_EVENT


class TestTrace:
    @pytest.mark.parametrize("name", ["traceparent", "Traceparent", "ce_traceparent"])
    def test_it_comes_with_headers(self, name: str) -> None:
        """Of W3C, or of CloudEvents in binary mode; with a flaw as well."""
        assert interpret(b"{", [(name, TRACE.encode())], codec(), largest=10)[1] == TRACE

    def test_it_comes_with_the_envelope(self) -> None:
        """As CloudEvents' extension for tracing."""
        value = json.dumps(envelope(EVENT, traceparent=TRACE)).encode()
        assert interpret(value, (), codec(), largest=10_000)[1] == TRACE

    @pytest.mark.parametrize("value", [b"", b"00-xyz", b"\xff", TRACE.encode() + b"\nlevel=error"])
    def test_what_is_none_is_left_out(self, value: bytes) -> None:
        """Nothing from outside gets into a log unchecked."""
        assert interpret(b"{}", [("traceparent", value)], codec(), largest=10)[1] is None


class TestKey:
    def test_one_conversation_has_one_key(self) -> None:
        """By author; a comment without one by its post; anything else by itself."""
        assert key_of({"channel": " Instagram ", "author_id": "a", "event_id": "1"}) == "instagram:a"
        assert key_of({"channel": "facebook", "post_id": "p", "event_id": "1"}) == "facebook:p"
        assert key_of({"channel": "facebook", "author_id": None, "event_id": "1"}) == "facebook:1"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["channel", "event_id", "op", "before", "after", "schema", "payload", "specversion", "id", "source", "type",
             "data", "data_base64", "datacontenttype", "event_date", "raw_payload", "routed_at", "content"]
        ) | st.text(max_size=4),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip
header_lists = st.lists(
    st.tuples(
        st.sampled_from(["ce_specversion", "ce_id", "ce_source", "ce_type", "content-type", "traceparent", "x"]),
        st.sampled_from([b"1.0", b"1", b"application/json", b"text/plain", b"\xff", b""]),
    ),
    max_size=6,
)


@given(value=json_values, headers=header_lists)
def test_anything_that_is_json_means_something(value: object, headers: list[tuple[str, bytes]]) -> None:
    """No input makes `interpret` fail, and no intake holds anything that could not be sent to the database."""
    found = meaning(json.dumps(value).encode(), headers)
    if isinstance(found, Intake):
        assert found.event_id
        assert "\0" not in found.event_id + found.channel
        assert found.line is None or "\n" not in found.line


@given(value=st.binary(max_size=40), headers=header_lists)
def test_any_bytes_mean_something(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    """Garbage is a flaw with a reason."""
    found = meaning(value, headers)
    if isinstance(found, Flawed):
        assert found.reason


class TestBodies:
    def test_a_provider_makes_it_a_body(self) -> None:
        """The value stays as it is, byte for byte, whatever is in it."""
        for value in (b'{"object": "page"}', b"no JSON", b'{"channel": "x", "event_id": "1"}'):
            found = meaning(value, [("provider", b"messenger")])
            assert found == Body(provider="messenger", account=None, content=value)

    def test_telegram_needs_the_bot(self) -> None:
        """Its bodies do not name it; those of others do."""
        found = meaning(b"{}", [("Provider", b"Telegram"), ("account", b"700001")])
        assert found == Body(provider="telegram", account="700001", content=b"{}")
        for account in (None, b"", b"@shop", b"7 0", "٧".encode(), b"1" * 21, b"\xff"):
            assert isinstance(meaning(b"{}", [("provider", b"telegram"), ("account", account)]), Flawed)
        assert meaning(b"{}", [("provider", b"tiktok"), ("account", b"1")]) == Body(
            provider="tiktok", account=None, content=b"{}"
        )

    def test_an_unknown_provider_is_a_flaw(self) -> None:
        """What it is called is not repeated: it may be anything."""
        found = meaning(b"{}", [("provider", b"Ana Souza")])
        assert isinstance(found, Flawed)
        assert found.flaw is Flaw.NOT_AN_EVENT
        assert "Ana" not in found.reason

    def test_a_record_without_a_value_is_a_tombstone(self) -> None:
        """As ever."""
        assert interpret(None, [("provider", b"tiktok")], codec(), largest=10)[0] is Skip.TOMBSTONE
        assert isinstance(meaning(b"x" * 101, [("provider", b"tiktok")], largest=100), Flawed)
