"""audit: what the router and its callers need in the database, and which of it is there."""

import dataclasses

import typer

from consumer.adapters.postgres.operating import audit as readiness
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.tables import json_text, show


def audit(*, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Check that the database has what the router and its callers need.

    Exit code 1 if something required is missing.
    """
    found = readiness.audit(database(database_url))
    missing = [row for row in found.rows if row.required and not row.ok]
    if as_json:
        report = {"ok": found.ok, "rows": [dataclasses.asdict(row) for row in found.rows]}
        typer.echo(json_text(report))
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
        if any(row.kind == "obstacle" for row in missing):
            advice = "not as needed; put the obstacles right as their details say, then run webhook-router migrate"
        elif any("; run: " in row.detail for row in missing):
            advice = "not as needed; run what the details say, and webhook-router migrate for the others"
        else:
            advice = "missing; webhook-router migrate makes them"
        typer.echo(f"webhook-router: {things} {advice}", err=True)
        raise typer.Exit(1)
