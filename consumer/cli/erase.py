"""erase: what is kept of a person goes, everywhere."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from consumer.adapters.archive.places import Archive, Holding, archive_at, find
from consumer.adapters.postgres.operating.forgetting import Erased, Forgetting
from consumer.adapters.postgres.operating.session import session
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, table
from consumer.domain.forgetting import Identity

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
            metavar="DIR|s3://…", help="Also list the files of this archive that mention the person; none is changed."
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

    kept_at = None if archive is None else archive_at(archive)

    async def work() -> tuple[Erased, list[Holding]]:
        async with session(conninfo, name="erase") as connection:
            person = Forgetting(connection, channel=channel, external_id=external_id)
            identities = await person.identities()
            # First: once the rows have gone, nobody knows the other identities any more.
            holding = [] if kept_at is None else await asyncio.to_thread(_held, kept_at, identities)
            return await person.erase(identities, dry_run=dry_run, progress=progress), holding

    done, holding = run_async(work())
    if as_json:
        report = {"gone": done.gone, "waiting": done.waiting, "dry_run": dry_run}
        archived = {} if archive is None else {"archives": [file._asdict() for file in holding]}
        typer.echo(json_text(report | archived, indent=False))
        holding = []
    elif done.gone:
        rows = [[name, f"{count:,}"] for name, count in sorted(done.gone.items())]
        rows.append(["all", f"{sum(done.gone.values()):,}"])
        sys.stdout.write("\n".join(table(["would go from" if dry_run else "gone from", "rows"], rows)) + "\n")
    else:
        typer.echo("nothing is known of this person")
    if holding:
        files = [[file.file, f"{file.lines:,}" + (", and it is damaged" if file.damaged else "")] for file in holding]
        sys.stdout.write("\n".join(table(["still in the archive, in", "lines"], files)) + "\n")
    if done.waiting:
        typer.echo(
            f"{done.waiting:,} deliveries that mention the person are not in effect yet and keep their bodies; "
            "run this again once they are: webhook-router deliveries list --state waiting",
            err=True,
        )
        raise typer.Exit(1)


def _held(archive: Archive, identities: Sequence[Identity]) -> list[Holding]:
    """The files of an archive that mention the person on any channel, each once."""
    found: dict[str, Holding] = {}
    for channel in sorted({identity.channel for identity in identities}):
        ids = [identity.id for identity in identities if identity.channel == channel]
        for holding in find(archive, channel, ids):
            before = found.get(holding.file)
            found[holding.file] = holding._replace(lines=holding.lines + (before.lines if before else 0))
    return [found[name] for name in sorted(found)]
