"""status: how the router is doing."""

import orjson
import typer

from consumer.adapters.postgres.blocking import session
from consumer.adapters.postgres.operating.status import Status
from consumer.adapters.postgres.operating.status import status as look
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.tables import duration, pairs


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
