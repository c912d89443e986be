"""kafka: how far the group has come, and records that nothing can read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

import typer

from consumer.adapters.kafka.inspecting import Reach, inspecting
from consumer.adapters.postgres.operating import positions as operating
from consumer.adapters.postgres.operating.session import session
from consumer.adapters.telemetry import log as logs
from consumer.cli.options import CONNECTION, AsJson, add_command, with_settings
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, table
from consumer.config import Settings
from consumer.domain.errors import ConsumerError
from consumer.domain.lag import Partition
from consumer.domain.positions import Noted

commands = typer.Typer(
    no_args_is_help=True, help="How far the group has come in its topics, and records that nothing can read."
)

_CONNECTIONS: Final = (*CONNECTION, "kafka_group_id", "database_url")


@with_settings("kafka_topics", "kafka_topics_pattern", *_CONNECTIONS)
def show_positions(settings: Settings, *, as_json: AsJson = False) -> None:
    """Show how far the group has come, by brokers and database.

    The database is ahead of the group or with it. Where it is behind, it has gone back, and the service reads again
    what it lacks; or the group's offsets were set by hand. What is behind an open transaction does not count.
    """
    logs.configure(format=settings.log_format, level=settings.log_level)
    conninfo, (connection, options) = settings.database(), settings.kafka()

    async def look() -> list[tuple[Partition, Reach, Noted | None]]:
        async with inspecting(connection, options) as brokers:
            topics = options.topics or sorted(options.wanted(await brokers.topics()))
            if not topics:
                raise ConsumerError(f"kafka: no topic matches {options.topics_pattern}, or none for this user")
            partitions = [place for topic in topics for place in await brokers.partitions(topic)]
            reaches = await brokers.reach(partitions)
        async with session(conninfo, name="kafka") as database:
            noted = await operating.noted(database, options.group_id, partitions)
        return [(partition, reaches[partition], noted.get(partition)) for partition in partitions]

    found = run_async(look())
    if as_json:
        typer.echo(json_text([_position(*one) for one in found]))
        return
    for line in _one_by_one(found):
        typer.echo(line)
    if all(reach.group is None and noted is None for _, reach, noted in found):
        typer.echo(
            f"group {options.group_id} has no position here: no service has read this as a member of it", err=True
        )
    if behind := [one for one in found if _lacks(*one)]:
        where = f"{len(behind)} partition{'s' * (len(behind) != 1)}"
        typer.echo(
            f"the database has less than the group in {where}: that is read again, unless the offsets were set by hand",
            err=True,
        )


@with_settings(*_CONNECTIONS)
def skip(
    settings: Settings,
    *,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="As the log names it.", show_default=False)],
    partition: Annotated[
        int, typer.Argument(metavar="PARTITION", min=0, max=2**31 - 1, help="Its number.", show_default=False)
    ],
    offset: Annotated[
        int,
        typer.Argument(metavar="OFFSET", min=0, max=2**63 - 1, help="Of the record to give up.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Give up a record that can be neither read nor set aside.

    The service, whose partition waits in front of it, goes on behind it within seconds, or at its next start. A record
    that can be read is refused; exit code 1 then.
    """
    logs.configure(format=settings.log_format, level=settings.log_level)
    conninfo, (connection, options) = settings.database(), settings.kafka()
    group, place = options.group_id, Partition(topic, partition)

    async def give_up() -> tuple[str, operating.Skipped]:
        async with inspecting(connection, options) as brokers:
            known = await brokers.partitions(topic)
            if place not in known:
                raise ConsumerError(f"{topic} has no partition {partition}; its last one is {known[-1].partition}")
            reach = (await brokers.reach([place]))[place]
            if not reach.begin <= offset < reach.end:
                holds = f"offsets {reach.begin} to {reach.end - 1}" if reach.end > reach.begin else "no records"
                raise ConsumerError(f"partition {partition} of {topic} has {holds}; there is no record {offset}")
            flaw = await brokers.flaw(place, offset)
        if flaw is None:
            raise ConsumerError(f"record {offset} in partition {partition} of {topic} can be read; nothing to skip")
        async with session(conninfo, name="kafka") as database:
            return flaw, await operating.skip(database, group, place, offset)

    flaw, done = run_async(give_up())
    if done.next_offset is None:
        raise ConsumerError(
            f"the database knows nothing of group {group} in partition {partition} of {topic}: no service has read it; "
            "check the database URL and WEBHOOK_ROUTER_KAFKA_GROUP_ID"
        )
    if not done.given_up:
        raise ConsumerError(
            f"group {group} is at {done.next_offset} in partition {partition} of {topic}: record {offset} is behind it"
        )
    if as_json:
        given_up = {"group": group, "topic": topic, "partition": partition, "offset": offset}
        typer.echo(json_text(given_up | {"next_offset": done.next_offset, "reason": flaw}, indent=False))
        return
    typer.echo(f"record {offset} in partition {partition} of {topic} is given up by group {group} ({flaw})")
    typer.echo("the service goes on behind it within seconds, or at its next start")


def _lacks(partition: Partition, reach: Reach, noted: Noted | None) -> bool:
    """Whether the database lacks what the group has behind it."""
    del partition
    return reach.group is not None and noted is not None and noted.offset < reach.group


def _position(partition: Partition, reach: Reach, noted: Noted | None) -> Mapping[str, object]:
    return {
        "topic": partition.topic,
        "partition": partition.partition,
        "begin": reach.begin,
        "end": reach.end,
        "group": reach.group,
        "database": None if noted is None else noted.offset,
        "behind": None if reach.group is None else max(reach.end - reach.group, 0),
        "given_up": None if noted is None else noted.skipped,
    }


def _one_by_one(found: Sequence[tuple[Partition, Reach, Noted | None]]) -> Iterator[str]:
    rows = [_position(*one) for one in found]
    heads = list(rows[0]) if rows else []
    return table(
        [head.replace("_", " ") for head in heads],
        [["" if value is None else str(value) for value in row.values()] for row in rows],
    )


add_command(commands, "positions", show_positions)
add_command(commands, "skip", skip)
