"""run: the service."""

import os
from pathlib import Path
from typing import Annotated

import typer

from consumer import config
from consumer.adapters.telemetry import log as logs
from consumer.cli.options import DatabaseUrl
from consumer.cli.runtime import on_signals, run_async
from consumer.service import build, logged


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
