"""What may be said of a database's error: its words, but nothing of the rows that it is about."""

import re
from typing import Final

import psycopg
from psycopg import errors

from consumer.domain.text import one_line

_OF_THE_APPLICATION: Final = "a trigger or function of the application raised an error"
_ELSEWHERE: Final = "its words are in the server's log"
# Lines of libpq are sentences, not all of them with an end.
_LINE_END: Final = re.compile(r"(?<=[^.:?])\n")
# From the first quote to the last, in any language: the value may contain some.
_QUOTE: Final = r"[\"\u00ab\u00bb\u201c-\u201f\u2039\u203a\u300c-\u300f]"
_VALUE: Final = re.compile(f"{_QUOTE}.*{_QUOTE}", re.DOTALL)
_BYTES: Final = re.compile(r"0x[0-9a-f]{2}(?: 0x[0-9a-f]{2})*")
_OURS: Final = re.compile(r".{0,12}PL/pgSQL\S{0,20} ?(?:\S+ )?router\.")
_OTHER_LANGUAGE: Final = re.compile(r"PL/(?!pgSQL)")
_QUOTING_CLASSES: Final = ("22",)
_QUOTING: Final = {"42601", "42602", "42622", "42704"}
"""Errors of a text that was to be a statement, or the name of something."""


def words_of(error: psycopg.Error) -> tuple[str, str]:
    """The message and the hint of an error, each in one line; an empty hint is none.

    Detail and context are left out, since they quote rows. So do the messages of failed casts, whose value is cut, and
    those that code of the application writes, of which nothing is left.
    """
    about, state = error.diag, error.sqlstate or ""
    if about.message_primary is None:  # not an error of the server, but of libpq
        return one_line(_LINE_END.sub(". ", str(error).strip())), ""
    if raised_by_the_application(about):
        return _OF_THE_APPLICATION, _ELSEWHERE
    said, hint = about.message_primary, about.message_hint or ""
    if state.startswith(_QUOTING_CLASSES) or state in _QUOTING:
        said, hint = _BYTES.sub("…", _VALUE.sub('"…"', said)), ""
    return one_line(said), one_line(hint)


def raised_by_the_application(about: errors.Diagnostic) -> bool:
    """Whether code that is not ours, or a statement that it has put together, is behind this: it quotes rows.

    The context begins with the innermost function; source_function is the server's own C function, in no language.
    """
    context = about.context or ""
    first = context.partition("\n")[0]
    if about.source_function in {"exec_stmt_raise", "exec_stmt_assert"}:
        return not _OURS.match(first)
    return bool(_OTHER_LANGUAGE.search(first)) or (about.sqlstate == "42601" and " EXECUTE" in context)
