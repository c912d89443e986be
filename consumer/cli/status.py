"""status: how the router is doing."""

import typer

from consumer.adapters.postgres.operating import status as operating
from consumer.adapters.postgres.operating.session import session
from consumer.adapters.postgres.operating.status import Status
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, pairs
from consumer.domain.doorbell import RINGS, meaning
from consumer.domain.text import duration

HOUR = 3600


def status(*, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show the backlog, the speed of routing, and connected services."""
    conninfo = database(database_url)

    async def look() -> Status:
        async with session(conninfo, name="status") as connection:
            return await operating.status(connection)

    now = run_async(look())
    if as_json:
        typer.echo(json_text(now))
        return
    for line in pairs(_in_words(now)):
        typer.echo(line)


def _in_words(now: Status) -> list[tuple[str, str]]:
    return [
        ("backlog", f"{now.ready:,}" + (f", the oldest for {duration(now.oldest_seconds)}" if now.ready else "")),
        ("parked", f"{now.parked:,}"),
        ("dead", f"{now.dead:,}" + (" (webhook-router parked list --state dead)" if now.dead else "")),
        ("discarded", f"{now.discarded:,}"),
        *_speed(now),
        ("services", _services(now) + (", draining just now" if now.awake else "")),
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


def _services(now: Status) -> str:
    sessions = f"{now.sessions} session{'s' * (now.sessions != 1)}"
    if now.replicas:
        return f"{now.replicas} replica{'s' * (now.replicas != 1)}, {sessions}"
    return sessions if now.sessions else "none is connected"
