"""produce: NDJSON events into the Kafka topic, for tests and back-fills, and into those of several databases."""

import asyncio
import difflib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from consumer.adapters.event_schema import event_schema
from consumer.adapters.kafka.shards import topics_of
from consumer.adapters.kafka.writer import Message, TopicWriter
from consumer.adapters.ndjson import (
    LONGEST_LINE,
    STANDARD_INPUT,
    Line,
    LineReader,
    RejectedLines,
    Rejection,
    open_source,
)
from consumer.adapters.telemetry import log as logs
from consumer.cli.ingest import rejected_lines
from consumer.cli.options import CONNECTION, AsJson, with_settings
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text
from consumer.config import Settings
from consumer.domain.errors import ConsumerError, Misconfigured
from consumer.domain.webhook import CHANNELS, key_of
from consumer.kafka_config import check_topic

AT_ONCE = 5000
WRITE_WITHIN = 120.0
"""Seconds for that many; the brokers may be away for a while."""


@with_settings(*CONNECTION)
def produce(
    settings: Settings,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Events, one JSON object a line; - is standard input.")],
    topic: Annotated[str | None, typer.Option(help="Topic to write to; the first configured one unless given.")] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Share the events among the topics of so many databases, TOPIC-0, TOPIC-1 and so on, by their keys.",
        ),
    ] = None,
    create_topic: Annotated[
        bool, typer.Option("--create-topic", help="Create a topic that does not exist, as the brokers' defaults say.")
    ] = False,
    any_channel: Annotated[
        bool,
        typer.Option("--any-channel", help="Take channels that only a database takes whose checks were widened."),
    ] = False,
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
    that is in the table. What belongs to one conversation gets one key, so that it stays in order, and with --shards in
    one database. A line is written once, whatever the brokers do meanwhile; the whole command can be run again, since
    an event that is there already does no harm.
    """
    if topic is not None:
        if "," in topic:
            raise Misconfigured("--topic is the one topic to write to; --shards shares the events among several")
        check_topic(topic, "--topic")
        settings = settings.model_copy(update={"kafka_topics": topic, "kafka_topics_pattern": None})
    connection, name = settings.kafka_connection(), settings.kafka_topic()
    logs.configure(format=settings.log_format, level=settings.log_level)
    kept = rejected_lines(file, rejected)
    topics = (name,) if shards is None else topics_of(name, shards)
    refusal = partial(_refusal, event_schema().refusal, any_channel=any_channel, shards=shards)
    started = time.perf_counter()
    writer = TopicWriter(connection, *topics, timeout=WRITE_WITHIN)
    partitions, refused = run_async(_write(file, writer, kept, refusal, create_topic=create_topic))
    seconds = time.perf_counter() - started
    written, produced = writer.written, sum(writer.written.values())
    if as_json:
        figures: dict[str, Any] = {"produced": produced, "rejected": refused}
        figures |= {"topic": name} if shards is None else {"topics": written}
        typer.echo(json_text(figures | {"seconds": round(seconds, 3)}, indent=False), err=kept.path is None)
    else:
        aside = f", {refused:,} rejected (see {kept.name})" if refused else ""
        where = name if shards is None else ", ".join(f"{topic} ({count:,})" for topic, count in written.items())
        said = f"{produced:,} event{'s' * (produced != 1)} written to {where}{aside}; {seconds:.1f} s"
        typer.echo(said, err=kept.path is None)
    if unused := _unused(partitions):
        typer.echo(unused, err=True)
    if refused:
        raise typer.Exit(1)


async def _write(
    file: str,
    writer: TopicWriter,
    kept: RejectedLines,
    refusal: Callable[[bytes], str | None],
    *,
    create_topic: bool,
) -> tuple[dict[str, int], int]:
    """Writes all of it; returns how many partitions each topic has, and how many lines were rejected."""
    refused = 0
    name = STANDARD_INPUT if file == "-" else file
    with open_source(file) as source:
        blocks = LineReader(source, name=name, command="webhook-router produce -").blocks()
        try:
            partitions = await writer.partitions(create=create_topic)
            while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                for begin in range(0, len(block), AT_ONCE):
                    messages, bad = _checked(block[begin : begin + AT_ONCE], refusal)
                    kept.write(bad)
                    if messages:
                        await writer.write(messages)
                    refused += len(bad)
        except ConsumerError as error:
            produced = sum(writer.written.values())
            if not produced + refused:
                raise
            said = f"{error}; {produced:,} events are written and {refused:,} lines rejected, the rest is not"
            raise ConsumerError(f"{said}: run it again, what is written already does no harm") from error
        finally:
            await writer.close()
            kept.close()
    return partitions, refused


def _checked(lines: Sequence[Line], refusal: Callable[[bytes], str | None]) -> tuple[list[Message], list[Rejection]]:
    messages, rejections = [], []
    for line in lines:
        reason = f"longer than {LONGEST_LINE // 1024**2} MiB" if line.cut else refusal(line.text)
        if reason is None:
            messages.append(Message(key=key_of(orjson.loads(line.text)).encode(), value=line.text))
        else:
            rejections.append(Rejection(line, reason))
    return messages, rejections


def _refusal(
    schema: Callable[[bytes], str | None], line: bytes, *, any_channel: bool, shards: int | None
) -> str | None:
    """Why no database could do anything with a line, or which of several is unknown."""
    if reason := schema(line):
        return reason
    event = orjson.loads(line)
    channel = event["channel"].strip(" ").lower()
    if not any_channel and channel not in CHANNELS:
        near = difflib.get_close_matches(channel, CHANNELS, n=1)
        meant = f"is {near[0]} meant?" if near else f"none of {', '.join(CHANNELS)}."
        return f"channel {channel!r} is not known: {meant} Where the database takes more of them: --any-channel"
    if shards is not None and event.keys() == {"channel", "event_id"}:
        return "only names an event; with --shards, give its author_id (or post_id) too, which says where it is"
    return None


def _unused(partitions: Mapping[str, int]) -> str | None:
    """What to say of shards whose topics have partitions that no key comes to.

    The keys of a shard leave the same rest when their hash is divided by the number of shards, and the partition is the
    rest of the same hash.
    """
    shards = len(partitions)
    for topic, count in partitions.items():
        if (common := math.gcd(count, shards)) > 1:
            return (
                f"only {count // common} of the {count} partitions of {topic} get events: a number that has no divisor "
                f"in common with {shards} would use all"
            )
    return None
