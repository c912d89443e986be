"""replay: stored deliveries, read once more."""

import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from consumer import config
from consumer.adapters.postgres.operating.replay import Replay, Replayed
from consumer.cli.options import AsJson, DatabaseUrl, Provider
from consumer.cli.tables import json_text
from consumer.domain.errors import ConsumerError

_AGO: Final = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)", re.IGNORECASE)
_UNITS: Final = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
EVERY: Final = 5.0
"""Seconds between lines about how far it is, on a terminal."""


def moment(text: str) -> datetime:
    """A time as somebody types it: ISO 8601, UTC unless it says otherwise, or how long ago, such as 3d, 12h, 30min.

    Raises:
        typer.BadParameter: it is none of these.
    """
    if found := _AGO.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(**{_UNITS[found[2].lower()]: int(found[1])})
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a time, such as 2026-05-28T20:00Z, nor an age, such as 3d"
        ) from None
    return given if given.tzinfo is not None else given.replace(tzinfo=UTC)


def replay(
    *,
    provider: Annotated[Provider, typer.Option(help="Whose deliveries.")],
    since: Annotated[
        datetime,
        typer.Option(
            parser=moment,
            metavar="TIME",
            help="The first ones: a time, UTC unless it says otherwise, or 3d, 12h, 30min.",
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and tell what would be changed.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Read stored deliveries once more, as this version does.

    What was missed takes effect. Fields that an earlier version wrote, and that nobody has changed since, become as
    this version has them. It can be repeated and interrupted at any time; what was deleted stays deleted. Exit code 1
    if some deliveries could not be taken.
    """
    settings = config.load(database_url=database_url)
    replaying = Replay(settings.database(), provider=provider, own_app_ids=settings.own_app_ids(), dry=dry_run)
    started = told = time.perf_counter()

    def progress() -> None:
        nonlocal told
        if sys.stderr.isatty() and time.perf_counter() - told >= EVERY:
            told = time.perf_counter()
            typer.echo(f"{replaying.done.deliveries:,} deliveries so far", err=True)

    try:
        done = replaying.run(since=since, progress=progress)
    except (ConsumerError, KeyboardInterrupt) as error:
        if not replaying.done.deliveries:
            raise
        reason = "stopped" if isinstance(error, KeyboardInterrupt) else str(error)
        raise ConsumerError(
            f"{reason}; {replaying.done.deliveries:,} deliveries are done, the rest is not: run it again"
        ) from error
    _summarise(done, time.perf_counter() - started, dry=dry_run, as_json=as_json)
    if done.taken.failed:
        raise typer.Exit(1)


def _summarise(done: Replayed, seconds: float, *, dry: bool, as_json: bool) -> None:
    taken = done.taken
    if as_json:
        report = {
            "deliveries": done.deliveries,
            "messages": taken.messages,
            "effects": dict(taken.effects),
            "swept": taken.swept,
            "corrected": done.corrected,
            "unknown": taken.unknown,
            "failed": taken.failed,
            "dry_run": dry,
            "seconds": round(seconds, 3),
        }
        typer.echo(json_text(report, indent=False))
        return
    would = "would be " if dry else ""
    typer.echo(
        f"{done.deliveries:,} deliver{'y' if done.deliveries == 1 else 'ies'}: "
        f"{taken.messages:,} message{'s' * (taken.messages != 1)} {would}made, "
        f"{taken.effects['applied'] + taken.swept:,} changes {would}applied, "
        f"{done.corrected:,} messages {would}corrected; {seconds:.1f} s"
    )
    for count, what in (
        (taken.unknown, "hold something that is not understood: webhook-router deliveries list"),
        (taken.failed, "could not be taken: webhook-router deliveries list --state waiting"),
    ):
        if count:
            typer.echo(f"{count:,} {what}", err=True)
