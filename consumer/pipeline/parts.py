"""What a service is made of: loops that are started, watched and stopped alike."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from consumer.domain.routing import Path


class Closing(Protocol):
    """What has to be closed in the end."""

    async def close(self) -> None:
        """Never raises."""
        ...


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One loop of the service, and all that health, watchdog, metrics and systemd have to know about it."""

    loop: str
    """Its name in facts, health, metrics and notifications to systemd; unique within a service."""
    path: Path | None = None
    """The path whose batches it routes: each of them is progress of this part, as is each that was too slow."""
    longest_rest: float | None = None
    """Seconds that it may go without progress on purpose; None: it is not watched."""
    brings_events: bool = False
    """Whether events are routed by it as they arrive: the service is ready only while it works."""
    needed: bool = False
    """Whether events that are missed wait for it: the service is not ready while it fails."""
    opening: Callable[[], Coroutine[Any, Any, str]] | None = None
    """Called before any part runs; returns the address at which the part lets work in from outside."""
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]
    """Runs until the event is set; what is under way is finished first."""
    wake: Callable[[], None] = _nothing
    """Ends a rest that does not end by itself when the event is set."""
    closing: Sequence[Closing] = ()
    """Closed in this order once no part runs any more."""


async def until_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs what only ends by being cancelled, until told to stop."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
