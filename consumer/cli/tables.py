"""Tables as psql prints them: easy to read, to cut and to grep, at any width."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import orjson
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from consumer.cli.runtime import console
from consumer.domain.text import printable, printable_json

_NUMBER: Final = re.compile(r"[+-]?(?:\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?|NaN|-?Infinity)%?")


def json_text(value: object, *, indent: bool = True) -> str:
    """A value as JSON for standard output; what strangers wrote in it is escaped as in `printable`."""
    return printable_json(orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0).decode())


def table(columns: Sequence[str], rows: Sequence[Sequence[str | None]], *, count: bool = False) -> Iterator[str]:
    """The lines of a table. A cell with several lines has a + at the end of each but its last, null is "null".

    Columns of numbers are right-aligned; `count` adds a line such as (3 rows).
    """
    heads = [printable(column) for column in columns]
    cells = [[_lines(value) for value in row] for row in rows]
    right = [
        bool(rows) and all(value is None or _NUMBER.fullmatch(value) for value in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(heads)
    widths = [
        max([cell_len(head), *(cell_len(line) for row in cells for line in row[index])])
        for index, head in enumerate(heads)
    ]
    yield "|".join(f" {_centred(head, width)} " for head, width in zip(heads, widths, strict=True)).rstrip()
    yield "+".join("-" * (width + 2) for width in widths)
    for row in cells:
        for number in range(max((len(lines) for lines in row), default=0)):
            parts = []
            for lines, width, to_right in zip(row, widths, right, strict=True):
                text = lines[number] if number < len(lines) else ""
                space = " " * (width - cell_len(text))
                end = "+" if number + 1 < len(lines) else " "
                parts.append(f" {space}{text}{end}" if to_right else f" {text}{space}{end}")
            yield "|".join(parts).rstrip()
    if count:
        yield f"({len(rows)} row{'' if len(rows) == 1 else 's'})"


def show(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Prints a table: on a terminal long cells are wrapped to its width, elsewhere every row is one line."""
    if not sys.stdout.isatty():
        for line in table(columns, rows):
            sys.stdout.write(f"{line}\n")
        return
    terminal = console()
    wrapped = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        wrapped.add_column(column, overflow="fold", no_wrap=index == 0 and terminal.width >= 80)
    for row in rows:
        wrapped.add_row(*(Text("\n".join(_lines(value))) for value in row))
    terminal.print(wrapped)


def pairs(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Names and values, one pair a line; further lines of a value are below its first."""
    width = max((cell_len(name) for name, _ in rows), default=0)
    for name, value in rows:
        first, *others = [printable(line) for line in value.split("\n")]
        yield f"{name}{' ' * (width - cell_len(name))}  {first}".rstrip()
        for line in others:
            yield f"{' ' * width}  {line}".rstrip()


def _lines(value: str | None) -> list[str]:
    if value is None:
        return ["null"]
    return [printable(line) for line in value.replace("\r\n", "\n").split("\n")]


def _centred(text: str, width: int) -> str:
    space = width - cell_len(text)
    return " " * (space // 2) + text + " " * (space - space // 2)
