"""Stand-ins for what the loops need: a clock moved by hand, a store in memory, an observer with a memory."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from consumer.domain.errors import ConsumerError, TooSlow
from consumer.domain.facts import Fact
from consumer.domain.routing import BEGINNING, Backlog, Batch, Bell, Cursor, Window

F = TypeVar("F")


class HandClock:
    """A `Clock` that a test moves: to `now`, and on by `step` seconds whenever it is asked."""

    def __init__(self, now: float = 0.0, *, step: float = 0.0, jitter: float = 0.0) -> None:
        self.now = now
        self.step = step
        self._jitter = jitter

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    def jitter(self) -> float:
        return self._jitter


class Facts(list[Fact]):
    """An `Observer` that remembers."""

    def __call__(self, fact: Fact, /) -> None:
        self.append(fact)

    def of(self, kind: type[F]) -> list[F]:
        """Those of one kind, in order."""
        return [fact for fact in self if isinstance(fact, kind)]


def batch(claimed: int, *, parked: int = 0, held: int = 0) -> Batch:
    """The outcome of a call: messages of channel "x", routed at once."""
    routed = claimed - parked - held
    return Batch(
        claimed=claimed,
        inserted=routed,
        parked=parked,
        dead=0,
        channels=("x",) * routed,
        ages=(0.0,) * routed,
        reached=BEGINNING,
        seconds=0.0,
        held=held,
        held_reason="42P01: broken" if held else None,
    )


class FakeStore:
    """A `Store` over numbered events in one order; those due for another attempt are a queue of their own."""

    def __init__(
        self,
        ready: Iterable[int] = (),
        *,
        due: Iterable[int] = (),
        hangs: Iterable[int] = (),
        clock: HandClock | None = None,
    ) -> None:
        self.ready = list(ready)
        self.due = list(due)
        self.hangs = set(hangs)
        """Events whose calls are too slow."""
        self.errors: list[ConsumerError] = []
        """Raised by the next routing calls, whatever they take."""
        self.before: Callable[[str], None] = lambda call: None
        """Happens at the beginning of each routing call; it is given the name of the method."""
        self.clock = clock or HandClock()
        """Goes on by 30 seconds in each call that is too slow."""
        self.bells: list[Bell | None] = []
        """What each call of `route` did about the doorbell."""
        self.silent = False
        """Whether the doorbell is."""
        self.routed: list[int] = []
        self.parked: list[int] = []
        self.alone: list[int] = []
        """Events that were routed by their ids."""
        self.slow: list[int] = []
        """Limits of the calls that were too slow."""

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        self.before("route")
        self.bells.append(bell)
        self.silent = bell is Bell.SILENCE or (self.silent and bell is not Bell.ARM)
        return self._take(self.ready, limit)

    async def route_oldest(self, *, channel: str | None, limit: int, after: Cursor) -> Batch:
        self.before("route_oldest")
        return self._take(self.ready, limit)

    async def route_due(self, *, limit: int) -> Batch:
        self.before("route_due")
        return self._take(self.due, limit)

    async def next_event(self, *, window: Window | None) -> str | None:
        queue = self.due if window is None else self.ready
        return str(queue[0]) if queue else None

    async def route_one(self, event: str) -> Batch:
        self.before("route_one")
        self.alone.append(int(event))
        queue = self._queue_of(int(event))
        return batch(0) if queue is None else self._take(queue, 1)

    async def park_one(self, event: str) -> Batch:
        self.before("park_one")
        queue = self._queue_of(int(event))
        if queue is None:
            return batch(0)
        queue.remove(int(event))
        self.parked.append(int(event))
        return batch(1, parked=1)

    async def backlog(self, *, within: float | None = None) -> Backlog:
        return Backlog(ready=len(self.ready), oldest_seconds=0.0, parked=len(self.due), dead=0, notification_queue=0.0)

    async def close(self) -> None:
        pass

    def _queue_of(self, event: int) -> list[int] | None:
        return next((queue for queue in (self.ready, self.due) if event in queue), None)

    def _take(self, queue: list[int], limit: int) -> Batch:
        taken = queue[:limit]
        error = self.errors.pop(0) if self.errors else TooSlow("too slow") if self.hangs & set(taken) else None
        if isinstance(error, TooSlow):
            self.slow.append(limit)
            self.clock.now += 30
        if error is not None:
            raise error
        del queue[:limit]
        self.routed += taken
        return batch(len(taken))
