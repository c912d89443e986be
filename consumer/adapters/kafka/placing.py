"""Where a member goes on in the partitions that it has been given, before it fetches anything from them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.adapters.kafka.options import KafkaOptions
from consumer.adapters.kafka.starting import first_offsets
from consumer.adapters.kafka.watching import Answer
from consumer.domain.errors import Transient
from consumer.domain.kafka_facts import DatabaseWentBack, PartitionBegun, RecordsExpired
from consumer.domain.lag import Partition
from consumer.domain.positions import Extent, Noted, Placing, Positions, place
from consumer.ports import Observer

NOTED_MARK: Final = "noted by webhook-router"
"""The metadata of offsets that a database has noted before they were committed."""

ReadNoted = Callable[[Iterable[Partition]], Awaitable[Mapping[Partition, Noted]]]


class Unanswered(Transient):
    """The brokers do not answer."""


class Placements:
    """Finds out where partitions go on, from the group's positions and those that the database has noted.

    Args:
        noted: reads what the database has noted.
    """

    def __init__(self, options: KafkaOptions, *, positions: Positions, noted: ReadNoted, observer: Observer) -> None:
        self._options = options
        self._positions = positions
        self._noted = noted
        self._observer = observer
        self._rebalances = 0
        self.due: frozenset[Partition] = frozenset()
        """Those of which it is still to be found out."""

    def again(self, partitions: Iterable[Partition]) -> None:
        """It is to be found out for these."""
        self.due |= frozenset(partitions)

    def forget(self) -> None:
        """A rebalance has begun: they are no longer this member's."""
        self.due = frozenset()
        self._rebalances += 1

    async def place(self, consumer: AIOKafkaConsumer, answer: Answer) -> dict[Partition, int]:
        """Where those that are due go on; none is due afterwards.

        Raises:
            Unanswered: by the brokers.
            Transient, TooSlow, Fatal: the database cannot say what it has noted.
        """
        due = self.due & {Partition(*held) for held in consumer.assignment()}
        if not due:
            self.due = due
            return {}
        places = [TopicPartition(*partition) for partition in sorted(due)]
        rebalances = self._rebalances
        # In this order: the member that had them may still be at work, and does what it does in the opposite one.
        groups = await answer(_committed(consumer, places), "how far the group has come")
        noted = await self._noted(due)
        begins = await answer(consumer.beginning_offsets(places), "where topics begin")
        ends = await answer(consumer.end_offsets(places), "where topics end")
        firsts = await answer(
            first_offsets(consumer, places, self._options.start, begins=begins, ends=ends),
            "where topics were at a time",
        )
        if rebalances != self._rebalances:
            return {}
        found: dict[Partition, int] = {}
        for held in places:
            partition = Partition(*held)
            group, mark = groups.get(held, (None, ""))
            done = self._positions.at(partition)
            if done is not None:  # the group may not know yet how far this member has come
                group, mark = max(done, group or 0), NOTED_MARK
            found[partition] = self._place(
                partition,
                Extent(
                    begin=begins[held],
                    end=ends[held],
                    first=firsts[held],
                    group=group,
                    noted=noted[partition].offset if partition in noted else None,
                    was_noted=mark == NOTED_MARK,
                ),
                told=groups[held][0] if held in groups and groups[held][1] == NOTED_MARK else None,
            )
        self.due = frozenset()
        return found

    def _place(self, partition: Partition, extent: Extent, *, told: int | None) -> int:
        placing = place(extent)
        self._positions.placed(partition, placing.offset, noted=extent.noted, told=told, back=placing.back)
        self._tell(partition, placing)
        return placing.offset

    def _tell(self, partition: Partition, placing: Placing) -> None:
        if placing.lost or placing.gone:
            self._observer(RecordsExpired(partition=partition, records=placing.lost))
        if placing.again:
            self._observer(DatabaseWentBack(partition=partition, offset=placing.offset, records=placing.again))
        if placing.begun:
            self._observer(PartitionBegun(partition=partition, offset=placing.offset))


async def _committed(
    consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int, str]]:
    """The group's positions with their metadata, which the public method leaves out."""
    found = await consumer._coordinator.fetch_committed_offsets(places)  # noqa: SLF001
    return {held: (position.offset, position.metadata) for held, position in found.items() if position.offset >= 0}
