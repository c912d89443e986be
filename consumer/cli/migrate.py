"""migrate: the schema, brought to this version, checked or printed."""

from typing import Annotated

import typer

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations import psql_script as migration_script
from consumer.adapters.shipped_files import roles_script
from consumer.cli.options import DatabaseUrl, database


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; list what is pending, and exit with 1.")
    ] = False,
    print_script: Annotated[
        bool, typer.Option("--print", help="Print everything as a script for psql; needs no database.")
    ] = False,
    print_roles: Annotated[
        bool,
        typer.Option("--print-roles", help="Print the script that makes the service's role, for psql or `sql -`."),
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Bring the database to this version.

    Safe to run twice, at the same time, and under traffic.
    """
    if check + print_script + print_roles > 1:
        raise typer.BadParameter("--check, --print and --print-roles exclude each other")
    if print_roles:
        typer.echo(roles_script(), nl=False)
        return
    if print_script:
        typer.echo(migration_script.script(), nl=False)
        return
    conninfo = database(database_url)
    if check:
        pending = migrator.check(conninfo)
        for line in pending:
            typer.echo(line)
        if pending:
            raise typer.Exit(1)
        typer.echo("up to date")
        return
    report = migrator.migrate(conninfo, report=lambda line: typer.echo(line, err=True))
    if not report.changed:
        typer.echo("up to date already")
        return
    done = [f"{len(report.migrations)} migrations", f"{report.functions} functions"]
    if report.repaired:
        done.append(f"{len(report.repaired)} indexes repaired")
    typer.echo(f"applied: {', '.join(done)}")
