"""run, reconcile, demo and config."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console

from consumer import config
from consumer.adapters.postgres.store import PostgresStore
from consumer.adapters.telemetry import log as logs
from consumer.cli.database import AsJson, DatabaseUrl
from consumer.cli.tables import show
from consumer.demo.run import Demo, DemoOptions
from consumer.domain.errors import ConsumerError
from consumer.pipeline.single_sweep import SingleSweep
from consumer.service import build, logged

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # not on Windows, not on every interpreter
    from asyncio import new_event_loop

Result = TypeVar("Result")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(run)
    app.command()(reconcile)
    app.command()(demo)
    app.command("config")(show_config)


def run(
    *,
    database_url: DatabaseUrl = None,
    database_url_file: Annotated[Path | None, typer.Option(help="A file that holds the database URL.")] = None,
    source: Annotated[str | None, typer.Option(help="What wakes the service: postgres or kafka.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Address of /livez, /readyz and /metrics.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Its port; 0 picks a free one and logs it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Events a routing call takes at most.")] = None,
    lanes: Annotated[int | None, typer.Option(help="Routing calls side by side while there is a backlog.")] = None,
    poll_interval: Annotated[float | None, typer.Option(help="Seconds between looks while nothing rings.")] = None,
    overlap: Annotated[float | None, typer.Option(help="Seconds a transaction may commit late.")] = None,
    reconcile_interval: Annotated[float | None, typer.Option(help="Seconds between sweeps.")] = None,
    sample_interval: Annotated[float | None, typer.Option(help="Seconds between counts of the backlog.")] = None,
    call_timeout: Annotated[float | None, typer.Option(help="Seconds after which a call is cancelled.")] = None,
    stall_after: Annotated[float | None, typer.Option(help="Seconds without progress before /livez fails.")] = None,
    shutdown_grace: Annotated[float | None, typer.Option(help="Seconds a stop waits for the batch under way.")] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or text.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    summary_interval: Annotated[float | None, typer.Option(help="Seconds between summary lines.")] = None,
    kafka_bootstrap_servers: Annotated[str | None, typer.Option(help="host:port, comma-separated.")] = None,
    kafka_topics: Annotated[str | None, typer.Option(help="Topics to read, comma-separated.")] = None,
    kafka_group_id: Annotated[str | None, typer.Option(help="The group whose replicas share them.")] = None,
    kafka_dead_letter_topic: Annotated[
        str | None,
        typer.Option("--kafka-dead-letter-topic", "--dead-letter-topic", help="For what cannot be processed."),
    ] = None,
    kafka_start: Annotated[str | None, typer.Option(help="Where a new group begins: earliest or latest.")] = None,
    kafka_batch_size: Annotated[int | None, typer.Option(help="Records a poll takes at most.")] = None,
    kafka_poll_timeout: Annotated[float | None, typer.Option(help="Seconds a poll waits for a record.")] = None,
    kafka_max_record_bytes: Annotated[int | None, typer.Option(help="Larger records are dead letters.")] = None,
    kafka_session_timeout: Annotated[
        float | None, typer.Option(help="Seconds of silence after which others get its partitions.")
    ] = None,
    kafka_security_protocol: Annotated[
        str | None, typer.Option(help="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    ] = None,
    kafka_sasl_mechanism: Annotated[str | None, typer.Option(help="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")] = None,
    kafka_sasl_username: Annotated[str | None, typer.Option(help="User name for SASL.")] = None,
    kafka_sasl_password_file: Annotated[Path | None, typer.Option(help="A file that holds the password.")] = None,
    kafka_ssl_cafile: Annotated[Path | None, typer.Option(help="Authorities to trust, PEM.")] = None,
    kafka_ssl_certfile: Annotated[Path | None, typer.Option(help="Client certificate, PEM.")] = None,
    kafka_ssl_keyfile: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
) -> None:
    """Route events as they arrive, until told to stop (SIGTERM or Ctrl-C; a second one stops at once)."""
    settings = config.load(**locals())
    logs.configure(format=settings.log_format, level=settings.log_level)

    async def serve() -> None:
        service = build(settings, observers=[logged(settings)], environment=os.environ)
        with on_signals(service.stop):
            await service.run()

    run_async(serve())


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


def demo(
    *,
    events: Annotated[
        int, typer.Option(min=1, help="Deliveries to feed; with --once the demo ends after them.")
    ] = 20_000,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Deliveries a second; 200 unless --once, then all at once.")
    ] = None,
    once: Annotated[
        bool, typer.Option(help="Feed the deliveries, wait until all are routed, print the figures.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the figures as JSON.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the sample events.")] = 1,
    http_port: Annotated[
        int | None, typer.Option(help="Port of /livez, /readyz and /metrics; a free one unless given.")
    ] = None,
) -> None:
    """Start a Postgres of its own, feed sample events into it, and route them before your eyes."""
    if as_json and not once:
        raise typer.BadParameter("--json goes with --once")
    settings = config.load(database_url="", http_port=http_port or 0)
    logs.configure(format=settings.log_format, level="warning")
    shown = Demo(settings, DemoOptions(events=events, rate=rate, once=once, seed=seed), Console(stderr=True))

    async def demonstrate() -> dict[str, Any]:
        with on_signals(shown.stop):
            return await shown.run()

    figures = run_async(demonstrate())
    if as_json:
        typer.echo(orjson.dumps(figures).decode())


def show_config() -> None:
    """Print every setting that is in force, secrets masked."""
    show(["setting", "value", "meaning"], config.table(config.load()))


class on_signals:  # noqa: N801 - used as a statement: with on_signals(stop): …
    """The first SIGTERM or SIGINT calls `stop` with the signal's name, the second cancels whatever runs."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop = stop
        self._seen = False

    def __enter__(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def arrived(name: str) -> None:
            if self._seen:
                task.cancel()
            self._seen = True
            self._stop(name)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, arrived, number.name)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run_async(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs on uvloop where there is one. Cancelled by a second signal, it ends with exit code 1."""
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(main)
    except asyncio.CancelledError:
        raise ConsumerError(
            "stopped at once by a second signal; what was under way is rolled back and routed later"
        ) from None
