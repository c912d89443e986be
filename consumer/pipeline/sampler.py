"""Counts the backlog now and then, for gauges and the summary line."""

import asyncio
from collections.abc import Callable
from typing import Final

from consumer.domain.backoff import Backoff
from consumer.domain.errors import Fatal, Rejected, TooSlow
from consumer.domain.facts import BacklogSampled, ByChannelSampled
from consumer.domain.routing import Backlog
from consumer.pipeline.pacing import keep_going, pause
from consumer.ports import Clock, Observer, OverviewStore, Store

LOOP: Final = "sampler"
REST: Final = 100
"""Seconds of rest for each second of counting: it takes 1 % of the time at most."""
REST_FROM_ALL: Final = 200
"""The same for counts of the whole table: routed events may have left many dead entries there, and nothing else."""
LATE: Final = 60.0
"""Seconds that an event may commit late, or the database's clock be moved, and still be in the next count."""


class Sampler:
    """Samples the backlog every `interval` seconds, less often when counting it takes long.

    A count begins at the oldest event that the last one has found. Now and then all is counted: events arrive with
    times long past, and routed ones are opened again. If that is cheap, it is done each time.

    While somebody watches, each sample has a look that is for people only; it makes the rest longer and no sample
    earlier, however often pages come and go.
    """

    def __init__(
        self,
        *,
        store: Store,
        observer: Observer,
        clock: Clock,
        interval: float,
        waiting: Callable[[], None] = lambda: None,
        looking: OverviewStore | None = None,
        watched: Callable[[], bool] = lambda: False,
    ) -> None:
        """A sampler of one store.

        Args:
            store: what is counted.
            observer: told of each sample.
            clock: measures how long that takes.
            interval: seconds between samples, at least.
            waiting: called when there is a backlog: it may lie where only a sweep looks.
            looking: what takes the look for people, if there ever is one.
            watched: whether somebody watches.
        """
        self._store = store
        self._observer = observer
        self._clock = clock
        self._interval = interval
        self._waiting = waiting
        self._looking = looking
        self._watched = watched
        self._oldest = 0.0
        """When the oldest event of the last count arrived, by our clock; now, if it found none."""
        self._all_again = float("-inf")
        """When all may be counted again."""

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Samples until told to stop."""

        async def step() -> float:
            started = self._clock.monotonic()
            backlog = await self.count()
            self._observer(BacklogSampled(backlog=backlog))
            if backlog.ready:
                self._waiting()
            if self._looking is not None and self._watched():
                await self._look(self._looking, within=backlog.oldest_seconds + LATE)
            return self._clock.monotonic() - started

        async def rest(taken: float) -> None:
            await pause(stop, max(self._interval, REST * taken))

        await keep_going(LOOP, step, rest, stop=stop, observer=self._observer, clock=self._clock, backoff=backoff)

    async def _look(self, store: OverviewStore, *, within: float) -> None:
        """Nothing depends on it: what would fail again and again, or end the service, is told instead."""
        try:
            found = await store.by_channel(within=within)
        except (Fatal, Rejected, TooSlow) as error:
            self._observer(ByChannelSampled(found=None, reason=str(error)))
        else:
            self._observer(ByChannelSampled(found=found))

    async def count(self) -> Backlog:
        """Counts once: all, or from the oldest event of the last count."""
        started = self._clock.monotonic()
        if started < self._all_again:
            backlog = await self._store.backlog(within=started - self._oldest + LATE)
        else:
            backlog = await self._store.backlog()
            ended = self._clock.monotonic()
            self._all_again = ended + REST_FROM_ALL * (ended - started)
        self._oldest = started - backlog.oldest_seconds
        return backlog
