"""reconcile: one sweep, for cron."""

import asyncio
import contextlib
import sys
from typing import Annotated

import typer

from consumer.adapters.postgres.database_url import named
from consumer.adapters.postgres.delivery_store import PostgresDeliveryStore
from consumer.adapters.postgres.store import PostgresStore
from consumer.cli.options import AsJson, with_settings
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text
from consumer.config import Settings
from consumer.domain.errors import ConsumerError
from consumer.domain.routing import Path
from consumer.pipeline.single_sweep import SingleSweep

FIRST_AFTER = 10.0
"""Seconds until a sweep takes long."""
EVERY = 10.0
"""Seconds between lines on a terminal; elsewhere, where they may end in a mail, six times as many."""
WAITING = 1000
"""Effects that a step looks at."""


@with_settings("database_url", "batch_size")
def reconcile(
    settings: Settings,
    *,
    channel: Annotated[str | None, typer.Option(help="Only events of this channel.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many events; all unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Route what is unrouted once, for cron or a CronJob.

    Oldest event_date first; then, without --channel and --limit, effects that wait for messages which are there by now.
    Prints how many events were routed; a sweep that takes long says now and then how far it is, on standard error.
    Exit status 1 when the schema kept some from being routed.
    """
    told: set[str] = set()

    def waits(holder: str) -> None:
        if holder not in told:
            told.add(holder)
            typer.echo(f"a call took too long: {holder}", err=True)

    async def sweep() -> SingleSweep:
        conninfo = named(settings.database(), "webhook-router reconcile")
        store = PostgresStore(conninfo, call_timeout=settings.call_timeout, path=Path.SWEEP)
        sweeping = SingleSweep(store=store, channel=channel, limit=limit, batch_size=settings.batch_size, waits=waits)
        progress = asyncio.create_task(_progress(sweeping, conninfo, call_timeout=settings.call_timeout))
        try:
            await sweeping.run()
            if channel is None and limit is None:
                await _apply_waiting(conninfo, call_timeout=settings.call_timeout)
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
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


async def _apply_waiting(conninfo: str, *, call_timeout: float) -> None:
    """One round over the effects that wait for their targets."""
    store = PostgresDeliveryStore(conninfo, call_timeout=call_timeout, path=Path.SWEEP)
    try:
        swept = await store.sweep(limit=WAITING, place=None)
        while swept.place is not None:
            swept = await store.sweep(limit=WAITING, place=swept.place)
    finally:
        await store.close()


async def _progress(sweeping: SingleSweep, conninfo: str, *, call_timeout: float) -> None:
    """Says again and again how far the sweep is, for as long as it takes."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    store = PostgresStore(conninfo, call_timeout=call_timeout)
    try:
        await asyncio.sleep(FIRST_AFTER)
        while True:
            left = ""
            with contextlib.suppress(ConsumerError):
                left = f", about {(await store.backlog()).ready:,} left"
            rate = (sweeping.routed + sweeping.parked) / (loop.time() - started)
            parked = f" and {sweeping.parked:,} parked" if sweeping.parked else ""
            typer.echo(f"{sweeping.routed:,} routed{parked} so far, {rate:,.0f} a second{left}", err=True)
            await asyncio.sleep(EVERY if sys.stderr.isatty() else 6 * EVERY)
    finally:
        await store.close()
