"""What the loops need from outside, as narrow as they need it."""

from typing import Protocol

from consumer.domain.events import Backlog, Batch, Bell, Window
from consumer.domain.observations import Fact


class Observer(Protocol):
    """Where facts go. Sinks decide what becomes of them; a sink must not raise and must not block."""

    def __call__(self, fact: Fact, /) -> None: ...


class Clock(Protocol):
    """Time and chance, handed in so that logic can be tested without either."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def jitter(self) -> float:
        """A number from 0 up to 1."""
        ...


class Store(Protocol):
    """Routing calls. Each is one transaction in the database; when it returns, its effects are committed.

    Every call may raise `Transient` (call again later; a new connection is made by itself), `TooSlow` (call with less)
    or `Fatal`. Calls of one Store must not overlap.
    """

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        """Routes up to `limit` ready events of the window, oldest arrival first."""
        ...

    async def retry(self, *, limit: int) -> Batch:
        """Routes up to `limit` parked events whose next attempt is due."""
        ...

    async def park_next(self, *, window: Window | None) -> Batch:
        """Parks, untried, the event that `route` (`retry`, when None) would start with: alone it takes too long."""
        ...

    async def backlog(self) -> Backlog:
        """Counts what is waiting."""
        ...

    async def close(self) -> None:
        """Ends the connection; never raises."""
        ...
