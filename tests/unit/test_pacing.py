"""Loops go on through every error of ours; what ends their pauses."""

import asyncio
from collections.abc import Sequence

import pytest

from consumer.domain.backoff import Backoff
from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, Rejected, Taken, TooSlow, Transient
from consumer.domain.facts import LoopFailed, LoopRecovered
from consumer.pipeline.pacing import Signal, keep_going
from tests.fakes import Facts, HandClock
from tests.waiting import PATIENCE


async def outcome(errors: Sequence[ConsumerError | None], *, backoff: Backoff, again: Signal | None = None) -> Facts:
    """Runs a loop whose rounds end like this; the last one stops it."""
    stop, facts, rounds = asyncio.Event(), Facts(), list(errors)

    async def step() -> None:
        error = rounds.pop(0)
        if not rounds:
            stop.set()
        if error is not None:
            raise error

    async def rest(_: None) -> None:
        await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE):
        await keep_going("tide", step, rest, stop=stop, observer=facts, clock=HandClock(), backoff=backoff, again=again)
    return facts


@pytest.mark.parametrize("error", [Transient("x"), TooSlow("x"), Rejected("x"), Fatal("x"), Misconfigured("x")])
async def test_goes_on_after_every_error(error: ConsumerError) -> None:
    """Once it has worked; a fault is reported and tried again, whatever its kind."""
    facts = await outcome([None, error, error, None], backoff=Backoff(first=0.001))
    assert [fact.attempt for fact in facts.of(LoopFailed)] == [1, 2]
    assert len(facts.of(LoopRecovered)) == 1


@pytest.mark.parametrize("error", [Transient("x"), Rejected("x")])
async def test_goes_on_before_it_has_worked(error: ConsumerError) -> None:
    """Only what will not get better by itself ends it then."""
    assert len((await outcome([error, None], backoff=Backoff(first=0.001))).of(LoopFailed)) == 1
    with pytest.raises(Fatal):
        await outcome([Fatal("x"), None], backoff=Backoff(first=0.001))


async def test_ends_where_another_process_has_its_place() -> None:
    """Although it has worked: neither would do its work undisturbed."""
    with pytest.raises(Taken):
        await outcome([None, Taken("x"), None], backoff=Backoff(first=0.001))


async def test_a_pause_ends_when_the_fault_may_be_over() -> None:
    """The next attempt is made at once, instead of after the rest of a long pause."""
    again = Signal()

    async def soon() -> None:
        await asyncio.sleep(0.05)
        again.ring()

    facts, _ = await asyncio.gather(
        outcome([Transient("x"), None], backoff=Backoff(first=3600, maximum=3600), again=again), soon()
    )
    assert len(facts.of(LoopRecovered)) == 1


async def test_a_stop_ends_a_pause() -> None:
    """Also one that a signal could end."""
    stop = asyncio.Event()

    async def step() -> None:
        asyncio.get_running_loop().call_later(0.05, stop.set)
        raise Transient("x")

    async def rest(_: None) -> None:
        pass

    async with asyncio.timeout(PATIENCE):
        await keep_going(
            "tide", step, rest, stop=stop, observer=Facts(), clock=HandClock(), backoff=Backoff(first=3600),
            again=Signal(),
        )  # fmt: skip
