"""What the sampler counts: all where that is cheap, otherwise from the oldest event that it knows of."""

import asyncio

import pytest

from consumer.domain.backoff import Backoff
from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, Rejected, TooSlow, Transient
from consumer.domain.facts import BacklogSampled, ByChannelSampled, LoopFailed
from consumer.domain.overview import BacklogByChannel
from consumer.domain.routing import Backlog
from consumer.pipeline import sampler as module
from consumer.pipeline.sampler import LATE, REST, REST_FROM_ALL, Sampler
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


FOUND = BacklogByChannel(channels=(), is_partial=False, replicas=())


class Watched(Table):
    """A table whose looks for people take two seconds; a run ends at its third rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, error: ConsumerError | None = None) -> None:
        super().__init__(cost=0.0)
        self.watched = True
        self.looks: list[float] = []
        self.rests: list[float] = []
        self.facts = Facts()
        self._error = error
        self._stop = asyncio.Event()
        self._monkeypatch = monkeypatch

    async def by_channel(self, *, within: float) -> BacklogByChannel:
        self.looks.append(within)
        self.clock.now += 2.0
        if self._error is not None:
            raise self._error
        return FOUND

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        self.rests.append(seconds)
        if len(self.rests) == 3:
            stop.set()

    async def run(self, *, looking: bool = True) -> None:
        """Three samples."""
        self._monkeypatch.setattr(module, "pause", self._pause)
        sampler = Sampler(
            store=self,
            observer=self.facts,
            clock=self.clock,
            interval=10.0,
            looking=self if looking else None,
            watched=lambda: self.watched,
        )
        async with asyncio.timeout(PATIENCE):
            await sampler.run(self._stop, Backoff())


async def test_a_look_for_people_counts_into_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken once a sample, over what the count has found, and only while somebody watches."""
    table = Watched(monkeypatch)
    table.oldest = table.clock.now - 100.0
    await table.run()
    assert table.looks == [100 + LATE, 102 + LATE, 104 + LATE]
    assert table.rests == [2 * REST] * 3
    assert table.facts.of(ByChannelSampled) == [ByChannelSampled(found=FOUND)] * 3
    nobody = Watched(monkeypatch)
    nobody.watched = False
    await nobody.run()
    assert (nobody.looks, nobody.rests) == ([], [10.0] * 3)
    without = Watched(monkeypatch)
    await without.run(looking=False)
    assert (without.looks, without.rests) == ([], [10.0] * 3)


@pytest.mark.parametrize("error", [Fatal("no right"), Misconfigured("no function"), TooSlow("slow"), Rejected("no")])
async def test_a_look_for_people_ends_nothing(monkeypatch: pytest.MonkeyPatch, error: ConsumerError) -> None:
    """A schema that is older than the program, or rights that are, must not end the service when a page is opened."""
    table = Watched(monkeypatch, error=error)
    await table.run()
    assert table.facts.of(ByChannelSampled) == [ByChannelSampled(found=None, reason=str(error))] * 3
    assert len(table.facts.of(BacklogSampled)) == 3
    assert table.facts.of(LoopFailed) == []
