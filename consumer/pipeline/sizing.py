"""Routing calls that adapt their size when they take too long."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from consumer.domain.errors import TooSlow
from consumer.domain.facts import BatchRouted, BatchTooSlow, EventTooSlow
from consumer.domain.routing import Batch, Bell, Path, Window
from consumer.ports import Observer, Store

FEWER = 32
"""The size of a call that was too slow is divided by this. A call that hangs costs its whole time limit, one that works
next to nothing: three that hang, and some dozens of small ones, lead from 1000 events to the one that is the cause."""


class Size:
    """How many events the next call takes: fewer when calls are too slow, and more again when they are not.

    Calls stay small until all the events are done among which the cause must be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._suspects = 0  # the next so many events may be the cause
        self.limit = most

    def too_slow(self, events: int) -> None:
        """Notes that a call for so many events was."""
        self._suspects = events
        self.limit = max(1, events // FEWER)

    def done(self, events: int, *, more: bool) -> None:
        """Notes that so many events are done; `more`: there may be others after them."""
        self._suspects = self._suspects - events if more else 0
        if self._suspects <= 0:
            self.limit = min(self._most, self.limit * 2)


class Call(NamedTuple):
    """A call that has committed."""

    batch: Batch
    more: bool
    """Whether it took as many events as it could: there may be more."""


class SizedCalls:
    """Routing calls of one loop. A call that is too slow is made again with fewer events.

    An event that is too slow in a call of its own, twice, is parked, so that it does not hold up the others. Once may
    be the fault of a busy database.
    """

    def __init__(self, *, store: Store, path: Path, batch_size: int, observer: Observer) -> None:
        self._store = store
        self._path = path
        self._observer = observer
        self._size = Size(batch_size)

    async def route(self, window: Window, bell: Bell | None = None, *, at_most: int | None = None) -> Call:
        """As `Store.route`, with the size that works."""
        return await self._sized(
            lambda limit: self._store.route(limit=limit, window=window, bell=bell), window, at_most=at_most
        )

    async def route_due(self, *, at_most: int | None = None) -> Call:
        """As `Store.route_due`, with the size that works."""
        return await self._sized(lambda limit: self._store.route_due(limit=limit), None, at_most=at_most)

    async def _sized(
        self, call: Callable[[int], Awaitable[Batch]], window: Window | None, *, at_most: int | None
    ) -> Call:
        while True:
            limit = min(self._size.limit, at_most or self._size.limit)
            try:
                batch = await call(limit)
                break
            except TooSlow as error:
                self._size.too_slow(limit)
                self._observer(BatchTooSlow(path=self._path, limit=self._size.limit, holder=error.holder))
                if limit == 1 and (again := await self._second_chance(window)) is not None:
                    batch = again
                    break
        if batch.claimed:
            self._observer(BatchRouted(path=self._path, batch=batch))
        more = batch.claimed >= limit
        if window is None and batch.claimed == batch.held:
            more = False  # without a window there is no going on behind them: the next call would take the same
        self._size.done(batch.claimed, more=more)
        return Call(batch, more)

    async def _second_chance(self, window: Window | None) -> Batch | None:
        """Tries an event that was too slow alone once more, then parks it; None when another session has taken it.

        From here on it is named by its id: while a replica works on it, the first event of the window is another one,
        which would be parked for nothing.
        """
        event = await self._store.next_event(window=window)
        if event is None:
            return None
        try:
            batch = await self._store.route_one(event)
        except TooSlow as error:
            batch = await self._store.park_one(event)
            if batch.claimed:
                self._observer(EventTooSlow(path=self._path, holder=error.holder))
        return batch if batch.claimed else None
