"""Kafka records, and what one can mean: an event to store and route, its name, a body, nothing to do, or a flaw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from consumer.domain.lag import Partition
from consumer.domain.routing import Batch
from consumer.domain.webhook import Body, Intake

Headers = Sequence[tuple[str, bytes | None]]

UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium writes, unless told otherwise, for a large value that a change left alone and the log does not hold."""


class Flaw(StrEnum):
    """Why a record can never be processed; a label of metrics and a header of its dead letter."""

    TOO_BIG = "too_big"
    NOT_JSON = "not_json"
    NOT_AN_EVENT = "not_an_event"
    """None of the known forms, or one that violates the event schema."""
    NOT_A_CHANGE = "not_a_change"
    """Looks like a Debezium record, but is not one."""
    NOT_A_CLOUD_EVENT = "not_a_cloud_event"
    NOT_FOUND = "not_found"
    """Names an event that is not in webhook_events."""
    REFUSED = "refused"
    """By the database; the dead letter has its SQLSTATE."""
    UNREADABLE = "unreadable"
    """Not in the format of Kafka: the dead letter has its bytes, or those of its batch."""


class Skip(StrEnum):
    """Why a record is skipped, although nothing is wrong with it."""

    TOMBSTONE = "tombstone"
    DELETE = "delete"
    """An event was deleted, or the table truncated: what was routed stays."""
    NOTHING_TO_ROUTE = "nothing_to_route"
    """A change of an event that is already routed or parked, mostly the mark that routing itself makes; or of none."""
    HEARTBEAT = "heartbeat"
    """Of Debezium, which keeps its place in the log by it."""
    TRANSACTION = "transaction"
    """Where a transaction of the source database begins or ends, as Debezium tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flawed:
    """A record that can never be processed."""

    flaw: Flaw
    reason: str
    code: str = ""
    """SQLSTATE, when the database said so."""


Meaning = Intake | Body | Skip | Flawed


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as it was read."""

    partition: Partition
    offset: int
    timestamp: float
    """Unix seconds, as the producer or the broker set it."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    meaning: Meaning
    trace: str | None
    """The W3C traceparent that came with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record for the dead-letter topic, and why it goes there."""

    record: Record
    flawed: Flawed


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An intake that the database has not accepted."""

    place: int
    """Index of the intake in its call."""
    code: str
    """SQLSTATE; P0002: names an event that does not exist."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOutcome:
    """What became of the intakes of one committed call: those not refused are routed, were so before, or are parked."""

    batch: Batch
    """The events among them that had been neither routed nor parked before."""
    refusals: tuple[Refusal, ...] = ()
    behind: Mapping[Partition, int | None] = field(default_factory=dict)
    """Partitions in which the call noted nothing, since the database has gone back: where it is; None: at nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """JSON and the event schema, handed in so that this module needs no library."""

    loads: Callable[[bytes | str], Any]
    """Raises ValueError."""
    dumps: Callable[[object], str]
    """Without line feeds. Raises ValueError."""
    problem: Callable[[dict[str, Any], str], str | None]
    """What is wrong with an event, given as it was read and as text."""
