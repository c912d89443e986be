"""reconcile: one sweep, for cron."""

from typing import Annotated

import typer

from consumer.adapters.postgres.store import PostgresStore
from consumer.cli.options import AsJson, with_settings
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text
from consumer.config import Settings
from consumer.pipeline.single_sweep import SingleSweep


@with_settings("database_url", "batch_size")
def reconcile(
    settings: Settings,
    *,
    channel: Annotated[str | None, typer.Option(help="Only events of this channel.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many events; all unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Route what is unrouted once, for cron or a CronJob.

    Oldest event_date first. Prints how many were routed. Exit status 1 when the schema kept some from being routed.
    """

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
        held = {"held": done.held, "held_reason": done.held_reason} if done.held else {}
        typer.echo(json_text({"routed": done.routed, "parked": done.parked, **held}, indent=False))
    else:
        typer.echo(done.routed)
        if done.parked:
            typer.echo(f"{done.parked} could not be routed and are parked: webhook-router parked list", err=True)
    if done.held:
        typer.echo(
            f"{done.held} could not be routed, for no fault of theirs, and wait for the next sweep: {done.held_reason}",
            err=True,
        )
        raise typer.Exit(1)
