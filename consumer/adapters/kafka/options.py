"""Options of the Kafka adapter, apart from its driver, so that config can make them without loading it."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from consumer.domain.records import UNAVAILABLE

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
Start = Literal["earliest", "latest"] | datetime
REQUEST_TIMEOUT = 10.0
"""Seconds; longer where a session is longer, since joining a group may take as long as one."""
SETTING = "WEBHOOK_ROUTER_KAFKA_"
"""What the names of the settings begin with, for messages that say which one to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Where tokens for OAUTHBEARER come from: one of these."""

    token_file: Path | None = None
    """Read anew for each connection, since tokens expire and whoever writes the file renews it."""
    token_command: tuple[str, ...] | None = None
    """A program and its arguments, run for each connection; it prints the token."""
    msk_region: str | None = None
    """The region of an MSK cluster: tokens are signed with the AWS credentials of the process."""
    timeout: float = 10.0
    """Seconds for the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """How to reach the brokers. Times in seconds."""

    bootstrap_servers: str
    """host:port, comma-separated."""
    client_id: str = "webhook-router"
    """By which brokers tell clients apart, in their logs, metrics and quotas."""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    oauth: OAuth = OAuth()
    ssl_cafile: Path | None = None
    """Authorities to trust, PEM; None: those of the system."""
    ssl_certfile: Path | None = None
    """A certificate of our own, PEM, for brokers that want one; with its key in it or in `ssl_keyfile`."""
    ssl_keyfile: Path | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    request_timeout: float | None = None
    """None: `REQUEST_TIMEOUT`."""
    stop_timeout: float = 5.0
    """For a client to sign off from the brokers; one that cannot goes on trying in the background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """What to read, as which group, and how long to wait. Times in seconds."""

    topics: tuple[str, ...]
    """Empty where there is a pattern."""
    topics_pattern: str | None = None
    """A regular expression for whole names of topics, instead of the names themselves."""
    group_id: str
    group_instance_id: str | None = None
    """Of a member that keeps its partitions while it is restarted within its session; each member has its own."""
    client_rack: str | None = None
    """Where this replica runs, as brokers call it: it then reads from the nearest copy of a partition."""
    dead_letter_topic: str
    start: Start = "earliest"
    """Where a group begins that has no offsets yet; a time: with the first record that is not older."""
    largest_record: int = 4 * 1_048_576
    """Bytes; larger values are dead letters."""
    unavailable_value: str = UNAVAILABLE
    """What stands in change records for a value that the connector does not have."""
    session_timeout: float = 10.0
    """A member that is silent for so long is considered dead, and others get its partitions."""
    max_poll_interval: float = 300.0
    """A member that takes no records for so long leaves its group."""
    fetch_max_bytes: int = 16 * 1024 * 1024
    """From one broker at a time, so that a poll has a bound in bytes as well."""
    fetch_min_bytes: int = 1
    fetch_max_wait: float = 0.5
    """For `fetch_min_bytes`; after it the broker answers with what there is."""
    max_partition_fetch_bytes: int = 1024 * 1024
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

    def wanted(self, there: set[str]) -> frozenset[str]:
        """Those of the topics that exist which are to be read; never the dead letters, which would be read again."""
        if self.topics_pattern is None:
            return frozenset(self.topics) & there
        return frozenset(name for name in there if self._matches(name)) - {self.dead_letter_topic}

    def missing(self, there: set[str]) -> tuple[str, ...]:
        """Topics that are waited for; the pattern itself, if it matches none."""
        if self.topics_pattern is None:
            return tuple(sorted(set(self.topics) - there))
        return () if self.wanted(there) else (self.topics_pattern,)

    def _matches(self, name: str) -> bool:
        assert self.topics_pattern is not None
        return re.fullmatch(self.topics_pattern, name) is not None
