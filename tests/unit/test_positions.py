"""Where reading goes on, what the database notes, and what the group is told."""

import pytest

from consumer.domain.lag import Partition
from consumer.domain.positions import Extent, Placing, Positions, place

A, B = Partition("events", 0), Partition("events", 1)


def extent(
    group: int | None, noted: int | None, *, mark: bool = True, first: int = 10, begin: int = 10, end: int = 100
) -> Extent:
    """A partition that holds 10 to 100, and what is known of it."""
    return Extent(begin=begin, end=end, first=first, group=group, noted=noted, was_noted=mark)


@pytest.mark.parametrize(
    ("given", "placing"),
    [
        # A group without a position begins, where a new one would, and the database follows it.
        (extent(None, None), Placing(offset=10, begun=True)),
        (extent(None, None, first=100), Placing(offset=100, begun=True)),
        (extent(None, 50), Placing(offset=10, begun=True, back=True)),
        (extent(None, 50, first=100), Placing(offset=50, begun=True)),
        (extent(None, 500, first=100), Placing(offset=100, begun=True, back=True)),
        (extent(None, 5), Placing(offset=10, begun=True, lost=5)),
        (extent(None, 5, first=100), Placing(offset=10, begun=True, lost=5)),
        # One that has a position goes on there, unless the database has gone back since.
        (extent(50, 50), Placing(offset=50)),
        (extent(50, 60), Placing(offset=50)),
        (extent(50, 20), Placing(offset=20, again=30)),
        (extent(50, None), Placing(offset=10, again=40)),
        (extent(10, None), Placing(offset=10)),
        (extent(50, 4), Placing(offset=10, again=40, lost=6)),
        # Positions without the mark were set by hand, or by an older release.
        (extent(50, None, mark=False), Placing(offset=50)),
        (extent(50, 20, mark=False), Placing(offset=50)),
        (extent(20, 50, mark=False), Placing(offset=20, back=True)),
        # Records are gone: deleted, or the topic is another one.
        (extent(4, 4), Placing(offset=10, lost=6)),
        (extent(4, 8), Placing(offset=10, lost=6)),
        (extent(101, 101), Placing(offset=10, gone=True, back=True)),
        (extent(101, None, mark=False), Placing(offset=10, gone=True)),
        (extent(101, 50), Placing(offset=50, again=50)),
        (extent(50, 101), Placing(offset=50, back=True)),
        (extent(100, 100), Placing(offset=100)),
        (extent(0, 0, begin=0, end=0, first=0), Placing(offset=0)),
    ],
)
def test_where_a_member_goes_on(given: Extent, placing: Placing) -> None:
    """Never behind what either of them lacks, and never where there is nothing."""
    assert place(given) == placing


def placed(*, noted: int | None = 5, told: int | None = 5) -> Positions:
    """A goes on at 5, B at 0 as a new one."""
    positions = Positions()
    positions.placed(A, 5, noted=noted, told=told)
    positions.placed(B, 0, noted=None, told=None)
    return positions


def test_where_a_group_begins_is_noted_and_told_before_the_first_record() -> None:
    """And what the database had noted for an older release has the mark put on."""
    positions = placed(told=None)
    assert positions.committable() == {A: 5}
    noting = positions.noting({})
    assert (noting.known, noting.offsets) == ({B: None}, {B: 0})
    positions.noted(noting, ())
    assert positions.committable() == {A: 5, B: 0}
    positions.told({A: 5, B: 0})
    assert positions.committable() == {}
    assert positions.noting({}).offsets == {}
    assert positions.noting({}, look=True).offsets == {A: None, B: None}


def test_the_group_is_told_what_is_done_and_noted() -> None:
    """A call may note what it does itself; what is not known to be done by then is told later."""
    positions = placed()
    noting = positions.noting({A: 9})
    assert noting.offsets == {A: 9, B: 0}
    positions.noted(noting, ())
    assert positions.committable() == {B: 0}  # its dead letters, say, are not written
    positions.done({A: 9, B: 3})
    assert positions.committable() == {A: 9, B: 0}
    positions.done({A: 7})  # read again
    assert positions.committable() == {A: 9, B: 0}


def test_what_is_read_again_is_told_below_what_is_noted() -> None:
    """The group's offsets were set back by hand, and follow from there."""
    positions = placed(noted=100, told=None)
    positions.done({A: 20})
    assert A not in positions.noting({}).offsets
    assert positions.committable() == {A: 20}


def test_nothing_is_noted_where_the_database_is_behind() -> None:
    """It is until the partition is placed again; then the group is taken back at once."""
    positions = placed()
    noting = positions.noting({A: 9, B: 3})
    positions.noted(noting, {A: 2})
    positions.done({B: 3})
    assert positions.committable() == {B: 3}
    positions.placed(A, 2, noted=2, told=5)
    assert positions.committable() == {A: 2, B: 3}


def test_a_position_that_does_not_exist_any_more_is_taken_back() -> None:
    """By the database too, which otherwise keeps the one that is further."""
    positions = placed()
    positions.moved(A, 0)
    assert positions.noting({}).offsets == {A: 0, B: 0}
    positions.noted(positions.noting({}), ())
    assert positions.committable() == {A: 0, B: 0}
    positions.placed(A, 3, noted=50, told=None, back=True)
    assert positions.noting({}).known == {A: 50}
    assert positions.noting({}).offsets == {A: 3}


@pytest.mark.parametrize(
    ("noted", "back", "sure"),
    [(None, False, 50), (20, False, 50), (70, False, 70), (100, False, None), (100, True, 50)],
)
def test_what_is_done_and_not_noted_can_be_taken_back(noted: int | None, back: bool, sure: int | None) -> None:
    """Not beyond where this member has begun: an operator may have passed over what is before it."""
    positions = Positions()
    positions.placed(A, 50, noted=noted, told=None, back=back)
    assert not positions.noting({A: 80}).unsure  # what the call does itself is there if what it notes is
    positions.done({A: 80})
    assert positions.noting({}).unsure is (sure is not None)
    assert positions.take_back() == ({} if sure is None else {A: sure})
    assert (positions.noting({}).unsure, positions.at(A)) == (False, sure or 80)
    assert positions.take_back() == {}


def test_lost_partitions_are_left_alone() -> None:
    """Whatever was still under way for them."""
    positions = placed()
    noting = positions.noting({A: 9})
    positions.forget()
    positions.noted(noting, ())
    positions.done({A: 9})
    positions.moved(A, 9)
    positions.told({A: 9})
    assert (positions.committable(), positions.noting({}, look=True).offsets, positions.at(A)) == ({}, {}, None)
