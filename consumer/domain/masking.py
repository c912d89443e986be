"""The shape of a body: what a report of something that was not understood needs, and nothing that a person wrote.

Structure and the words of a provider's schema stay. Every other text becomes its kind and its length, every number the
word "number".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumer.domain.providers.shapes import loads

WORDS: Final = frozenset(
    {
        "action", "change_type", "event", "event_type", "field", "item", "kind", "messaging_product", "mime_type",
        "object", "parse_mode", "reaction_type", "status", "sub_type", "subtype", "type", "verb",
    }
)  # fmt: skip
"""Keys whose values are words of a provider's schema, if they look like such."""

_WORD: Final = re.compile(r"[a-z][a-z0-9]*(?:[_.][a-z0-9]+)*/?[a-z0-9.+-]*", re.ASCII)
_LONGEST_WORD: Final = 40
_KEY: Final = re.compile(r"[a-z_][a-zA-Z0-9_]*", re.ASCII)
_DIGITS: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LONG_NUMBER: Final = re.compile(r"[0-9]{4}", re.ASCII)  # an id, a phone number or a year, also within a word
_LINK: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
_MOST_DEPTH: Final = 16
_MOST_ITEMS: Final = 3
_MOST_KEYS: Final = 40
_MOST_VALUES: Final = 400
_LONGEST_NESTED: Final = 100_000
"""Characters of a text that is looked at whether it is JSON itself."""
NESTS: Final = "content"
"""The key at the top of a body under which TikTok sends JSON in a text; a text elsewhere is one that a person wrote."""
NESTED: Final = "JSON in a text"
"""The key of what a text holds that is JSON itself."""
_REST: Final = "…"


def masked(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON value as large as a person reads, which says of another one how it is built."""
    return _Masking().value(value, "", 0)


def without_json(body: bytes) -> str:
    """What may be told of a body that is no JSON."""
    if not body:
        return "an empty body"
    first = body[:1]
    if first in b"{[":
        kind = "a bracket, as of JSON"
    elif first in b"<":
        kind = "<, as of XML or HTML"
    elif first.isalpha():
        kind = "a letter"
    elif first.isdigit():
        kind = "a digit"
    elif first.isspace():
        kind = "a space or a line feed"
    elif first in b"\x1f\x78\x28\x50":
        kind = "a mark of compressed data, or a sign"
    elif b" " < first < b"\x7f":
        kind = "a sign"
    else:
        kind = "neither a letter nor a sign of ASCII"
    return f"no JSON that can be read: {len(body):,} byte{'s' * (len(body) != 1)}, the first one is {kind}"


@dataclass(slots=True)
class _Masking:
    """One body; counts what it has shown."""

    left: int = _MOST_VALUES

    def value(self, value: Any, key: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        """The shape of a value that stands under a key."""
        self.left -= 1
        if self.left < 0:
            return _REST
        found: Any
        match value:
            case None | bool():
                found = value
            case str():
                found = self._text(value, key, depth)
            case dict():
                found = dict(self._object(value, depth)) if depth < _MOST_DEPTH else _keys(len(value))
            case list():
                found = self._list(value, key, depth) if depth < _MOST_DEPTH else _items(len(value))
            case _:
                found = "number"
        return found

    def _text(self, text: str, key: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        if key in WORDS and len(text) <= _LONGEST_WORD and _WORD.fullmatch(text) and not _LONG_NUMBER.search(text):
            return text
        if key == NESTS and depth == 1 and (nested := _nested(text)) is not None:
            return {NESTED: self.value(nested, "", depth + 1)}
        if not text:
            return "empty text"
        if _DIGITS.fullmatch(text):
            return f"digits of {len(text)}"
        return "link" if _LINK.match(text) else f"text of {len(text):,} character{'s' * (len(text) != 1)}"

    def _object(self, value: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
        for number, (key, item) in enumerate(value.items()):
            if number == _MOST_KEYS or self.left <= 0:
                yield _REST, _keys(len(value) - number)
                return
            plain = _is_plain(key)
            yield (
                (key if plain else f"key {number + 1}, of {len(key):,} characters"),
                self.value(item, key if plain else "", depth + 1),
            )

    def _list(self, value: list[Any], key: str, depth: int) -> list[Any]:
        shown = [self.value(item, key, depth + 1) for item in value[: min(_MOST_ITEMS, max(self.left, 0))]]
        more = len(value) - len(shown)
        return [*shown, f"{_REST} {more:,} more"] if more else shown


def _is_plain(key: str) -> bool:
    return len(key) <= _LONGEST_WORD and _KEY.fullmatch(key) is not None and _LONG_NUMBER.search(key) is None


def _nested(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """The object or list that a text holds, as TikTok sends it; None if it holds neither."""
    if len(text) > _LONGEST_NESTED or not text.startswith(("{", "[")):
        return None
    try:
        return loads(text)
    except ValueError:
        return None


def _keys(number: int) -> str:
    return f"{_REST} {number:,} key{'s' * (number != 1)}"


def _items(number: int) -> str:
    return f"{_REST} {number:,} item{'s' * (number != 1)}"
