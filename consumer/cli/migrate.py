"""migrate: the schema, brought to this version, checked or printed."""

from datetime import datetime
from typing import Annotated

import typer

from consumer.adapters.postgres.migrations import history, migrator, replaced
from consumer.adapters.postgres.migrations import psql_script as migration_script
from consumer.adapters.shipped_files import roles_script
from consumer.cli.options import DatabaseUrl, database
from consumer.domain.text import one_line


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
    doorbell: Annotated[
        bool | None,
        typer.Option(
            "--doorbell/--no-doorbell",
            help="Whether inserting events wakes the service; without it the service polls, and the application can "
            "prepare transactions (two-phase commit). Remembered; on at first.",
            show_default=False,
        ),
    ] = None,
    routed_before: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Mark what arrived before this time (ISO 8601; UTC without an offset) and is not routed as routed, in "
            "small steps; an interrupted run is gone on with by the next.",
        ),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Bring the database to this version.

    Safe to run twice, at the same time, and under traffic.
    """
    if check + print_script + print_roles > 1:
        raise typer.BadParameter("--check, --print and --print-roles exclude each other")
    if doorbell is not None and (check or print_roles):
        raise typer.BadParameter("--doorbell and --no-doorbell are for migrating, or for --print")
    if routed_before is not None and (check or print_script or print_roles):
        raise typer.BadParameter("--routed-before is for migrating")
    if print_roles:
        typer.echo(roles_script(), nl=False)
    elif print_script:
        typer.echo(migration_script.script(doorbell=doorbell), nl=False)
    elif check:
        _check(database(database_url))
    else:
        before = None if routed_before is None else history.moment(routed_before)
        _migrate(database(database_url), doorbell=doorbell, routed_before=before)


def _check(conninfo: str) -> None:
    pending = migrator.check(conninfo)
    for line in pending:
        typer.echo(one_line(line))
    for note in [*migrator.notes(conninfo), *history.cost(conninfo), *replaced.to_be_replaced(conninfo)]:
        typer.echo(f"note: {one_line(note)}")
    if pending:
        raise typer.Exit(1)
    typer.echo("up to date")


def _migrate(conninfo: str, *, doorbell: bool | None, routed_before: datetime | None) -> None:
    report = migrator.migrate(
        conninfo,
        report=lambda line: typer.echo(one_line(line), err=True),
        doorbell=doorbell,
        routed_before=routed_before,
    )
    for note in report.notes:
        typer.echo(f"note: {one_line(note)}", err=True)
    if not report.changed:
        typer.echo("up to date already")
        return
    done = [f"{len(report.migrations)} migrations", f"{report.functions} functions"]
    if report.repaired:
        done.append(f"{len(report.repaired)} things made again")
    if report.marked:
        done.append(f"{report.marked} events marked as routed")
    typer.echo(f"applied: {', '.join(done)}")
