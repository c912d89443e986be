"""Facts about Kafka as log lines. Topic, partition and offset say where a record lies; its content is never logged."""

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, assert_never

from consumer.domain.kafka_facts import (
    BrokersAnswer,
    CommitFailed,
    CommitFailure,
    ConsumerReplaced,
    DatabaseWentBack,
    GroupJoined,
    KafkaFact,
    LagSampled,
    OffsetsCommitted,
    PartitionBegun,
    PartitionFreed,
    PartitionsAssigned,
    PartitionsRevoked,
    PartitionStuck,
    RecordDeadLettered,
    RecordsDone,
    RecordsExpired,
    RecordsRead,
    RecordsWithheld,
    TopicsMissing,
)
from consumer.domain.records import Flaw

DEAD_LETTERS_A_MINUTE = 20
QUOTED = re.compile(r"""['"].*['"]""", re.DOTALL)


class KafkaLog:
    """Writes the lines of one Kafka source to a structlog logger."""

    def __init__(
        self,
        log: Any,  # noqa: ANN401 - structlog's loggers have no type of their own
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._now = now
        self._minute = now()
        self._told = 0
        self._untold = 0

    def __call__(self, fact: KafkaFact) -> None:  # noqa: C901, PLR0912 - one arm per fact is the point
        log = self._log
        match fact:
            case RecordsDone(traces=traces):
                for (topic, partition), offset, trace in traces:
                    log.debug("record done", topic=topic, partition=partition, offset=offset, traceparent=trace)
            case RecordDeadLettered():
                self._dead_lettered(fact)
            case CommitFailed(failure=CommitFailure.REBALANCED):
                log.info("a commit came too late, its records come again")
            case CommitFailed(reason=reason):
                log.warning("offsets are not committed yet, the next commit includes them", reason=reason)
            case PartitionsAssigned(partitions=partitions):
                counts = sorted(Counter(partition.topic for partition in partitions).items())
                log.info("partitions assigned", partitions=", ".join(f"{topic}: {n}" for topic, n in counts) or "none")
            case ConsumerReplaced(reason=reason):
                log.warning("the Kafka consumer is given up for a new one", reason=reason)
            case BrokersAnswer(answer=True):
                log.info("the Kafka brokers answer again")
            case BrokersAnswer():
                log.warning("the Kafka brokers do not answer, waiting for them")
            case TopicsMissing(topics=()):
                log.info("all topics are there")
            case TopicsMissing(topics=topics):
                log.warning("waiting for topics that do not exist yet, or not for this user", topics=", ".join(topics))
            case RecordsExpired(partition=(topic, partition), records=0):
                log.warning("a topic was made anew, reading it from its beginning", topic=topic, partition=partition)
            case RecordsExpired(partition=(topic, partition), records=records):
                log.error(
                    "the broker has deleted records before they were read",
                    topic=topic,
                    partition=partition,
                    records=records,
                )
            case RecordsRead() | OffsetsCommitted() | PartitionsRevoked() | LagSampled():
                pass
            case GroupJoined() | PartitionBegun() | DatabaseWentBack() | PartitionStuck() | PartitionFreed():
                pass
            case RecordsWithheld():
                pass
            case _:
                assert_never(fact)

    def _dead_lettered(self, fact: RecordDeadLettered) -> None:
        """A line each, as long as they are few: a topic full of garbage must not fill the disk."""
        now = self._now()
        if now - self._minute >= 60:
            if self._untold:
                self._log.warning("more records were set aside", records=self._untold)
            self._minute, self._told, self._untold = now, 0, 0
        if self._told >= DEAD_LETTERS_A_MINUTE:
            self._untold += 1
            return
        self._told += 1
        flawed = fact.flawed
        about = {
            "error": flawed.flaw,
            "code": flawed.code,
            # The database quotes what it refuses; the event schema quotes the names of unknown fields.
            "reason": QUOTED.sub("…", flawed.reason) if flawed.flaw is not Flaw.REFUSED else "",
            "traceparent": fact.trace,
        }
        self._log.warning(
            "record set aside in the dead-letter topic",
            topic=fact.partition.topic,
            partition=fact.partition.partition,
            offset=fact.offset,
            **{name: value for name, value in about.items() if value},
        )
