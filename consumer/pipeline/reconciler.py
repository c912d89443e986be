"""The reconciliation loop: reads the table below the watermark for what the hot path has missed."""

import asyncio
from dataclasses import dataclass
from typing import Final

from consumer.domain.backoff import Backoff
from consumer.domain.facts import SweepFinished
from consumer.domain.routing import Path, Window
from consumer.pipeline.pacing import Signal, Watermark, keep_going, pause
from consumer.pipeline.sizing import SizedCalls
from consumer.ports import Clock, Observer, Store

LOOP: Final = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerSettings:
    """Times in seconds."""

    interval: float = 30.0
    batch_size: int = 1000
    margin: float = 2.0
    """How far below the watermark the sweep begins: what is nearer still belongs to the hot path."""
    hints_apart: float = 1.0
    """Least time between sweeps that hints start; or ten times what the last sweep took, if that is more. Never more
    than the interval."""


class Reconciler:
    """Routes events that the hot path has missed, and parked ones that are due for another attempt."""

    def __init__(
        self,
        *,
        store: Store,
        wake: Signal,
        watermark: Watermark,
        observer: Observer,
        clock: Clock,
        settings: ReconcilerSettings,
    ) -> None:
        # Calls for parked events have a size of their own: one that hangs does not make the sweep slow.
        self._missed, self._due = (
            SizedCalls(store=store, path=Path.SWEEP, batch_size=settings.batch_size, observer=observer)
            for _ in range(2)
        )
        self._wake = wake
        self._watermark = watermark
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._again = Signal()
        self._hinted = False
        self._ended = float("-inf")
        self._took = 0.0

    def hint(self) -> None:
        """Something may wait that the hot path does not see: sweep soon, however often this is called."""
        self._hinted = True
        self._wake.ring()

    def again(self) -> None:
        """Ends a pause after a failure: the database answers."""
        self._again.ring()

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Sweeps at every interval, and at once when woken, until told to stop."""

        async def rest(unfinished: bool) -> None:  # noqa: FBT001 - the result of a sweep
            if not unfinished:
                # Up to a tenth earlier or later: replicas that started together do not sweep together.
                await self._wake.wait(self._settings.interval * (0.9 + 0.2 * self._clock.jitter()))
                if self._hinted:
                    apart = min(max(self._settings.hints_apart, 10 * self._took), self._settings.interval)
                    await pause(stop, max(self._ended + apart - self._clock.monotonic(), 0))

        await keep_going(
            LOOP,
            lambda: self.sweep(stop),
            rest,
            stop=stop,
            observer=self._observer,
            clock=self._clock,
            backoff=backoff,
            again=self._again,
        )

    async def sweep(self, stop: asyncio.Event) -> bool:
        """One sweep; returns whether there is more to do at once.

        Parked events get the time of one interval, so that some that hang again and again do not keep the sweep from
        those that were missed.
        """
        self._wake.forget()
        started, self._hinted = self._clock.monotonic(), False
        found = due = held = 0
        if self._watermark.cursor is not None:
            window = Window(until=self._watermark.cursor, margin=self._settings.margin)
            more = True
            while more and not stop.is_set():
                batch, more = await self._missed.route(window)
                found += batch.claimed
                held += batch.held
                window = Window(after=batch.reached, until=window.until, margin=window.margin)
        more, began = True, self._clock.monotonic()
        while more and not stop.is_set():
            batch, more = await self._due.route_due()
            due += batch.claimed
            held += batch.held
            more = more and batch.claimed > batch.held  # those that are held stay due
            if self._clock.monotonic() - began > self._settings.interval:
                break
        self._ended = self._clock.monotonic()
        self._took = self._ended - started
        self._observer(SweepFinished(found=found, due=due, held=held, seconds=self._took))
        return more
