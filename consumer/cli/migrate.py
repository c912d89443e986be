"""migrate: the schema, brought to this version, checked or printed."""

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
    deletion_indexes: Annotated[
        bool,
        typer.Option(
            "--deletion-indexes",
            help="Build indexes with which deleting a conversation or a contact is quick, where nothing serves their "
            "foreign keys; both together make routing an event dearer by about 4 %.",
        ),
    ] = False,
    public_api: Annotated[
        bool | None,
        typer.Option(
            "--public-api/--no-public-api",
            help="Whether anon and authenticated may call the public functions, as applications behind PostgREST do. "
            "Remembered; yes at first.",
            show_default=False,
        ),
    ] = None,
    grant_service_role: Annotated[
        bool,
        typer.Option(
            "--grant-service-role",
            help="Give the existing role webhook_router_service, which all databases of a server share, its rights in "
            "this one; the script of --print-roles does that as well. Remembered.",
        ),
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Bring the database to this version.

    Safe to run twice, at the same time, and under traffic.
    """
    if check + print_script + print_roles > 1:
        raise typer.BadParameter("--check, --print and --print-roles exclude each other")
    decisions = {
        "--doorbell and --no-doorbell are": doorbell is not None,
        "--public-api and --no-public-api are": public_api is not None,
        "--grant-service-role is": grant_service_role,
    }
    for options, given in decisions.items():
        if given and (check or print_roles):
            raise typer.BadParameter(f"{options} for migrating, or for --print")
    for option, given in {"--routed-before": routed_before is not None, "--deletion-indexes": deletion_indexes}.items():
        if given and (check or print_script or print_roles):
            raise typer.BadParameter(f"{option} is for migrating")
    if print_roles:
        typer.echo(roles_script(), nl=False)
    elif print_script:
        script = migration_script.script(doorbell=doorbell, public_api=public_api, service=grant_service_role)
        typer.echo(script, nl=False)
    elif check:
        _check(database(database_url))
    else:
        report = migrator.migrate(
            database(database_url),
            report=lambda line: typer.echo(one_line(line), err=True),
            doorbell=doorbell,
            public_api=public_api,
            service=grant_service_role,
            deletion_indexes=deletion_indexes,
            routed_before=None if routed_before is None else history.moment(routed_before),
        )
        _tell(report)


def _check(conninfo: str) -> None:
    pending = migrator.check(conninfo)
    for line in pending:
        typer.echo(one_line(line))
    for note in [*migrator.notes(conninfo), *history.cost(conninfo), *replaced.to_be_replaced(conninfo)]:
        typer.echo(f"note: {one_line(note)}")
    if pending:
        raise typer.Exit(1)
    typer.echo("up to date")


def _tell(report: migrator.MigrationReport) -> None:
    for note in report.notes:
        typer.echo(f"note: {one_line(note)}", err=True)
    if not report.changed:
        typer.echo("up to date already")
        return
    done = [f"{len(report.migrations)} migrations", f"{report.functions} functions"]
    if report.repaired:
        done.append(f"{len(report.repaired)} thing{'' if len(report.repaired) == 1 else 's'} made again")
    if report.marked:
        done.append(f"{report.marked} events marked as routed")
    if report.built:
        done.append(f"{len(report.built)} index{'' if len(report.built) == 1 else 'es'} for deletions")
    if report.rights:
        done.append("rights put right")
        for wrong in report.rights:
            typer.echo(f"put right: {one_line(wrong)}", err=True)
    typer.echo(f"applied: {', '.join(done)}")
