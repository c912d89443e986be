"""produce: NDJSON events into the Kafka topic, for tests and back-fills."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer

from consumer import config
from consumer.adapters.event_schema import event_schema
from consumer.adapters.kafka.writer import Message, TopicWriter
from consumer.adapters.ndjson import LONGEST_LINE, STANDARD_INPUT, Line, LineReader, Rejection, open_source
from consumer.adapters.telemetry import log as logs
from consumer.cli.ingest import rejected_lines
from consumer.cli.options import AsJson, flag
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text
from consumer.domain.errors import ConsumerError
from consumer.domain.webhook import key_of

AT_ONCE = 5000
WRITE_WITHIN = 120.0
"""Seconds for that many; the brokers may be away for a while."""


def produce(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Events, one JSON object a line; - is standard input.")],
    *,
    kafka_bootstrap_servers: Annotated[str | None, flag("kafka_bootstrap_servers")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic to write to; the first configured one unless given.")] = None,
    rejected: Annotated[
        Path | None,
        typer.Option(
            help="Where rejected lines go, - for standard output; <FILE>.rejected.ndjson unless given. "
            "An older one is replaced."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write events from NDJSON to the Kafka topic.

    Exit code 1 if some lines were rejected. The lines are those of `ingest`, and {"channel", "event_id"} of an event
    that is in the table. What belongs to one conversation gets one key, so that it stays in order. A line is written
    once, whatever the brokers do meanwhile; the whole command can be run again, since an event that is there already
    does no harm.
    """
    settings = config.load(kafka_bootstrap_servers=kafka_bootstrap_servers, kafka_topics=topic)
    connection, options = settings.kafka()
    logs.configure(format=settings.log_format, level=settings.log_level)
    kept = rejected_lines(file, rejected)
    started = time.perf_counter()

    async def write() -> tuple[int, int]:
        writer = TopicWriter(connection, options.topics[0], timeout=WRITE_WITHIN)
        produced = refused = 0
        with open_source(file) as source:
            name = STANDARD_INPUT if file == "-" else file
            blocks = LineReader(source, name=name, command="webhook-router produce -").blocks()
            try:
                while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                    for begin in range(0, len(block), AT_ONCE):
                        messages, bad = _checked(block[begin : begin + AT_ONCE])
                        kept.write(bad)
                        if messages:
                            await writer.write(messages)
                        produced, refused = produced + len(messages), refused + len(bad)
            except ConsumerError as error:
                if not produced + refused:
                    raise
                said = f"{error}; {produced:,} events are written and {refused:,} lines rejected, the rest is not"
                raise ConsumerError(f"{said}: run it again, what is written already does no harm") from error
            finally:
                await writer.close()
                kept.close()
        return produced, refused

    produced, refused = run_async(write())
    seconds = time.perf_counter() - started
    if as_json:
        figures = {"produced": produced, "rejected": refused, "topic": options.topics[0], "seconds": round(seconds, 3)}
        typer.echo(json_text(figures, indent=False), err=kept.path is None)
    else:
        aside = f", {refused:,} rejected (see {kept.name})" if refused else ""
        said = f"{produced:,} event{'s' * (produced != 1)} written to {options.topics[0]}{aside}; {seconds:.1f} s"
        typer.echo(said, err=kept.path is None)
    if refused:
        raise typer.Exit(1)


def _checked(lines: Sequence[Line]) -> tuple[list[Message], list[Rejection]]:
    schema = event_schema()
    messages, rejections = [], []
    for line in lines:
        reason = f"longer than {LONGEST_LINE // 1024**2} MiB" if line.cut else schema.refusal(line.text)
        if reason is None:
            messages.append(Message(key=key_of(orjson.loads(line.text)).encode(), value=line.text))
        else:
            rejections.append(Rejection(line, reason))
    return messages, rejections
