"""Text of strangers on its way to a terminal, a log or a file: nothing in it moves a cursor or begins a line."""

import re
import unicodedata
from typing import Final

# Besides control characters, of C0 and C1: what changes the order of the text around it, what ends a line in some
# programs, halves of characters that no encoding has, and characters of no width, which hide.
_MARKS: Final = "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_UNSAFE: Final = re.compile(f"[\x00-\x1f\x7f-\x9f{_MARKS}\ud800-\udfff\U000e0000-\U000e007f]")


def printable(text: str) -> str:
    r"""The text with what is not to be seen, or not harmless, as \x1b, \u202e or \U000e0041; a tab is four spaces."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escaped, text)


def one_line(text: str) -> str:
    """The text as one line of words."""
    return printable(" ".join(text.split()))


def printable_json(text: str) -> str:
    r"""JSON in which strings have no such character: each is an escape, as \u009b, and means the same."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _UNSAFE.sub(_escaped_in_json, text)


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: 35 s, 4 min 5 s, 2 h 3 min, 12 d 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\t":
        return "    "
    if unicodedata.category(character) == "Cc":
        return f"\\x{ord(character):02x}"
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"


def _escaped_in_json(found: re.Match[str]) -> str:
    if found[0] < " ":
        return found[0]  # between values: in a string JSON itself escapes it
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))
