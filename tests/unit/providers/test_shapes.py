"""Values of strangers: what has the wrong shape counts as nothing."""

import json
from typing import Any

import pytest

from consumer.domain.providers import shapes

AT = "2026-05-28T20:26:40Z"


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1780000000, AT),
        (1780000000000, AT),
        (1780000000000000, AT),
        ("1780000000", AT),
        (" 1780000000123 ", "2026-05-28T20:26:40.123000Z"),
        (1780000000.5, "2026-05-28T20:26:40.500000Z"),
        ("1780000000.5", "2026-05-28T20:26:40.500000Z"),
        ("2026-05-28T20:26:40Z", AT),
        ("2026-05-28T20:26:40+0000", AT),
        ("2026-05-28T17:26:40-03:00", AT),
        ("2026-05-28 20:26:40", AT),
    ],
)
def test_times_come_in_many_ways(value: object, time: str) -> None:
    """Seconds, milliseconds, microseconds, as numbers or as digits, and ISO 8601; without a zone it is UTC."""
    assert shapes.time_of(value) == time


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 1, 5e9, 10**30, float("nan"), float("inf"), "", "soon", "9" * 400, "1²3", [], {},
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-01",
    ],
)  # fmt: skip
def test_nonsense_is_no_time(value: object) -> None:
    """What is no time, or one of no likely year, is none: the arrival counts."""
    assert shapes.time_of(value) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a", "a"), (17841400000000001, "17841400000000001"), (-5, "-5"), ("x" * 512, "x" * 512), ("\0", "\ufffd"),
        (None, None), (True, None), (1.5, None), ("", None), ("  ", None), ("x" * 513, None), (10**400, None),
        ([], None), ("é" * 512, "é" * 512), ("日" * 512, None),
    ],
)  # fmt: skip
def test_ids_are_texts_or_whole_numbers(value: object, found: str | None) -> None:
    """Blank ones, and those that no index can hold, are none."""
    assert shapes.id_of(value) == found


def test_what_postgres_cannot_store_becomes_the_replacement_character() -> None:
    """NUL and halves of surrogate pairs, in texts and in keys, however deep."""
    assert shapes.text_of("a\0b\ud83d") == "a\ufffdb\ufffd"
    assert shapes.text_of("\U0001f600é") == "\U0001f600é"
    assert shapes.clean({"\0": [{"a\udc00": "\0"}]}) == {"\ufffd": [{"a\ufffd": "\ufffd"}]}


def test_cleaned_values_fit_into_jsonb() -> None:
    """No NaN, no numbers that strict writers refuse, and no more than 64 levels."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    cleaned = shapes.clean({"nan": float("nan"), "big": 10**5000, "is": True, "deep": deep})
    assert cleaned["nan"] is None
    assert cleaned["big"] is None
    assert cleaned["is"] is True
    assert json.dumps(cleaned).count("[") == 63


def test_bodies_that_strict_parsers_refuse_are_read() -> None:
    """A half of a surrogate pair and NaN are read; what is nested a thousand times is no JSON."""
    assert shapes.loads(b'{"a": "\\ud83d", "b": NaN}') == {"a": "\ud83d", "b": None}
    for body in (b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000):
        with pytest.raises(ValueError, match=r".*"):
            shapes.loads(body)


def test_hashes_are_of_values_and_not_of_their_spelling() -> None:
    """The order of keys does not matter; any value has one."""
    assert shapes.hash_of("a", {"x": 1, "y": [2]}) == shapes.hash_of("a", {"y": [2], "x": 1})
    assert shapes.hash_of("a", "b") != shapes.hash_of("ab")
    assert len(shapes.hash_of("\ud800", float("nan"), 10**5000)) == 32


def test_edits_are_ordered_by_time_then_id() -> None:
    """Byte by byte; one without a time is the last."""
    orders = [
        shapes.ord_of_edit("2026-05-28T20:26:40Z", "b"),
        shapes.ord_of_edit("2026-05-28T20:26:40.000001Z", "a"),
        shapes.ord_of_edit("2026-05-28T20:26:40.000001Z", "b"),
        shapes.ord_of_edit(None, "a"),
    ]
    assert orders == sorted(orders)
    assert orders[0] == "2026-05-28T20:26:40.000000Z b"


def test_attachments_have_what_is_known() -> None:
    """An absent, empty or odd value has no key."""
    assert shapes.attachment("image", id=5, link="", mime=None, name=[], voice=True, size=None) == {
        "type": "image",
        "id": "5",
        "voice": True,
    }
