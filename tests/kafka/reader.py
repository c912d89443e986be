"""A `KafkaSource` in the test's own process, with the facts that it reports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from consumer.adapters.clock import SystemClock
from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.adapters.kafka.source import KafkaSource
from consumer.domain.errors import Transient
from consumer.domain.facts import Fact
from consumer.domain.kafka_facts import LagSampled, PartitionsAssigned, RecordsRead
from consumer.domain.lag import Partition
from consumer.domain.positions import Noted, Positions
from consumer.domain.records import Record

F = TypeVar("F")

DATABASES: dict[str, dict[Partition, int]] = {}
"""What a database would have noted, by group."""


class _Reached(Positions):
    """Keeps what the source reports of its own accord."""

    def __init__(self, reached: dict[Partition, int]) -> None:
        super().__init__()
        self._reached = reached

    def done(self, positions: Mapping[Partition, int]) -> None:
        """See `Positions.done`."""
        super().done(positions)
        self._reached.update(positions)


class Reader:
    """Polls a source as the Kafka loop does, without a database."""

    def __init__(self, connection: KafkaConnection, options: KafkaOptions) -> None:
        self.facts: list[Fact] = []
        self.failures: list[str] = []
        self.reached: dict[Partition, int] = {}
        """Positions that were reached without a record."""
        self.skipped: dict[Partition, int] = {}
        """What an operator has given up."""
        self.away = False
        """Whether what stands for the database cannot be reached."""
        self.positions = _Reached(self.reached)
        self.database = DATABASES.setdefault(options.group_id, {})
        self.source = KafkaSource(
            connection,
            options,
            positions=self.positions,
            noted=self.noted,
            observer=self.facts.append,
            clock=SystemClock(),
        )

    async def noted(self, partitions: Iterable[Partition]) -> Mapping[Partition, Noted]:
        """What stands for the database has noted."""
        if self.away:
            raise Transient("the database is away")
        return {
            partition: Noted(offset=self.database.get(partition, 0), skipped=self.skipped.get(partition))
            for partition in partitions
            if partition in self.database.keys() | self.skipped.keys()
        }

    def note(self) -> None:
        """Notes what is done."""
        noting = self.positions.noting({})
        self.database.update({p: offset for p, offset in noting.offsets.items() if offset is not None})
        self.positions.noted(noting, ())

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Notes and commits them, as the Kafka loop does in the end."""
        self.positions.done(positions)
        self.note()
        await self.source.commit(positions)

    def seen(self, kind: type[F]) -> list[F]:
        """Facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def until(
        self, done: Callable[[], object], *, limit: int = 1000, timeout: float = 120, commit: bool = True
    ) -> list[Record]:
        """Polls until the answer is true, and returns what it read; failures that pass are kept in `failures`."""
        found: list[Record] = []
        async with asyncio.timeout(timeout):
            while not done():
                try:
                    records = await self.source.poll(limit=limit, timeout=0.1)
                except Transient as error:
                    self.failures.append(str(error))
                    await asyncio.sleep(0.05)
                    continue
                found += records
                if commit or not records:
                    await self.commit(ends(records))
        return found

    async def read(self, count: int, *, limit: int = 1000, timeout: float = 120, commit: bool = True) -> list[Record]:
        """Polls until so many records have come."""
        found: list[Record] = []
        while len(found) < count:
            polls = len(self.seen(RecordsRead))
            found += await self.until(
                lambda polls=polls: len(self.seen(RecordsRead)) > polls,  # type: ignore[misc]
                limit=limit,
                timeout=timeout,
                commit=commit,
            )
        return found


def ends(records: Sequence[Record]) -> dict[Partition, int]:
    """What to commit after these records."""
    return {record.partition: record.offset + 1 for record in records}


def firsts(records: Sequence[Record]) -> dict[Partition, int]:
    """Where each partition begins among these records."""
    return {record.partition: record.offset for record in reversed(records)}


def ids(records: Sequence[Record]) -> list[str]:
    """The events of the records, sorted."""
    return sorted(getattr(record.meaning, "event_id", "?") for record in records)


def sizes(reader: Reader) -> list[int]:
    """How many partitions it got in each rebalance."""
    return [len(fact.partitions) for fact in reader.seen(PartitionsAssigned)]


def lag(reader: Reader, partitions: int = 6) -> int | None:
    """How many records it was behind at the last look; None while it does not know that of all partitions."""
    samples = reader.seen(LagSampled)
    return sum(of.records for of in samples[-1].lags) if samples and len(samples[-1].lags) == partitions else None


@contextlib.asynccontextmanager
async def reading(
    bootstrap: str,
    topic: str | Sequence[str],
    group: str,
    *,
    connection: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Reader]:
    """A reader of a topic, closed in the end; times are short unless given."""
    base = KafkaOptions(
        topics=(topic,) if isinstance(topic, str) else tuple(topic),
        group_id=group,
        dead_letter_topic="dead-letters",
        session_timeout=6.0,
        sample_interval=0.2,
        commit_timeout=2.0,
    )
    made = Reader(KafkaConnection(bootstrap_servers=bootstrap, **(connection or {})), replace(base, **options))
    try:
        yield made
    finally:
        await made.source.close()
