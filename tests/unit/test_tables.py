"""What commands print: tables, durations, and nothing that moves a terminal's cursor."""

import json
import unicodedata
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from consumer import cli
from consumer.cli.parked import parse_duration
from consumer.cli.tables import pairs, table
from consumer.domain.text import duration, one_line, printable, printable_json


def test_a_table_looks_as_in_psql() -> None:
    """Numbers to the right, lines of a cell marked with +, wide characters two columns wide, null spelt out."""
    rows = [("1", "a\nbc", None), ("-20", "漢", "x")]
    assert list(table(["n", "text", "more"], rows, count=True)) == [
        "  n  | text | more",
        "-----+------+------",
        "   1 | a   +| null",
        "     | bc   |",
        " -20 | 漢   | x",
        "(2 rows)",
    ]


def test_a_table_may_be_empty() -> None:
    """No rows, and no columns either: select with an empty list is SQL."""
    assert list(table(["a", "b"], [], count=True)) == [" a | b", "---+---", "(0 rows)"]
    assert list(table([], [()], count=True)) == ["", "", "(1 row)"]


def test_pairs_stand_below_each_other() -> None:
    """Values begin in one column, those of several lines too."""
    assert list(pairs([("a", "1"), ("long", "2\n3")])) == ["a     1", "long  2", "      3"]


@given(st.text())
def test_nothing_printed_moves_the_cursor(text: str) -> None:
    """Whatever strangers write, a terminal shows it and obeys none of it."""
    shown = printable(text)
    assert not any(unicodedata.category(character) == "Cc" for character in shown)
    assert not set(shown) & set("\u202e\u2066\u200f\u2028")
    shown.encode()


@given(st.text() | st.text('\x1b\x7f\x9b\u202e\u2028\U000e0041\\"u'))
def test_json_is_printable_too_and_means_the_same(text: str) -> None:
    """A terminal that shows JSON obeys none of what strangers wrote, and who reads the JSON gets it back."""
    for written in (json.dumps([text], ensure_ascii=False), json.dumps({text: [text]}, ensure_ascii=False, indent=2)):
        shown = printable_json(written)
        assert json.loads(shown) == json.loads(written)
        assert printable("".join(shown.split("\n"))) == "".join(shown.split("\n"))


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    """Whatever ends lines somewhere, the line does not end there."""
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("a\x9b2Jb\x7f", "a\\x9b2Jb\\x7f"),
        ("\U000e0041", "\\U000e0041"),
        ("مرحبا 👋", "مرحبا 👋"),
        ("a\tb", "a    b"),
    ],
)
def test_other_text_stays_as_it_is(text: str, shown: str) -> None:
    """Letters of any script and emoji are no danger."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (8.64e8, "10000 d 0 h"),
    ],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    """Two units, the larger ones."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("45s", timedelta(seconds=45)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
        ("1h30m", timedelta(minutes=90)),
    ],
)
def test_durations_are_written_briefly(text: str, meant: timedelta) -> None:
    """As --older-than takes them."""
    assert parse_duration(text) == meant


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "2.5h", "2y", "999999999w", "٣d"])
def test_other_durations_are_refused(text: str) -> None:
    """A duration is never guessed."""
    with pytest.raises(typer.BadParameter):
        parse_duration(text)


def test_commands_print_json_in_one_way() -> None:
    """`json_text` escapes what strangers wrote; a command that makes JSON by itself would forget it."""
    commands = Path(cli.__file__).parent.glob("*.py")
    assert [file.name for file in commands if "orjson.dumps(" in file.read_text(encoding="utf-8")] == ["tables.py"]
