"""JSON as it was written, where a parser would make something else of it.

A parser makes 1.1 of 1.10 and 1.8e23 of 184467440737095516161234. What is taken out of an envelope and handed to
Postgres is therefore cut out of its text.
"""

import re
from collections.abc import Callable
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
            for name in self.path:
                text = members(text, loads)[name]
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


def members(text: str, loads: Callable[[str], object]) -> dict[str, str]:
    """The text of each member of an object; of those with the same name the last one, as parsers have it.

    Args:
        text: a JSON object that a parser has accepted.
        loads: reads a JSON string.
    """
    found: dict[str, str] = {}
    depth = begin = 0
    name = ""
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                depth += 1
            case "}" | "]":
                depth -= 1
                if not depth and begin:
                    found[name] = text[begin : token.start()].strip()
            case ":" if depth == 1:
                begin = token.end()
            case "," if depth == 1:
                found[name] = text[begin : token.start()].strip()
                begin = 0
            case string if depth == 1 and not begin:
                name = str(loads(string))
            case _:
                pass
    return found
