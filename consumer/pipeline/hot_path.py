"""The hot path: wake → drain until nothing is pending."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain.backoff import Backoff
from consumer.domain.routing import Batch, Cursor, Path, Window
from consumer.pipeline.doorbell import Doorbell
from consumer.pipeline.pacing import Signal, Watermark, keep_going, pause
from consumer.pipeline.sizing import SizedCalls
from consumer.ports import Clock, Observer, Store

LOOP: Final = "hot"


@dataclass(frozen=True, slots=True, kw_only=True)
class HotPathSettings:
    """Times in seconds."""

    batch_size: int = 1000
    """Most events of a call; it takes what is there, so batches follow the load."""
    overlap: float = 2.0
    """How late a transaction may commit and still be found by the next wake-up instead of the sweep."""
    poll_interval: float = 1.0
    """Longest sleep while the doorbell works: it covers a missed ring."""
    poll_interval_without_doorbell: float = 0.2
    gather: float = 0.003
    """Pause before the next call while events keep coming one by one, so that a call routes several of them."""
    gather_below: int = 100
    """Events of a batch that is worth no pause: what an event costs hardly falls any further."""
    coming_within: float = 0.03
    """Events keep coming while no more than this lies between two batches that found some."""
    after_drain: tuple[float, ...] = (0.003, 0.01, 0.03)
    """Sleeps before the looks that follow a drain. A writer that saw this consumer awake did not ring, and its event
    becomes visible after the drain's last look, by as long as its commit takes."""


class HotPath:
    """Routes what is pending when woken, in the order of arrival, and sleeps when nothing is left.

    One call at a time is enough for a trickle. A full batch is the sign of a backlog: then every store works on a lane
    of its own until the backlog is gone.
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
        missed: Callable[[], None] = lambda: None,
    ) -> None:
        """`missed` is called when a ring led to nothing: what was inserted lies where only a sweep looks."""
        self._lanes = [
            SizedCalls(store=store, path=Path.HOT, batch_size=settings.batch_size, observer=observer)
            for store in stores
        ]
        self._wake = wake
        self._watermark = watermark
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._missed = missed
        self._again = Signal()
        self._doorbell = Doorbell()
        self._found_at = float("-inf")

    def doorbell(self, *, works: bool) -> None:
        """Tells whether notifications arrive, and has the table looked at: some may have been missed."""
        if works:
            self._doorbell.listener_is_up()
        else:
            self._doorbell.listener_is_down()
        self._wake.ring()

    def again(self) -> None:
        """Ends a pause after a failure: the database answers."""
        self._again.ring()

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Drains and sleeps until told to stop; the calls under way are finished first."""
        settings = self._settings
        sleeps: Iterator[float] = iter(())

        async def rest(routed: int) -> None:
            nonlocal sleeps
            if routed or self._doorbell.has_silenced:
                sleeps = iter(settings.after_drain)
            longest = settings.poll_interval if self._doorbell.rings else settings.poll_interval_without_doorbell
            self._doorbell.woken(rung=await self._wake.wait(next(sleeps, longest)))

        await keep_going(
            LOOP,
            lambda: self.drain(stop),
            rest,
            stop=stop,
            observer=self._observer,
            clock=self._clock,
            backoff=backoff,
            again=self._again,
        )

    async def drain(self, stop: asyncio.Event) -> int:
        """Routes until nothing is pending, the doorbell silent meanwhile; returns how many events are done with."""
        total, found, go_on = 0, 0, True
        self._doorbell.before_drain()
        while go_on and not stop.is_set():
            batch, more = await self._lanes[0].route(self._window(), self._doorbell.before_call())
            go_on = self._doorbell.after_call(batch)
            self._watermark.cursor = batch.reached
            total += batch.claimed - batch.held
            found += batch.claimed
            if more:
                total += await self._drain_lanes(Window(after=batch.reached, lanes=len(self._lanes)), stop)
            elif self._keep_coming(batch):
                await pause(stop, self._settings.gather)
        if not found and self._doorbell.rung:
            self._missed()
        return total

    def _keep_coming(self, batch: Batch) -> bool:
        """Whether others are likely to follow within milliseconds: one call for all of them costs little more than one
        for each. The first event after a silence has been routed at once by then, and no writer need ring: the bell
        stays silent between the calls of a drain.
        """
        if batch.claimed == batch.held:
            return False
        before, self._found_at = self._found_at, self._clock.monotonic()
        return batch.claimed < self._settings.gather_below and self._found_at - before <= self._settings.coming_within

    async def _drain_lanes(self, window: Window, stop: asyncio.Event) -> int:
        """Routes the backlog after the window's start, all lanes side by side."""
        first_end: list[Cursor] = []

        async def drain_lane(number: int, calls: SizedCalls) -> int:
            total, here = 0, replace(window, lane=number)
            while not stop.is_set():
                # The bell is the first lane's: one session is enough to keep it silent.
                batch, more = await calls.route(here, None if number else self._doorbell.before_call())
                total += batch.claimed - batch.held
                if not more:
                    first_end.append(batch.reached)
                    break
                # No overlap here: what has just been routed need not be read again.
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

    def _window(self) -> Window:
        if self._watermark.cursor is None:
            return Window()
        return Window(after=self._watermark.cursor, overlap=self._settings.overlap)
