"""When the hot path looks: when it sleeps, when it silences the doorbell, and what it finds without a ring."""

import asyncio
from collections.abc import Callable
from typing import Self

from consumer.domain.backoff import Backoff
from consumer.domain.errors import Transient
from consumer.domain.routing import Bell
from consumer.pipeline.hot_path import HotPath, HotPathSettings
from consumer.pipeline.pacing import Signal, Watermark
from tests.fakes import Facts, FakeStore, HandClock
from tests.waiting import await_for


class Running:
    """A hot path whose long sleeps only a ring ends."""

    def __init__(
        self,
        store: FakeStore,
        *,
        doorbell: bool = True,
        after_drain: tuple[float, ...] = (),
        gather: float = 0.0,
        clock: HandClock | None = None,
    ) -> None:
        self.wake = Signal()
        self.path = HotPath(
            stores=[store],
            wake=self.wake,
            watermark=Watermark(),
            observer=Facts(),
            clock=clock or HandClock(),
            settings=HotPathSettings(
                batch_size=10,
                poll_interval=3600,
                poll_interval_without_doorbell=3600,
                after_drain=after_drain,
                gather=gather,
                gather_below=5,
            ),
        )
        self.path.doorbell(works=doorbell)
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.wake.wait(0)  # the ring of its new doorbell: the first drain comes anyway
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
    store = FakeStore(range(5))
    async with Running(store) as running:
        await running.until(lambda: store.bells[-1:] == [Bell.ARM] and not store.silent)
    assert store.bells == [Bell.SILENCE, Bell.SILENCE, Bell.ARM]
    assert not store.ready
    assert not store.silent


async def test_a_backlog_is_drained_in_silence() -> None:
    """Also one that nobody has rung for, and in the calls of its lane, of which there may be hundreds."""
    store = FakeStore([0])

    def before(_: str) -> None:
        if store.bells[-1:] == [Bell.ARM] and store.bells.count(Bell.ARM) == 1:  # the look that follows a drain
            store.ready = list(range(45))

    store.before = before
    async with Running(store, after_drain=(0.001,)) as running:
        await running.until(lambda: store.bells.count(Bell.ARM) == 2)
    first, second = (number for number, bell in enumerate(store.bells) if bell is Bell.ARM)
    # Ten in a call, and the one that finds nothing.
    assert store.bells[first + 1 : second] == [None, *[Bell.SILENCE] * 5]
    assert not store.ready


async def test_what_comes_with_the_last_look_is_drained() -> None:
    """An event that the armed look finds silences the bell anew."""
    store = FakeStore()

    def before(_: str) -> None:
        if len(store.bells) == 1:  # the next one arms
            store.ready = [1, 2, 3]

    store.before = before
    async with Running(store) as running:
        await running.until(lambda: len(store.bells) >= 4 and store.bells[-1] is Bell.ARM)
    assert store.bells[:4] == [Bell.SILENCE, Bell.ARM, Bell.SILENCE, Bell.ARM]
    assert not store.ready


async def test_a_commit_after_the_last_look_is_found_without_a_ring() -> None:
    """Its writer saw this consumer awake and did not ring; the looks that follow a drain leave the bell alone."""
    store = FakeStore([0])

    def before(_: str) -> None:
        if store.bells.count(Bell.ARM) == 1 and not store.silent:
            store.ready.append(1)
            store.before = lambda call: None

    store.before = before
    async with Running(store, after_drain=(0.001, 0.001)) as running:
        await running.until(lambda: store.bells.count(Bell.ARM) == 2)
    first_arm = store.bells.index(Bell.ARM)
    assert store.bells[first_arm + 1 : first_arm + 4] == [None, Bell.SILENCE, Bell.ARM]
    assert not store.ready


async def test_without_a_doorbell_it_is_left_alone() -> None:
    """Nobody rings it, so nobody may hold its lock."""
    store = FakeStore(range(25))
    async with Running(store, doorbell=False) as running:
        await running.until(lambda: not store.ready)
    assert set(store.bells) == {None}


async def test_a_failure_does_not_leave_the_bell_silent() -> None:
    """Whether the call that silenced it was done is unknown; the next drain arms it in any case."""
    store = FakeStore()
    store.errors = [Transient("away")]
    async with Running(store) as running:
        await running.until(lambda: Bell.ARM in store.bells)
    assert not store.silent


def one_more(store: FakeStore, *, times: int, each: int = 1) -> Callable[[str], None]:
    """As many events come in between the first call and each of those that follow."""

    def before(_: str) -> None:
        if 0 < len(store.bells) <= times:
            store.ready += range(each)

    return before


async def test_events_that_keep_coming_are_waited_for_in_silence() -> None:
    """After the second batch in a row; the end of the service ends the pause."""
    store = FakeStore([0])
    store.before = one_more(store, times=9)
    async with Running(store, gather=3600) as running:
        await running.until(lambda: len(store.routed) == 2)
        running.wake.ring()  # of another inserting session, which cannot know
        assert store.bells == [Bell.SILENCE] * 2
        assert store.silent


async def test_a_pause_gathers_what_comes_meanwhile() -> None:
    """They are routed by one call, and once none has come, the bell is armed again."""
    store = FakeStore([0])
    store.before = one_more(store, times=3, each=4)
    async with Running(store, gather=0.001) as running:
        await running.until(lambda: store.bells[-1:] == [Bell.ARM])
    assert store.bells == [*[Bell.SILENCE] * 5, Bell.ARM]
    assert len(store.routed) == 13


async def test_a_first_event_waits_for_nothing() -> None:
    """Nor does one that comes when the last is long past."""
    store = FakeStore([0])
    store.before = one_more(store, times=9)
    async with Running(store, gather=3600, clock=HandClock(step=1)) as running:
        await running.until(lambda: store.bells[-1:] == [Bell.ARM])
    assert len(store.routed) == 10


async def test_large_batches_follow_each_other_at_once() -> None:
    """What an event costs hardly falls with them."""
    store = FakeStore([0])
    store.before = one_more(store, times=9, each=5)
    async with Running(store, gather=3600) as running:
        await running.until(lambda: store.bells[-1:] == [Bell.ARM])
    assert len(store.routed) == 46
