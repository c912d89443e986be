"""What the consumer hands over, without losing anything when it cannot decode some of it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from consumer.domain.lag import Partition
from consumer.ports import Clock

OVERTIME = 0.5
"""Seconds that a poll may take beyond its timeout: aiokafka waits for the end of a rebalance, however long it takes."""
CAREFUL_FOR = 30.0
"""Seconds after something that could not be decoded."""
LOOK_EVERY = 0.02
UNDECODABLE = (errors.CorruptRecordException, errors.RecordTooLargeError, errors.UnsupportedCodecError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """What a poll has brought."""

    records: Mapping[TopicPartition, Sequence[Any]] = field(default_factory=dict)
    failed: frozenset[Partition] = frozenset()
    """Partitions of which aiokafka cannot decode what comes next."""
    reached: Mapping[Partition, int] = field(default_factory=dict)
    """Positions of partitions that brought nothing: there was nothing to hand over in front of them."""

    def without(self, partitions: Collection[Partition]) -> "Fetch":
        """What it has brought of others."""
        return Fetch(
            records={place: records for place, records in self.records.items() if place not in partitions},
            failed=self.failed - set(partitions),
            reached={partition: offset for partition, offset in self.reached.items() if partition not in partitions},
        )


def undecodable(error: Exception) -> bool:
    """Whether it says something of the bytes of a record, and nothing of brokers."""
    if type(error) is errors.KafkaError:
        return "ontrol batch" in str(error)
    return not isinstance(error, errors.KafkaError) or isinstance(error, UNDECODABLE)


class Fetching:
    """Polls of the consumer, one at a time.

    When one partition cannot be decoded, aiokafka raises, forgets what it had taken from others in the same poll, and
    has moved their positions all the same; nor does it always say which partition it was. So it is sent back to where
    the last hand-over has ended, and for a while each partition is polled by itself.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handed: dict[Partition, int] = {}
        """Where the next hand-over begins, in each partition where that is known."""
        self._before: dict[Partition, int] = {}
        self._careful_until = 0.0
        self._first = 0
        self._sought: dict[Partition, int] = {}
        """Where partitions go on that were moved while a poll was under way, which may bring what lies elsewhere."""
        self._task: asyncio.Task[Fetch] | None = None
        self._since = 0.0

    async def fetch(self, consumer: AIOKafkaConsumer, limit: int, timeout: float, *, patience: float) -> Fetch:
        """Records, or none in time, as in a rebalance: the request then goes on, and the next call waits for it.

        Raises:
            KafkaError: what a broker has answered; or a rebalance takes longer than `patience` seconds.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._fetch(consumer, limit, timeout))
            self._since = self._clock.monotonic()
        done, _ = await asyncio.wait({self._task}, timeout=timeout + OVERTIME)
        if not done:
            if self._clock.monotonic() - self._since > patience:
                raise errors.KafkaError("a rebalance does not end")
            return Fetch()
        task, self._task = self._task, None
        sought, self._sought = self._sought, {}
        for place in consumer.assignment() & sought.keys():
            self._seek(consumer, Partition(*place), sought[place])
        return task.result().without(sought)

    def seek(self, consumer: AIOKafkaConsumer, partition: Partition, offset: int) -> None:
        """Has the next hand-over begin there."""
        self._seek(consumer, partition, offset)
        if self._task is not None:
            self._sought[partition] = offset

    def _seek(self, consumer: AIOKafkaConsumer, partition: Partition, offset: int) -> None:
        consumer.seek(TopicPartition(*partition), offset)
        self._handed[partition] = offset
        self._before.pop(partition, None)

    def where(self, partition: Partition) -> int | None:
        """Where the next hand-over begins, if that is known."""
        return self._handed.get(partition)

    def forget(self) -> None:
        """The partitions may be another member's."""
        self._handed.clear()
        self._before.clear()
        self._sought.clear()

    async def cancel(self) -> None:
        """Ends the poll that is under way."""
        task, self._task = self._task, None
        self.forget()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _fetch(self, consumer: AIOKafkaConsumer, limit: int, timeout: float) -> Fetch:
        failed: set[Partition] = set()
        if self._clock.monotonic() < self._careful_until:
            records = await self._one_by_one(consumer, limit, timeout, failed)
        else:
            try:
                records = await consumer.getmany(timeout_ms=int(timeout * 1000), max_records=limit)
            except Exception as error:
                if not undecodable(error):
                    raise
                self._careful_until = self._clock.monotonic() + CAREFUL_FOR
                for partition in consumer.assignment():
                    await self._give_back(consumer, Partition(*partition))
                return Fetch()
        for topic_partition, messages in records.items():
            self._handed[Partition(*topic_partition)] = messages[-1].offset + 1
        return Fetch(
            records=records, failed=frozenset(failed), reached=await self._reached(consumer, records.keys() | failed)
        )

    async def _one_by_one(
        self, consumer: AIOKafkaConsumer, limit: int, timeout: float, failed: set[Partition]
    ) -> dict[TopicPartition, Sequence[Any]]:
        found: dict[TopicPartition, Sequence[Any]] = {}
        deadline = self._clock.monotonic() + timeout
        while True:
            partitions = sorted(consumer.assignment() - consumer.paused())
            self._first += 1  # each is the first one at times: a limit may be reached before the last one
            for place in range(len(partitions)):
                partition = partitions[(self._first + place) % len(partitions)]
                if limit <= 0:
                    break
                try:
                    got = await consumer.getmany(partition, timeout_ms=0, max_records=limit)
                except errors.IllegalStateError:  # no longer ours
                    continue
                except Exception as error:
                    if undecodable(error):
                        self._careful_until = self._clock.monotonic() + CAREFUL_FOR
                        await self._give_back(consumer, Partition(*partition))
                        failed.add(Partition(*partition))
                        return found  # some of the limit must be left for what it has
                    if found:
                        return found  # the error comes again
                    raise
                found |= got
                limit -= sum(map(len, got.values()))
            if found or self._clock.monotonic() >= deadline:
                return found
            await asyncio.sleep(LOOK_EVERY)

    async def _give_back(self, consumer: AIOKafkaConsumer, partition: Partition) -> None:
        """Sends the consumer back to where the last hand-over has ended."""
        place = TopicPartition(*partition)
        offset = self._handed.get(partition)
        try:
            if offset is None:
                offset = await consumer.committed(place)
            if offset is not None:
                self._seek(consumer, partition, offset)
        except errors.IllegalStateError:
            return  # no longer ours

    async def _reached(self, consumer: AIOKafkaConsumer, busy: set[TopicPartition]) -> dict[Partition, int]:
        """Positions in partitions that have brought nothing, if they were the same one poll ago.

        Transaction markers, records of aborted transactions and such as were compacted away move a position without
        being handed over. So does an error that aiokafka raises only in the next poll, which is why one counts only
        when it has survived a poll.
        """
        now: dict[Partition, int] = {}
        for place in consumer.assignment() - busy:
            partition = Partition(*place)
            if partition in self._handed:  # then it has a position, and the answer is there at once
                now[partition] = await consumer.position(place)
        before, self._before = self._before, now
        return {partition: offset for partition, offset in now.items() if before.get(partition) == offset}
