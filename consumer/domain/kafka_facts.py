"""Facts that the Kafka source and its loop report; part of the closed union in consumer.domain.facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from consumer.domain.lag import Partition, PartitionLag
from consumer.domain.records import Flaw, Flawed, Skip


class CommitFailure(StrEnum):
    """Why an offset was not committed. What it stands for is in the database all the same, and is not done twice."""

    REBALANCED = "rebalanced"
    """The partition was on its way to another member."""
    NO_ANSWER = "no_answer"
    """The group's coordinator did not answer in time; the next commit includes this one."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsRead:
    """A poll has brought records."""

    counts: Mapping[Partition, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsDone:
    """The database has committed what the records of a poll stand for."""

    skipped: Mapping[Skip, int]
    flawed: Mapping[Flaw, int]
    """Records that are no event; dead letters, but not written yet."""
    repeated: int
    """Records whose event was done with before."""
    ages: Mapping[str, tuple[float, ...]]
    """By topic: seconds from each record's own time to the commit, of records that hold or name an event."""
    traces: tuple[tuple[Partition, int, str], ...]
    """Partition, offset and traceparent of each record that carries one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDeadLettered:
    """A record was set aside in the dead-letter topic."""

    partition: Partition
    offset: int
    flawed: Flawed
    trace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetsCommitted:
    """The group knows how far the database is."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFailed:
    """The group does not know yet how far the database is."""

    failure: CommitFailure
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsAssigned:
    """A rebalance has ended; these are what this member reads now."""

    partitions: frozenset[Partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsRevoked:
    """A rebalance has begun, or the consumer was closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LagSampled:
    """How far this member is behind."""

    lags: tuple[PartitionLag, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerReplaced:
    """The consumer was given up; a new one joins the group."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokersAnswer:
    """The brokers have stopped to answer, or answer again. aiokafka goes on asking, and says nothing about it."""

    answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsMissing:
    """Topics that do not exist are waited for; none: all are there now."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsExpired:
    """The group's position is not in the partition any more; it goes on at the beginning."""

    partition: Partition
    records: int
    """How many the broker has deleted, by age or size, before they were read; 0: the topic was made anew."""


KafkaFact = (
    RecordsRead
    | RecordsDone
    | RecordDeadLettered
    | OffsetsCommitted
    | CommitFailed
    | PartitionsAssigned
    | PartitionsRevoked
    | LagSampled
    | ConsumerReplaced
    | BrokersAnswer
    | TopicsMissing
    | RecordsExpired
)
