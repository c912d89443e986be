"""uninstall: the way back to the database as it was."""

from typing import Annotated

import typer

from consumer.adapters.postgres.migrations import uninstaller
from consumer.cli.options import DatabaseUrl, database


def uninstall(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing; list what would be done, and exit with 1 if something prevents it."
        ),
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Take out of the database what migrate has added.

    Functions of the application that were replaced are put back with their grants. Data stay: messages, conversations,
    contacts and events, and when those were routed. All of it is one transaction.
    """
    conninfo = database(database_url)
    if check:
        removal = uninstaller.plan(conninfo)
        for problem, remedy in removal.problems:
            typer.echo(f"in the way: {problem}; {remedy}")
    else:
        removal = uninstaller.uninstall(conninfo, report=lambda line: typer.echo(line, err=True))
    for line in removal.done:
        typer.echo(line)
    for line in removal.left:
        typer.echo(f"left: {line}")
    if removal.problems:
        raise typer.Exit(1)
