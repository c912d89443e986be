"""Facts that the Kafka source and its loop report; part of the closed union in consumer.domain.facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from consumer.domain.lag import Partition, PartitionLag
from consumer.domain.records import Flaw, Flawed, Skip


class CommitFailure(StrEnum):
    """Why an offset was not committed. The database has its events all the same, and does not route them twice."""

    REBALANCED = "rebalanced"
    """The partition was being moved to another member."""
    NO_ANSWER = "no_answer"
    """The group's coordinator did not answer in time; the next commit includes this one."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsRead:
    """A poll has brought records."""

    counts: Mapping[Partition, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsDone:
    """The database has committed what the records of a poll contain."""

    skipped: Mapping[Skip, int]
    flawed: Mapping[Flaw, int]
    """Records that can never be processed; their dead letters are not written yet."""
    repeated: int
    """Records whose event had been routed or parked before."""
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
    """The group's offsets have reached what the database has committed."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFailed:
    """The group's offsets are still behind what the database has committed."""

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
    """The consumer was abandoned; a new one joins the group."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokersAnswer:
    """The brokers have stopped answering, or answer again. aiokafka keeps asking, and reports neither."""

    answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsMissing:
    """The service waits for topics that do not exist; empty: all of them exist now."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsExpired:
    """The group's position no longer exists in the partition; reading continues at its beginning."""

    partition: Partition
    records: int
    """How many the broker has deleted, by age or size, before they were read; 0: the topic was created anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJoined:
    """The consumer has met the brokers, and subscribes."""

    cluster: str
    """Its id, as the brokers tell it; empty: they do not."""
    group: str
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionBegun:
    """The group had no position in the partition; it begins there."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseWentBack:
    """The database lacks what the group had behind it: records are read again."""

    partition: Partition
    offset: int
    """Where reading goes on."""
    records: int
    """How many are read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStuck:
    """A record can be neither read nor set aside: its partition waits in front of it, the others go on."""

    partition: Partition
    offset: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFreed:
    """A partition that was stuck goes on."""

    partition: Partition
    offset: int
    """Where."""
    skipped: bool
    """An operator has given up the record that could not be read; otherwise it could be read at last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsWithheld:
    """Records behind a transaction that stays open are not handed out; 0: they are again. Told once."""

    partition: Partition
    records: int
    seconds: float
    """For how long by now."""


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
    | GroupJoined
    | PartitionBegun
    | DatabaseWentBack
    | PartitionStuck
    | PartitionFreed
    | RecordsWithheld
)
