"""The looks of the hot path: when it sleeps, when it silences the doorbell, and what it finds without a ring."""

import asyncio
from collections.abc import Callable
from typing import Self

from consumer.domain.backoff import Backoff
from consumer.domain.errors import Transient
from consumer.domain.facts import Fact
from consumer.domain.routing import BEGINNING, Backlog, Batch, Bell, Window
from consumer.pipeline.hot_path import HotPath, HotPathSettings
from consumer.pipeline.pacing import Signal, Watermark
from tests.waiting import await_for


class Table:
    """A `Store` that counts what is pending, and remembers what each call did about the bell."""

    def __init__(self) -> None:
        self.pending = 0
        self.bells: list[Bell | None] = []
        self.silent = False
        self.failures = 0
        self.before: Callable[[], None] = lambda: None
        """Happens before the next call looks."""

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        self.before()
        self.bells.append(bell)
        self.silent = bell is Bell.SILENCE or (self.silent and bell is not Bell.ARM)
        if self.failures:
            self.failures -= 1
            raise Transient("away")
        claimed, self.pending = min(limit, self.pending), max(self.pending - limit, 0)
        return Batch(
            claimed=claimed,
            inserted=claimed,
            parked=0,
            dead=0,
            channels=(),
            ages=(),
            reached=BEGINNING,
            seconds=0.0,
        )

    async def retry(self, *, limit: int) -> Batch:
        raise NotImplementedError

    async def next_event(self, *, window: Window | None) -> str | None:
        raise NotImplementedError

    async def route_one(self, *, event: str, untried: bool = False) -> Batch:
        raise NotImplementedError

    async def backlog(self) -> Backlog:
        raise NotImplementedError

    async def close(self) -> None:
        pass


class Still:
    """A clock without chance."""

    def monotonic(self) -> float:
        return 0.0

    def jitter(self) -> float:
        return 0.0


def ignore(_: Fact) -> None:
    """Nobody reads the facts."""


class Running:
    """A hot path whose long sleeps only a ring ends."""

    def __init__(self, table: Table, *, doorbell: bool = True, after_drain: tuple[float, ...] = ()) -> None:
        self.table = table
        self.wake = Signal()
        self.path = HotPath(
            stores=[table],
            wake=self.wake,
            watermark=Watermark(),
            observer=ignore,
            clock=Still(),
            settings=HotPathSettings(
                batch_size=10, poll_interval=3600, poll_interval_without_doorbell=3600, after_drain=after_drain
            ),
        )
        self.path.doorbell(works=doorbell)
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.wake.wait(0)  # the ring of its new doorbell: the first drain is on its way anyhow
        self._task = asyncio.create_task(self.path.run(self._stop, Backoff(first=0.001)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        self.wake.ring()
        await self._task

    async def until(self, fact: Callable[[], bool]) -> None:
        """Waits for it."""

        async def ask() -> bool:
            return fact()

        await await_for(ask)


async def test_a_drain_silences_the_bell_and_arms_it_again() -> None:
    """In each call, since a writer that is just looking may keep the lock from one; a last look follows the arming."""
    table = Table()
    table.pending = 5
    async with Running(table) as running:
        await running.until(lambda: table.bells[-1:] == [Bell.ARM] and not table.silent)
    assert table.bells == [Bell.SILENCE, Bell.SILENCE, Bell.ARM]
    assert table.pending == 0
    assert not table.silent


async def test_a_backlog_is_drained_in_silence() -> None:
    """Also one that nobody has rung for, and in the calls of its lane, of which there may be hundreds."""
    table = Table()
    table.pending = 1

    def before() -> None:
        if table.bells[-1:] == [Bell.ARM] and table.bells.count(Bell.ARM) == 1:  # the look that follows a drain
            table.pending = 45

    table.before = before
    async with Running(table, after_drain=(0.001,)) as running:
        await running.until(lambda: table.bells.count(Bell.ARM) == 2)
    first, second = (number for number, bell in enumerate(table.bells) if bell is Bell.ARM)
    # Ten in a call, and the one that finds nothing.
    assert table.bells[first + 1 : second] == [None, *[Bell.SILENCE] * 5]
    assert table.pending == 0


async def test_what_comes_with_the_last_look_is_drained() -> None:
    """An event that the armed look finds silences the bell anew."""
    table = Table()

    def before() -> None:
        if len(table.bells) == 1:  # the next one arms
            table.pending = 3

    table.before = before
    async with Running(table) as running:
        await running.until(lambda: len(table.bells) >= 4 and table.bells[-1] is Bell.ARM)
    assert table.bells[:4] == [Bell.SILENCE, Bell.ARM, Bell.SILENCE, Bell.ARM]
    assert table.pending == 0


async def test_a_commit_after_the_last_look_is_found_without_a_ring() -> None:
    """Its writer saw this consumer awake and did not ring; the looks that follow a drain leave the bell alone."""
    table = Table()
    table.pending = 1

    def before() -> None:
        if table.bells.count(Bell.ARM) == 1 and not table.silent:
            table.pending += 1
            table.before = lambda: None

    table.before = before
    async with Running(table, after_drain=(0.001, 0.001)) as running:
        await running.until(lambda: table.bells.count(Bell.ARM) == 2)
    first_arm = table.bells.index(Bell.ARM)
    assert table.bells[first_arm + 1 : first_arm + 4] == [None, Bell.SILENCE, Bell.ARM]
    assert table.pending == 0


async def test_without_a_doorbell_it_is_left_alone() -> None:
    """Nobody rings it, so nobody may hold its lock."""
    table = Table()
    table.pending = 25
    async with Running(table, doorbell=False) as running:
        await running.until(lambda: table.pending == 0)
    assert set(table.bells) == {None}


async def test_a_failure_does_not_leave_the_bell_silent() -> None:
    """Whether the call that silenced it was done is unknown; the next drain arms it in any case."""
    table = Table()
    table.failures = 1
    async with Running(table) as running:
        await running.until(lambda: Bell.ARM in table.bells)
    assert not table.silent
