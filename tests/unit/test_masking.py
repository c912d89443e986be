"""Bodies that were not understood are shown by their shape alone."""

import json
import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.bodies import LARGEST_SHAPE, shape_of
from consumer.domain.masking import NESTED, WORDS, masked

STRANGE = string.ascii_uppercase + string.digits + "äß€<>&\"'\\{}[]:/+-@\t"
"""Characters of what people write; nothing that masking itself says can be made of them."""
STRINGS = st.text(STRANGE, max_size=60) | st.text(st.characters(min_codepoint=0xA0), max_size=20)
SCHEMA_KEYS = st.sampled_from(["id", "from", "text", "entry", "userId", *sorted(WORDS)])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(SCHEMA_KEYS | STRINGS, inner, max_size=6),
    max_leaves=40,
)


def texts_of(value: Any) -> list[str]:
    """Every text and number of a value, keys of strangers included."""
    match value:
        case dict():
            return [text for key, item in value.items() for text in (key, *texts_of(item))]
        case list():
            return [text for item in value for text in texts_of(item)]
        case bool() | None:
            return []
        case _:
            return [str(value)]


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_nothing_of_four_characters_survives(value: Any) -> None:
    """But for keys of the schema, words of it, and the words of masking itself; also of what is nested in a text."""
    own = re.compile(r"[a-z][a-z, ]*", re.ASCII)
    strange = {text for text in texts_of(value) if not re.fullmatch(r"[a-z_][a-zA-Z0-9_.]*", text)}
    parts = {text[start : start + 4] for text in strange for start in range(len(text) - 3)}
    for body in (value, {"content": json.dumps(value)}):
        shown = "\n".join(texts_of(masked(body)))
        assert [part for part in parts if part in shown and not own.fullmatch(part)] == []


def test_what_stays() -> None:
    """Structure, words under keys of the schema, true, false and null; a word with a number is none."""
    body = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "900100", "changes": [{"field": "new_field", "value": {"ok": True, "no": None, "n": 7.5}}]}],
        "event": "video.publish.new",
        "type": "user4915112345",
        "text": "secret",
        "verb": "Hello There",
        "+49 151 12345678": "+4915112345678",
        "at": "https://example.org/secret?token=1",
        "empty": "",
    }
    assert masked(body) == {
        "object": "whatsapp_business_account",
        "entry": [
            {"id": "digits of 6", "changes": [{"field": "new_field", "value": {"ok": True, "no": None, "n": "number"}}]}
        ],
        "event": "video.publish.new",
        "type": "text of 14 characters",
        "text": "text of 6 characters",
        "verb": "text of 11 characters",
        "key 7, of 16 characters": "digits of 14",
        "at": "link",
        "empty": "empty text",
    }
    assert masked({"content": '{"type":"new","text":"secret"}'}) == {
        "content": {NESTED: {"type": "new", "text": "text of 6 characters"}}
    }
    written = '{"type":"her.secret","anna_is_ill":true}'  # by a person, whose words are no schema's
    nested = json.dumps({"content": written})
    for holding in ({"text": written}, {"message": {"content": written}}, {"content": nested}):
        shown = json.dumps(masked(holding))
        assert "secret" not in shown
        assert "anna" not in shown


def test_large_ones_are_cut() -> None:
    """Long lists, many keys, many values and deep nesting end in how much more there is."""
    assert masked(list(range(20))) == ["number", "number", "number", "… 17 more"]
    many = masked({f"key_{'x' * n}": 1 for n in range(100)})
    assert len(many) <= 42
    assert any(str(value).endswith(" keys") for value in many.values())
    deep: Any = "secret"
    for _ in range(200):
        deep = {"a": [deep]}
    wide = [[[[deep] * 9] * 9] * 9] * 9
    for value in (deep, wide, json.dumps(wide)[:90_000], {"a": json.dumps({"a": json.dumps({"a": "secret"})})}):
        text = json.dumps(masked(value))
        assert len(text) < 100_000
        assert "secret" not in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "an empty body"),
        (b"secret words", "no JSON that can be read: 12 bytes, the first one is a letter"),
        (b"<html>", "no JSON that can be read: 6 bytes, the first one is <, as of XML or HTML"),
        (b"{", "no JSON that can be read: 1 byte, the first one is a bracket, as of JSON"),
        (b"[" * 100_000, "no JSON that can be read: 100,000 bytes, the first one is a bracket, as of JSON"),
        (b"\xff\xfe", "no JSON that can be read: 2 bytes, the first one is neither a letter nor a sign of ASCII"),
        (b" " * (LARGEST_SHAPE + 1), f"too large to be shown: more than {LARGEST_SHAPE:,} bytes"),
    ],
    ids=["empty", "text", "html", "half", "deep", "binary", "large"],
)
def test_what_is_no_json(body: bytes, said: str) -> None:
    """Only its length and of what kind its first byte is."""
    assert shape_of(body, is_compressed=False) == said


def test_a_stored_body_that_is_not_whole() -> None:
    """It says so."""
    assert shape_of(b"no zlib", is_compressed=True) == "the stored body is not whole"
