"""When the retention loop works, when it rests, and what it makes of steps that are too slow."""

import asyncio
from datetime import timedelta

import pytest

from consumer.config import load
from consumer.domain.backoff import Backoff
from consumer.domain.errors import Misconfigured, TooSlow, Transient
from consumer.domain.facts import LoopFailed, Pruned
from consumer.domain.retention import Kind, PruneStep, Rule, keeping
from consumer.pipeline.retention import Retention, RetentionSettings, Steps, prune_all, rest_after
from tests.fakes import Facts, HandClock
from tests.waiting import await_for

EVENTS = Rule(kind=Kind.EVENTS, keep=timedelta(days=90))
PAYLOADS = Rule(kind=Kind.PAYLOADS, keep=timedelta(days=30))


class FakeRetention:
    """So many events are due by each rule; a place is how many of them have gone."""

    def __init__(self, **due: int) -> None:
        self.due = due
        self.calls: list[tuple[str, int, str | None]] = []
        self.slow_from = 10_000
        """Steps of so many events or more are too slow."""
        self.busy = 0
        """So many calls find another session at work."""
        self.errors: list[Exception] = []

    async def prune(self, *, rule: Rule, limit: int, place: str | None) -> PruneStep:
        self.calls.append((rule.kind, limit, place))
        if self.errors:
            raise self.errors.pop(0)
        if limit >= self.slow_from:
            raise TooSlow("too slow")
        gone = 0 if self.busy else min(limit, self.due[rule.kind])
        self.due[rule.kind] -= gone
        more = self.due[rule.kind] > 0 and not self.busy
        busy, self.busy = bool(self.busy), max(self.busy - 1, 0)
        return PruneStep(
            gone=gone,
            bytes=10 * gone,
            refused=0,
            reason=None,
            place=place if busy else str(len(self.calls)) if more else None,
            oldest=None,
            busy=busy,
            seconds=2.0,
        )


def loop(store: FakeRetention, *rules: Rule, facts: Facts | None = None) -> Retention:
    return Retention(
        store=store,
        rules=rules,
        observer=facts if facts is not None else Facts(),
        clock=HandClock(jitter=0.5),
        settings=RetentionSettings(interval=60.0, step=100, share=0.1),
    )


async def test_each_rule_has_its_round_and_a_look_follows_a_minute_later() -> None:
    """Steps take a tenth of the time; nothing is due at the end of a round."""
    store, facts = FakeRetention(events=150, payloads=250), Facts()
    retention = loop(store, PAYLOADS, EVENTS, facts=facts)
    rests = [await retention.step() for _ in range(5)]
    assert rests == pytest.approx([18.0] * 4 + [60.0])
    assert [(kind, place) for kind, _, place in store.calls] == [
        ("payloads", None),
        ("payloads", "1"),
        ("payloads", "2"),
        ("events", None),
        ("events", "4"),
    ]
    assert [(fact.kind, fact.step.gone) for fact in facts.of(Pruned)] == [
        ("payloads", 100),
        ("payloads", 100),
        ("payloads", 50),
        ("events", 100),
        ("events", 50),
    ]
    assert (await retention.step()) == pytest.approx(18.0)
    assert store.calls[-1] == ("payloads", 100, None), "a new round begins at the beginning"


async def test_while_another_replica_prunes_it_waits_for_its_turn() -> None:
    """It goes on where it was."""
    store = FakeRetention(events=300)
    retention = loop(store, EVENTS)
    await retention.step()
    store.busy = 1
    assert await retention.step() == pytest.approx(60.0)
    await retention.step()
    assert [place for _, _, place in store.calls] == [None, "1", "1"]


async def test_steps_that_are_too_slow_become_small_and_grow_again() -> None:
    """Down to one event; an event that is too slow alone is the error of the loop."""
    store = FakeRetention(events=10)
    store.slow_from = 5
    steps = Steps(store, EVENTS, most=100)
    await steps.next()
    assert [limit for _, limit, _ in store.calls] == [100, 12, 1]
    await steps.next()
    assert store.calls[-1][1] == 2
    store.slow_from = 1
    with pytest.raises(TooSlow):
        await steps.next()


async def test_a_failure_is_told_and_tried_again() -> None:
    """The service goes on without it."""
    store, facts, stop = FakeRetention(events=1), Facts(), asyncio.Event()
    store.errors = [Transient("away"), Transient("away")]
    retention = loop(store, EVENTS, facts=facts)
    running = asyncio.create_task(retention.run(stop, Backoff(first=0.001)))

    async def done() -> bool:
        return bool(facts.of(Pruned))

    await await_for(done)
    stop.set()
    await running
    assert [fact.loop for fact in facts.of(LoopFailed)] == ["retention", "retention"]


async def test_a_command_prunes_all_that_is_due() -> None:
    """With rests between the steps; it waits for another session for a while, and then says so."""
    store, told, slept = FakeRetention(events=250), list[PruneStep](), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    store.busy = 3
    assert await prune_all(Steps(store, EVENTS, most=100), share=0.5, told=told.append, patience=60, sleep=sleep)
    assert [step.gone for step in told] == [100, 100, 50]
    assert slept == [0.2, 0.2, 0.2, 2.0, 2.0]
    store.busy = 1000
    assert not await prune_all(Steps(store, EVENTS, most=100), share=0.5, told=told.append, patience=60, sleep=sleep)
    assert len(slept) > 20
    assert len(told) == 3


@pytest.mark.parametrize(("share", "rest"), [(1.0, 0.0), (0.5, 2.0), (0.1, 18.0)])
def test_rests_make_up_the_rest_of_the_time(share: float, rest: float) -> None:
    """Of steps of two seconds."""
    step = PruneStep(gone=1, bytes=1, refused=0, reason=None, place=None, oldest=None, busy=False, seconds=2.0)
    assert rest_after(step, share=share) == pytest.approx(rest)


@pytest.mark.parametrize(
    ("text", "hours"), [("90d", 2160), ("12h", 12), ("60m", 1), ("2w", 336), ("1d12h", 36), (" 30d ", 720)]
)
def test_durations_are_read(text: str, hours: int) -> None:
    """As everywhere else."""
    assert keeping(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "90", "0d", "59m", "-1d", "90 days", "3600s1", "d", "1y", "9999999w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """In words, before anything is deleted; so is one that is too short to be meant."""
    with pytest.raises(ValueError, match=r"duration|hour|longer"):
        keeping(text)
    with pytest.raises(Misconfigured, match="WEBHOOK_ROUTER_KEEP_EVENTS"):
        load(keep_events=text)


def test_nothing_goes_unless_somebody_says_so() -> None:
    """Payloads first, where both are to go: they take the most room."""
    assert load().retention() == []
    assert load(keep_events="90d").retention() == [EVENTS]
    assert load(keep_events="90d", keep_payloads="30d").retention() == [PAYLOADS, EVENTS]
    for payloads in ("90d", "91d"):
        with pytest.raises(Misconfigured, match="not shorter than"):
            load(keep_events="90d", keep_payloads=payloads).retention()
