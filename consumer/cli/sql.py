"""sql: runs SQL scripts where there is no psql."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from consumer.adapters.postgres.scripts.runner import Result, Script, run_scripts
from consumer.cli.options import DatabaseUrl, database
from consumer.cli.tables import table
from consumer.domain.errors import Misconfigured
from consumer.domain.text import printable


def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="SQL scripts in UTF-8; - is standard input.")],
    *,
    database_url: DatabaseUrl = None,
) -> None:
    r"""Run SQL scripts as psql -f does, and print every result.

    They run in one session, up to the first error. Of psql's own commands only \gexec is known, and
    \set ON_ERROR_STOP, which goes without saying here.
    """
    conninfo = database(database_url)
    scripts = [_read(name) for name in files]  # all of them, before anything is run
    run_scripts(conninfo, scripts, on_result=_show, on_notice=_note)


def _read(name: str) -> Script:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return Script(name="standard input" if name == "-" else name, text=raw.decode("utf-8-sig"))
    except OSError as error:
        raise Misconfigured(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = "standard input" if name == "-" else name
        raise Misconfigured(f"cannot read {what}: line {line} is not UTF-8 text") from None


def _show(result: Result) -> None:
    if not result.columns:
        typer.echo(result.status)
        return
    for line in table(result.columns, result.rows, count=True):
        typer.echo(line)
    typer.echo()


def _note(text: str) -> None:
    sys.stdout.flush()
    typer.echo("\n".join(printable(line) for line in text.split("\n")), err=True)
