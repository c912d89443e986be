"""Facts that the loops report: a closed union.

The log and the metrics match on all of it, so that mypy points out a new fact that they miss; other sinks take what
concerns them.
"""

from dataclasses import dataclass
from typing import Final

from consumer.domain.intake_facts import IntakeFact
from consumer.domain.kafka_facts import KafkaFact
from consumer.domain.overview import BacklogByChannel
from consumer.domain.parked import Decision
from consumer.domain.retention import Kind, PruneStep
from consumer.domain.routing import Backlog, Batch, Path

LISTENER: Final = "listener"
"""The loop that reports `ListenerUp`, `ListenerLost` and `ListenerUnavailable`, besides what every loop reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRouted:
    """A routing call has committed."""

    path: Path
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFinished:
    """The reconciliation loop has read everything below the watermark."""

    found: int
    """Events that the hot path had missed, re-opened ones among them; 0 on a healthy day."""
    due: int
    """Parked events that were due for another attempt."""
    held: int = 0
    """Those of both that it left as they were; see `Batch.held`."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A loop has gone round once."""

    loop: str
    """The loop's name, which is that of its part: `consumer.pipeline.parts.Part.loop`."""
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopFailed:
    """A loop could not do its work and tries again after `delay` seconds."""

    loop: str
    reason: str
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRecovered:
    """A loop works again after `attempts` failures."""

    loop: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTooSlow:
    """A call exceeded the time limit; the next one is smaller."""

    path: Path
    limit: int
    holder: str = ""
    """The lock that the call was waiting for, and who has it, in words; empty if it was not waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTooSlow:
    """An event exceeded the time limit in a call of its own and was parked."""

    path: Path
    holder: str = ""
    """As in `BatchTooSlow`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerUp:
    """Notifications arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLost:
    """Notifications have stopped; the service polls until they are back."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerUnavailable:
    """Notifications do not get through this connection (a transaction pooler); the service polls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """The doorbell has rung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorbellChecked:
    """Whether inserts ring: told at first, and when it has changed."""

    state: str
    """One of `consumer.domain.doorbell.MEANING`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogSampled:
    """The backlog was counted."""

    backlog: Backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class ByChannelSampled:
    """What is ready was counted by its channel, since somebody watches."""

    found: BacklogByChannel | None
    """None: that does not work."""
    reason: str = ""
    """Why it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A step of the retention loop has committed."""

    kind: Kind
    step: PruneStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The service runs."""

    version: str
    """The version of webhook-router."""
    database: str
    """The name of the database."""
    host: str
    """Host and port of the database, several separated by commas; or the folder of a socket."""
    source: str
    address: str
    """Where the service answers HTTP, e.g. http://127.0.0.1:9464."""
    gateway: str = ""
    """Where it takes deliveries, e.g. http://127.0.0.1:8080; empty: it takes none."""
    providers: tuple[str, ...] = ()
    """Whose deliveries it takes there."""
    refusing: tuple[str, ...] = ()
    """Those of them whose deliveries it refuses all the same, since they have a verify token and no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFailed:
    """A page, or something that it does, has failed in a way that nobody has foreseen."""

    page: str
    reason: str
    """The type of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedDecided:
    """Somebody has decided about parked events on their page."""

    decision: Decision
    events: int
    """How many are in another state for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensRefused:
    """Somebody has given wrong tokens for the pages."""

    count: int
    """Of them, since this was told the last time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The service was told to stop; batches under way are finished."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Nothing is under way any more."""


Fact = (
    BatchRouted
    | SweepFinished
    | Progress
    | LoopFailed
    | LoopRecovered
    | BatchTooSlow
    | EventTooSlow
    | ListenerUp
    | ListenerLost
    | ListenerUnavailable
    | Notified
    | DoorbellChecked
    | BacklogSampled
    | ByChannelSampled
    | Pruned
    | Started
    | PageFailed
    | ParkedDecided
    | TokensRefused
    | Stopping
    | Stopped
    | KafkaFact
    | IntakeFact
)
