"""Splitting an SQL file into statements, for files that cannot be sent as one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# What may contain a semicolon that ends nothing. Comments in /* */ nest, which no regular expression can follow.
_OPENING: Final = re.compile(
    r"""
      (?P<end>;)
    | (?P<gexec>^[ \t]*\\gexec[ \t]*$)
    | (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?P<escaped>(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<quoted>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?<![\w$])(?P<dollar>\$(?:[^\W\d]\w*)?\$)
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`text` without its terminator; `line` is where it starts, from 1; `generates`: its results are to be run."""

    text: str
    line: int
    generates: bool = False


def split_statements(script: str) -> Iterator[Statement]:
    r"""The statements of a script in order, each ended by a semicolon or, as in psql, by a line with \gexec.

    Quotes, dollar quotes and nested comments are seen for what they are; a function body of the SQL standard
    (begin atomic … end) is not. Pieces that are only comments are left out.
    """
    start = position = 0
    blank = True  # nothing but space and comments since `start`
    while (found := _OPENING.search(script, position)) is not None:
        blank = blank and not script[position : found.start()].strip()
        position = found.end()
        match found.lastgroup:
            case "end" | "gexec":
                if not blank:
                    yield _statement(script, start, found.start(), generates=found.lastgroup == "gexec")
                start, blank = position, True
            case "line":
                pass
            case "block":
                position = _end_of_comment(script, position)
            case "dollar":
                closing = script.find(found["dollar"], position)
                position = len(script) if closing < 0 else closing + len(found["dollar"])
                blank = False
            case _:
                blank = False
    if not blank or script[position:].strip():
        yield _statement(script, start, len(script), generates=False)


def _end_of_comment(script: str, position: int) -> int:
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(script, position)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(script) if depth else position


def _statement(script: str, start: int, end: int, *, generates: bool) -> Statement:
    text = script[start:end]
    line = script.count("\n", 0, start + len(text) - len(text.lstrip())) + 1
    return Statement(text=text.strip(), line=line, generates=generates)
