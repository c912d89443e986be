"""The gateway without HTTP and without a database: which deliveries share a call, and what each of them is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from consumer.adapters.clock import SystemClock
from consumer.domain.deliveries import Taken
from consumer.domain.errors import ConsumerError, Fatal, Rejected, TooSlow, Transient
from consumer.domain.facts import LoopFailed
from consumer.domain.intake_facts import DeliveriesTaken, Outcome, ProviderRefused
from consumer.domain.providers.atoms import Atoms, Message
from consumer.domain.providers.lines import Delivery
from consumer.domain.records import Refusal
from consumer.pipeline.gateway import Gateway, GatewaySettings
from tests.fakes import Facts, batch
from tests.waiting import PATIENCE, await_for

SETTINGS = GatewaySettings(providers=frozenset({"whatsapp"}), patience=PATIENCE, large=1000, atoms=10)


class Store:
    """A `DeliveryStore` that remembers its calls, and fails as it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[bytes], bool]] = []
        self.errors: list[ConsumerError] = []
        """Raised by the next calls."""
        self.bad: dict[bytes, ConsumerError] = {}
        """Raised by each call, but for those that only store, with such a body."""
        self.refusals: tuple[Refusal, ...] = ()
        self.channels: dict[str, str] = {}
        self.open = asyncio.Event()
        """Calls end once it is set."""
        self.open.set()
        self.seen: list[Delivery] = []

    async def take(self, deliveries: Sequence[Delivery], *, store_only: bool = False) -> Taken:
        self.calls.append(([delivery.body or b"" for delivery in deliveries], store_only))
        self.seen += deliveries
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        for delivery in deliveries:
            if delivery.body in self.bad and not store_only:
                raise self.bad[delivery.body]
        return Taken(batch=batch(len(deliveries)), effects={"status": {"applied": 1}}, refusals=self.refusals)

    async def refused(self) -> Mapping[str, str]:
        if self.errors:
            raise self.errors.pop(0)
        return dict(self.channels)

    async def close(self) -> None:
        pass


class Door:
    """An `Entrance` that does nothing."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def start(self) -> str:
        self.told.append("opened")
        return "http://somewhere"

    async def stop(self) -> None:
        self.told.append("closed")


def read(provider: str, account: str | None, body: bytes) -> Delivery:
    """As many messages as the body has bytes after its first line feed."""
    count = len(body.partition(b"\n")[2])
    messages = tuple(
        Message(kind="message", id=f"{body!r}{number}", channel=provider, account=account, people=())
        for number in range(count)
    )
    return Delivery(provider=provider, account=account, body=body, atoms=Atoms(messages=messages))


class Scene:
    """A gateway at work."""

    def __init__(self, **settings: Any) -> None:
        self.store, self.storing, self.door, self.facts = Store(), Store(), Door(), Facts()
        self.deferred = 0
        self.gateway = Gateway(
            entrance=self.door,
            store=self.store,
            storing=self.storing,
            read=read,
            deferred=self._defer,
            observer=self.facts,
            clock=SystemClock(),
            settings=replace(SETTINGS, **settings),
        )
        self.stop = asyncio.Event()

    def _defer(self) -> None:
        self.deferred += 1

    def post(self, body: bytes) -> asyncio.Task[Outcome]:
        """A delivery whose answer is awaited."""
        return asyncio.create_task(self.gateway.take("whatsapp", None, body))

    async def calls(self, number: int) -> None:
        """Waits until so many have begun."""

        async def begun() -> bool:
            return len(self.store.calls) >= number

        await await_for(begun, what=f"{number} calls, {self.store.calls}")

    @property
    def answered(self) -> dict[tuple[str, Outcome], int]:
        """What has been told of answers in all."""
        total: dict[tuple[str, Outcome], int] = {}
        for fact in self.facts.of(DeliveriesTaken):
            for key, count in fact.answered.items():
                total[key] = total.get(key, 0) + count
        return total


@contextlib.asynccontextmanager
async def at_work(**settings: Any) -> AsyncIterator[Scene]:
    """It is stopped in the ordinary way."""
    scene = Scene(**settings)
    running = asyncio.create_task(scene.gateway.run(scene.stop))
    try:
        yield scene
    finally:
        scene.store.open.set()
        scene.stop.set()
        async with asyncio.timeout(PATIENCE):
            await running


async def test_those_that_arrive_during_a_call_share_the_next() -> None:
    """One call at a time; each is answered when its call has ended."""
    async with at_work() as scene:
        scene.store.open.clear()
        first = scene.post(b"1\nm")
        await scene.calls(1)
        others = [scene.post(b"%d\nm" % number) for number in range(2, 5)]
        await asyncio.sleep(0)
        assert not first.done()
        scene.store.open.set()
        assert await asyncio.gather(first, *others) == [Outcome.TAKEN] * 4
        assert scene.store.calls == [([b"1\nm"], False), ([b"2\nm", b"3\nm", b"4\nm"], False)]
        assert scene.answered == {("whatsapp", Outcome.TAKEN): 4}
        fact = scene.facts.of(DeliveriesTaken)[0]
        assert (fact.atoms, fact.effects) == ({("whatsapp", "message"): 1}, {("status", "applied"): 1})
        assert len(fact.committed["whatsapp"]) == len(fact.routed["whatsapp"]) == 1
        assert scene.deferred == 0


async def test_more_than_a_call_should_route_is_stored_first() -> None:
    """All of it in one call, and whoever works it off is told."""
    async with at_work() as scene:
        scene.store.open.clear()
        first = scene.post(b"1\nm")
        await scene.calls(1)
        others = [scene.post(b"%d\nmmmm" % number) for number in range(3)]
        await asyncio.sleep(0)
        scene.store.open.set()
        assert await asyncio.gather(first, *others) == [Outcome.TAKEN, *[Outcome.DEFERRED] * 3]
        assert [store_only for _, store_only in scene.store.calls] == [False, True]
        assert scene.deferred == 1
        assert scene.facts.of(DeliveriesTaken)[1].atoms == {}


@pytest.mark.parametrize("body", [b"x" * 1001, b"1\n" + b"m" * 11], ids=["large", "much"])
async def test_what_is_much_by_itself_is_only_stored(body: bytes) -> None:
    """It does not wait for the others, nor they for it; a large body is not even read."""
    async with at_work() as scene:
        scene.store.open.clear()
        first = scene.post(b"1\nm")
        await scene.calls(1)
        assert await scene.post(body) is Outcome.DEFERRED
        assert scene.storing.calls == [([body], True)]
        assert (scene.storing.seen[0].atoms is None) == (len(body) > 1000)
        assert not first.done()


async def test_what_fails_for_good_is_stored_alone() -> None:
    """Its neighbours take effect, and it is tried again later."""
    async with at_work() as scene:
        scene.store.bad = {b"2\nm": Rejected("a text is not Unicode")}
        scene.store.open.clear()
        first = scene.post(b"0\nm")
        await scene.calls(1)
        posts = [scene.post(b"%d\nm" % number) for number in range(1, 5)]
        await asyncio.sleep(0)
        scene.store.open.set()
        taken, deferred = Outcome.TAKEN, Outcome.DEFERRED
        assert await asyncio.gather(first, *posts) == [taken, taken, deferred, taken, taken]
        assert [bodies for bodies, store_only in scene.store.calls if store_only] == [[b"2\nm"]]
        assert scene.store.seen[-1].error is None or scene.store.calls[-1][1]
        assert [d.error for d in scene.store.seen if d.error] == ["a text is not Unicode"]


@pytest.mark.parametrize("error", [TooSlow("slow"), Fatal("no rights for an effect")], ids=["slow", "fatal"])
async def test_a_call_that_cannot_route_stores(error: ConsumerError) -> None:
    """All of its deliveries get 200, and take effect later."""
    async with at_work() as scene:
        await scene.post(b"0\nm")
        scene.store.errors = [error]
        assert await scene.post(b"1\nm") is Outcome.DEFERRED
        assert scene.store.calls[-1] == ([b"1\nm"], True)


async def test_refused_atoms_do_not_show_outside() -> None:
    """The delivery is stored, and what was refused is tried again."""
    async with at_work() as scene:
        scene.store.refusals = (Refusal(place=0, code="23514", reason="check"), Refusal(place=0, code="x", reason="y"))
        assert await scene.post(b"1\nm") is Outcome.TAKEN
        assert scene.facts.of(DeliveriesTaken)[-1].failed == {"whatsapp": 1}
        assert scene.deferred == 1


async def test_a_fault_that_passes_is_not_noticed() -> None:
    """The call is made again while its deliveries wait; the loop says that it failed."""
    async with at_work() as scene:
        await scene.post(b"0\nm")
        scene.store.errors = [Transient("deadlock detected"), Transient("restarting")]
        assert await scene.post(b"1\nm") is Outcome.TAKEN
        assert len(scene.facts.of(LoopFailed)) == 2


async def test_a_fault_that_lasts() -> None:
    """Each delivery waits for as long as it may, and is turned away; what comes afterwards is taken."""
    async with at_work(patience=0.2, impatience=0.05) as scene:
        await scene.post(b"0\nm")
        scene.store.errors = [Transient("away")] * 1000
        assert await scene.post(b"1\nm") is Outcome.DATABASE
        assert await scene.post(b"2\nm") is Outcome.DATABASE
        scene.store.errors = []
        assert await asyncio.wait_for(scene.post(b"3\nm"), PATIENCE) in {Outcome.TAKEN, Outcome.DATABASE}

        async def works() -> bool:
            return await scene.post(b"4\nm") is Outcome.TAKEN

        await await_for(works, what="the store")
        assert scene.answered[("whatsapp", Outcome.TAKEN)] >= 2


async def test_no_more_in_flight_than_there_may_be() -> None:
    """By number and by bytes; a single large body is taken all the same."""
    async with at_work(most=2, most_bytes=100) as scene:
        scene.store.open.clear()
        one = scene.post(b"1\nm")
        await scene.calls(1)
        large = scene.post(b"x" * 98)
        await asyncio.sleep(0)
        two = scene.post(b"2\nm")
        assert await scene.post(b"3\nm") is Outcome.BUSY
        scene.store.open.set()
        await asyncio.gather(one, large, two)
        assert await scene.post(b"y" * 500) in {Outcome.TAKEN, Outcome.DEFERRED}


async def test_a_provider_whose_channel_is_refused() -> None:
    """It is turned away as long as that is so; others that are not configured are not even mentioned."""
    scene = Scene(look_every=0.01)
    scene.store.channels = {"whatsapp": "a check of the tables", "telegram": "another"}
    running = asyncio.create_task(scene.gateway.run(scene.stop))

    async def turned_away() -> bool:
        return await scene.post(b"1\nm") is Outcome.REFUSED

    async def let_in() -> bool:
        return await scene.post(b"2\nm") is Outcome.TAKEN

    await await_for(turned_away)
    scene.store.channels = {}
    await await_for(let_in)
    scene.stop.set()
    await running
    assert [(fact.provider, fact.reason) for fact in scene.facts.of(ProviderRefused)] == [
        ("whatsapp", "a check of the tables"),
        ("whatsapp", ""),
    ]


async def test_a_stop_answers_what_is_in_hand() -> None:
    """The entrance is closed first; while the database is away, the answer is that it is."""
    scene = Scene()
    running = asyncio.create_task(scene.gateway.run(scene.stop))
    assert await scene.post(b"0\nm") is Outcome.TAKEN
    scene.store.open.clear()
    last = scene.post(b"1\nm")
    await scene.calls(2)
    waiting = scene.post(b"2\nm")
    await asyncio.sleep(0)

    async def closing() -> None:
        scene.door.told.append("closed")
        await asyncio.wait({last, waiting})

    scene.door.stop = closing  # type: ignore[method-assign]
    scene.stop.set()
    scene.store.errors = [Transient("away")]
    scene.store.open.set()
    assert await last is Outcome.DATABASE
    assert await waiting is Outcome.DATABASE
    await running
    assert scene.door.told == ["closed"]


async def test_a_database_that_can_never_work_ends_it() -> None:
    """If its first look at it fails for good; the entrance is closed then."""
    scene = Scene()
    scene.store.errors = [Fatal("the schema is missing")]
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await scene.gateway.run(scene.stop)
    assert scene.door.told == ["closed"]
