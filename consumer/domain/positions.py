"""How far a group has come in each partition, as the group's coordinator and the database know it.

The database notes a position in the transaction that has the records before it take effect, and the group is told only
afterwards, with a mark that says so. So the database is never behind a position of the group that bears the mark,
unless it has gone back: a standby took over that had not got everything, or a backup was restored. Then the records in
between are read again. A position without the mark is somebody else's, an operator's or an older release's, and holds
as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
    first: int
    """Where a group begins that has no position."""
    group: int | None
    """Committed by the group; None: nothing is."""
    noted: int | None
    """By the database; None: nothing is."""
    was_noted: bool = False
    """The group's position bears the mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Where reading goes on, and what follows from it."""

    offset: int
    begun: bool = False
    """The group had no position."""
    gone: bool = False
    """The position lies behind the end: the topic was created anew, or the brokers have lost its end."""
    again: int = 0
    """Records that the group has behind it and the database does not have."""
    lost: int = 0
    """Records that the broker deleted before they were in effect."""
    back: bool = False
    """What the database has noted speaks of other records: it is set back to `offset`."""


def place(extent: Extent) -> Placing:
    """Where a member goes on in a partition that it has been given. Reading a record twice does no harm."""
    begin, end, group, noted = extent.begin, extent.end, extent.group, extent.noted
    if group is None:
        # The offsets of a group that was away for long are forgotten, and those of a topic that was deleted: its new
        # records may have the same numbers.
        offset = extent.first if noted is None else min(_within(noted, extent), extent.first)
        lost = 0 if noted is None else max(begin - noted, 0)
        return Placing(offset=offset, begun=True, lost=lost, back=noted is not None and noted > offset)
    known = group
    if extent.was_noted:
        known = min(group, begin if noted is None else noted)
    if known > end:
        return Placing(offset=begin, gone=True, back=noted is not None and noted > begin)
    offset = max(known, begin)
    return Placing(
        offset=offset,
        again=max(min(group, end) - offset, 0) if known < group else 0,
        lost=max(begin - known, 0),
        back=noted is not None and (noted > end or (noted > offset and not extent.was_noted)),
    )


def _within(offset: int, extent: Extent) -> int:
    return min(max(offset, extent.begin), extent.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noting:
    """What a call to the database notes, or looks at."""

    known: Mapping[Partition, int | None]
    """By partition: what this member last saw noted."""
    offsets: Mapping[Partition, int | None]
    """By partition: what is to be noted; None: it is only looked whether the database has gone back."""
    unsure: bool = False
    """Some of it took effect in calls before this one that noted nothing: in another session, which may be with another
    server, it need not be there."""


NOTHING = Noting(known={}, offsets={})


class Positions:
    """What a member knows of the partitions that it has."""

    def __init__(self) -> None:
        self._done: dict[Partition, int] = {}
        self._noted: dict[Partition, int | None] = {}
        self._told: dict[Partition, int | None] = {}
        self._back: set[Partition] = set()
        self._begun: dict[Partition, int] = {}

    def placed(
        self, partition: Partition, offset: int, *, noted: int | None, told: int | None, back: bool = False
    ) -> None:
        """Reading goes on there.

        Args:
            noted: by the database.
            told: the group's position, if it bears the mark.
            back: the database is to be set back to the offset.
        """
        self._done[partition] = self._begun[partition] = offset
        self._noted[partition] = noted
        self._told[partition] = told
        (self._back.add if back else self._back.discard)(partition)

    def moved(self, partition: Partition, offset: int) -> None:
        """Reading goes on there, since the position before does not exist any more."""
        if partition in self._done:
            self._done[partition] = self._begun[partition] = offset
            noted = self._noted[partition]
            if noted is not None and offset < noted:
                self._back.add(partition)

    def forget(self) -> None:
        """The partitions are no longer this member's."""
        for known in (self._done, self._noted, self._told, self._back, self._begun):
            known.clear()

    def at(self, partition: Partition) -> int | None:
        """Everything before it is in effect, or set aside; None: it is not known to be this member's partition."""
        return self._done.get(partition)

    def done(self, positions: Mapping[Partition, int]) -> None:
        """Everything before these is in effect, or set aside."""
        for partition, offset in positions.items():
            if partition in self._done:
                self._done[partition] = max(offset, self._done[partition])

    def noting(self, more: Mapping[Partition, int], *, look: bool = False) -> Noting:
        """What the next call notes: what is done, and `more`, which that call itself has take effect.

        Args:
            more: as for `done`.
            look: have it looked at the other partitions as well.
        """
        offsets: dict[Partition, int | None] = {}
        for partition, done in self._done.items():
            noted = self._noted[partition]
            offset = max(done, more.get(partition, 0))
            if noted is None or offset > noted or partition in self._back:
                offsets[partition] = offset
            elif look:
                offsets[partition] = None
        known = {partition: self._noted[partition] for partition in offsets}
        unsure = any(done > self._sure(partition) for partition, done in self._done.items())
        return Noting(known=known, offsets=offsets, unsure=unsure)

    def take_back(self) -> dict[Partition, int]:
        """Takes what is not noted for not done; returns where reading goes on, in partitions that have such records."""
        sure = {partition: self._sure(partition) for partition in self._done}
        back = {partition: offset for partition, offset in sure.items() if offset < self._done[partition]}
        self._done |= back
        return back

    def _sure(self, partition: Partition) -> int:
        """Whatever is done before it is noted, or was not this member's to do."""
        noted, begun = self._noted[partition], self._begun[partition]
        return begun if noted is None or partition in self._back else max(noted, begun)

    def noted(self, noting: Noting, behind: Iterable[Partition]) -> None:
        """The call has committed; in those behind nothing was noted."""
        left = set(behind)
        for partition, offset in noting.offsets.items():
            if offset is not None and partition in self._noted and partition not in left:
                self._noted[partition] = offset
                self._back.discard(partition)

    def committable(self) -> dict[Partition, int]:
        """What the group is to be told: what is done and noted, where that is not what it was told last."""
        owed: dict[Partition, int] = {}
        for partition, done in self._done.items():
            noted = self._noted[partition]
            if noted is not None and min(done, noted) != self._told[partition]:
                owed[partition] = min(done, noted)
        return owed

    def told(self, positions: Mapping[Partition, int]) -> None:
        """The group has been told these."""
        for partition in self._told.keys() & positions.keys():
            self._told[partition] = positions[partition]
