"""How far a group has come in each partition, as the group's coordinator and the database know it.

The database notes a position in the transaction that has the records before it take effect, and the group is told only
afterwards. So the database is never behind the group, unless it has gone back: a standby took over that had not got
everything, or a backup was restored. Then the records in between are read again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from consumer.domain.lag import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What the database has noted of a partition."""

    offset: int
    """The first record that is not in effect."""
    skipped: int | None
    """A record that cannot be read, and that an operator has given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a partition has, and what is known of the group's way through it. Offsets are those of the next record."""

    begin: int
    end: int
    group: int | None
    """Committed by the group; None: nothing is."""
    noted: int | None
    """By the database; None: nothing is."""
    was_noted: bool = False
    """The group's position says that a database had noted it: if this one has noted nothing, it has gone back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Where reading goes on, and what follows from it."""

    offset: int
    again: int = 0
    """Records that the group has behind it and the database does not have."""
    lost: int = 0
    """Records that the broker deleted before they were in effect."""
    anew: bool = False
    """The group has no position, or none that exists: it begins."""


def place(extent: Extent, start: Literal["earliest", "latest"]) -> Placing:
    """Where a member goes on in a partition that it has been given."""
    known = [offset for offset in (extent.group, extent.noted) if offset is not None]
    if extent.group is None:
        # The offsets of a group that was away for long are forgotten, and those of a topic that was deleted: its new
        # records may have the same numbers. Reading a record twice does no harm.
        if start == "earliest":
            return Placing(offset=extent.begin, lost=_beyond(extent.noted, extent), anew=True)
        offset = extent.end if extent.noted is None else extent.noted
        return Placing(offset=_within(offset, extent), lost=_beyond(extent.noted, extent), anew=True)
    offset = min(known)
    if offset > extent.end:  # the topic was created anew, or the brokers have lost its end
        return Placing(offset=extent.begin, anew=True)
    within = max(offset, extent.begin)
    return Placing(offset=within, again=max(min(extent.group, extent.end) - within, 0), lost=_beyond(offset, extent))


def _within(offset: int, extent: Extent) -> int:
    return min(max(offset, extent.begin), extent.end)


def _beyond(offset: int | None, extent: Extent) -> int:
    return 0 if offset is None else max(extent.begin - offset, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noting:
    """What a call to the database notes, or looks at."""

    known: Mapping[Partition, int | None]
    """By partition: what this member last saw noted."""
    offsets: Mapping[Partition, int | None]
    """By partition: what is to be noted; None: it is only looked whether the database has gone back."""


NOTHING = Noting(known={}, offsets={})


class Positions:
    """What a member knows of the partitions that it has."""

    def __init__(self) -> None:
        self._done: dict[Partition, int] = {}
        self._noted: dict[Partition, int | None] = {}

    def placed(self, partition: Partition, offset: int, *, noted: int | None) -> None:
        """Reading goes on there; the database has noted so much."""
        self._done[partition] = offset
        self._noted[partition] = noted

    def forget(self) -> None:
        """The partitions are no longer this member's."""
        self._done.clear()
        self._noted.clear()

    def done(self, positions: Mapping[Partition, int]) -> None:
        """Everything before these is in effect, or set aside."""
        for partition, offset in positions.items():
            if partition in self._done:
                self._done[partition] = max(offset, self._done[partition])

    def noting(self, more: Mapping[Partition, int], *, look: bool) -> Noting:
        """What the next call notes: what is done, and `more`, which that call itself has take effect.

        Args:
            more: as for `done`.
            look: have it looked at the other partitions as well.
        """
        offsets: dict[Partition, int | None] = {}
        for partition, done in self._done.items():
            noted = self._noted[partition]
            offset = max(done, more.get(partition, 0))
            if noted is None or offset > noted:
                offsets[partition] = offset
            elif look:
                offsets[partition] = None
        return Noting(known={partition: self._noted[partition] for partition in offsets}, offsets=offsets)

    def noted(self, noting: Noting, behind: Iterable[Partition]) -> dict[Partition, int]:
        """The call has committed; returns what the group may be told. In those behind nothing was noted."""
        left = set(behind)
        told = {p: offset for p, offset in noting.offsets.items() if offset is not None and p not in left}
        for partition, offset in told.items():
            if partition in self._noted:
                self._noted[partition] = offset
        return told

    def went_back(self, partition: Partition, offset: int) -> int:
        """The database has gone back to that position; returns how many records are to be read again."""
        again = max(self._done.get(partition, offset) - offset, 0)
        if partition in self._done:
            self._done[partition] = offset
            self._noted[partition] = offset
        return again
