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
    """What of one partition is not committed to the database yet."""

    partition: Partition
    records: int
    seconds: float
    """For how long its oldest record has been waiting; 0 when nothing is."""


class Lag:
    """Reckons the lag of the partitions that are assigned.

    For how long a record that was read has been waiting is told by its timestamp. Of one that was not read yet it can
    only be guessed: for as long as it is known that it is there, and that is too little after a start.
    """

    def __init__(self) -> None:
        self._waiting_since: dict[Partition, float] = {}
        self._known: set[Partition] = set()

    def read(self, partition: Partition, timestamp: float) -> bool:
        """The oldest record in hand, by its own time in Unix seconds; True when the last sample did not know that."""
        self._waiting_since[partition] = timestamp
        news = partition not in self._known
        self._known.add(partition)
        return news

    def done(self, partition: Partition, timestamp: float, *, more: bool) -> None:
        """Everything in hand is dealt with, up to a record of that time; `more`: the partition has more of them."""
        if more:
            self._waiting_since[partition] = timestamp
        else:
            self._waiting_since.pop(partition, None)

    def sample(self, behind: Mapping[Partition, int], *, now: float) -> tuple[PartitionLag, ...]:
        """The lag of each partition, given how many records it is behind and the Unix time; others are forgotten."""
        waiting = {partition for partition, records in behind.items() if records > 0}
        self._known = {p for p in behind if p not in waiting or (p in self._known and p in self._waiting_since)}
        self._waiting_since = {partition: self._waiting_since.get(partition, now) for partition in waiting}
        return tuple(
            PartitionLag(
                partition=partition,
                records=max(records, 0),
                seconds=max(0.0, now - self._waiting_since.get(partition, now)),
            )
            for partition, records in behind.items()
        )


class Standstill:
    """Notices a consumer that gets nothing although there is something to get.

    aiokafka can come to this without an error: a background task of it dies, or a broker comes back and it does not.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._stuck_since: dict[Partition, float] = {}

    def moved(self, partitions: Iterable[Partition]) -> None:
        """Records of these partitions have arrived."""
        for partition in partitions:
            self._stuck_since.pop(partition, None)

    def busy(self) -> None:
        """Nobody asked for records, or there were more than one asks for: standing still would mean nothing."""
        self._stuck_since.clear()

    def look(self, behind: Mapping[Partition, int], *, now: float) -> list[Partition]:
        """Partitions that were behind and still for too long; `now` in seconds of a clock that never goes back."""
        self._stuck_since = {
            partition: self._stuck_since.get(partition, now) for partition, records in behind.items() if records > 0
        }
        return [partition for partition, since in self._stuck_since.items() if now - since >= self._patience]
