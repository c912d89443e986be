"""What a person on call sees of a service: the values behind the overview page, its stream and `status --watch`.

Nothing of a message, a name or an id of a person is in any of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.domain.intake_facts import IntakeSampled
from consumer.domain.lag import PartitionLag
from consumer.domain.routing import Backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What one second has brought to this process."""

    at: int
    """Unix time at which it began."""
    routed: Mapping[str, int] = field(default_factory=dict)
    """Events, by `Path`; a path without any is missing."""
    parked: int = 0
    p50: float | None = None
    """Seconds from created_at to the commit, of half of the events; None without any."""
    p99: float | None = None
    taken: int = 0
    """Deliveries that were stored: POSTs that have got 200, or records of Kafka."""
    turned_down: int = 0
    """POSTs that have got any other answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelBacklog:
    """Events of a channel that are ready to be routed."""

    channel: str
    ready: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A process of the service that has a session on the database."""

    name: str
    """host:pid"""
    version: str
    """Empty: an earlier version that does not tell it."""
    seconds: float | None
    """For how long its session has been there; None: the role may not know that of the session's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogByChannel:
    """A look of the sampler that is made only while somebody watches."""

    channels: Sequence[ChannelBacklog]
    """The oldest first."""
    is_partial: bool
    """Whether only the oldest ready events were counted, since there are too many."""
    replicas: Sequence[Replica]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDeliveries:
    """Deliveries of a provider since the service began."""

    provider: str
    outcomes: Mapping[str, int]
    """By `Outcome`."""
    unknown: int
    """Atoms that were not understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A warning or an error, as the log has it; lines that are the same but for their numbers are one."""

    at: float
    """Unix time of the last line."""
    first_at: float
    """Unix time of the first one."""
    count: int
    """How many lines there were."""
    level: str
    event: str
    """What has happened, in the words of the log."""
    details: Mapping[str, str]
    """The other fields of the last line, as text."""
    runbook: str
    """The address that says what to do about it; empty: there is nothing to be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A service at one moment. Ages are in seconds, times are Unix times."""

    at: float
    replica: str
    """host:pid of this process."""
    version: str
    source: str
    database: str
    host: str
    started_at: float
    is_ready: bool
    stalled: Sequence[str]
    """Loops that make no progress."""
    faults: Sequence[str]
    """What does not work at this moment, in words: loops that fail, events that are held, brokers that are silent."""
    backlog: Backlog | None
    """The last sample; None before the first one."""
    backlog_at: float | None
    by_channel: BacklogByChannel | None
    """None: nobody has watched for long enough, until the next sample; or it does not work, see `faults`."""
    by_channel_at: float | None
    listener: str
    """'up', 'polling' (lost, or not there), or 'none' (the service is not woken by notifications)."""
    doorbell: str
    """One of `consumer.domain.doorbell.MEANING`; empty: not looked at yet."""
    lags: Sequence[PartitionLag]
    deliveries: Sequence[ProviderDeliveries]
    intake: IntakeSampled | None
    """What is stored and not in effect, at the last sample; None before the first one."""
    troubles: Sequence[Trouble]
    """The latest first."""
