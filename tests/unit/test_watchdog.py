"""The watchdog and what it looks at, without a service."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import NoReturn, cast

import pytest

from consumer.domain.errors import Fatal
from consumer.domain.facts import BatchTooSlow, EventTooSlow, Progress
from consumer.domain.kafka_facts import BrokersAnswer, PartitionsAssigned, PartitionStuck, TopicsMissing
from consumer.domain.lag import Partition
from consumer.domain.routing import Path
from consumer.pipeline.health import SILENCE, Health
from consumer.pipeline.parts import Part
from consumer.pipeline.watchdog import LOOKS, Watchdog
from tests.fakes import HandClock
from tests.waiting import PATIENCE


class Loops:
    """Gives the answers that it was made with, one per look."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.looks = 0
        self.forgiven = 0

    def stalled(self) -> list[str]:
        self.looks += 1
        return self._answers.pop(0) if self._answers else []

    def forgive(self) -> None:
        self.forgiven += 1


def part(loop: str, rest: float, path: Path | None = None, *, brings_events: bool = False) -> Part:
    """A part that nobody runs."""
    return Part(loop=loop, path=path, longest_rest=rest, brings_events=brings_events, run=lambda stop: asyncio.sleep(0))


def never(_: str) -> NoReturn:
    """The last resort of a test that must not need it."""
    raise AssertionError


async def look(loops: Loops, clock: HandClock, *, stall_after: float = 0.08) -> None:
    """Runs a watchdog for a moment."""
    dog = Watchdog(watched=loops, clock=clock, stall_after=stall_after, last_resort=never)
    dog.start()
    try:
        async with asyncio.timeout(90):
            await dog.verdict()
    finally:
        dog.stop()


async def test_one_look_is_not_enough() -> None:
    """A loop that is late once and then goes on is left alone; at two looks in a row it is stuck, and named."""
    loops = Loops(["hot"], ["sweep"], [], ["sweep"], ["hot", "sweep"])
    with pytest.raises(Fatal, match=r"the sweep loop made no progress for more than 0\.08 s"):
        await look(loops, HandClock())
    assert loops.looks == 5


async def test_a_process_that_was_stopped_gets_a_new_start() -> None:
    """Its own sleep took far too long: no loop can have made progress either."""
    clock = HandClock(step=3600.0)
    loops = Loops(["hot"], ["hot"])
    with pytest.raises(Fatal):
        await look(loops, clock)
    assert loops.forgiven == 2
    clock.step = 0.08 / LOOKS
    loops = Loops(["hot"], ["hot"])
    with pytest.raises(Fatal):
        await look(loops, clock)
    assert loops.forgiven == 0


async def test_a_task_that_is_deaf_to_being_cancelled() -> None:
    """The ordinary end does not come, so the last resort does."""
    asked: list[str] = []
    ended = asyncio.Event()
    here = asyncio.get_running_loop()

    def last_resort(message: str) -> None:
        asked.append(message)
        here.call_soon_threadsafe(ended.set)

    async def deaf() -> None:
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()

    dog = Watchdog(
        watched=Loops(["hot"], ["hot"]),
        clock=HandClock(),
        stall_after=0.08,
        last_resort=cast("Callable[[str], NoReturn]", last_resort),
        patience=0.01,
    )

    async def both() -> None:
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            dog.start()
            group.create_task(deaf())
            group.create_task(dog.verdict())

    with pytest.raises(ExceptionGroup) as raised:
        await both()
    assert raised.group_contains(Fatal)
    assert len(asked) == 1


def test_a_loop_may_rest_as_long_as_it_is_set_to() -> None:
    """An interval of an hour between sweeps is no stall; two minutes more are."""
    clock = HandClock()
    parts = [part("hot", 1.0, brings_events=True), part("sweep", 3600.0)]
    health = Health(parts, clock=clock, stall_after=120)
    health(Progress(loop="hot", ok=True))
    clock.now += 122
    assert health.stalled() == ["hot"]
    health(Progress(loop="hot", ok=True))
    assert health.stalled() == []
    assert health.ready()
    clock.now += 3600
    assert health.stalled() == ["hot", "sweep"]
    health.forgive()
    assert health.stalled() == []


@pytest.mark.parametrize("fact", [BatchTooSlow(path=Path.HOT, limit=3), EventTooSlow(path=Path.HOT)])
def test_finding_the_size_that_works_is_progress(fact: BatchTooSlow | EventTooSlow) -> None:
    """Each step of it may take a whole `call_timeout`: alive, but not ready, since no event gets through."""
    clock = HandClock()
    health = Health([part("hot", 1.0, Path.HOT, brings_events=True)], clock=clock, stall_after=120)
    health(Progress(loop="hot", ok=True))
    clock.now += 100
    health(fact)
    clock.now += 100
    assert health.stalled() == []
    assert not health.ready()


def test_brokers_that_are_silent_for_long() -> None:
    """Polls without records are no failures: not ready all the same, until the brokers answer, and alive throughout."""
    clock = HandClock()
    health = Health([part("kafka", 1.0, Path.KAFKA, brings_events=True)], clock=clock, stall_after=120)
    health(Progress(loop="kafka", ok=True))
    for _ in range(2):
        health(BrokersAnswer(answer=False))
        clock.now += 120 * SILENCE
        assert health.ready(), "as long as it may be the restart of one"
        clock.now += 1
        health(Progress(loop="kafka", ok=True))
        assert not health.ready()
        assert health.stalled() == []
        health(BrokersAnswer(answer=True))
        assert health.ready()


def test_what_another_replica_could_not_do_either_leaves_it_ready() -> None:
    """A partition that is stuck, a topic that is missing, no partitions at all."""
    health = Health([part("kafka", 1.0, Path.KAFKA, brings_events=True)], clock=HandClock(), stall_after=120)
    health(Progress(loop="kafka", ok=True))
    health(PartitionStuck(partition=Partition("events", 3), offset=7, reason="a batch of format 9"))
    health(TopicsMissing(topics=("events",)))
    health(PartitionsAssigned(partitions=frozenset()))
    assert health.ready()


def dog(last_resort: Callable[[str], None]) -> Watchdog:
    """One that is impatient, and finds no fault with the loops."""
    return Watchdog(
        watched=Loops(),
        clock=HandClock(),
        stall_after=0.08,
        last_resort=cast("Callable[[str], NoReturn]", last_resort),
    )


def test_an_event_loop_that_does_not_answer() -> None:
    """Too many looks in a row without a beat are noticed; one beat starts the count anew."""
    watchdog = dog(never)
    for _ in range(2):
        watchdog.beat()
        assert [watchdog.still() for _ in range(LOOKS + 2)] == [False] * (LOOKS + 1) + [True]


async def test_an_event_loop_that_is_blocked() -> None:
    """The thread notices although nothing in the loop can, and ends the process at once."""
    bitten = threading.Event()
    watchdog = dog(lambda _: bitten.set())
    watchdog.start()
    assert bitten.wait(PATIENCE)
    watchdog.stop()
