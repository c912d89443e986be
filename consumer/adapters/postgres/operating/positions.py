"""How far a group's records are in effect, for an operator to look at, and what he gives up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.rows import class_row

from consumer.adapters.postgres.encodings import encoding_of, storable
from consumer.adapters.postgres.operating.answers import answers, refuse_superusers
from consumer.adapters.postgres.operating.session import Connection
from consumer.domain.lag import Partition
from consumer.domain.positions import Noted

_NOTED: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select n.topic, n.partition, n.next_offset, n.skipped
        from router.noted_positions(%(group)s::pg_catalog.text, %(topics)s::pg_catalog.text[],
                                    %(partitions)s::pg_catalog.int4[]) n
    ) l
"""
_SKIP: Final = """
    select s.next_offset, s.given_up
    from router.skip_record(%(group)s::pg_catalog.text, %(topic)s::pg_catalog.text, %(partition)s::pg_catalog.int4,
                            %(offset)s::pg_catalog.int8) s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """What became of a record that was to be given up."""

    next_offset: int | None
    """The first record of the partition that is not in effect; None: nothing is noted of it, and nothing was done."""
    given_up: bool


async def noted(connection: Connection, group: str, partitions: Sequence[Partition]) -> Mapping[Partition, Noted]:
    """What is noted of these partitions; nothing of those that are missing in the answer."""
    asked = {
        "group": storable(group, encoding_of(connection)),
        "topics": [partition.topic for partition in partitions],
        "partitions": [partition.partition for partition in partitions],
    }
    found = await answers(connection, "noted_positions", _NOTED, asked)
    return {
        Partition(row["topic"], row["partition"]): Noted(offset=row["next_offset"], skipped=row["skipped"])
        for row in found
    }


async def skip(connection: Connection, group: str, partition: Partition, offset: int) -> Skipped:
    """Gives up a record, which the service goes on behind; calling it again changes nothing."""
    await refuse_superusers(connection, "skip_record")
    async with connection.cursor(row_factory=class_row(Skipped)) as cursor:
        given = {
            "group": storable(group, encoding_of(connection)),
            "topic": partition.topic,
            "partition": partition.partition,
            "offset": offset,
        }
        await cursor.execute(_SKIP.encode(), given)
        skipped = await cursor.fetchone()
    assert skipped is not None
    return skipped
