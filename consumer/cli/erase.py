"""erase: what is kept of a person goes, everywhere."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from consumer.adapters.archive.places import Holding, archive_at, find
from consumer.adapters.postgres.operating.forgetting import Erased, Forgetting
from consumer.adapters.postgres.operating.session import session
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, table

EVERY: Final = 10.0
"""Seconds between lines about how far it is."""

Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="Where the person writes: whatsapp, instagram, …")]
ExternalId = Annotated[
    str, typer.Argument(metavar="EXTERNAL_ID", help="The person's id there, as contact_channels has it.")
]


def erase(
    channel: Channel,
    external_id: ExternalId,
    *,
    archive: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|s3://…",
            help="Also list the files of this archive that name the person; they are not changed.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete what is kept of a person, in all tables.

    With the contact go its other identities, conversations, messages, events, and the bodies of deliveries that mention
    it. What others wrote stays. It needs the URL of the tables' owner, and can be run again at any time.
    Exit status 1 when deliveries that are not in effect yet mention the person, too: run it again once they are.
    """
    conninfo = database(database_url)
    told_at = time.monotonic()

    def progress(looked: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= EVERY:
            told_at = time.monotonic()
            typer.echo(f"looked at {looked:,} deliveries", err=True)

    kept_at = archive_at(archive) if archive is not None else None
    files: list[Holding] = []

    async def work() -> Erased:
        async with session(conninfo, name="erase") as connection:
            person = Forgetting(connection, channel=channel, external_id=external_id)
            identities = await person.identities()
            if kept_at is not None:
                # Before the tables forget which other ids the person has.
                ids = {*(one.id for one in identities), external_id}
                files.extend(await asyncio.to_thread(lambda: list(find(kept_at, ids))))
            return await person.erase(identities, dry_run=dry_run, progress=progress)

    done = run_async(work())
    if as_json:
        report: dict[str, object] = {"gone": done.gone, "waiting": done.waiting, "dry_run": dry_run}
        if archive is not None:
            report["archived"] = [one._asdict() for one in files]
        typer.echo(json_text(report, indent=False))
    elif done.gone:
        rows = [[name, f"{count:,}"] for name, count in sorted(done.gone.items())]
        rows.append(["all", f"{sum(done.gone.values()):,}"])
        sys.stdout.write("\n".join(table(["would go from" if dry_run else "gone from", "rows"], rows)) + "\n")
    else:
        typer.echo("nothing is known of this person")
    if archive is not None and not as_json:
        _list(files)
    if done.waiting:
        typer.echo(
            f"{done.waiting:,} deliveries that mention the person are not in effect yet, so the person is not erased, "
            "or comes back; run this again once they are: webhook-router deliveries list --state waiting",
            err=True,
        )
        raise typer.Exit(1)


def _list(files: Sequence[Holding]) -> None:
    """The files of an archive that name the person."""
    if not files:
        typer.echo("no file of the archive names this person")
        return
    rows = [[one.file, f"{one.lines:,}", "damaged: it may have more" if one.damaged else ""] for one in files]
    typer.echo("\n".join(table(["archived in", "lines", ""], rows)))
    typer.echo("these files were not changed: reading them back would bring the person back")
