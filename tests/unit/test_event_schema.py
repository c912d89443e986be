"""Which lines are events: the hand-written check, the JSON Schema validator, and the reasons given."""

import calendar
import json
import re
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from consumer.adapters.event_schema import event_schema, is_date_time, is_uuid

SCHEMA = event_schema()
FIELDS = sorted(SCHEMA.schema["properties"])

texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["message", "comment", "Message", "instagram", "2026-01-31T09:30:00Z", "2026-02-30T09:30:00Z"]),
    st.uuids().map(str),
    # Around the limits, which are of characters and not of bytes.
    st.builds(lambda one, length: one * length, st.sampled_from(["x", "é", "😀"]), st.sampled_from([64, 65, 512, 513])),
    st.sampled_from([1024, 1025]).map(lambda length: "n" * length),
    st.sampled_from([4_194_304, 4_194_305]).map(lambda length: "c" * length),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | texts,
    lambda children: (
        st.lists(children, max_size=2) | st.dictionaries(texts.filter(lambda text: len(text) < 9), children)
    ),
    max_leaves=3,
)
good = {
    "channel": st.sampled_from(["instagram", "x" * 64]),
    "event_id": st.sampled_from(["e", "é" * 512]),
    "type": st.sampled_from(["message", "comment", None]),
    "event_date": st.sampled_from(["2026-01-31T09:30:00Z", None]),
    "conversation_id": st.uuids().map(str) | st.none(),
    "raw_payload": st.dictionaries(st.text(max_size=2), values, max_size=2) | st.none(),
}
optional = [name for name in FIELDS if name not in {"channel", "event_id"}]
events = st.fixed_dictionaries(
    {name: good[name] for name in ("channel", "event_id")},
    optional={name: good.get(name, st.text(max_size=6) | st.none()) for name in optional},
)
nearly_events = st.builds(
    lambda event, more, without: {name: value for name, value in (event | more).items() if name not in without},
    events,
    st.dictionaries(st.sampled_from([*FIELDS, "autor_id", ""]), values, max_size=2),
    st.sets(st.sampled_from(["channel", "event_id"]), max_size=1),
)


@given(record=st.one_of(events, nearly_events, values))
def test_both_checks_accept_the_same(record: Any) -> None:
    """The quick check is a translation of the schema; where they differ, one of them is wrong."""
    assert SCHEMA.accepts(record) == SCHEMA.validator.is_valid(record)


@given(record=nearly_events)
def test_a_refused_line_has_a_reason(record: Any) -> None:
    """Every record that is not an event gets a reason of bounded length, and no other record does, NULs aside."""
    reason = SCHEMA.refusal(orjson.dumps(record))
    if SCHEMA.validator.is_valid(record) and "\\u0000" not in json.dumps(record):
        assert reason is None
    else:
        assert reason
        assert len(reason) <= 1000


def test_the_schema_is_one() -> None:
    """It is valid JSON Schema 2020-12, its examples are events, and its fields are the columns."""
    schema = SCHEMA.schema
    Draft202012Validator.check_schema(schema)
    assert schema["examples"]
    for example in schema["examples"]:
        assert SCHEMA.refusal(orjson.dumps(example)) is None
    for name, field in schema["properties"].items():
        assert field["description"]
        for example in field.get("examples", []):
            assert SCHEMA.accepts({"channel": "c", "event_id": "e"} | {name: example})


def test_an_exported_row_is_an_event() -> None:
    """A row of webhook_events as JSON, with the columns that the database fills in, can be loaded again."""
    row: dict[str, Any] = {
        "id": "7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00",
        "channel": "instagram",
        "type": "message",
        "event_id": "m_1",
        "author_id": None,
        "author_name": None,
        "content": None,
        "event_date": "2026-01-31T09:30:00.123456+00:00",
        "post_id": None,
        "conversation_id": None,
        "raw_payload": {},
        "created_at": "2026-01-31T09:30:01+00:00",
        "routed_at": None,
        "parked_until": "infinity",
        "routed_by": "hot",
    }
    assert SCHEMA.refusal(orjson.dumps(row)) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}", "channel is missing; event_id is missing"),
        (b'{"channel":"a"}', "event_id is missing"),
        (b'{"channel":"","event_id":"e"}', "channel is empty"),
        (b'{"channel":"a","event_id":7}', "event_id must be a string, not a number"),
        (b'{"channel":"a","event_id":null}', "event_id must be a string, not null"),
        (b'{"channel":"a","event_id":"e","content":true}', "content must be a string or null, not true or false"),
        (b'{"channel":"a","event_id":"e","raw_payload":[]}', "raw_payload must be an object or null, not an array"),
        (b'{"channel":"a","event_id":"e","type":"story"}', "type must be message or comment"),
        (b'{"channel":"a","event_id":"e","autor_id":"1"}', "unknown field 'autor_id' (is author_id meant?)"),
        (b'{"channel":"a","event_id":"e","zz":1}', "unknown field 'zz'; what is not a column goes into raw_payload"),
        (
            b'{"channel":"a","event_id":"e","event_date":"2026-01-31 09:30"}',
            "event_date is not a time such as 2026-01-31T09:30:00Z (RFC 3339, with its offset from UTC)",
        ),
        (b'{"channel":"a","event_id":"%s"}' % (b"e" * 513), "event_id is longer than 512 characters"),
        (b'[{"channel":"a"}]', "the line must be an object, not an array; jq -c '.[]' makes lines of an array"),
        (b'{"channel":"a",', "not JSON: "),
        (b'{"channel":"a","event_id":"\\ud800"}', "not JSON: "),
        (b'{"channel":"a","event_id":"\xff"}', "not UTF-8 text: byte 28 of the line is wrong"),
        (b'{"channel":"a","event_id":"e","raw_payload":{"n":NaN}}', "not JSON: "),
        (b"[" * 5000, "not JSON: "),
        (
            b'{"channel":"a","event_id":"e","content":"a\\u0000b"}',
            "content contains the character \\u0000, which Postgres cannot store",
        ),
        (
            b'{"channel":"a","event_id":"e","raw_payload":{"a":[{"b\\u0000":1}]}}',
            "raw_payload contains the character \\u0000, which Postgres cannot store",
        ),
    ],
)
def test_reasons_say_what_to_mend(line: bytes, reason: str) -> None:
    """Each typical mistake is named, with the field it is in."""
    assert (SCHEMA.refusal(line) or "").startswith(reason)


def test_an_escaped_backslash_is_no_nul() -> None:
    r"""The text \u0000, written with an escaped backslash, is six characters like any others."""
    assert SCHEMA.refusal(b'{"channel":"a","event_id":"e","content":"\\\\u0000"}') is None


@given(at=st.datetimes(timezones=st.timezones()))
def test_every_time_is_one(at: datetime) -> None:
    """What Python writes as RFC 3339 is a date-time (offsets of odd seconds are not RFC 3339)."""
    text = at.isoformat()
    assert is_date_time(text) == bool(re.search(r"[+-]\d\d:\d\d$", text))
    assert is_date_time(text[:19] + "Z")


@given(year=st.integers(0, 9999), month=st.integers(0, 13), day=st.integers(0, 32))
def test_the_calendar_is_kept(year: int, month: int, day: int) -> None:
    """Days that no month has are refused, leap years and all."""
    exists = year > 0 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
    assert is_date_time(f"{year:04}-{month:02}-{day:02}T00:00:00Z") == exists


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "infinity", "2026-01-31", "2026-01-31T09:30Z", "2026-01-31T09:30:00", "2026-01-31 09:30:00Z",
        "2026-01-31T24:00:00Z", "2026-01-31T09:60:00Z", "2026-01-31T09:30:61Z", "2026-01-31T09:30:00+16:00",
        "2026-01-31T09:30:00+01", "2026-01-31T09:30:00.Z", "2026-01-31T09:30:00Z\n", "٢٠٢٦-01-31T09:30:00Z",
        "1769851800",
    ],
)  # fmt: skip
def test_other_forms_of_time_are_refused(text: str) -> None:
    """Postgres takes some of them, in its own way; the format does not."""
    assert not is_date_time(text)


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        ("7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00", True),
        ("7E1F9A54-1C7A-4F0E-9A43-0D5F3C2B1A00", True),
        ("7e1f9a541c7a4f0e9a430d5f3c2b1a00", False),
        ("{7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00}", False),
        ("7e1f9a5_-1c7a-4f0e-9a43-0d5f3c2b1a00", False),
        ("", False),
    ],
)
def test_uuids(text: str, uuid: bool) -> None:
    """The form of RFC 4122 and no other."""
    assert is_uuid(text) == uuid
