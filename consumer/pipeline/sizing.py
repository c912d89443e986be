"""Routing calls that adapt their size when the database gives up on them."""

from collections.abc import Awaitable, Callable

from consumer.domain.errors import TooSlow
from consumer.domain.events import Batch, Bell, Path, Window
from consumer.domain.observations import BatchRouted, BatchTooSlow, EventTooSlow
from consumer.ports import Observer, Store


class SizedCalls:
    """Routing calls of one loop. A call that is too slow is made again with a quarter of the events.

    An event that is too slow all alone is parked, so that it holds up nobody; after that, sizes grow again.
    """

    def __init__(self, *, store: Store, path: Path, batch_size: int, observer: Observer) -> None:
        self._store = store
        self._path = path
        self._batch_size = batch_size
        self._observer = observer
        self.limit = batch_size
        """Events of the next call at most."""

    async def route(self, window: Window, bell: Bell | None = None) -> Batch:
        """As `Store.route`, with the size that works."""
        return await self._sized(lambda limit: self._store.route(limit=limit, window=window, bell=bell), window)

    async def retry(self) -> Batch:
        """As `Store.retry`, with the size that works."""
        return await self._sized(lambda limit: self._store.retry(limit=limit), None)

    async def _sized(self, call: Callable[[int], Awaitable[Batch]], window: Window | None) -> Batch:
        batch: Batch | None = None
        while batch is None:
            try:
                batch = await call(self.limit)
            except TooSlow:
                batch = await self._give_way(window)
        if batch.claimed:
            self._observer(BatchRouted(path=self._path, batch=batch))
        self.limit = min(self._batch_size, self.limit * 2)
        return batch

    async def _give_way(self, window: Window | None) -> Batch | None:
        if self.limit > 1:
            self.limit = max(1, self.limit // 4)
            self._observer(BatchTooSlow(path=self._path, limit=self.limit))
            return None
        batch = await self._store.park_next(window=window)
        if batch.claimed:
            self._observer(EventTooSlow(path=self._path))
        return batch
