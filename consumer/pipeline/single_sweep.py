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
        """Until nothing is left, or `limit` events are taken.

        Raises:
            TooSlow: an event of the channel hangs; without a channel it is found and parked, as the service does it.
            Transient, Fatal: as `Store`; `routed` and `parked` tell what is done.
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
        """In the order of arrival, with calls that become small enough to tell which event it is."""

        def unobserved(_: Fact) -> None:
            """Whoever waits for the end of a command needs no news."""

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
        """Events of the next call at most; 0 when it is enough."""
        return min(self._batch_size, self._limit - self.routed - self.parked) if self._limit else self._batch_size

    def _count(self, batch: Batch) -> Batch:
        self.routed += batch.routed
        self.parked += batch.parked
        return batch
