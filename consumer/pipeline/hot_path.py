"""The hot path: wake → drain until nothing is pending."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from consumer.domain.backoff import Backoff
from consumer.domain.facts import Loop
from consumer.domain.routing import Bell, Cursor, Path, Window
from consumer.pipeline.pacing import Signal, Watermark, keep_going
from consumer.pipeline.sizing import SizedCalls
from consumer.ports import Clock, Observer, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class HotPathSettings:
    """Times in seconds."""

    batch_size: int = 1000
    """Events a call at most; a call takes what is there, so batches follow the load."""
    overlap: float = 2.0
    """How late a transaction may commit and still be found by the next wake-up instead of the sweep."""
    poll_interval: float = 1.0
    """Longest sleep while the doorbell works: it covers a missed ring."""
    poll_interval_without_doorbell: float = 0.2
    after_drain: tuple[float, ...] = (0.003, 0.01, 0.03)
    """Sleeps before the looks that follow a drain: a writer that saw this consumer awake did not ring, and is visible
    only after the drain's last look, by as long as its commit takes."""


class HotPath:
    """Routes what is pending when woken, in the order of arrival, and sleeps when nothing is left.

    One call at a time does for a trickle. A full batch is the sign of a backlog: then every store works on a lane of
    its own until the backlog is gone.
    """

    def __init__(
        self,
        *,
        stores: Sequence[Store],
        wake: Signal,
        watermark: Watermark,
        observer: Observer,
        clock: Clock,
        settings: HotPathSettings,
    ) -> None:
        self._lanes = [
            SizedCalls(store=store, path=Path.HOT, batch_size=settings.batch_size, observer=observer)
            for store in stores
        ]
        self._wake = wake
        self._watermark = watermark
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._doorbell_works = False
        self._rung = True
        self._silent = False
        """Whether this consumer may hold the lock that keeps the doorbell from ringing."""

    def doorbell(self, *, works: bool) -> None:
        """Tells whether notifications arrive. Only then may they be silenced, and only then can sleeps be long."""
        self._doorbell_works = works
        self._wake.ring()

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Drains and sleeps until told to stop; the calls under way are finished first."""
        settings = self._settings
        sleeps: Iterator[float] = iter(())

        async def rest(routed: int) -> None:
            nonlocal sleeps
            if routed:
                sleeps = iter(settings.after_drain)
            longest = settings.poll_interval if self._doorbell_works else settings.poll_interval_without_doorbell
            self._rung = await self._wake.wait(next(sleeps, longest))

        await keep_going(
            Loop.HOT,
            lambda: self.drain(stop),
            rest,
            stop=stop,
            observer=self._observer,
            clock=self._clock,
            backoff=backoff,
        )

    async def drain(self, stop: asyncio.Event) -> int:
        """Routes until nothing is pending, the doorbell silent meanwhile; returns the number of events."""
        total = 0
        # A look that nobody has asked for nearly always finds nothing, and leaves the bell as it is.
        bell = self._hush() if self._rung else None
        while not stop.is_set():
            batch, more = await self._lanes[0].route(self._window(), bell)
            self._silent = self._silent and bell is not Bell.ARM
            self._watermark.cursor = batch.reached
            total += batch.claimed
            if more:
                total += await self._drain_lanes(Window(after=batch.reached, lanes=len(self._lanes)), stop)
            if batch.claimed:
                bell = self._hush()
            elif self._silent:
                bell = Bell.ARM  # nothing left; one more look with the bell armed, since a writer may just have looked
            else:
                break
        return total

    async def _drain_lanes(self, window: Window, stop: asyncio.Event) -> int:
        """Routes the backlog behind the window's start, all lanes side by side."""
        first_end: list[Cursor] = []

        async def drain_lane(number: int, calls: SizedCalls) -> int:
            total, here = 0, replace(window, lane=number)
            while not stop.is_set():
                batch, more = await calls.route(here, None if number else self._hush())
                total += batch.claimed
                if not more:
                    first_end.append(batch.reached)
                    break
                # Straight on: what was routed just now is not looked at again.
                here = replace(here, after=batch.reached)
            return total

        # A lane that fails lets the others finish; its events are ready again, and the next round takes them.
        totals = await asyncio.gather(
            *(drain_lane(number, calls) for number, calls in enumerate(self._lanes)), return_exceptions=True
        )
        for outcome in totals:
            if isinstance(outcome, BaseException):
                raise outcome
        if first_end:
            self._watermark.cursor = first_end[0]
        return sum(outcome for outcome in totals if isinstance(outcome, int))

    def _hush(self) -> Bell | None:
        """What each call of a drain asks of the bell, by the first store's session.

        Each, since a writer that was just looking at the lock may have kept it from the last one.
        """
        if not self._doorbell_works:
            return None
        self._silent = True
        return Bell.SILENCE

    def _window(self) -> Window:
        if self._watermark.cursor is None:
            return Window()
        return Window(after=self._watermark.cursor, rewind=self._settings.overlap)
