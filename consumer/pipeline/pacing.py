"""What the loops share: waits that a stop ends, new attempts with backoff, the watermark."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from consumer.domain.backoff import Backoff
from consumer.domain.errors import ConsumerError, Fatal, Taken
from consumer.domain.facts import LoopFailed, LoopRecovered, Progress
from consumer.domain.routing import Cursor
from consumer.ports import Clock, Observer

Result = TypeVar("Result")


class Signal:
    """Wakes a loop. A ring between two waits is not lost: it ends the next one at once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Ends the wait that is under way, or the next one."""
        self._event.set()

    def forget(self) -> None:
        """A ring from before counts no longer."""
        self._event.clear()

    async def wait(self, timeout: float) -> bool:
        """Waits for a ring, `timeout` seconds at most; returns whether there was one."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Watermark:
    """How far the hot path has come in the order of arrival; the sweep reads below it.

    None until the hot path has made its first call: before that it cannot have missed anything.
    """

    def __init__(self) -> None:
        self.cursor: Cursor | None = None


async def keep_going(
    loop: str,
    step: Callable[[], Awaitable[Result]],
    rest: Callable[[Result], Awaitable[object]],
    *,
    stop: asyncio.Event,
    observer: Observer,
    clock: Clock,
    backoff: Backoff,
    again: Signal | None = None,
) -> None:
    """Runs step, rest, step, rest, … until told to stop; an error of ours is reported and followed by a pause.

    `again` ends the pause that is under way: whatever was at fault may be over.

    `Fatal` ends the loop, and with it the service, as long as no step has succeeded. What has worked once may work
    again: the schema is being migrated, or rights or a password are being changed. Programming errors always end it,
    and so does `Taken`: the other process works as long as this one does not interfere.
    """
    failures = 0
    worked = False
    while not stop.is_set():
        if again is not None:
            again.forget()
        try:
            result = await step()
        except ConsumerError as error:
            if isinstance(error, Taken) or (isinstance(error, Fatal) and not worked):
                raise
            failures += 1
            delay = backoff.delay(failures, jitter=clock.jitter())
            observer(LoopFailed(loop=loop, reason=str(error), attempt=failures, delay=delay))
            observer(Progress(loop=loop, ok=False))
            await (pause(stop, delay) if again is None else _pause_until(again, stop, delay))
            continue
        worked = True
        if failures:
            observer(LoopRecovered(loop=loop, attempts=failures))
            failures = 0
        observer(Progress(loop=loop, ok=True))
        if not stop.is_set():
            await rest(result)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits, or until the service is told to stop if that comes first."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def _pause_until(again: Signal, stop: asyncio.Event, seconds: float) -> None:
    """As `pause`; a ring ends it as well."""
    waits = [asyncio.ensure_future(pause(stop, seconds)), asyncio.ensure_future(again.wait(seconds))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
