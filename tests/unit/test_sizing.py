"""Routing calls that are too slow, and the loops around them: what hangs is found, and costs the others little."""

import asyncio

import pytest

from consumer.domain.backoff import Backoff
from consumer.domain.errors import TooSlow
from consumer.domain.facts import BatchTooSlow, EventTooSlow, Fact, SweepFinished
from consumer.domain.routing import NOW, Batch, Path, Window
from consumer.pipeline.pacing import Signal, Watermark
from consumer.pipeline.reconciler import Reconciler, ReconcilerSettings
from consumer.pipeline.single_sweep import SingleSweep
from consumer.pipeline.sizing import SizedCalls
from consumer.ports import Observer
from tests.fakes import Facts, FakeStore, batch


def sized(store: FakeStore, facts: Facts, batch_size: int = 1000) -> SizedCalls:
    """Calls of the hot path."""
    return SizedCalls(store=store, path=Path.HOT, batch_size=batch_size, observer=facts)


async def drain(calls: SizedCalls) -> None:
    """Until nothing is left."""
    more = True
    while more:
        _, more = await calls.route(Window())


@pytest.mark.parametrize("culprit", [0, 1, 31, 77, 500, 999])
async def test_the_culprit_is_found_and_nobody_else_is_parked(culprit: int) -> None:
    """Wherever it stands, with few calls that hang: each of them costs its whole time."""
    table, facts = FakeStore(range(1000), hangs=[culprit]), Facts()
    await drain(sized(table, facts))
    assert table.parked == [culprit]
    assert table.routed == [event for event in range(1000) if event != culprit]
    assert table.slow == [1000, 31, 1, 1]
    assert len(facts.of(EventTooSlow)) == 1
    assert len(facts.of(BatchTooSlow)) == 3


async def test_several_culprits() -> None:
    """Each is found by itself."""
    table = FakeStore(range(300), hangs=[3, 4, 200])
    await drain(sized(table, Facts(), 100))
    assert table.parked == [3, 4, 200]
    assert len(table.routed) == 297


async def test_a_database_that_was_busy_parks_nobody() -> None:
    """Not even an event that is called alone at that moment; sizes grow again afterwards."""
    table = FakeStore(range(5000))
    table.errors = [TooSlow("busy")] * 3
    calls = sized(table, Facts())
    await drain(calls)
    assert table.slow == [1000, 31, 1]
    assert table.parked == []
    assert table.routed == list(range(5000))
    table.errors, table.ready = [TooSlow("busy")], list(range(2000))
    await drain(calls)
    assert table.slow[-1] == 1000


async def test_nothing_left_to_park() -> None:
    """Another replica has taken the event meanwhile."""
    table, facts = FakeStore([1]), Facts()
    table.errors = [TooSlow("busy")] * 3

    def before(call: str) -> None:
        if call == "route_one":
            table.ready.clear()

    table.before = before
    _, more = await sized(table, facts).route(Window())
    assert table.alone == [1]
    assert not more
    assert table.parked == []
    assert not facts.of(EventTooSlow)


def reconciler(table: FakeStore, observer: Observer, *, interval: float) -> Reconciler:
    """A sweep of the table."""
    watermark = Watermark()
    watermark.cursor = NOW
    return Reconciler(
        store=table,
        wake=Signal(),
        watermark=watermark,
        observer=observer,
        clock=table.clock,
        settings=ReconcilerSettings(interval=interval, batch_size=100),
    )


async def test_the_sweep_goes_on_after_a_call_that_was_too_slow() -> None:
    """A smaller batch is no sign that nothing is left."""
    table = FakeStore(range(400), hangs=[150])
    await reconciler(table, Facts(), interval=30).sweep(asyncio.Event())
    assert table.parked == [150]
    assert len(table.routed) == 399


async def test_events_that_hang_again_and_again_do_not_keep_the_sweep_from_missed_ones() -> None:
    """Parked ones get the time of an interval, then it is the turn of the others, without a rest."""
    table = FakeStore(hangs=range(50), due=range(50))
    stop = asyncio.Event()

    def observe(fact: Fact) -> None:
        if isinstance(fact, SweepFinished):
            if not table.ready and -1 not in table.routed:
                table.ready = [-1]  # missed while the sweep was busy with the parked ones
            elif -1 in table.routed:
                stop.set()

    loop = reconciler(table, observe, interval=60)
    await asyncio.wait_for(loop.run(stop, Backoff()), timeout=60)
    assert table.routed == [-1]
    assert 0 < len(table.parked) < 10


async def test_a_single_sweep_gets_around_what_hangs() -> None:
    """Cron has no service beside it that would park the event: without this, one event would hold up all."""
    table = FakeStore(range(300), hangs=[7], due=[1000, 1001])
    sweep = SingleSweep(store=table, channel=None, limit=None, batch_size=100)
    await sweep.run()
    assert (sweep.routed, sweep.parked) == (301, 1)
    assert table.parked == [7]
    assert (table.ready, table.due) == ([], [])


class HeldStore(FakeStore):
    """The schema is at fault for all events that are due; there is no window that would lead past them."""

    async def route_due(self, *, limit: int) -> Batch:
        self.before("route_due")
        return batch(min(len(self.due), limit), held=min(len(self.due), limit))


async def test_due_events_that_are_held_do_not_keep_a_sweep_busy() -> None:
    """A call that could do nothing for any of them would take the same ones again."""
    table = HeldStore(range(5), due=range(1000, 1300))
    calls: list[str] = []
    table.before = calls.append
    await asyncio.wait_for(reconciler(table, Facts(), interval=30).sweep(asyncio.Event()), timeout=30)
    assert calls.count("route_due") == 1
    _, more = await sized(table, Facts(), 100).route_due()
    assert not more


async def test_a_single_sweep_keeps_its_limit() -> None:
    """Whatever happens on the way."""
    table = FakeStore(range(300), hangs=[7])
    sweep = SingleSweep(store=table, channel=None, limit=50, batch_size=100)
    await sweep.run()
    assert (sweep.routed, sweep.parked) == (49, 1)
    with pytest.raises(TooSlow):  # the order of arrival has no channels
        await SingleSweep(store=FakeStore([7], hangs=[7]), channel="tiktok", limit=None, batch_size=100).run()
