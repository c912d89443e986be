"""How far a consumer is behind its topics, and whether it stands still although there is something to read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How much of one partition is not committed to the database yet."""

    partition: Partition
    records: int
    seconds: float
    """How long its oldest record has been waiting; 0 when there is none."""
    withheld: int = 0
    """Of `records`, those behind a transaction that is open: no consumer gets them."""


NONE: Mapping[Partition, int] = {}


class Lag:
    """Computes the lag of the assigned partitions.

    How long a record has been waiting is known from its timestamp once it has been read. Before that it can only be
    estimated, as the time since the record is known to exist, which is too short after a start.
    """

    def __init__(self) -> None:
        self._waiting_since: dict[Partition, float] = {}
        self._known: set[Partition] = set()

    def read(self, partition: Partition, timestamp: float) -> bool:
        """Notes the time of the oldest record in hand, in Unix seconds; returns whether the last sample lacked it."""
        self._waiting_since[partition] = timestamp
        news = partition not in self._known
        self._known.add(partition)
        return news

    def done(self, partition: Partition, timestamp: float, *, more: bool) -> None:
        """Notes that everything in hand is done, up to a record of that time; `more`: the partition has others."""
        if more:
            self._waiting_since[partition] = timestamp
        else:
            self._waiting_since.pop(partition, None)

    def sample(
        self, behind: Mapping[Partition, int], *, now: float, withheld: Mapping[Partition, int] = NONE
    ) -> tuple[PartitionLag, ...]:
        """The lag of each partition; forgets all others.

        Args:
            behind: by how many records, those withheld included.
            now: Unix time.
            withheld: how many of them no consumer gets, where there are some.
        """
        waiting = {partition for partition, records in behind.items() if records > 0}
        self._known = {p for p in behind if p not in waiting or (p in self._known and p in self._waiting_since)}
        self._waiting_since = {partition: self._waiting_since.get(partition, now) for partition in waiting}
        return tuple(
            PartitionLag(
                partition=partition,
                records=max(records, 0),
                seconds=max(0.0, now - self._waiting_since.get(partition, now)),
                withheld=withheld.get(partition, 0),
            )
            for partition, records in behind.items()
        )


class Standstill:
    """Notices a consumer that receives nothing although there is something to read.

    aiokafka can get there without an error: one of its background tasks dies, or a broker comes back and is not asked.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._stuck_since: dict[Partition, float] = {}

    def moved(self, partitions: Iterable[Partition]) -> None:
        """Records of these partitions have arrived."""
        for partition in partitions:
            self._stuck_since.pop(partition, None)

    def busy(self) -> None:
        """No records were asked for, or a poll was full: a partition that stands still means nothing."""
        self._stuck_since.clear()

    def look(self, behind: Mapping[Partition, int], *, now: float) -> list[Partition]:
        """Partitions that were behind without moving for too long; `now` in seconds of a monotonic clock."""
        self._stuck_since = {
            partition: self._stuck_since.get(partition, now) for partition, records in behind.items() if records > 0
        }
        return [partition for partition, since in self._stuck_since.items() if now - since >= self._patience]


class Withheld:
    """Notices a transaction that stays open, so that the records behind its beginning are not handed out."""

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._since: dict[Partition, tuple[int, float]] = {}
        self._told: set[Partition] = set()

    def forget(self) -> None:
        """The partitions may be another member's."""
        self._since.clear()
        self._told.clear()

    def look(
        self, stable: Mapping[Partition, int], withheld: Mapping[Partition, int], *, now: float
    ) -> list[tuple[Partition, int, float]]:
        """Partitions, records withheld and for how many seconds, of those where that is news; 0: they are no longer.

        Args:
            stable: where the first open transaction begins, or the partition ends.
            withheld: records behind that place, where there are some.
            now: seconds of a monotonic clock.
        """
        news = []
        for partition, offset in stable.items():
            records = withheld.get(partition, 0)
            before, since = self._since.get(partition, (offset, now))
            if not records or before != offset:  # many transactions one after the other are nothing unusual
                self._since.pop(partition, None)
                if partition in self._told:
                    self._told.remove(partition)
                    news.append((partition, 0, now - since))
            if records:
                _, since = self._since.setdefault(partition, (offset, now))
                if now - since >= self._patience and partition not in self._told:
                    self._told.add(partition)
                    news.append((partition, records, now - since))
        return news
