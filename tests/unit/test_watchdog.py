"""The watchdog and what it looks at, without a service."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import NoReturn, cast

import pytest

from consumer.adapters import pulse
from consumer.adapters.pulse import Pulse
from consumer.domain.errors import Fatal
from consumer.domain.facts import BatchTooSlow, EventTooSlow, Loop, Progress
from consumer.domain.routing import Path
from consumer.pipeline import watchdog
from consumer.pipeline.health import Health
from consumer.pipeline.watchdog import LOOKS, Watchdog
from tests.waiting import PATIENCE


class FakeClock:
    """Goes on by as much as it is told, whenever it is asked."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    def jitter(self) -> float:
        return 0.5


class Loops:
    """Says of loops what it is told to say."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.looks = 0
        self.forgiven = 0

    def stalled(self) -> list[str]:
        self.looks += 1
        return self._answers.pop(0) if self._answers else []

    def forgive(self) -> None:
        self.forgiven += 1


def nothing() -> None:
    """Nobody watches the watchdog."""


def never(_: str) -> NoReturn:
    """The last resort of a test that does not come to it."""
    raise AssertionError


async def look(loops: Loops, clock: FakeClock, *, stall_after: float = 0.08) -> None:
    """Runs a watchdog for a moment."""
    dog = Watchdog(watched=loops, clock=clock, stall_after=stall_after, beat=nothing, last_resort=never)
    async with asyncio.timeout(90):
        await dog.run()


async def test_one_look_is_not_enough() -> None:
    """A loop that is late once and then goes on is left alone; at two looks in a row it is stuck, and named."""
    loops = Loops(["hot"], ["sweep"], [], ["sweep"], ["hot", "sweep"])
    with pytest.raises(Fatal, match=r"the sweep loop made no progress for more than 0\.08 s"):
        await look(loops, FakeClock())
    assert loops.looks == 5


async def test_a_process_that_was_stopped_gets_a_new_start() -> None:
    """Its own sleep took far too long: nobody else can have made progress either."""
    clock = FakeClock()
    clock.step = 3600.0
    loops = Loops(["hot"], ["hot"])
    with pytest.raises(Fatal):
        await look(loops, clock)
    assert loops.forgiven == 2
    clock.step = 0.08 / LOOKS
    loops = Loops(["hot"], ["hot"])
    with pytest.raises(Fatal):
        await look(loops, clock)
    assert loops.forgiven == 0


async def test_a_task_that_is_deaf_to_being_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ordinary end does not come, so the last resort does."""
    monkeypatch.setattr(watchdog, "LAST_RESORT", 0.01)
    asked: list[str] = []
    ended = asyncio.Event()

    def last_resort(message: str) -> None:
        asked.append(message)
        ended.set()

    async def deaf() -> None:
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()

    dog = Watchdog(
        watched=Loops(["hot"], ["hot"]),
        clock=FakeClock(),
        stall_after=0.08,
        beat=nothing,
        last_resort=cast("Callable[[str], NoReturn]", last_resort),
    )

    async def both() -> None:
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            group.create_task(deaf())
            group.create_task(dog.run())

    with pytest.raises(ExceptionGroup) as raised:
        await both()
    assert raised.group_contains(Fatal)
    assert len(asked) == 1


def test_a_loop_may_rest_as_long_as_it_is_set_to() -> None:
    """An interval of an hour between sweeps is no stall; two minutes more are."""
    clock = FakeClock()
    health = Health(clock=clock, stall_after=120)
    health.expect({Loop.HOT: 1.0, Loop.SWEEP: 3600.0})
    health(Progress(loop=Loop.HOT, ok=True))
    clock.now += 122
    assert health.stalled() == ["hot"]
    health(Progress(loop=Loop.HOT, ok=True))
    assert health.stalled() == []
    assert health.ready()
    clock.now += 3600
    assert health.stalled() == ["hot", "sweep"]
    health.forgive()
    assert health.stalled() == []


@pytest.mark.parametrize("fact", [BatchTooSlow(path=Path.HOT, limit=3), EventTooSlow(path=Path.HOT)])
def test_finding_the_size_that_works_is_progress(fact: BatchTooSlow | EventTooSlow) -> None:
    """Each step of it may take a whole `call_timeout`, so alive it is; but events do not get through, so not ready."""
    clock = FakeClock()
    health = Health(clock=clock, stall_after=120)
    health.expect({Loop.HOT: 1.0})
    health(Progress(loop=Loop.HOT, ok=True))
    clock.now += 100
    health(fact)
    clock.now += 100
    assert health.stalled() == []
    assert not health.ready()


def test_a_loop_without_a_pulse() -> None:
    """Too many looks in a row without a beat, and one beat is enough to live on."""
    heart = Pulse(patience=120, last_resort=never)
    for _ in range(2):
        heart.beat()
        assert [heart.look() for _ in range(pulse.LOOKS + 2)] == [False] * (pulse.LOOKS + 1) + [True]


def test_the_pulse_is_felt_beside_a_loop_that_is_blocked() -> None:
    """From a thread of its own, as long as nobody has stopped it."""
    bitten = threading.Event()
    heart = Pulse(patience=0.08, last_resort=cast("Callable[[str], NoReturn]", lambda _: bitten.set()))
    heart.start()
    assert bitten.wait(PATIENCE)
    heart.stop()
