"""One sweep of everything that is unrouted, for a scheduler instead of the service."""

from consumer.domain.errors import TooSlow
from consumer.domain.facts import Fact
from consumer.domain.routing import Batch, Path, Window
from consumer.pipeline.sizing import SizedCalls
from consumer.ports import SweepStore


class SingleSweep:
    """Routes what is unrouted, oldest event_date first, then parked events that are due."""

    def __init__(self, *, store: SweepStore, channel: str | None, limit: int | None, batch_size: int) -> None:
        self._store = store
        self._channel = channel
        self._limit = limit
        self._batch_size = batch_size
        self.routed = 0
        self.parked = 0

    async def run(self) -> None:
        """Routes until nothing is left, or `limit` events have been taken.

        Raises:
            TooSlow: an event of the channel hangs; without a channel it is found and parked, as in the service.
            Transient, Fatal: as `Store`; `routed` and `parked` count what was done before.
        """
        try:
            while size := self._left():
                batch = self._count(await self._store.route_oldest(channel=self._channel, limit=size))
                if batch.claimed < size:
                    return
        except TooSlow:
            if self._channel is not None:
                raise
            await self._around_what_hangs()

    async def _around_what_hangs(self) -> None:
        """Routes in the order of arrival, with calls that become small enough to isolate the event."""

        def unobserved(_: Fact) -> None:
            """The command reports its totals when it ends."""

        calls = SizedCalls(store=self._store, path=Path.SWEEP, batch_size=self._batch_size, observer=unobserved)
        more = True
        while more and (size := self._left()):
            batch, more = await calls.route(Window(), at_most=size)
            self._count(batch)
        more = True
        while more and (size := self._left()):
            batch, more = await calls.route_due(at_most=size)
            self._count(batch)

    def _left(self) -> int:
        """Most events of the next call; 0 when the limit is reached."""
        return min(self._batch_size, self._limit - self.routed - self.parked) if self._limit else self._batch_size

    def _count(self, batch: Batch) -> Batch:
        self.routed += batch.routed
        self.parked += batch.parked
        return batch
