"""The forms that other people's tools give an event: what each of them means."""

import json
from typing import Any

import pytest

from consumer.adapters.kafka.decoding import codec
from consumer.domain.forms import interpret
from consumer.domain.records import Flaw, Flawed, Meaning, Skip
from consumer.domain.webhook import Intake

EVENT = {"channel": "instagram", "event_id": "m_1", "author_id": "a_1", "content": "Hello"}
ROW = {**EVENT, "id": "0190", "routed_at": None, "parked_until": None, "raw_payload": '{"n": 1.10}'}
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
            cloud_event(EVENT),
            cloud_event({"schema": {}, "payload": EVENT}),
        ],
        ids=["no schema", "schema", "string", "string with schema", "framed", "cloud event", "cloud event with schema"],
    )
    def test_an_event_in_it_is_that_event(self, wrapped: object) -> None:
        """And its line is the event's."""
        found = intake(wrapped)
        assert (found.channel, found.event_id, found.keep) == ("instagram", "m_1", False)
        assert json.loads(found.line or "") == EVENT

    @pytest.mark.parametrize("number", [BIG, "1.10", "-0.0", "1E5", "12345678901234567890.5"])
    @pytest.mark.parametrize("wrapping", ["plain", "schema", "cloud event", "string", "change", "framed"])
    def test_numbers_keep_their_text(self, number: str, wrapping: str) -> None:
        """On every road: what Postgres gets is what was sent."""
        event = '{"channel":"instagram","event_id":"m_1","raw_payload":{"n":' + number + "}}"
        wrapped = {
            "plain": event,
            "schema": '{"schema":null,"payload":' + event + "}",
            "cloud event": '{"specversion":"1.0","id":"1","source":"s","type":"t","data":' + event + "}",
            "string": json.dumps(event),
            "change": json.dumps(change(raw_payload='{"n": ' + number + "}")),
            "framed": "\x00\x00\x00\x00\x07" + event,
        }[wrapping]
        line = intake(wrapped.encode()).line or ""
        assert f":{number}}}" in line.replace(": ", ":")

    def test_behind_a_registrys_bytes_is_no_json(self) -> None:
        """Avro and Protobuf are still not read."""
        found = meaning(b"\x00\x00\x00\x00\x07\x0aab")
        assert isinstance(found, Flawed)
        assert found.flaw is Flaw.NOT_JSON
        assert "zero byte" in found.reason

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
            (cloud_event({"before": None, "after": ROW}, iodebeziumop="d"), Skip.DELETE),
            ({**ROW, "__deleted": "true"}, Skip.DELETE),
            ({**ROW, "__op": "d"}, Skip.DELETE),
            ({**ROW, "__op": "u", "routed_at": "2026-01-01T00:00:00Z"}, Skip.NOTHING_TO_ROUTE),
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
            {"schema": {}, "payload": {**ROW, "__op": "r", "__ts_ms": 5}},
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
            ("raw_payload", "an own placeholder", "raw_payload"),
            ("event_id", "x" * 600, "event_id"),
            ("event_id", "", "event_id"),
        ],
    )
    def test_a_row_that_the_schema_refuses_is_named(self, column: str, value: object, said: str) -> None:
        """The table takes more than the schema does; only if the row is not there is the record at fault."""
        found = intake(change(**{column: value}))
        assert found.line is None
        assert found.event_id == (value if column == "event_id" else "m_1")
        assert said in (found.otherwise or "")

    @pytest.mark.parametrize("event_id", [None, 7, "a\0b"])
    def test_without_a_name_it_is_a_flaw(self, event_id: object) -> None:
        """There is nothing that the table could be asked for."""
        assert isinstance(meaning(change(event_id=event_id)), Flawed)

    def test_a_placeholder_of_ones_own(self) -> None:
        """It names the event, and never becomes a text."""
        found = intake(change(content="__gone__"), unavailable="__gone__")
        assert (found.line, found.event_id) == (None, "m_1")
        assert intake(change(content="__gone__")).line is not None
