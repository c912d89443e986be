"""What the loops need from outside, each as narrow as they need it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from consumer.domain.deliveries import Deferred, Swept, Taken, Troubled
from consumer.domain.explaining import Explanation, Findings
from consumer.domain.facts import Fact
from consumer.domain.intake_facts import IntakeSampled
from consumer.domain.lag import Partition
from consumer.domain.overview import BacklogByChannel, Overview, Second
from consumer.domain.parked import Count, Decision, Found, Outcome, ParkedEvent, Place, Selection
from consumer.domain.positions import NOTHING, Noted, Noting
from consumer.domain.providers.lines import Delivery
from consumer.domain.records import DeadLetter, IntakeOutcome, Record
from consumer.domain.retention import PruneStep, Rule
from consumer.domain.routing import Backlog, Batch, Bell, Cursor, Path, Window
from consumer.domain.webhook import Intake


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


class PartInfo(Protocol):
    """What sinks are told of a part of the service, before the first fact; see `consumer.pipeline.parts.Part`."""

    @property
    def loop(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    @property
    def brings_events(self) -> bool: ...


class Store(Protocol):
    """Routing calls. Each is one transaction in the database; when it returns, its effects are committed.

    Every call may raise `Transient` (call again later; a lost connection is replaced), `TooSlow` (call with less) or
    `Fatal`. Calls of one Store must not overlap.
    """

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        """Routes up to `limit` ready events of the window, oldest arrival first."""
        ...

    async def route_due(self, *, limit: int) -> Batch:
        """Routes up to `limit` parked events whose next attempt is due."""
        ...

    async def next_event(self, *, window: Window | None) -> str | None:
        """The id of the event that `route` (`route_due`, without a window) would take first; None: there is none."""
        ...

    async def route_one(self, event: str) -> Batch:
        """Routes the event, unless another session is working on it."""
        ...

    async def park_one(self, event: str) -> Batch:
        """Parks the event without trying to route it, unless another session is working on it."""
        ...

    async def backlog(self, *, within: float | None = None) -> Backlog:
        """Counts what is waiting.

        Args:
            within: of what is ready, count only what arrived at most so many seconds ago, and what has no time of
                arrival that is finite. What was routed before then costs nothing.
        """
        ...

    async def close(self) -> None:
        """Ends the connection; never raises."""
        ...


class SweepStore(Store, Protocol):
    """What a sweep without a service needs in addition."""

    async def route_oldest(self, *, channel: str | None, limit: int, after: Cursor) -> Batch:
        """Routes up to `limit` ready events, oldest event_date first, then parked ones that are due.

        Args:
            after: only ready events after it in this order; `reached` of the call before.
        """
        ...


class RecordStore(Protocol):
    """Storing and routing intakes. As `Store`; raises `Rejected` as well, when a call cannot be taken at all."""

    async def ingest_and_route(self, intakes: Sequence[Intake], noting: Noting = NOTHING) -> IntakeOutcome:
        """Stores and routes in one transaction; waits for other sessions that are working on the same events.

        Args:
            intakes: may repeat each other, and those of earlier calls.
            noting: noted in the same transaction.

        Raises:
            Renewed: `noting` is unsure, and the last call that noted something was in another session.
        """
        ...

    async def ingest_and_park(self, intakes: Sequence[Intake], noting: Noting = NOTHING) -> IntakeOutcome:
        """As `ingest_and_route`, but parks the events without trying to route them."""
        ...

    async def note(self, noting: Noting) -> Mapping[Partition, int | None]:
        """Notes positions by themselves; returns where the database has gone back, as `IntakeOutcome.behind`.

        Raises:
            Renewed: as `ingest_and_route`.
        """
        ...

    async def noted(self, partitions: Iterable[Partition]) -> Mapping[Partition, Noted]:
        """What is noted of these partitions; nothing of those that are missing in the answer."""
        ...

    async def close(self) -> None:
        """Ends the connection; never raises."""
        ...


class DeliveryStore(Protocol):
    """Taking deliveries as they come. As `Store`; raises `Rejected` as well, when a call cannot be taken at all."""

    async def take(self, deliveries: Sequence[Delivery], *, store_only: bool = False) -> Taken:
        """Stores deliveries and has what they say take effect, in one transaction.

        Args:
            deliveries: may repeat earlier ones.
            store_only: what they say takes effect when they are claimed.
        """
        ...

    async def refused(self) -> Mapping[str, str]:
        """Providers whose messages the tables refuse, with the reason."""
        ...

    async def close(self) -> None:
        """Ends the connection; never raises."""
        ...


class IntakeStore(Protocol):
    """What the intake loop needs. As `DeliveryStore`."""

    async def take(self, deliveries: Sequence[Delivery], *, store_only: bool = False) -> Taken:
        """See `DeliveryStore.take`."""
        ...

    async def claim(self, *, limit: int, size: int) -> Sequence[Deferred]:
        """Deliveries that are stored, due, and not in effect; others get the same ones a while later.

        Args:
            size: bytes of bodies, at most, but for one.
        """
        ...

    async def sweep(self, *, limit: int, place: str | None) -> Swept:
        """One step over the effects that wait, from where the last one has ended; None begins a round.

        What has a target by now is applied, what has waited for too long is given up.
        """
        ...

    async def sample(self) -> IntakeSampled:
        """Counts what is stored and not in effect."""
        ...

    async def keep(self, *, days: int) -> None:
        """Makes room for the deliveries of the next days, and deletes those that are older than so many."""
        ...

    async def close(self) -> None:
        """Ends the connection; never raises."""
        ...


class Entrance(Protocol):
    """Where work comes in from outside."""

    async def start(self) -> str:
        """Opens it and returns its address.

        Raises:
            Misconfigured: it cannot be opened.
        """
        ...

    async def stop(self) -> None:
        """Lets nothing in any more, and waits for what is under way."""
        ...


class Source(Protocol):
    """Records of topics, as a member of a group. Methods must not overlap."""

    async def poll(self, *, limit: int, timeout: float) -> Sequence[Record]:
        """Up to `limit` records after the last ones; none when none come within `timeout` seconds.

        Raises:
            Transient: poll again later; what was read and not committed may come again.
            Fatal: credentials or rights are missing; only at the start.
        """
        ...

    def rewind(self, positions: Mapping[Partition, int]) -> None:
        """Has the next poll begin there, in partitions that are still assigned: the records could not be processed."""
        ...

    def place_again(self, partitions: Iterable[Partition]) -> None:
        """Has the next poll ask anew where these go on: the database has gone back in them."""
        ...

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Everything before these is done. Commits the group's offsets as far as the database has noted what is done.

        Never raises: a commit that fails costs a repetition.
        """
        ...

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Writes records to the dead-letter topic.

        Raises:
            Transient: they are not safe yet; their offsets must not be committed.
        """
        ...

    async def close(self) -> None:
        """Leaves the group; never raises."""
        ...


class Watched(Protocol):
    """What a page shows of the service that runs. Nothing of it asks the database."""

    def overview(self) -> Overview:
        """The service at this moment."""
        ...

    def seconds(self, *, after: int = 0) -> Sequence[Second]:
        """What each second has brought, the oldest first, of those that are over and began after a Unix time.

        Seconds without anything are among them; as far back as the charts go. If `after` is still to come, since the
        clock was set back, it is all of them.
        """
        ...

    def enter(self) -> None:
        """Somebody watches from now on: the sampler looks at what is for people only."""
        ...

    def leave(self) -> None:
        """One of them has gone."""
        ...


class RetentionStore(Protocol):
    """What retention needs. Each call may raise any ConsumerError."""

    async def prune(self, *, rule: Rule, limit: int, place: str | None) -> PruneStep:
        """One step: of as many events as `limit` at most, from the place on that the last step has returned."""
        ...


class OverviewStore(Protocol):
    """What the sampler needs in addition while somebody watches. As `Store`."""

    async def by_channel(self, *, within: float) -> BacklogByChannel:
        """Counts what is ready by its channel, at a bounded cost, and names the replicas; `within` as for `backlog`."""
        ...


class ParkedDesk(Protocol):
    """Parked events, for a page. Each call may raise any ConsumerError."""

    async def parked(self, selection: Selection, *, before: Place | None, size: int) -> Found:
        """As many of them as a page has, from a place on, and how many there are by their error."""
        ...

    async def parked_event(self, event: UUID) -> ParkedEvent | None:
        """Everything about one but what the person wrote; None: it is not parked (any more)."""
        ...

    async def may_read(self) -> bool:
        """Whether `written` may be asked: the service's own login has no such right."""
        ...

    async def written(self, event: UUID) -> ParkedEvent | None:
        """Author, content, and the beginning of the raw payload as lines of JSON; `is_cut`: it has more."""
        ...

    async def count(self, selection: Selection) -> Count:
        """How many events a decision would be about."""
        ...

    async def decide(self, decision: Decision, selection: Selection) -> Outcome:
        """Has them tried again, or gives them up."""
        ...


class EventDesk(Protocol):
    """Single events and what belongs to them, for a page. Each may raise any of our errors."""

    @property
    def place(self) -> tuple[str, str]:
        """Host and database."""
        ...

    async def find_event(self, channel: str | None, text: str) -> Findings:
        """Events by any id that somebody has of them, or of whom or what they belong to; None: in any channel."""
        ...

    async def explain_event(self, channel: str, event_id: str) -> Explanation:
        """What became of one of them."""
        ...


class DeliveryDesk(Protocol):
    """Stored deliveries, for a page."""

    async def troubled(self, *, since: timedelta) -> Sequence[Troubled]:
        """Those of the last hours or days that are not quite in order, what was not understood first.

        Raises:
            ConsumerError: the database does not answer, or refuses to.
        """
        ...
