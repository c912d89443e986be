"""reconcile: one sweep, for cron."""

from typing import Annotated

import orjson
import typer

from consumer import config
from consumer.adapters.postgres.store import PostgresStore
from consumer.cli.options import AsJson, DatabaseUrl
from consumer.cli.runtime import run_async
from consumer.pipeline.single_sweep import SingleSweep


def reconcile(
    *,
    database_url: DatabaseUrl = None,
    channel: Annotated[str | None, typer.Option(help="Only events of this channel.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many events; all unless given.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Events a routing call takes at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Route what is unrouted, oldest event_date first, once: for cron or a CronJob. Prints how many were routed."""
    settings = config.load(database_url=database_url, batch_size=batch_size)

    async def sweep() -> SingleSweep:
        store = PostgresStore(settings.database(), call_timeout=settings.call_timeout)
        sweeping = SingleSweep(store=store, channel=channel, limit=limit, batch_size=settings.batch_size)
        try:
            await sweeping.run()
        finally:
            await store.close()
        return sweeping

    done = run_async(sweep())
    if as_json:
        typer.echo(orjson.dumps({"routed": done.routed, "parked": done.parked}).decode())
        return
    typer.echo(done.routed)
    if done.parked:
        typer.echo(f"{done.parked} could not be routed and are parked: webhook-router dead-letters list", err=True)
