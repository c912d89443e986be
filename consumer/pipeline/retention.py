"""The retention loop: routed events, or their payloads, go once they are old enough."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.domain.backoff import Backoff
from consumer.domain.errors import TooSlow
from consumer.domain.facts import Pruned
from consumer.domain.retention import PruneStep, Rule
from consumer.pipeline.pacing import keep_going, pause
from consumer.ports import Clock, Observer, RetentionStore

LOOP: Final = "retention"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """Times in seconds."""

    interval: float
    """Between rounds: from nothing more being due to the next look."""
    step: int = 1000
    """Events that a step looks at, at most."""
    share: float = 0.1
    """Part of the time that steps take at most; the rest belongs to routing."""


class Steps:
    """The steps of one rule, one after the other; each takes fewer events if the last one was too slow."""

    def __init__(self, store: RetentionStore, rule: Rule, *, most: int) -> None:
        self.rule = rule
        self._store = store
        self._most = self._limit = most
        self._place: str | None = None

    async def next(self) -> PruneStep:
        """Does one.

        Raises:
            TooSlow: not even a step of one event ends in time.
        """
        while True:
            try:
                done = await self._store.prune(rule=self.rule, limit=self._limit, place=self._place)
            except TooSlow:
                if self._limit == 1:
                    raise
                self._limit = max(1, self._limit // 8)
                continue
            self._limit = min(self._most, self._limit * 2)
            if not done.busy:
                self._place = done.place
            return done


def rest_after(done: PruneStep, *, share: float) -> float:
    """Seconds until the next step, so that steps take their share of the time at most."""
    return done.seconds * (1 / share - 1)


class Retention:
    """Prunes in steps, one rule after the other, in one replica at a time."""

    def __init__(
        self,
        *,
        store: RetentionStore,
        rules: Sequence[Rule],
        observer: Observer,
        clock: Clock,
        settings: RetentionSettings,
    ) -> None:
        self._rules = [Steps(store, rule, most=settings.step) for rule in rules]
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._at = 0

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Prunes until told to stop; the step under way is finished first."""

        async def rest(seconds: float) -> None:
            await pause(stop, seconds)

        await keep_going(LOOP, self.step, rest, stop=stop, observer=self._observer, clock=self._clock, backoff=backoff)

    async def step(self) -> float:
        """One step of the rule whose turn it is; returns how many seconds to rest after it."""
        steps, settings = self._rules[self._at], self._settings
        done = await steps.next()
        self._observer(Pruned(kind=steps.rule.kind, step=done))
        if done.place is not None and not done.busy:
            return min(rest_after(done, share=settings.share), settings.interval)
        self._at = (self._at + 1) % len(self._rules)
        if self._at:
            return rest_after(done, share=settings.share)
        # Up to a tenth earlier or later: replicas that started together do not prune together.
        return settings.interval * (0.9 + 0.2 * self._clock.jitter())


async def prune_all(
    steps: Steps,
    *,
    share: float,
    told: Callable[[PruneStep], None],
    patience: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """All that is due by one rule, for a scheduler instead of the service.

    Returns:
        False if another session has kept it from being done for `patience` seconds in a row.
    """
    waited = 0.0
    while True:
        done = await steps.next()
        if done.busy:
            if waited >= patience:
                return False
            await sleep(0.2)
            waited += 0.2 + done.seconds
            continue
        waited = 0.0
        told(done)
        if done.place is None:
            return True
        await sleep(rest_after(done, share=share))
