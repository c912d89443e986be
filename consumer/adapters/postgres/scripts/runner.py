"""Running SQL scripts as psql does: statement by statement, each on its own unless the script opens a transaction."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from consumer.adapters.postgres.blocking import Connection, session
from consumer.adapters.postgres.scripts.statements import Statement, split_statements
from consumer.domain.errors import Fatal

# At the beginning of a statement: psql does not send them either.
_COMMENT: Final = re.compile(r"\s+|--[^\n]*|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/")
_META: Final = re.compile(r"\\[^\n]*")
_STOP_ON_ERROR: Final = re.compile(r"\\set\s+ON_ERROR_STOP\b", re.IGNORECASE)
# A function body of the SQL standard has semicolons that end nothing.
_ATOMIC: Final = re.compile(
    r"create\s+(?:or\s+replace\s+)?(?:function|procedure)\b.*\bbegin\s+atomic\b", re.IGNORECASE | re.DOTALL
)
_PSQL_ONLY: Final = "that is psql's own language; run this file with psql -f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script, and its name in error messages."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a statement: rows as the server writes them (None: null), or only a status such as INSERT 0 1."""

    status: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()


def run_scripts(
    conninfo: str,
    scripts: Sequence[Script],
    *,
    on_result: Callable[[Result], None],
    on_notice: Callable[[str], None],
) -> None:
    """Runs scripts in one session, in order; what a script leaves uncommitted at the end of all is rolled back.

    Raises:
        Fatal: a statement has failed; the message says where and why. Nothing after it was run.
        Misconfigured, Transient: there is no connection.
    """
    with session(conninfo, name="sql") as connection:
        connection.add_notice_handler(lambda notice: on_notice(_notice(notice)))
        for script in scripts:
            for statement in _statements(script):
                for result in _run(connection, script, statement):
                    on_result(result)
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            on_notice("WARNING:  a transaction is open at the end; it is rolled back")


def _statements(script: Script) -> Iterator[Statement]:
    pieces = split_statements(script.text)
    for piece in pieces:
        statement = _code(script, piece)
        if statement is None:
            continue
        if _ATOMIC.match(statement.text):
            for more in pieces:
                gap = more.line - statement.line - statement.text.count("\n")
                statement = Statement(text=f"{statement.text};{chr(10) * gap}{more.text}", line=statement.line)
                if more.text.casefold() == "end":
                    break
        yield statement


def _code(script: Script, piece: Statement) -> Statement | None:
    r"""The piece without leading comments and \set ON_ERROR_STOP; None if nothing else is in it."""
    position = 0
    while position < len(piece.text):
        if (skipped := _COMMENT.match(piece.text, position)) is not None:
            position = skipped.end()
        elif (meta := _META.match(piece.text, position)) is not None:
            if not _STOP_ON_ERROR.match(meta[0]):
                line = piece.line + piece.text.count("\n", 0, position)
                raise Fatal(f"{script.name}, line {line}: {meta[0].strip()}: {_PSQL_ONLY}")
            position = meta.end()
        else:
            line = piece.line + piece.text.count("\n", 0, position)
            return Statement(text=piece.text[position:], line=line, generates=piece.generates)
    return None


def _run(connection: Connection, script: Script, statement: Statement) -> Iterator[Result]:
    """Executes a statement; if it ends in \\gexec, the statements that it returns are executed instead."""
    results = list(_execute(connection, script, statement))
    if not statement.generates:
        yield from results
        return
    for result in results:
        for row in result.rows:
            for text in filter(None, row):
                yield from _execute(connection, script, Statement(text=text, line=statement.line))


def _execute(connection: Connection, script: Script, statement: Statement) -> Iterator[Result]:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement.text.encode())
            more: bool | None = True
            while more:
                yield _result(cursor)
                more = cursor.nextset()
    except psycopg.Error as error:
        raise Fatal(_located(script, statement, error)) from error


def _result(cursor: psycopg.Cursor[tuple[object, ...]]) -> Result:
    answer = cursor.pgresult
    status = cursor.statusmessage or ""
    if answer is None or cursor.description is None:
        return Result(status=status)
    columns = tuple((answer.fname(column) or b"").decode(errors="replace") for column in range(answer.nfields))
    rows = tuple(
        tuple(_text(answer.get_value(row, column)) for column in range(answer.nfields)) for row in range(answer.ntuples)
    )
    return Result(status=status, columns=columns, rows=rows)


def _text(value: bytes | memoryview | None) -> str | None:
    return None if value is None else bytes(value).decode(errors="replace")


def _located(script: Script, statement: Statement, error: psycopg.Error) -> str:
    """The server's message on one line, with the line of the file that it is about."""
    about = error.diag
    line = statement.line
    if about.statement_position:
        line += statement.text.count("\n", 0, int(about.statement_position) - 1)
    said = " ".join((about.message_primary or str(error)).split())
    if not error.sqlstate and "COPY" in said:
        said = f"copy from stdin or to stdout: {_PSQL_ONLY}"
    elif statement.text.find("\\") >= 0 and 'at or near "\\"' in said:
        said = f"{said}: {_PSQL_ONLY}"
    parts = [f"{script.name}, line {line}: {said}" + (f" [{error.sqlstate}]" if error.sqlstate else "")]
    if about.message_detail:
        parts.append(f"detail: {about.message_detail}")
    if about.message_hint:
        parts.append(f"hint: {about.message_hint}")
    if about.context:
        parts.append(f"at: {about.context.splitlines()[0]}")
    return "; ".join(parts)


def _notice(notice: psycopg.errors.Diagnostic) -> str:
    text = f"{notice.severity or 'NOTICE'}:  {notice.message_primary or ''}"
    for name, more in (("detail", notice.message_detail), ("hint", notice.message_hint)):
        if more:
            text += f"; {name}: {more}"
    return text
