"""The intake loop without a database: what it claims, reads, sweeps and keeps."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consumer.domain.deliveries import Deferred, Swept, Taken, size_of
from consumer.domain.errors import Rejected, TooSlow
from consumer.domain.facts import BatchTooSlow
from consumer.domain.intake_facts import DeliveriesTaken, IntakeSampled, WaitingSwept
from consumer.domain.providers.atoms import Atoms, Message
from consumer.domain.providers.lines import Delivery
from consumer.domain.records import Refusal
from consumer.pipeline.intake import IntakeLoop, IntakeSettings
from consumer.pipeline.pacing import Signal
from tests.fakes import Facts, HandClock, batch


class Store:
    """An `IntakeStore` that remembers what it is asked."""

    def __init__(self, deferred: Sequence[Deferred] = (), *, steps: int = 1) -> None:
        self.deferred = list(deferred)
        self.steps = steps
        """Of a round over what waits."""
        self.taken: list[list[int | None]] = []
        self.errors: list[str | None] = []
        self.slow: set[int] = set()
        """Ids whose calls are too slow."""
        self.rejected: set[int] = set()
        """Ids whose calls the database refuses, unless they only tell of an error."""
        self.most = 1_000_000
        """Atoms of a call that is in time."""
        self.parts: list[tuple[int, bool]] = []
        """Atoms of each delivery that was taken, and whether it was finished by that."""
        self.refusals: tuple[Refusal, ...] = ()
        self.places: list[str | None] = []
        self.kept: list[int] = []
        self.samples = 0

    async def claim(self, *, limit: int, size: int) -> Sequence[Deferred]:
        claimed, self.deferred = self.deferred[:limit], self.deferred[limit:]
        return claimed

    async def take(self, deliveries: Sequence[Delivery], *, store_only: bool = False) -> Taken:
        assert not store_only
        ids = [delivery.id for delivery in deliveries]
        self.taken.append(ids)
        self.errors += [delivery.error for delivery in deliveries]
        if self.slow & set(ids) or sum(map(size_of, deliveries)) > self.most:
            raise TooSlow("too slow")
        if any(delivery.id in self.rejected and size_of(delivery) for delivery in deliveries):
            raise Rejected("22P05: untranslatable_character")
        self.parts += [(size_of(delivery), delivery.is_finished) for delivery in deliveries]
        return Taken(batch=batch(len(ids)), effects={}, refusals=self.refusals)

    async def sweep(self, *, limit: int, place: str | None) -> Swept:
        self.places.append(place)
        step = int(place or 0) + 1
        return Swept(applied=1, expired=2, place=None if step >= self.steps else str(step))

    async def sample(self) -> IntakeSampled:
        self.samples += 1
        return IntakeSampled(waiting={"status": 1}, waiting_seconds=2.0, deferred=0, deferred_seconds=0.0)

    async def keep(self, *, days: int) -> None:
        self.kept.append(days)

    async def close(self) -> None:
        pass


def read(provider: str, account: str | None, body: bytes) -> Delivery:
    """As many messages as the body has bytes; one that begins with a question mark cannot be read."""
    if body.startswith(b"?"):
        return Delivery(provider=provider, account=account, body=body, atoms=None, error="KeyError")
    messages = tuple(
        Message(kind="message", id=str(number), channel=provider, account=account, people=())
        for number in range(len(body))
    )
    return Delivery(provider=provider, account=account, body=body, atoms=Atoms(messages=messages))


def deferred(number: int, body: bytes | None = b"m") -> Deferred:
    """One that has waited for three seconds."""
    return Deferred(
        id=number, provider="whatsapp", account=None, received_at="2026-05-28T20:26:40Z", age=3.0, body=body
    )


class Scene:
    """A loop whose clock is moved by hand."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.store, self.facts, self.clock = store, Facts(), HandClock(1000.0)
        self.loop = IntakeLoop(
            store=store,
            read=read,
            wake=Signal(),
            observer=self.facts,
            clock=self.clock,
            settings=IntakeSettings(**settings),
        )

    async def step(self) -> bool:
        return await self.loop.step(asyncio.Event())


async def test_calls_are_of_a_size() -> None:
    """Deliveries share calls up to a number of atoms, in their order; one that has more gets several calls."""
    scene = Scene(Store([deferred(1), deferred(2, b"mmm"), deferred(3), deferred(4, b"m" * 9), deferred(5)]), atoms=4)
    assert await scene.step()
    assert scene.store.taken == [[1, 2], [3], [4], [4], [4], [5]]
    assert scene.store.parts[3:] == [(4, False), (4, False), (1, True), (1, True)]
    assert not await scene.step()
    told = scene.facts.of(DeliveriesTaken)
    assert [fact.atoms for fact in told][:2] == [{("whatsapp", "message"): 4}, {("whatsapp", "message"): 1}]
    assert [fact.answered for fact in told] == [{}] * 6
    assert told[0].routed == {"whatsapp": (3.0, 3.0)}


async def test_what_cannot_be_read_is_told() -> None:
    """The row gets the error; what was scrubbed has no effects, and is done with."""
    scene = Scene(Store([deferred(1, b"?"), deferred(2, None)]))
    await scene.step()
    assert (scene.store.taken, scene.store.errors) == ([[1, 2]], ["KeyError", None])
    torn = Scene(Store([replace(deferred(3, None), error="torn")]))
    await torn.step()
    assert torn.store.errors == ["torn"]
    assert scene.facts.of(DeliveriesTaken)[0].failed == {"whatsapp": 1}


async def test_a_call_that_is_too_slow() -> None:
    """Each delivery gets one of its own; one that is too slow even so does not hold up the others."""
    store = Store([deferred(1), deferred(2), deferred(3)])
    store.slow = {2}
    scene = Scene(store)
    await scene.step()
    assert store.taken == [[1, 2, 3], [1], [2], [3]]
    assert len(scene.facts.of(BatchTooSlow)) == 2
    assert len(scene.facts.of(DeliveriesTaken)) == 2


async def test_one_that_is_too_slow_takes_effect_in_parts() -> None:
    """Halves, and halves of these, until each is in time; only the last one finishes it."""
    store = Store([deferred(1, b"m" * 10)])
    store.most = 3
    scene = Scene(store)
    await scene.step()
    assert store.parts == [(3, False), (2, False), (3, False), (2, True)]
    assert sum(count for fact in scene.facts.of(DeliveriesTaken) for count in fact.atoms.values()) == 10
    assert [fact.routed for fact in scene.facts.of(DeliveriesTaken)][-1] == {"whatsapp": (3.0,)}


async def test_a_call_that_is_refused() -> None:
    """Each delivery gets one of its own; the row of the one that is refused even so says why, and it is tried again."""
    store = Store([deferred(1), deferred(2), deferred(3), deferred(4, b"m" * 9), deferred(5)])
    store.rejected = {2, 4}
    scene = Scene(store, atoms=4)
    assert await scene.step()
    assert store.taken == [[1, 2, 3], [1], [2], [2], [3], [4], [4], [4], [4], [5]]
    reason = "22P05: untranslatable_character"
    assert [error for error in store.errors if error] == [reason] * 4
    assert store.parts == [(1, True), (0, True), (1, True), (0, True), (1, True)]
    assert sum(fact.failed.get("whatsapp", 0) for fact in scene.facts.of(DeliveriesTaken)) == 2


async def test_what_a_part_refuses_is_not_forgotten() -> None:
    """The delivery is not done with: the calls that follow tell why."""
    store = Store([deferred(1, b"m" * 9)])
    store.refusals = (Refusal(place=0, code="23514", reason="check_violation"),)
    scene = Scene(store, atoms=4)
    await scene.step()
    assert store.errors == [None, "23514: check_violation", "23514: check_violation"]


async def test_rounds_over_what_waits() -> None:
    """A bounded number of steps at each interval; the next interval goes on where the last has ended."""
    scene = Scene(Store(steps=7), steps=5, interval=5.0)
    await scene.step()
    await scene.step()
    assert scene.store.places == [None, "1", "2", "3", "4"]
    scene.clock.now += 5.0
    await scene.step()
    assert scene.store.places[5:] == ["5", "6"]
    assert [(fact.applied, fact.expired) for fact in scene.facts.of(WaitingSwept)] == [(5, 10), (2, 4)]


async def test_deliveries_are_kept_for_so_many_days() -> None:
    """At the start, and at each interval of its own."""
    scene = Scene(Store(), keep_days=3, keep_every=3600.0)
    await scene.step()
    await scene.step()
    scene.clock.now += 3600.0
    await scene.step()
    assert scene.store.kept == [3, 3]


async def test_what_is_not_in_effect_is_counted_now_and_then() -> None:
    """For gauges: at first, and again when it is time for it."""
    scene = Scene(Store(), sample_every=10.0)
    await scene.step()
    await scene.step()
    assert scene.store.samples == 1
    scene.clock.now += 10
    await scene.step()
    assert [fact.waiting for fact in scene.facts.of(IntakeSampled)] == [{"status": 1}] * 2
