"""The texts of the members of a JSON object, exactly as they were written.

A parser makes 1.1 of 1.10 and 1.8e23 of 184467440737095516161234. What is taken out of an envelope and handed to
Postgres is therefore cut out of its text.
"""

import re
from collections.abc import Callable

# Strings, and what stands between values; all else is part of a number or a word.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]')


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
