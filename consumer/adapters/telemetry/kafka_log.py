"""Facts about Kafka as log lines. Topic, partition and offset say where a record lies; its content is never logged."""

import itertools
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping
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
from consumer.domain.lag import Partition
from consumer.domain.records import Flaw

DEAD_LETTERS_A_MINUTE = 20
PARTITIONS_AT_ONCE = 10
"""With the same line: a database that went back, or an open transaction, may concern hundreds."""
ABOUT_A_PARTITION = (DatabaseWentBack, PartitionBegun, PartitionFreed, PartitionStuck, RecordsExpired, RecordsWithheld)
"""Facts that come in a row, one for each partition."""
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
        self._begun: dict[Partition, int] = {}
        self._in_a_row: Counter[str] = Counter()

    def __call__(self, fact: KafkaFact) -> None:  # noqa: C901, PLR0912, PLR0915 - one arm per fact is the point
        log = self._log
        if not isinstance(fact, ABOUT_A_PARTITION):
            self._end_of_row()
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
            case GroupJoined(cluster=cluster, group=group, topics=topics):
                known = {"cluster": cluster} if cluster else {}
                log.info("reading as a member of the group", **known, group=group, topics=", ".join(topics))
            case PartitionBegun(partition=partition, offset=offset):
                self._begun[partition] = offset
            case DatabaseWentBack(partition=partition, offset=offset, records=records):
                self._about(
                    log.warning,
                    "the database has gone back, records that it lacks are read again",
                    partition,
                    offset=offset,
                    records=records,
                )
            case PartitionStuck(partition=partition, offset=offset, reason=reason):
                skip = shlex.join(["webhook-router", "kafka", "skip", partition.topic, f"{partition.partition}"])
                log.error(
                    "a record can be neither read nor set aside, its partition waits in front of it",
                    topic=partition.topic,
                    partition=partition.partition,
                    offset=offset,
                    reason=reason,
                    advice=f"it goes on once that is mended; to give the record up: {skip} {offset}",
                )
            case PartitionFreed(partition=(topic, partition), offset=offset, skipped=True):
                log.warning("a record was given up, its partition goes on", topic=topic, partition=partition, at=offset)
            case PartitionFreed(partition=(topic, partition), offset=offset):
                log.info("a partition that waited goes on", topic=topic, partition=partition, at=offset)
            case RecordsWithheld(partition=partition, records=0):
                self._about(log.info, "the transaction that records waited for has ended", partition)
            case RecordsWithheld(partition=partition, records=records, seconds=seconds):
                self._about(
                    log.warning,
                    "records wait behind a transaction that stays open",
                    partition,
                    records=records,
                    seconds=round(seconds),
                )
            case _:
                assert_never(fact)

    def _about(self, write: Callable[..., object], event: str, partition: Partition, **values: int) -> None:
        """A line about a partition, as long as they are few; `_end_of_row` tells how many others there were."""
        self._in_a_row[event] += 1
        if self._in_a_row[event] <= PARTITIONS_AT_ONCE:
            write(event, topic=partition.topic, partition=partition.partition, **values)

    def _end_of_row(self) -> None:
        """A fact of another kind has come, as one does within seconds: what was kept back is told in short."""
        for event, count in self._in_a_row.items():
            if count > PARTITIONS_AT_ONCE:
                self._log.warning("the same in other partitions", partitions=count - PARTITIONS_AT_ONCE, line=event)
        self._in_a_row.clear()
        begun, self._begun = self._begun, {}
        for topic, places in itertools.groupby(sorted(begun), key=lambda partition: partition.topic):
            offsets = {partition.partition: begun[partition] for partition in places}
            self._log.info("the group begins here, it had no position", topic=topic, offsets=_in_short(offsets))

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


def _in_short(offsets: Mapping[int, int]) -> str:
    """Partitions and their offsets: `0-11: 0`, or `0: 17, 1: 20 and 80 more`."""
    runs: list[tuple[int, int, int]] = []
    for partition, offset in sorted(offsets.items()):
        if runs and runs[-1][1:] == (partition - 1, offset):
            runs[-1] = (runs[-1][0], partition, offset)
        else:
            runs.append((partition, partition, offset))
    told, more = runs[:PARTITIONS_AT_ONCE], runs[PARTITIONS_AT_ONCE:]
    said = ", ".join(
        f"{first}: {offset}" if first == last else f"{first}-{last}: {offset}" for first, last, offset in told
    )
    return said + (f" and {sum(last - first + 1 for first, last, _ in more)} more" if more else "")
