"""The gateway: deliveries that arrive together share a transaction, and each is answered after the commit."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from consumer.domain.backoff import Backoff
from consumer.domain.deliveries import Taken, size_of
from consumer.domain.errors import ConsumerError, Fatal, Rejected, TooSlow
from consumer.domain.facts import BatchRouted, BatchTooSlow
from consumer.domain.intake_facts import DeliveriesTaken, InFlight, Outcome, Post, ProviderRefused, counted_of
from consumer.domain.providers.lines import Delivery
from consumer.domain.routing import Path
from consumer.pipeline.pacing import Signal, keep_going
from consumer.ports import Clock, DeliveryStore, Entrance, Observer

LOOP: Final = "gateway"
STORING: Final = "gateway storing"
"""The lane of what is only stored: large bodies do not keep others waiting."""
BACKOFF: Final = Backoff(first=0.05, maximum=1.0)
"""Somebody waits for each attempt."""
Read = Callable[[str, str | None, bytes], Delivery]
"""Provider, account and body to what they say; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Times in seconds, sizes in bytes."""

    providers: frozenset[str] = frozenset()
    """Those that are configured."""
    most: int = 1000
    """Deliveries in flight."""
    most_bytes: int = 64 * 1024 * 1024
    """Of their bodies."""
    atoms: int = 500
    """Most that are routed in one call: when more of them wait, all are stored first, and routed after the answer."""
    large: int = 256 * 1024
    """Bodies from this size on are only stored."""
    noticeable: int = 32 * 1024
    """Bodies from this size on take so long to read that others would notice."""
    stored: int = 16 * 1024 * 1024
    """Bytes of bodies that one call stores at most, but for one."""
    patience: float = 8.0
    """How long a delivery waits for the database before it is turned away. Providers wait for ten seconds, or more."""
    impatience: float = 1.0
    """The same, while the database has been away for longer than that."""
    look_every: float = 30.0
    """How often it is asked which providers the tables refuse."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A delivery whose answer somebody waits for."""

    delivery: Delivery
    atoms: int
    size: int
    since: float
    trace: str | None
    answer: asyncio.Future[Outcome]

    def tell(self, outcome: Outcome) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


@dataclass(slots=True)
class _Lane:
    """Deliveries that wait for one connection, which makes one call at a time."""

    loop: str
    store: DeliveryStore
    wake: Signal = field(default_factory=Signal)
    waiting: deque[_Waiting] = field(default_factory=deque)
    held: list[_Waiting] = field(default_factory=list)
    """Those of the call under way, or of the one that has failed and is made again."""
    failing_since: float | None = None
    looked_at: float = float("-inf")

    def add(self, waiting: _Waiting) -> None:
        self.waiting.append(waiting)
        self.wake.ring()


class Gateway:
    """Takes deliveries from the entrance to the store, one call at a time in each lane.

    Those that arrive during a call share the next one. While the database is away they wait for it, each for a limited
    time: a restart that takes a moment is not noticed outside.
    """

    def __init__(
        self,
        *,
        entrance: Entrance,
        store: DeliveryStore,
        storing: DeliveryStore,
        read: Read,
        deferred: Callable[[], None],
        observer: Observer,
        clock: Clock,
        settings: GatewaySettings,
    ) -> None:
        """`deferred` is called when deliveries were stored whose effects are still to come."""
        self._entrance = entrance
        self._routing = _Lane(loop=LOOP, store=store)
        self._storing = _Lane(loop=STORING, store=storing)
        self._read = read
        self._deferred = deferred
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._in_flight = 0
        self._bytes = 0
        self._refused: Mapping[str, str] = {}
        self._stopping = False

    async def start(self) -> str:
        """Opens the entrance and returns its address; deliveries wait until `run`.

        Raises:
            Misconfigured: it cannot be opened.
        """
        return await self._entrance.start()

    async def take(self, provider: str, account: str | None, body: bytes, trace: str | None = None) -> Outcome:
        """Returns once the delivery is stored, or turned away.

        Args:
            account: that the route tells.
            trace: its traceparent.
        """
        settings = self._settings
        if provider in self._refused:
            return Outcome.REFUSED
        if self._in_flight >= settings.most or self._bytes + len(body) > max(settings.most_bytes, len(body)):
            self._observer(InFlight(deliveries=self._in_flight, size=self._bytes))
            return Outcome.BUSY
        since = self._clock.monotonic()
        self._in_flight += 1
        self._bytes += len(body)
        try:
            if len(body) > settings.large:
                delivery = Delivery(provider=provider, account=account, body=body, atoms=None)
            elif len(body) > settings.noticeable:
                delivery = await asyncio.to_thread(self._read, provider, account, body)
            else:
                delivery = self._read(provider, account, body)
            atoms = size_of(delivery)
            lane = self._storing if delivery.atoms is None or atoms > settings.atoms else self._routing
            loop = asyncio.get_running_loop()
            waiting = _Waiting(delivery, atoms, len(body), since, trace, loop.create_future())
            timer = loop.call_later(self._patience(lane), waiting.tell, Outcome.DATABASE)
            lane.add(waiting)
            try:
                return await waiting.answer
            finally:
                timer.cancel()
        finally:
            self._in_flight -= 1
            self._bytes -= len(body)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until told to stop; then the entrance is closed first, and what has come in by it is answered."""
        finished = asyncio.Event()
        lanes = (self._routing, self._storing)
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(self._work(lane, finished), name=lane.loop)
            try:
                await stop.wait()
            finally:
                self._stopping = True
                await self._entrance.stop()
                finished.set()
                for lane in lanes:
                    lane.wake.ring()

    async def close(self) -> None:
        """Closes the entrance, if it is still open, and the connections; never raises."""
        await self._entrance.stop()
        await self._routing.store.close()
        await self._storing.store.close()

    async def _work(self, lane: _Lane, stop: asyncio.Event) -> None:
        async def rest(_: None) -> None:
            if not lane.waiting:
                await lane.wake.wait(self._settings.look_every)

        await keep_going(
            lane.loop,
            lambda: self._step(lane),
            rest,
            stop=stop,
            observer=self._observer,
            clock=self._clock,
            backoff=BACKOFF,
        )

    async def _step(self, lane: _Lane) -> None:
        """One call, and the answers that follow from it."""
        lane.held = [waiting for waiting in lane.held if not waiting.answer.done()]
        lane.held = lane.held or self._next(lane)
        store_only = lane is self._storing or sum(waiting.atoms for waiting in lane.held) > self._settings.atoms
        try:
            if lane.held:
                await self._commit(lane, lane.held, store_only=store_only)
            if lane is self._routing:
                await self._look(lane)
        except ConsumerError:
            now = self._clock.monotonic()
            lane.failing_since = now if lane.failing_since is None else lane.failing_since
            if self._stopping:
                for waiting in (*lane.held, *lane.waiting):
                    waiting.tell(Outcome.DATABASE)
            raise
        finally:
            self._observer(InFlight(deliveries=self._in_flight, size=self._bytes))
        lane.failing_since = None
        lane.held = []

    def _next(self, lane: _Lane) -> list[_Waiting]:
        """Those that go into the next call."""
        found: list[_Waiting] = []
        size = 0
        lane.wake.forget()
        while lane.waiting and (not found or size + lane.waiting[0].size <= self._settings.stored):
            waiting = lane.waiting.popleft()
            if not waiting.answer.done():
                found.append(waiting)
                size += waiting.size
        return found

    async def _commit(self, lane: _Lane, group: Sequence[_Waiting], *, store_only: bool) -> None:
        """Stores deliveries, and routes them unless told not to; what cannot be routed is stored all the same."""
        deliveries = [waiting.delivery for waiting in group]
        try:
            taken = await lane.store.take(deliveries, store_only=store_only)
        except TooSlow as error:
            self._observer(BatchTooSlow(path=Path.GATEWAY, limit=len(group), holder=error.holder))
            if store_only:
                raise
        except (Rejected, Fatal) as error:
            if store_only:
                raise
            if len(group) > 1 and isinstance(error, Rejected):
                middle = len(group) // 2
                await self._commit(lane, group[:middle], store_only=False)
                await self._commit(lane, group[middle:], store_only=False)
                return
            for waiting in group:
                waiting.delivery = replace(waiting.delivery, error=str(error), written=None)
        else:
            self._answer(group, taken, store_only=store_only)
            return
        await self._commit(lane, group, store_only=True)

    def _answer(self, group: Sequence[_Waiting], taken: Taken, *, store_only: bool) -> None:
        outcome = Outcome.DEFERRED if store_only else Outcome.TAKEN
        now = self._clock.monotonic()
        seconds: dict[str, list[float]] = {}
        failed = {refusal.place for refusal in taken.refusals}
        posts = tuple(
            Post(provider=w.delivery.provider, outcome=outcome, seconds=now - w.since, trace=w.trace)
            for w in group
            if not w.answer.done()
        )
        for waiting in group:
            waiting.tell(outcome)
            seconds.setdefault(waiting.delivery.provider, []).append(now - waiting.since)
        times = {provider: tuple(values) for provider, values in seconds.items()}
        self._observer(
            DeliveriesTaken(
                path=Path.GATEWAY,
                seconds=taken.batch.seconds,
                posts=posts,
                answered=Counter((post.provider, post.outcome) for post in posts),
                atoms={} if store_only else counted_of(waiting.delivery for waiting in group),
                effects={
                    (kind, became): count
                    for kind, numbers in taken.effects.items()
                    for became, count in numbers.items()
                },
                failed=Counter(group[place].delivery.provider for place in failed),
                committed=times,
                routed={} if store_only else times,
            )
        )
        if taken.batch.claimed:
            self._observer(BatchRouted(path=Path.GATEWAY, batch=taken.batch))
        if store_only or failed:
            self._deferred()

    async def _look(self, lane: _Lane) -> None:
        """Asks now and then, and after a failure, which providers are refused. It also shows that the store answers."""
        now = self._clock.monotonic()
        if now - lane.looked_at < self._settings.look_every and lane.failing_since is None:
            return
        found = await lane.store.refused()
        refused = {provider: reason for provider, reason in found.items() if provider in self._settings.providers}
        lane.looked_at = now
        for provider in {*refused, *self._refused}:
            if refused.get(provider) != self._refused.get(provider):
                self._observer(ProviderRefused(provider=provider, reason=refused.get(provider, "")))
        self._refused = refused

    def _patience(self, lane: _Lane) -> float:
        settings = self._settings
        since = lane.failing_since
        outage = since is not None and self._clock.monotonic() - since > settings.patience
        return settings.impatience if outage else settings.patience
