"""explain: where one event is, and what to do if that is not the inbox."""

import dataclasses
from typing import Annotated

import typer

from consumer.adapters.postgres.database_url import place_of
from consumer.adapters.postgres.operating import explain as operating
from consumer.adapters.postgres.operating.session import session
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, pairs
from consumer.domain.explaining import UNKNOWN, Explanation, advice, facts
from consumer.domain.text import printable


def explain(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="instagram, whatsapp, …")],
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="The provider's id, as in webhook_events.event_id.")
    ],
    *,
    route: Annotated[
        bool, typer.Option("--route", help="Route it now, if it is ready or due, and tell what keeps it from that.")
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Explain where an event is, and what to do next.

    It was routed, or is ready, held, parked, dead, discarded, or unknown here. Prints ids, times and errors, and
    nothing that a person wrote. Exit code 1 if it is unknown.
    """
    conninfo = database(database_url)

    async def look() -> Explanation:
        async with session(conninfo, name="explain") as connection:
            return await (operating.route if route else operating.explain)(connection, channel, event_id)

    found = run_async(look())
    if as_json:
        typer.echo(json_text(dataclasses.asdict(found)))
    else:
        host, name = place_of(conninfo)
        for line in pairs(list(facts(found))):
            typer.echo(line)
        typer.echo()
        for sentence in advice(found, host=host, database=name):
            typer.echo(printable(str(sentence)))
    if found.state == UNKNOWN:
        raise typer.Exit(1)
