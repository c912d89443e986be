"""status: how the router is doing."""

import typer

from consumer.adapters.postgres.operating import status as operating
from consumer.adapters.postgres.operating.session import session
from consumer.adapters.postgres.operating.status import Status
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import duration, json_text, pairs
from consumer.domain.doorbell import RINGS, meaning


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
    ago = now.last_routed_seconds_ago
    services = f"{now.sessions} sessions" if now.sessions else "none is connected"
    return [
        ("backlog", f"{now.ready:,}" + (f", the oldest for {duration(now.oldest_seconds)}" if now.ready else "")),
        ("parked", f"{now.parked:,}"),
        ("dead", f"{now.dead:,}" + (" (webhook-router parked list --state dead)" if now.dead else "")),
        ("discarded", f"{now.discarded:,}"),
        (
            "routed",
            f"{now.per_second_in_minute:,.1f}/s in the last minute, {now.per_second_in_hour:,.1f}/s in the last hour",
        ),
        ("last routed", "never" if ago is None else f"{duration(ago)} ago"),
        ("services", services + (", draining just now" if now.awake else "")),
        ("doorbell", "rings" if now.doorbell == RINGS else f"does not ring: {meaning(now.doorbell)}"),
        ("notification queue", f"{now.notification_queue:.1%} full"),
    ]
