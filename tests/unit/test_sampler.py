"""What the sampler counts: all where that is cheap, otherwise from the oldest event that it knows of."""

import asyncio

import pytest

from consumer.domain.backoff import Backoff
from consumer.domain.errors import Transient
from consumer.domain.routing import Backlog
from consumer.pipeline.sampler import LATE, REST_FROM_ALL, Sampler
from tests.fakes import Facts, FakeStore, HandClock
from tests.waiting import PATIENCE


class Table(FakeStore):
    """Counts of all take a while, others nothing."""

    def __init__(self, *, cost: float) -> None:
        super().__init__(clock=HandClock(1000.0))
        self.oldest: float | None = None
        """When the oldest event arrived, by the clock."""
        self.counts: list[float | None] = []
        self._cost = cost
        self._sampler = Sampler(store=self, observer=Facts(), clock=self.clock, interval=10.0)

    async def backlog(self, *, within: float | None = None) -> Backlog:
        self.counts.append(within)
        age = 0.0 if self.oldest is None else self.clock.now - self.oldest
        if within is None:
            self.clock.now += self._cost
        return Backlog(ready=1, oldest_seconds=age, parked=0, dead=0, notification_queue=0.0)

    async def sampled(self, times: int = 1) -> list[float | None]:
        """Counts so many times, ten seconds apart; what each of them asked for."""
        before = len(self.counts)
        for _ in range(times):
            await self._sampler.count()
            self.clock.now += 10.0
        return self.counts[before:]


async def test_a_cheap_count_is_one_of_all_each_time() -> None:
    """It sees events that arrive with times long past, and those that are opened again."""
    assert await Table(cost=10 / REST_FROM_ALL).sampled(5) == [None] * 5


async def test_a_dear_count_is_followed_by_cheap_ones() -> None:
    """Dead entries of routed events are read for half a percent of the time at most."""
    table = Table(cost=1.0)
    (whole, *others) = await table.sampled(20)
    assert whole is None
    assert None not in others
    assert await table.sampled(2) == [None, 10 + 1 + LATE]


async def test_a_count_begins_at_the_oldest_event_that_is_known() -> None:
    """Whatever waits, for however long, is counted each time."""
    table = Table(cost=1.0)
    table.oldest = 400.0
    assert await table.sampled(3) == [None, 611 + LATE, 621 + LATE]
    table.oldest = 1020.0  # all others have been routed
    assert await table.sampled(2) == [631 + LATE, 21 + LATE]
    table.oldest = None
    assert await table.sampled(2) == [31 + LATE, 10 + LATE]


async def test_a_count_that_fails_takes_nothing_as_known() -> None:
    """The next one asks again for what it asked for."""
    table = Table(cost=1.0)

    async def gone(*, within: float | None = None) -> Backlog:
        raise Transient("gone")

    counting, table.backlog = table.backlog, gone  # type: ignore[method-assign]
    with pytest.raises(Transient):
        await table.sampled()
    table.backlog = counting  # type: ignore[method-assign]
    assert await table.sampled() == [None]


async def test_a_backlog_is_passed_on() -> None:
    """What waits may lie where only a sweep looks, behind others for which the bell has rung."""
    table, stop = Table(cost=0.0), asyncio.Event()
    sampler = Sampler(store=table, observer=Facts(), clock=table.clock, interval=10.0, waiting=stop.set)
    async with asyncio.timeout(PATIENCE):
        await sampler.run(stop, Backoff())
    assert table.counts == [None]
