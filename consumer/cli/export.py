"""export: what is kept of a person, as JSON."""

import typer

from consumer.adapters.postgres.operating.forgetting import Forgetting
from consumer.adapters.postgres.operating.session import session
from consumer.cli.erase import Channel, ExternalId
from consumer.cli.options import DatabaseUrl, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text


def export(channel: Channel, external_id: ExternalId, *, database_url: DatabaseUrl = None) -> None:
    """Print all that is kept of a person, as JSON.

    By table, each row with all its columns. It needs the URL of the tables' owner.
    """
    conninfo = database(database_url)

    async def work() -> dict[str, list[object]]:
        async with session(conninfo, name="export") as connection:
            return await Forgetting(connection, channel=channel, external_id=external_id).export()

    typer.echo(json_text(run_async(work())))
