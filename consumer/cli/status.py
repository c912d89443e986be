"""status: how the router is doing."""

import asyncio
import contextlib
from typing import Annotated, Final

import typer

from consumer.adapters.postgres.database_url import place_of
from consumer.adapters.postgres.operating import status as operating
from consumer.adapters.postgres.operating.session import session
from consumer.adapters.postgres.operating.status import Status
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.runtime import console, on_signals, run_async
from consumer.cli.tables import json_text, pairs
from consumer.cli.watching import Screen, Watch, json_of, line_of, screen, write
from consumer.domain.doorbell import RINGS, meaning
from consumer.domain.text import duration, printable

HOUR = 3600

EVERY: Final = 2.0
"""Seconds between looks, at least."""


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[
        float | None,
        typer.Option(
            min=0.2, max=3600, metavar="SECONDS", help="With --watch: rest so long, or longer; 2 unless given."
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the backlog, the speed of routing, and connected services.

    With --watch it looks again and again: on a terminal as a screen, elsewhere a line a look, of JSON with --json.
    A look that costs the database much is followed by a longer rest. While the database is away, it goes on trying.
    """
    if every is not None and not watch:
        raise typer.BadParameter("--every goes with --watch")
    conninfo = database(database_url)
    if watch:
        run_async(_watch(conninfo, every=EVERY if every is None else every, as_json=as_json))
        return

    async def look() -> Status:
        async with session(conninfo, name="status") as connection:
            return await operating.status(connection)

    now = run_async(look())
    if as_json:
        typer.echo(json_text(now))
        return
    for line in pairs(_in_words(now)):
        typer.echo(line)


async def _watch(conninfo: str, *, every: float, as_json: bool) -> None:
    """Until a signal ends it."""
    stop = asyncio.Event()
    terminal = console()
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_signals(lambda _: stop.set()))
        if as_json or not terminal.is_terminal:
            describe = json_of if as_json else line_of
            watch = Watch(conninfo, every=every, show=lambda look: write(describe(look)), tick=lambda: None)
        else:
            host, name = place_of(conninfo)
            shown = Screen(stack.enter_context(screen(terminal)), place=printable(f"{name} on {host}"))
            shown.draw()
            watch = Watch(conninfo, every=every, show=shown.show, tick=shown.draw)
        watching, stopped = asyncio.create_task(watch.run()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({watching, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watching, stopped):
                task.cancel()
            ended, _ = await asyncio.gather(watching, stopped, return_exceptions=True)
    if isinstance(ended, Exception) and not stop.is_set():
        raise ended


def _in_words(now: Status) -> list[tuple[str, str]]:
    return [
        ("backlog", f"{now.ready:,}" + (f", the oldest for {duration(now.oldest_seconds)}" if now.ready else "")),
        ("parked", f"{now.parked:,}"),
        ("dead", f"{now.dead:,}" + (" (webhook-router parked list --state dead)" if now.dead else "")),
        ("discarded", f"{now.discarded:,}"),
        *_speed(now),
        *_channels(now),
        ("services", _services(now)),
        ("doorbell", "rings" if now.doorbell == RINGS else f"does not ring: {meaning(now.doorbell)}"),
        ("notification queue", f"{now.notification_queue:.1%} full"),
    ]


def _speed(now: Status) -> list[tuple[str, str]]:
    minute, longer, over, ago = (
        now.per_second_in_minute,
        now.per_second_in_hour,
        now.counted_seconds,
        now.last_routed_seconds_ago,
    )
    if minute is None or longer is None or over is None:
        return [("routed", "unknown: no index of webhook_events begins with routed_at")]
    period = "hour" if over >= HOUR else duration(over)
    return [
        ("routed", f"{minute:,.1f}/s in the last minute, {longer:,.1f}/s in the last {period}"),
        ("last routed", "never" if ago is None else f"{duration(ago)} ago"),
    ]


def _channels(now: Status) -> list[tuple[str, str]]:
    lines = [f"{one.channel}: {one.ready:,}, the oldest for {duration(one.oldest_seconds)}" for one in now.by_channel]
    if now.by_channel_is_partial:
        lines.append("of the oldest events alone: there are too many to count them by channel")
    return [("by channel", "\n".join(lines))] if lines else []


def _services(now: Status) -> str:
    sessions = f"{now.sessions} session{'s' * (now.sessions != 1)}" + ", draining just now" * now.awake
    if now.replicas:
        lines = [f"{now.replicas} replica{'s' * (now.replicas != 1)}, {sessions}"]
        return "\n".join([*lines, *(f"{one.name}, {one.version or 'an earlier version'}" for one in now.services)])
    return sessions if now.sessions else "none is connected"
