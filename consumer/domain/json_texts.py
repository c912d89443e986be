"""JSON as it was written, where a parser would make something else of it.

A parser makes 1.1 of 1.10 and 1.8e23 of 184467440737095516161234. What is taken out of an envelope and handed to
Postgres is therefore cut out of its text.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

# Strings, and what stands between values; all else is part of a number or a word.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]:,]')


class Written(NamedTuple):
    """Where the text of a document is."""

    text: str
    path: tuple[str, ...] = ()
    """The members that lead to it, from the outside in."""

    def of(self, name: str) -> "Written":
        """Where the text of a member is."""
        return Written(self.text, (*self.path, name))

    def line(self, document: object, loads: Callable[[str], object], dumps: Callable[[object], str]) -> str:
        """The text without line feeds.

        Args:
            document: what a parser made of it.
            loads: reads a JSON string.
            dumps: writes JSON without line feeds; raises ValueError for what it cannot write.
        """
        text = self.text
        if self.path:
            if not _has_inexact(document):
                with suppress(ValueError):  # not everything that a parser reads can be written: nesting has its limits
                    return dumps(document)
            text = cut(text, self.path, loads)
        # A line feed is white space, since strings have it escaped.
        return text.replace("\n", " ")


def _has_inexact(document: object) -> bool:
    """Whether there is a number that is written otherwise than it was read: whole ones of 64 bits are exact."""
    waiting = [document]
    for value in waiting:
        kind = type(value)
        if kind is float:
            return True
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def cut(text: str, path: Sequence[str], loads: Callable[[str], object]) -> str:
    """The text of a member of an object, or of a member of that, and so on: where the path leads.

    Args:
        text: a JSON object that a parser has accepted, and in which the path leads somewhere.
        path: at least one name. Of several members with it the last one counts, as for parsers.
        loads: reads a JSON string.
    """
    found, string = "", ""
    depth = begin = 0
    level = 0  # how many members of the path lead to where the token is
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark == ":":
            if depth == level + 1 and loads(string) == path[level]:
                begin = token.end() if depth == len(path) else 0
                level += not begin
        elif mark in "{[":
            depth += 1
        elif mark in ",}]":
            if level and depth == level:  # the member was no object: there is another one of its name
                level -= 1
            if begin and depth == level + 1:
                found, begin = text[begin : token.start()], 0
            if mark != ",":
                depth -= 1
                if level and depth == level:
                    level -= 1
        else:
            string = mark
    return found.strip()
