"""Held events: neither routed nor parked, since the schema is at fault. Who says so, for how long, and what goes on."""

import asyncio
from dataclasses import replace

from structlog.testing import capture_logs

from consumer.adapters.clock import SystemClock
from consumer.adapters.telemetry.log import Log
from consumer.domain.facts import BatchRouted, Fact, Progress, SweepFinished
from consumer.domain.routing import Batch, Bell, Path, Window
from consumer.pipeline.health import Health
from consumer.pipeline.hot_path import HotPath, HotPathSettings
from consumer.pipeline.pacing import Signal, Watermark
from consumer.pipeline.parts import Part
from consumer.pipeline.reconciler import Reconciler, ReconcilerSettings
from tests.fakes import Facts, FakeStore, HandClock, batch

REASON = '42703: column "wish" of relation "messages" does not exist'


def holding(events: int, *, reason: str = REASON, path: Path = Path.HOT) -> BatchRouted:
    """A call that held so many and routed none."""
    outcome = replace(batch(events), held=events, held_reason=reason, inserted=0, channels=(), ages=())
    return BatchRouted(path=path, batch=outcome)


def swept(held: int) -> SweepFinished:
    """The end of a sweep."""
    return SweepFinished(found=held, due=0, held=held, seconds=0.0)


def health() -> Health:
    """That of a service whose hot path works."""

    async def run(_: asyncio.Event) -> None: ...

    parts = [
        Part(loop="hot", path=Path.HOT, brings_events=True, run=run),
        Part(loop="sweep", path=Path.SWEEP, needed=True, run=run),
    ]
    made = Health(parts, clock=SystemClock(), stall_after=60)
    made(Progress(loop="hot", ok=True))
    return made


def test_not_ready_until_a_sweep_holds_none() -> None:
    """Neither a good batch nor the end of a sweep that held some makes it ready."""
    watched = health()
    assert watched.ready()
    watched(holding(1))
    for fact in (BatchRouted(path=Path.HOT, batch=batch(5)), Progress(loop="hot", ok=True), swept(1), swept(1)):
        watched(fact)
        assert not watched.ready()
    watched(swept(0))
    assert watched.ready()


def test_a_sweep_does_not_see_what_has_just_arrived() -> None:
    """So it says nothing about events that the hot path has held since the sweep before."""
    watched = health()
    watched(holding(1))
    watched(swept(0))
    assert not watched.ready()
    watched(swept(0))
    assert watched.ready()


def test_not_ready_while_the_sweep_fails() -> None:
    """What was missed, re-opened or parked waits for it; before its first round nobody knows."""
    watched = health()
    watched(Progress(loop="sweep", ok=False))
    assert not watched.ready()
    watched(Progress(loop="sweep", ok=True))
    assert watched.ready()


def test_one_line_for_one_reason() -> None:
    """However often the events are tried; another when the reason changes, and one when it is over."""
    log = Log(summary_every=3600)
    facts: list[Fact] = [*[holding(3)] * 5, swept(3), holding(1, reason="other"), swept(0), swept(0), swept(0)]
    with capture_logs() as lines:
        for fact in facts:
            log(fact)
    assert [(line["log_level"], line.get("reason")) for line in lines if "held" in line["event"]] == [
        ("warning", REASON),
        ("warning", "other"),
        ("info", None),
    ]


class Holds(FakeStore):
    """Holds whatever it is asked to route."""

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        self.bells.append(bell)
        return holding(len(self.ready)).batch

    async def route_due(self, *, limit: int) -> Batch:
        return holding(min(limit, len(self.due))).batch


async def test_a_drain_ends_although_what_it_holds_is_still_there() -> None:
    """It takes its last look with the bell armed, as after any drain, and leaves the rest to the sweep."""
    store, hints = Holds([1, 2, 3]), Facts()
    path = HotPath(
        stores=[store], wake=Signal(), watermark=Watermark(), observer=Facts(), clock=HandClock(),
        settings=HotPathSettings(), missed=lambda: hints(swept(0)),
    )  # fmt: skip
    path.doorbell(works=True)
    assert await path.drain(asyncio.Event()) == 0
    assert store.bells == [Bell.SILENCE, Bell.ARM]
    assert not hints


async def test_a_sweep_ends_although_what_it_holds_stays_due() -> None:
    """It does not claim the same events again and again."""
    facts = Facts()
    reconciler = Reconciler(
        store=Holds(due=range(100)), wake=Signal(), watermark=Watermark(), observer=facts, clock=HandClock(),
        settings=ReconcilerSettings(batch_size=10),
    )  # fmt: skip
    assert not await reconciler.sweep(asyncio.Event())
    assert [(fact.due, fact.held) for fact in facts.of(SweepFinished)] == [(10, 10)]
