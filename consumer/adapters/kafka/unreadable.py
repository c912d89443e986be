"""Partitions of which aiokafka cannot decode what comes next: what can be had as bytes, and what holds them up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import errors

from consumer.adapters.kafka.batches import Raw
from consumer.adapters.kafka.client import translation
from consumer.adapters.kafka.options import KafkaConnection
from consumer.adapters.kafka.placing import ReadNoted
from consumer.adapters.kafka.raw import Brokers, asking
from consumer.domain.errors import ConsumerError, Transient
from consumer.domain.kafka_facts import PartitionFreed, PartitionStuck
from consumer.domain.lag import Partition
from consumer.ports import Clock, Observer

LOOK_AGAIN_EVERY = 5.0
"""Seconds, while a partition is stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """What was read of a partition byte by byte."""

    records: Sequence[Raw]
    behind: int
    """Where reading goes on."""


class Unreadable:
    """Reads byte by byte where aiokafka has failed, and keeps in mind where that fails as well."""

    def __init__(
        self, connection: KafkaConnection, *, noted: ReadNoted, timeout: float, observer: Observer, clock: Clock
    ) -> None:
        self._connection = connection
        self._noted = noted
        self._timeout = timeout
        self._observer = observer
        self._clock = clock
        self._stuck: dict[Partition, int] = {}
        self._look_due = 0.0

    @property
    def stuck(self) -> Mapping[Partition, int]:
        """Partitions that cannot go on, and the records in front of which they wait."""
        return self._stuck

    def forget(self) -> None:
        """The partitions may be another member's."""
        self._stuck.clear()

    def moved(self, partition: Partition, offset: int) -> bool:
        """Reading goes on elsewhere; returns whether the partition was stuck until now."""
        if self._stuck.get(partition, offset) == offset:
            return False
        del self._stuck[partition]
        self._observer(PartitionFreed(partition=partition, offset=offset, skipped=False))
        return True

    async def read(
        self, failed: Mapping[Partition, int], silent: Mapping[Partition, int], *, limit: int, worked: bool
    ) -> dict[Partition, Bytes]:
        """What partitions have at an offset; partitions of which nothing can be had are stuck from then on.

        Args:
            failed: where aiokafka has failed to decode it.
            silent: where nothing comes; read only if that is the fault of the partition.
            limit: most records of a partition.
            worked: a missing library holds up only the partition, since others were read without it.

        Raises:
            Transient: no broker has answered, and nothing was read.
            Fatal: a library is missing.
        """
        found = {}
        unanswered: Transient | None = None
        async with asking(self._connection, timeout=self._timeout) as brokers:
            for partition, offset in (dict(silent) | dict(failed)).items():
                try:
                    look = await brokers.look(partition, offset)
                except errors.UnsupportedCodecError as error:
                    if not worked:
                        raise translation(error) from error
                    self._stick(partition, offset, str(translation(error)))
                    continue
                except Transient as error:
                    unanswered = error if partition in failed else unanswered
                    continue
                if look is None:  # aiokafka will be told so as well
                    continue
                parted = look.parted
                if parted.broken is not None and not parted.records:
                    self._stick(partition, parted.reached, parted.broken)
                elif partition not in failed and not any(raw.flaw for raw in parted.records) and not parted.broken:
                    continue
                records = parted.records[:limit]
                cut = len(records) < len(parted.records)
                found[partition] = Bytes(records=records, behind=records[-1].last_offset + 1 if cut else parted.reached)
        if unanswered is not None and not found:
            raise unanswered
        return found

    def _stick(self, partition: Partition, offset: int, reason: str) -> None:
        self._stuck[partition] = offset
        self._look_due = self._clock.monotonic() + LOOK_AGAIN_EVERY
        self._observer(PartitionStuck(partition=partition, offset=offset, reason=reason))

    async def look_again(self) -> dict[Partition, int]:
        """Now and then asks whether partitions that are stuck can go on; returns those that can, and where."""
        if not self._stuck or self._clock.monotonic() < self._look_due:
            return {}
        self._look_due = self._clock.monotonic() + LOOK_AGAIN_EVERY
        try:
            noted = await self._noted(tuple(self._stuck))
        except ConsumerError:  # the loop will meet it
            noted = {}
        freed = {}
        try:
            async with asking(self._connection, timeout=self._timeout) as brokers:
                for partition, offset in tuple(self._stuck.items()):
                    if partition in noted and noted[partition].skipped == offset:
                        freed[partition] = await _next(brokers, partition, offset)
                    elif await _readable(brokers, partition, offset):
                        freed[partition] = offset
        except Transient:  # the next look asks again
            pass
        for partition, offset in freed.items():
            skipped = self._stuck.pop(partition, offset) != offset
            self._observer(PartitionFreed(partition=partition, offset=offset, skipped=skipped))
        return freed


async def _readable(brokers: Brokers, partition: Partition, offset: int, *, without_library: bool = False) -> bool:
    try:
        look = await brokers.look(partition, offset)
    except errors.UnsupportedCodecError:
        return without_library
    return look is None or bool(look.parted.records) or look.parted.broken is None


async def _next(brokers: Brokers, partition: Partition, offset: int) -> int:
    """The first offset behind it that can be read, or where the partition ends.

    A broker that stumbles over a batch gives nothing behind it either, up to a place that its index knows.
    """

    async def readable(place: int) -> bool:
        return await _readable(brokers, partition, place, without_library=True)

    before, step, end = offset, 1, await brokers.end(partition)
    while before + step < end and not await readable(before + step):
        before, step = before + step, step * 2
    behind = min(before + step, end)
    while behind - before > 1:
        middle = (before + behind) // 2
        if await readable(middle):
            behind = middle
        else:
            before = middle
    return max(behind, offset + 1)
