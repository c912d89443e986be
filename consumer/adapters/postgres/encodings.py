"""JSON for databases of any encoding: characters that one cannot hold are found in the line that they are in.

Text on its way into a database is converted as a whole, so one such character would have the server refuse a call with
all of its events. As an escape, it is converted when its line is parsed, and only that line is refused.
"""

import re
from typing import Final

import psycopg
from psycopg.rows import TupleRow

_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]")
# Two backslashes are one, so that what follows them is no escape. A character beyond 16 bits is a pair of escapes.
_ESCAPE: Final = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|.)", re.DOTALL
)


def encoding_of(connection: psycopg.AsyncConnection[TupleRow] | psycopg.Connection[TupleRow]) -> str:
    """The encoding of the database, as the server told when the session began."""
    return connection.info.parameter_status("server_encoding") or "UTF8"


def fitting(json_text: str, server_encoding: str) -> str:
    """JSON, one value or several, in the form that a database of this encoding can take; it means the same."""
    if server_encoding == "UTF8":
        return json_text
    if server_encoding == "SQL_ASCII":  # takes any bytes, but has no idea what an escape stands for
        return _ESCAPE.sub(_unescaped, json_text)
    return _BEYOND_ASCII.sub(_escaped, json_text)


def storable(name: str, server_encoding: str) -> str:
    """A name in the form in which a database of this encoding has it, whatever characters it cannot hold."""
    return name if server_encoding == "UTF8" else name.encode("ascii", "backslashreplace").decode()


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))


def _unescaped(found: re.Match[str]) -> str:
    high, low, alone = found.groups()
    if high:
        return bytes.fromhex(high + low).decode("utf-16-be")
    if alone and (number := int(alone, 16)) > 0x7F and not 0xD800 <= number <= 0xDFFF:
        return chr(number)
    return found[0]
