"""Counts the backlog now and then, for gauges and the summary line."""

import asyncio
from typing import Final

from consumer.domain.backoff import Backoff
from consumer.domain.facts import BacklogSampled
from consumer.pipeline.pacing import keep_going, pause
from consumer.ports import Clock, Observer, Store

LOOP: Final = "sampler"


class Sampler:
    """Samples the backlog every `interval` seconds, less often when counting it takes long: 1 % of the time at most."""

    def __init__(self, *, store: Store, observer: Observer, clock: Clock, interval: float) -> None:
        self._store = store
        self._observer = observer
        self._clock = clock
        self._interval = interval

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Samples until told to stop."""

        async def step() -> float:
            started = self._clock.monotonic()
            self._observer(BacklogSampled(backlog=await self._store.backlog()))
            return self._clock.monotonic() - started

        async def rest(taken: float) -> None:
            await pause(stop, max(self._interval, 100 * taken))

        await keep_going(LOOP, step, rest, stop=stop, observer=self._observer, clock=self._clock, backoff=backoff)
