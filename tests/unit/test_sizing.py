"""Routing calls that are too slow, and the loops around them: what hangs is found, and costs the others little."""

import asyncio
from collections.abc import Iterable

import pytest

from consumer.domain.backoff import Backoff
from consumer.domain.errors import TooSlow
from consumer.domain.facts import BatchTooSlow, EventTooSlow, Fact, SweepFinished
from consumer.domain.routing import BEGINNING, Backlog, Batch, Bell, Cursor, Path, Window
from consumer.pipeline.pacing import Signal, Watermark
from consumer.pipeline.reconciler import Reconciler, ReconcilerSettings
from consumer.pipeline.single_sweep import SingleSweep
from consumer.pipeline.sizing import SizedCalls


def batch(claimed: int, parked: int = 0) -> Batch:
    """The outcome of a call."""
    return Batch(
        claimed=claimed,
        inserted=claimed - parked,
        parked=parked,
        dead=0,
        channels=(),
        ages=(),
        reached=BEGINNING,
        seconds=0.0,
    )


class Table:
    """A `Store` over numbered events in one order, of which some hang; due ones are a queue of their own."""

    def __init__(self, events: Iterable[int] = (), *, hangs: Iterable[int] = (), due: Iterable[int] = ()) -> None:
        self.ready = list(events)
        self.due = list(due)
        self.hangs = set(hangs)
        self.busy = 0
        """So many calls are too slow whatever they take."""
        self.routed: list[int] = []
        self.parked: list[int] = []
        self.slow: list[int] = []
        """Limits of the calls that were too slow."""
        self.now = 0.0
        self.facts: list[Fact] = []

    def monotonic(self) -> float:
        """Only calls that are too slow take time."""
        return self.now

    def jitter(self) -> float:
        """None."""
        return 0.0

    def _take(self, queue: list[int], limit: int) -> Batch:
        taken = queue[:limit]
        if self.busy or self.hangs & set(taken):
            self.busy = max(self.busy - 1, 0)
            self.slow.append(limit)
            self.now += 30
            raise TooSlow("too slow")
        del queue[:limit]
        self.routed += taken
        return batch(len(taken))

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        return self._take(self.ready, limit)

    async def route_oldest(self, *, channel: str | None, limit: int) -> Batch:
        return self._take(self.ready, limit)

    async def retry(self, *, limit: int) -> Batch:
        return self._take(self.due, limit)

    async def next_event(self, *, window: Window | None) -> str | None:
        queue = self.due if window is None else self.ready
        return str(queue[0]) if queue else None

    async def route_one(self, *, event: str, untried: bool = False) -> Batch:
        number = int(event)
        queue = next((queue for queue in (self.ready, self.due) if number in queue), None)
        if queue is None:
            return batch(0)
        if not untried:
            return self._take(queue, 1)
        queue.remove(number)
        self.parked.append(number)
        return batch(1, 1)

    async def backlog(self) -> Backlog:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    def calls(self, batch_size: int = 1000) -> SizedCalls:
        """Calls of this table."""
        return SizedCalls(store=self, path=Path.HOT, batch_size=batch_size, observer=self.facts.append)


async def drain(calls: SizedCalls) -> None:
    """Until nothing is left."""
    await calls.route(Window())
    while calls.full:
        await calls.route(Window())


@pytest.mark.parametrize("culprit", [0, 1, 31, 77, 500, 999])
async def test_the_culprit_is_found_and_nobody_else_is_parked(culprit: int) -> None:
    """Wherever it stands, with few calls that hang: each of them costs its whole time."""
    table = Table(range(1000), hangs=[culprit])
    await drain(table.calls())
    assert table.parked == [culprit]
    assert table.routed == [event for event in range(1000) if event != culprit]
    assert table.slow == [1000, 31, 1, 1]
    assert sum(isinstance(fact, EventTooSlow) for fact in table.facts) == 1
    assert sum(isinstance(fact, BatchTooSlow) for fact in table.facts) == 3


async def test_several_culprits() -> None:
    """Each is found by itself."""
    table = Table(range(300), hangs=[3, 4, 200])
    await drain(table.calls(100))
    assert table.parked == [3, 4, 200]
    assert len(table.routed) == 297


async def test_a_database_that_was_busy_parks_nobody() -> None:
    """Even if the moment is that of an event all alone; sizes grow again afterwards."""
    table = Table(range(5000))
    table.busy = 3
    calls = table.calls()
    await drain(calls)
    assert table.slow == [1000, 31, 1]
    assert table.parked == []
    assert table.routed == list(range(5000))
    table.busy, table.ready = 1, list(range(2000))
    await drain(calls)
    assert table.slow[-1] == 1000


async def test_nothing_left_to_park() -> None:
    """Another replica has taken the event meanwhile."""
    table = Table([1])
    table.busy = 3
    calls = table.calls()
    taken: list[int] = []

    async def route_one(*, event: str, untried: bool = False) -> Batch:
        taken.append(int(event))
        table.ready.clear()
        return batch(0)

    table.route_one = route_one  # type: ignore[method-assign]
    await calls.route(Window())
    assert taken == [1]
    assert not calls.full
    assert table.parked == []
    assert not any(isinstance(fact, EventTooSlow) for fact in table.facts)


def reconciler(table: Table, *, interval: float) -> tuple[Reconciler, Signal]:
    """A sweep of the table."""
    watermark, wake = Watermark(), Signal()
    watermark.cursor = Cursor(at="now", id="")
    settings = ReconcilerSettings(interval=interval, batch_size=100)
    loop = Reconciler(
        store=table, wake=wake, watermark=watermark, observer=table.facts.append, clock=table, settings=settings
    )
    return loop, wake


async def test_the_sweep_goes_on_after_a_call_that_was_too_slow() -> None:
    """A smaller batch is no sign that nothing is left."""
    table = Table(range(400), hangs=[150])
    await reconciler(table, interval=30)[0].sweep(asyncio.Event())
    assert table.parked == [150]
    assert len(table.routed) == 399


async def test_events_that_hang_again_and_again_do_not_keep_the_sweep_from_missed_ones() -> None:
    """Parked ones get the time of an interval, then it is the turn of the others, without a rest."""
    table = Table(hangs=range(50), due=range(50))
    loop, _ = reconciler(table, interval=60)
    stop = asyncio.Event()

    def observe(fact: Fact) -> None:
        table.facts.append(fact)
        if isinstance(fact, SweepFinished):
            if not table.ready and -1 not in table.routed:
                table.ready = [-1]  # missed while the sweep was at the parked ones
            elif -1 in table.routed:
                stop.set()

    loop._observer = observe
    await asyncio.wait_for(loop.run(stop, Backoff()), timeout=60)
    assert table.routed == [-1]
    assert 0 < len(table.parked) < 10


async def test_a_single_sweep_gets_around_what_hangs() -> None:
    """Cron has no service beside it that would park the event: without this, one event would hold up all."""
    table = Table(range(300), hangs=[7], due=[1000, 1001])
    sweep = SingleSweep(store=table, channel=None, limit=None, batch_size=100)
    await sweep.run()
    assert (sweep.routed, sweep.parked) == (301, 1)
    assert table.parked == [7]
    assert (table.ready, table.due) == ([], [])


async def test_a_single_sweep_keeps_its_limit() -> None:
    """Whatever happens on the way."""
    table = Table(range(300), hangs=[7])
    sweep = SingleSweep(store=table, channel=None, limit=50, batch_size=100)
    await sweep.run()
    assert (sweep.routed, sweep.parked) == (49, 1)
    with pytest.raises(TooSlow):  # the order of arrival has no channels
        await SingleSweep(store=Table([7], hangs=[7]), channel="tiktok", limit=None, batch_size=100).run()
