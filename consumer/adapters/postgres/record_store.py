"""Storing and routing intakes, and noting how far a group has come with them: one statement a call."""

import time
from collections.abc import Iterable, Mapping, Sequence

from consumer.adapters.postgres.connection import Session
from consumer.adapters.postgres.encodings import encoding_of, fitting, storable
from consumer.adapters.postgres.store import batch_of
from consumer.domain.errors import Renewed
from consumer.domain.lag import Partition
from consumer.domain.positions import NOTHING, Noted, Noting
from consumer.domain.records import IntakeOutcome, Refusal
from consumer.domain.webhook import Intake

# Columns by their bare names: where "(r.batch).held" is no column, as in an older schema, it is a function's call.
TAKE_RECORDS = """
    select claimed, inserted, parked, dead, channels, ages, pg_catalog.timestamptz_send(reached_at),
           reached_id::pg_catalog.text, seconds, held, held_reason, refused, codes, reasons, behind_topics,
           behind_partitions, behind_offsets
    from router.take_records(%(lines)s, %(channels)b, %(event_ids)b, %(keep)b, %(untried)s, %(group)s,
                             %(topics)b, %(partitions)b::int[], %(known)b::bigint[], %(offsets)b::bigint[])
             as r (batch, refused, codes, reasons, behind_topics, behind_partitions, behind_offsets)
    cross join lateral (select (r.batch).*) b
"""
NOTE = """
    select behind_topics, behind_partitions, behind_offsets
    from router.note_positions(%(group)s, %(topics)b, %(partitions)b::int[], %(known)b::bigint[], %(offsets)b::bigint[])
"""
NOTED = """
    select topic, partition, next_offset, skipped
    from router.noted_positions(%(group)s, %(topics)b, %(partitions)b::int[])
"""


class PostgresRecordStore:
    """The `RecordStore` over one connection of its own.

    Args:
        group: whose positions are noted.
    """

    def __init__(self, conninfo: str, *, group: str, call_timeout: float) -> None:
        self._session = Session(conninfo, call_timeout=call_timeout)
        self._group = group
        self._noted_in: object = None
        """The connection of the last call that noted something."""

    async def ingest_and_route(self, intakes: Sequence[Intake], noting: Noting = NOTHING) -> IntakeOutcome:
        """See `RecordStore.ingest_and_route`."""
        return await self._ingest(intakes, noting, untried=False)

    async def ingest_and_park(self, intakes: Sequence[Intake], noting: Noting = NOTHING) -> IntakeOutcome:
        """See `RecordStore.ingest_and_park`."""
        return await self._ingest(intakes, noting, untried=True)

    async def note(self, noting: Noting) -> Mapping[Partition, int | None]:
        """See `RecordStore.note`."""
        parameters = _positions(noting)
        async with self._session.call() as connection:
            self._check(connection, noting)
            parameters["group"] = storable(self._group, encoding_of(connection))
            row = await (await connection.execute(NOTE, parameters, binary=True)).fetchone()
        assert row is not None
        self._noted_in = connection
        return _by_partition(*row)

    async def noted(self, partitions: Iterable[Partition]) -> Mapping[Partition, Noted]:
        """See `RecordStore.noted`."""
        asked = list(partitions)
        parameters: dict[str, object] = {
            "topics": [partition.topic for partition in asked],
            "partitions": [partition.partition for partition in asked],
        }
        async with self._session.call() as connection:
            parameters["group"] = storable(self._group, encoding_of(connection))
            rows = await (await connection.execute(NOTED, parameters, binary=True)).fetchall()
        return {
            Partition(topic, partition): Noted(offset=offset, skipped=skipped)
            for topic, partition, offset, skipped in rows
        }

    async def close(self) -> None:
        """See `RecordStore.close`."""
        await self._session.close()

    def _check(self, connection: object, noting: Noting) -> None:
        """Another server may lack what was done here, and yet have all that was noted before it."""
        if noting.unsure and connection is not self._noted_in:
            raise Renewed("database: the session is another one")

    async def _ingest(self, intakes: Sequence[Intake], noting: Noting, *, untried: bool) -> IntakeOutcome:
        lines = "\n".join(intake.line or "" for intake in intakes)
        parameters = _positions(noting) | {
            "channels": [intake.channel for intake in intakes],
            "event_ids": [intake.event_id for intake in intakes],
            "keep": [intake.keep for intake in intakes],
            "untried": untried,
        }
        started = time.perf_counter()
        async with self._session.call() as connection:
            self._check(connection, noting)
            encoding = encoding_of(connection)
            parameters["lines"] = fitting(lines, encoding)
            parameters["group"] = storable(self._group, encoding)
            row = await (await connection.execute(TAKE_RECORDS, parameters, binary=True)).fetchone()
        assert row is not None
        if noting.offsets:
            self._noted_in = connection
        *batch, refused, codes, reasons, topics, partitions, offsets = row
        return IntakeOutcome(
            batch=batch_of(tuple(batch), time.perf_counter() - started),
            refusals=tuple(
                Refusal(place=place - 1, code=code, reason=reason)
                for place, code, reason in zip(refused, codes, reasons, strict=True)
            ),
            behind=_by_partition(topics, partitions, offsets),
        )


def _positions(noting: Noting) -> dict[str, object]:
    return {
        "topics": [partition.topic for partition in noting.offsets],
        "partitions": [partition.partition for partition in noting.offsets],
        "known": [noting.known[partition] for partition in noting.offsets],
        "offsets": list(noting.offsets.values()),
    }


def _by_partition(
    topics: Sequence[str], partitions: Sequence[int], offsets: Sequence[int | None]
) -> dict[Partition, int | None]:
    return {
        Partition(topic, partition): offset
        for topic, partition, offset in zip(topics, partitions, offsets, strict=True)
    }
