"""migrate, audit and status; ingest, sql and dead-letters are in modules of their own."""

import dataclasses
from typing import Annotated

import orjson
import typer

from consumer.adapters.postgres.blocking import session
from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations import psql_script as migration_script
from consumer.adapters.postgres.operating import audit as readiness
from consumer.adapters.postgres.operating.status import Status
from consumer.adapters.postgres.operating.status import status as look
from consumer.cli import ingest, parked, sql
from consumer.cli.database import AsJson, DatabaseUrl, database
from consumer.cli.tables import duration, pairs, show


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(migrate)
    app.command()(audit)
    app.command()(ingest.ingest)
    app.command("sql")(sql.run)
    app.add_typer(parked.commands, name="dead-letters")
    app.command()(status)


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; list what is pending, and exit with 1.")
    ] = False,
    print_script: Annotated[
        bool, typer.Option("--print", help="Print everything as a script for psql; needs no database.")
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Bring the database to this version. Safe to run twice, at the same time, and under traffic."""
    if check and print_script:
        raise typer.BadParameter("--check and --print exclude each other")
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


def audit(*, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Say whether everything is there that the router and its callers need; exit code 1 if not."""
    found = readiness.audit(database(database_url))
    missing = [row for row in found.rows if row.required and not row.ok]
    if as_json:
        report = {"ok": found.ok, "rows": [dataclasses.asdict(row) for row in found.rows]}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        rows = [
            (
                "ok" if row.ok else "not ok" if row.required else "note",
                row.kind,
                row.name,
                "required" if row.required else "optional",
                row.detail,
            )
            for row in found.rows
        ]
        show(["", "kind", "name", "", "detail"], rows)
    if missing:
        things = "1 required thing is" if len(missing) == 1 else f"{len(missing)} required things are"
        typer.echo(f"webhook-router: {things} missing; webhook-router migrate makes them", err=True)
        raise typer.Exit(1)


def status(*, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show what is waiting, how fast it is routed, and whether services are connected."""
    with session(database(database_url), name="status") as connection:
        now = look(connection)
    if as_json:
        typer.echo(orjson.dumps(now, option=orjson.OPT_INDENT_2).decode())
        return
    for line in pairs(_in_words(now)):
        typer.echo(line)


def _in_words(now: Status) -> list[tuple[str, str]]:
    ago = now.last_routed_seconds_ago
    services = f"{now.sessions} sessions" if now.sessions else "none is connected"
    return [
        ("backlog", f"{now.ready:,}" + (f", the oldest for {duration(now.oldest_seconds)}" if now.ready else "")),
        ("parked", f"{now.parked:,}"),
        ("dead", f"{now.dead:,}" + (" (webhook-router dead-letters list --state dead)" if now.dead else "")),
        ("discarded", f"{now.discarded:,}"),
        (
            "routed",
            f"{now.per_second_in_minute:,.1f}/s in the last minute, {now.per_second_in_hour:,.1f}/s in the last hour",
        ),
        ("last routed", "never" if ago is None else f"{duration(max(ago, 0))} ago"),
        ("services", services + (", draining just now" if now.awake else "")),
        ("notification queue", f"{now.notification_queue:.1%} full"),
    ]
