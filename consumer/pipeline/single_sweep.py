"""One sweep of everything that is unrouted, for a scheduler instead of the service."""

from collections.abc import Callable

from consumer.domain.errors import TooSlow
from consumer.domain.facts import BatchTooSlow, EventTooSlow, Fact
from consumer.domain.routing import BEGINNING, Batch, Path, Window
from consumer.pipeline.sizing import SizedCalls
from consumer.ports import SweepStore


class SingleSweep:
    """Routes what is unrouted, oldest event_date first, then parked events that are due."""

    def __init__(
        self,
        *,
        store: SweepStore,
        channel: str | None,
        limit: int | None,
        batch_size: int,
        waits: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`waits` is told which lock a call was waiting for that was too slow, and who has it."""
        self._store = store
        self._waits = waits
        self._channel = channel
        self._limit = limit
        self._batch_size = batch_size
        self.routed = 0
        self.parked = 0
        self.held = 0
        self.held_reason: str | None = None
        """Why the first of those held are."""

    async def run(self) -> None:
        """Routes until nothing is left but what is held, or `limit` events are routed or parked.

        Raises:
            TooSlow: an event of the channel hangs; without a channel it is found and parked, as in the service.
            Transient, Fatal: as `Store`; `routed` and `parked` count what was done before.
        """
        try:
            after = BEGINNING
            while size := self._left():
                batch = self._count(await self._store.route_oldest(channel=self._channel, limit=size, after=after))
                # Fewer than asked for is no sign of the end: a timeout may have been near.
                if batch.claimed == 0 or (batch.claimed == batch.held and batch.reached == after):
                    return
                after = batch.reached
        except TooSlow as error:
            if self._channel is not None:
                raise
            self._told(error.holder)
            await self._around_what_hangs()

    async def _around_what_hangs(self) -> None:
        """Routes in the order of arrival, with calls that become small enough to isolate the event."""

        def observed(fact: Fact) -> None:
            """The command reports its totals when it ends."""
            if isinstance(fact, (BatchTooSlow, EventTooSlow)):
                self._told(fact.holder)

        self.held = 0  # they are met again
        calls = SizedCalls(store=self._store, path=Path.SWEEP, batch_size=self._batch_size, observer=observed)
        more, window = True, Window()
        while more and (size := self._left()):
            batch, more = await calls.route(window, at_most=size)
            window = Window(after=self._count(batch).reached)
        more = True
        while more and (size := self._left()):
            batch, more = await calls.route_due(at_most=size)
            self._count(batch)

    def _told(self, holder: str) -> None:
        if holder:
            self._waits(holder)

    def _left(self) -> int:
        """Most events of the next call; 0 when the limit is reached."""
        return min(self._batch_size, self._limit - self.routed - self.parked) if self._limit else self._batch_size

    def _count(self, batch: Batch) -> Batch:
        self.routed += batch.routed
        self.parked += batch.parked
        self.held += batch.held
        self.held_reason = self.held_reason or batch.held_reason
        return batch
