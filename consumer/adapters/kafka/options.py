"""Options of the Kafka adapter, apart from its driver, so that config can make them without loading it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from consumer.domain.records import UNAVAILABLE

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """How to reach the brokers. Times in seconds."""

    bootstrap_servers: str
    """host:port, comma-separated."""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    """Authorities to trust, PEM; None: those of the system."""
    ssl_certfile: Path | None = None
    """A certificate of our own, PEM, for brokers that want one; with its key in it or in `ssl_keyfile`."""
    ssl_keyfile: Path | None = None
    stop_timeout: float = 5.0
    """For a client to sign off from the brokers; one that cannot goes on trying in the background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """What to read, as which group, and how long to wait. Times in seconds."""

    topics: tuple[str, ...]
    group_id: str
    dead_letter_topic: str
    start: Literal["earliest", "latest"] = "earliest"
    """Where a group begins that has no offsets yet."""
    largest_record: int = 4 * 1_048_576
    """Bytes; larger values are dead letters."""
    unavailable_value: str = UNAVAILABLE
    """What stands in change records for a value that the connector does not have."""
    session_timeout: float = 10.0
    """A member that is silent for so long is considered dead, and others get its partitions."""
    commit_timeout: float = 5.0
    """aiokafka's commit waits forever for a coordinator that is away."""
    commit_again_after: float = 10.0
    """After a commit that failed; what is read meanwhile is committed with it."""
    answer_timeout: float = 5.0
    """For a question that a healthy broker answers in milliseconds."""
    metadata_age: float = 10.0
    """After which a consumer asks again: it may have missed a topic or partition that had just been created."""
    dead_letter_timeout: float = 15.0
    sample_interval: float = 10.0
    """Between looks at the lag."""
    stall_after: float = 120.0
    """Without progress, although there is lag, before the consumer is replaced."""
