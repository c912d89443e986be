"""The intake loop: deliveries that were stored first take effect, effects that wait find their targets, old ones go."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain.backoff import Backoff
from consumer.domain.deliveries import Deferred, Taken, parts_of, size_of
from consumer.domain.errors import Rejected, TooSlow
from consumer.domain.facts import BatchRouted, BatchTooSlow
from consumer.domain.intake_facts import DeliveriesTaken, WaitingSwept, counted_of
from consumer.domain.providers.atoms import Atoms
from consumer.domain.providers.lines import Delivery
from consumer.domain.routing import Path
from consumer.pipeline.pacing import Signal, keep_going
from consumer.ports import Clock, IntakeStore, Observer

LOOP: Final = "intake"
REST: Final = 100
"""Seconds between counts for each second that one takes."""
Read = Callable[[str, str | None, bytes], Delivery]
"""Provider, account and body to what they say; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSettings:
    """Times in seconds, sizes in bytes."""

    interval: float = 5.0
    """Between looks at what waits."""
    claimed: int = 100
    """Deliveries that are claimed at once."""
    size: int = 8 * 1024 * 1024
    """Bytes of their bodies, but for one larger body."""
    atoms: int = 500
    """Most that are routed in one call; a delivery with more takes effect in parts."""
    waiting: int = 200
    """Effects that one step over those that wait looks at."""
    steps: int = 5
    """Such steps in a row."""
    keep_days: int = 7
    """How long deliveries are kept."""
    keep_every: float = 3600.0
    sample_every: float = 10.0
    """Between counts of what is not in effect; longer where counting takes long."""


class IntakeLoop:
    """Works off what deliveries have left to be done."""

    def __init__(
        self,
        *,
        store: IntakeStore,
        read: Read,
        wake: Signal,
        observer: Observer,
        clock: Clock,
        settings: IntakeSettings,
    ) -> None:
        self._store = store
        self._read = read
        self._wake = wake
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._place: str | None = None
        """How far the steps over the effects that wait have come; None: they begin anew."""
        self._swept_at = self._kept_at = float("-inf")
        self._sample_due = float("-inf")

    def hint(self) -> None:
        """Deliveries were stored that are to take effect now."""
        self._wake.ring()

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Works until told to stop; the call under way is finished."""

        async def rest(more: bool) -> None:  # noqa: FBT001 - the result of a step
            if not more:
                await self._wake.wait(self._settings.interval)

        await keep_going(
            LOOP,
            lambda: self.step(stop),
            rest,
            stop=stop,
            observer=self._observer,
            clock=self._clock,
            backoff=backoff,
        )

    async def step(self, stop: asyncio.Event) -> bool:
        """A share of all that is to be done; returns whether there is more to do at once."""
        now = self._clock.monotonic()
        if now - self._kept_at >= self._settings.keep_every:
            await self._store.keep(days=self._settings.keep_days)
            self._kept_at = now
        claimed = await self._store.claim(limit=self._settings.claimed, size=self._settings.size)
        if claimed:
            await self._take(claimed)
        if now - self._swept_at >= self._settings.interval * 0.9:
            await self._sweep(stop)
            self._swept_at = self._clock.monotonic()
        if self._clock.monotonic() >= self._sample_due:
            await self._sample()
        return bool(claimed)

    async def _sample(self) -> None:
        started = self._clock.monotonic()
        sample = await self._store.sample()
        ended = self._clock.monotonic()
        self._sample_due = ended + max(self._settings.sample_every * 0.9, REST * (ended - started))
        self._observer(sample)

    async def _take(self, claimed: Sequence[Deferred]) -> None:
        """Reads deliveries and has them take effect, in the order in which they came."""
        group: list[tuple[Deferred, Delivery]] = []
        atoms = 0
        for deferred in claimed:
            read = await self._reading(deferred)
            if group and atoms + size_of(read) > self._settings.atoms:
                await self._call(group)
                group, atoms = [], 0
            if size_of(read) > self._settings.atoms:
                await self._in_parts(deferred, read, most=self._settings.atoms)
            else:
                group.append((deferred, read))
                atoms += size_of(read)
        if group:
            await self._call(group)

    async def _in_parts(self, deferred: Deferred, delivery: Delivery, *, most: int) -> str | None:
        """Has one take effect that is too large for a call; as `_call`.

        If it ends half way, all of it begins anew, and what has taken effect is known then.
        """
        error = None
        for part in parts_of(delivery, most):
            error = await self._call([(deferred, replace(part, error=error or part.error))]) or error
        return error

    async def _reading(self, deferred: Deferred) -> Delivery:
        if deferred.error is not None:
            failed = Delivery(
                provider=deferred.provider, account=deferred.account, body=None, atoms=None, error=deferred.error
            )
            return deferred.known(failed)
        if deferred.body is None:  # scrubbed: there is nothing left that could take effect
            return deferred.known(
                Delivery(provider=deferred.provider, account=deferred.account, body=None, atoms=Atoms())
            )
        # In a thread: a large body takes so long that others would notice.
        return deferred.known(await asyncio.to_thread(self._read, deferred.provider, deferred.account, deferred.body))

    async def _call(self, group: Sequence[tuple[Deferred, Delivery]]) -> str | None:
        """One call; returns why not all of it is in effect, if so."""
        started = self._clock.monotonic()
        try:
            taken = await self._store.take([delivery for _, delivery in group])
        except (TooSlow, Rejected) as error:
            return await self._apart(group, error)
        return self._tell(group, taken, seconds=self._clock.monotonic() - started)

    async def _apart(self, group: Sequence[tuple[Deferred, Delivery]], error: TooSlow | Rejected) -> str | None:
        """Has each of those of a call that did not work take effect alone; as `_call`.

        Otherwise one of them would have all others given up in the end.
        """
        if isinstance(error, TooSlow):
            self._observer(BatchTooSlow(path=Path.INTAKE, limit=len(group), holder=error.holder))
        if len(group) > 1:
            for one in group:
                await self._call([one])
            return None
        ((deferred, delivery),) = group
        if isinstance(error, Rejected):
            if delivery.is_finished:
                await self._store.take([replace(delivery, part=Atoms(), error=str(error), written=None)])
                self._observer(DeliveriesTaken(failed=Counter({delivery.provider: 1})))
            return str(error)
        if (size := size_of(delivery)) > 1:
            return await self._in_parts(deferred, delivery, most=(size + 1) // 2)
        return "too slow"  # one atom, too slow alone: the delivery is claimed again, later and later

    def _tell(self, group: Sequence[tuple[Deferred, Delivery]], taken: Taken, *, seconds: float) -> str | None:
        failed = {refusal.place for refusal in taken.refusals}
        routed: dict[str, list[float]] = {}
        for place, (deferred, delivery) in enumerate(group):
            if delivery.atoms is None:
                failed.add(place)
            elif delivery.is_finished:
                routed.setdefault(delivery.provider, []).append(deferred.age + seconds)
        self._observer(
            DeliveriesTaken(
                path=Path.INTAKE,
                seconds=taken.batch.seconds,
                atoms=counted_of(delivery for _, delivery in group),
                effects={(kind, became): n for kind, numbers in taken.effects.items() for became, n in numbers.items()},
                failed=Counter(group[place][1].provider for place in failed),
                routed={provider: tuple(values) for provider, values in routed.items()},
            )
        )
        if taken.batch.claimed:
            self._observer(BatchRouted(path=Path.INTAKE, batch=taken.batch))
        return next((f"{refusal.code}: {refusal.reason}" for refusal in taken.refusals), None)

    async def _sweep(self, stop: asyncio.Event) -> None:
        """Goes on over the effects that wait where the last sweep has ended."""
        applied = expired = 0
        started = self._clock.monotonic()
        for _ in range(self._settings.steps):
            swept = await self._store.sweep(limit=self._settings.waiting, place=self._place)
            applied += swept.applied
            expired += swept.expired
            self._place = swept.place
            if self._place is None or stop.is_set():
                break
        if applied or expired:
            seconds = self._clock.monotonic() - started
            self._observer(WaitingSwept(applied=applied, expired=expired, seconds=seconds))
