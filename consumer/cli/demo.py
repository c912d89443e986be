"""demo: a Postgres of its own, sample events, the service."""

from typing import Annotated, Any

import typer

from consumer import config
from consumer.adapters.telemetry import log as logs
from consumer.cli.options import flag
from consumer.cli.runtime import console, on_signals, run_async
from consumer.cli.starting import Interrupted
from consumer.cli.tables import json_text
from consumer.demo.run import Demo, DemoOptions


def demo(
    *,
    events: Annotated[
        int, typer.Option(min=1, help="Deliveries to feed; with --once the demo ends after them.")
    ] = 20_000,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Deliveries a second; 200 unless --once, then all at once.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Feed the deliveries, wait until all are routed, print the figures.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the figures as JSON.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the sample events.")] = 1,
    http_port: Annotated[int, flag("http_port")] = 0,
    gateway_port: Annotated[int, flag("gateway_port")] = 0,
) -> None:
    """Route sample events on a Postgres of its own.

    Ctrl-C ends it, and the Postgres goes with its data.
    """
    if as_json and not once:
        raise typer.BadParameter("--json goes with --once")
    settings = config.load(http_port=http_port, gateway_port=gateway_port)
    logs.configure(format=settings.log_format, level="warning")
    shown = Demo(settings, DemoOptions(events=events, rate=rate, once=once, seed=seed), console(stderr=True))

    async def demonstrate() -> dict[str, Any] | None:
        with on_signals(shown.stop):
            return await shown.run()

    figures = run_async(demonstrate())
    if figures is None:
        raise Interrupted
    if as_json:
        typer.echo(json_text(figures, indent=False))
