"""A ring that leads to nothing: the event lies where only a sweep looks."""

import asyncio

from consumer.domain.backoff import Backoff
from consumer.domain.facts import SweepFinished
from consumer.pipeline.hot_path import HotPath, HotPathSettings
from consumer.pipeline.pacing import Signal, Watermark
from consumer.pipeline.reconciler import Reconciler, ReconcilerSettings
from tests.fakes import Facts, FakeStore, HandClock
from tests.waiting import await_for


async def hints(store: FakeStore, *, rung: bool) -> int:
    """How many of them one drain gives."""
    given: list[None] = []
    path = HotPath(
        stores=[store], wake=Signal(), watermark=Watermark(), observer=Facts(), clock=HandClock(),
        settings=HotPathSettings(), missed=lambda: given.append(None),
    )  # fmt: skip
    path.doorbell(works=True)
    path._doorbell.woken(rung=rung)
    await path.drain(asyncio.Event())
    return len(given)


async def test_only_a_ring_that_leads_to_nothing() -> None:
    """One that leads to events does not, nor does a look that nobody rang for."""
    assert await hints(FakeStore(), rung=True) == 1
    assert await hints(FakeStore([1]), rung=True) == 0
    assert await hints(FakeStore(), rung=False) == 0


async def test_hints_start_sweeps_not_too_often() -> None:
    """At once if the last sweep is long ago, and otherwise once the time is up; none is lost."""
    facts, stop, clock = Facts(), asyncio.Event(), HandClock()
    wake = Signal()
    reconciler = Reconciler(
        store=FakeStore(), wake=wake, watermark=Watermark(), observer=facts, clock=clock,
        settings=ReconcilerSettings(interval=3600, hints_apart=0.2),
    )  # fmt: skip

    async def sweeps() -> int:
        return len(facts.of(SweepFinished))

    async def swept(times: int) -> bool:
        return await sweeps() == times

    running = asyncio.create_task(reconciler.run(stop, Backoff()))
    await await_for(lambda: swept(1))
    began = asyncio.get_running_loop().time()
    for _ in range(50):
        reconciler.hint()
        await asyncio.sleep(0)
    assert await sweeps() == 1
    await await_for(lambda: swept(2))
    assert asyncio.get_running_loop().time() - began >= 0.2
    clock.now += 60
    reconciler.hint()
    await await_for(lambda: swept(3))
    stop.set()
    wake.ring()
    await running
