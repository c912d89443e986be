"""How far the consumer is behind its partitions, what it does not get, and whether it moves."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from consumer.domain.kafka_facts import LagSampled, RecordsWithheld
from consumer.domain.lag import Lag, Partition, Standstill, Withheld
from consumer.ports import Observer

SUSPECT_AFTER = 5.0
"""Seconds in which a partition brings nothing although there is something: it may be what is broken."""
WITHHELD_FOR = 60.0
"""Seconds for which a transaction may be open before that is told."""

Answer = Callable[[Any, str], Awaitable[Any]]
"""Awaits a question to the brokers, and says in an error what it was about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """How far the consumer is behind."""

    ends: Mapping[Partition, int]
    """Where each partition ends, as far as transactions are not open."""
    by: Mapping[Partition, int]
    """How many records there are up to there, behind its position."""
    nowhere: Sequence[Partition]
    """It has no position yet."""

    @property
    def at_the_end(self) -> bool:
        """Whether it has read everything."""
        return bool(self.by) and not self.nowhere and max(self.by.values()) <= 0


async def look_behind(consumer: AIOKafkaConsumer, answer: Answer) -> Behind:
    """Asks where the partitions end.

    Raises:
        Transient: the brokers do not answer.
    """
    held = list(consumer.assignment())
    if not held:  # a replica too many: aiokafka would answer by itself, and the silence of brokers would go unnoticed
        await answer(consumer.topics(), "which topics there are")
    found = await answer(consumer.end_offsets(held), "where the topics end")
    ends = {Partition(*place): end for place, end in found.items()}
    by, nowhere = {}, []
    for partition, end in ends.items():
        try:
            async with asyncio.timeout(0.01):  # where the position is not known yet, aiokafka waits until it is
                by[partition] = end - await consumer.position(TopicPartition(*partition))
        except (errors.KafkaError, TimeoutError):
            nowhere.append(partition)
    return Behind(ends=ends, by=by, nowhere=nowhere)


class Watch:
    """What is known of the consumer's progress."""

    def __init__(self, *, stall_after: float, observer: Observer) -> None:
        self._observer = observer
        self.lag = Lag()
        self._standstill = Standstill(patience=stall_after)
        self._silence = Standstill(patience=min(SUSPECT_AFTER, stall_after / 4))
        self._withheld = Withheld(patience=min(WITHHELD_FOR, stall_after))
        self.silent: frozenset[Partition] = frozenset()
        """Partitions that bring nothing although there is something; it may be their own fault."""
        self.stalled: Sequence[Partition] = ()
        """Those that have brought nothing for too long."""

    def forget(self) -> None:
        """The partitions may be another member's."""
        self.busy()
        self._withheld.forget()
        self.silent, self.stalled = frozenset(), ()

    def busy(self) -> None:
        """A poll was full: there may be more, in any partition."""
        self._standstill.busy()
        self._silence.busy()

    def moved(self, partitions: Iterable[Partition]) -> None:
        """Records of these have come."""
        partitions = tuple(partitions)
        self._standstill.moved(partitions)
        self._silence.moved(partitions)

    def look(self, consumer: AIOKafkaConsumer, behind: Behind, stuck: Collection[Partition], *, now: float) -> None:
        """Reports the lag up to the very end of each partition, and updates `silent` and `stalled`.

        Args:
            consumer: its last fetch says how much there is behind a transaction, unless that has ended meanwhile.
            behind: as of just now.
            stuck: partitions that wait for something else than the consumer.
            now: seconds of a monotonic clock.
        """
        withheld = {}
        for place in consumer.assignment() & behind.ends.keys():
            stable, highwater = consumer.last_stable_offset(place), consumer.highwater(place)
            if stable is not None and highwater is not None and 0 <= stable < highwater > behind.ends[place]:
                withheld[Partition(*place)] = highwater - max(stable, behind.ends[place])
        total = {partition: max(records, 0) + withheld.get(partition, 0) for partition, records in behind.by.items()}
        self._observer(LagSampled(lags=self.lag.sample(total, now=time.time(), withheld=withheld)))
        for partition, records, seconds in self._withheld.look(behind.ends, withheld, now=now):
            self._observer(RecordsWithheld(partition=partition, records=records, seconds=seconds))
        waiting = {partition: records for partition, records in behind.by.items() if partition not in stuck}
        self.silent = frozenset(self._silence.look(waiting, now=now))
        self.stalled = self._standstill.look(waiting | dict.fromkeys(behind.nowhere, 1), now=now)
