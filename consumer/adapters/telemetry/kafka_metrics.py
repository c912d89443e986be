"""Facts about Kafka as Prometheus series."""

from collections import Counter as Tally
from collections.abc import Callable
from typing import Protocol, assert_never

from prometheus_client import Counter, Gauge

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
from consumer.domain.records import Flaw, Skip


class ManyAtOnce(Protocol):
    """A histogram that takes many values in one call."""

    def observe(self, label: str, values: tuple[float, ...], /) -> None:
        """Adds the values, in seconds."""
        ...


class KafkaMetrics:
    """The series of one Kafka source; `counter`, `gauge` and `histogram` register one, given name, text and labels."""

    def __init__(
        self,
        *,
        counter: Callable[..., Counter],
        gauge: Callable[..., Gauge],
        histogram: Callable[[str, str, str], ManyAtOnce],
    ) -> None:
        place = ("topic", "partition")
        self._read = counter("kafka_records_read_total", "Records read, repeated ones included.", *place)
        self._skipped = counter("kafka_records_skipped_total", "Records that hold nothing to route.", "reason")
        self._repeated = counter("kafka_records_repeated_total", "Records whose event was done with before.")
        self._failures = counter("kafka_decode_failures_total", "Records that are no event, each reading.", "error")
        self._dead = counter("kafka_dead_letters_total", "Records written to the dead-letter topic.", "error")
        self._latency = histogram(
            "kafka_record_latency_seconds", "Time from a record's own timestamp to the commit of its event.", "topic"
        )
        self._commits = counter("kafka_commits_total", "Commits of offsets.")
        self._commit_failures = counter(
            "kafka_commit_failures_total", "Commits that failed; the records come again.", "reason"
        )
        self._commit_seconds = counter("kafka_commit_seconds_total", "Time spent in commits of offsets.")
        self._rebalances = counter("kafka_rebalances_total", "Rebalances that this replica has come out of.")
        self._assigned = gauge("kafka_assigned_partitions", "Partitions this replica reads now.", "topic")
        self._lag_records = gauge(
            "kafka_lag_records", "Records behind this replica's position, those of open transactions included.", *place
        )
        self._lag_seconds = gauge("kafka_lag_seconds", "For how long the oldest of them waits; 0 without any.", *place)
        self._replaced = counter("kafka_consumers_replaced_total", "Consumers given up for a new one.")
        self._silent = gauge("kafka_brokers_silent", "1 while the brokers do not answer.")
        self._missing = gauge("kafka_missing_topics", "Topics waited for since they do not exist.")
        self._expired = counter(
            "kafka_records_expired_total", "Records that the broker deleted before they were read.", *place
        )
        self._again = counter(
            "kafka_records_read_again_total", "Records read again since the database had gone back.", *place
        )
        self._stuck = gauge("kafka_stuck_partitions", "1 while a record can be neither read nor set aside.", *place)
        self._given_up = counter("kafka_records_given_up_total", "Records given up by `kafka skip`.", *place)
        self._withheld = gauge("kafka_withheld_records", "Records behind a transaction that is open.", *place)
        # Series that exist from the start can be alerted on before the first event of their kind.
        for flaw in Flaw:
            self._dead.labels(flaw)
            if flaw not in {Flaw.NOT_FOUND, Flaw.REFUSED}:
                self._failures.labels(flaw)
        for failure in CommitFailure:
            self._commit_failures.labels(failure)
        for skip in Skip:
            self._skipped.labels(skip)

    def __call__(self, fact: KafkaFact) -> None:  # noqa: C901, PLR0912 - one arm per fact is the point
        match fact:
            case RecordsRead(counts=counts):
                for partition, count in counts.items():
                    self._read.labels(*partition).inc(count)
            case RecordsDone():
                self._done(fact)
            case RecordDeadLettered(flawed=flawed):
                self._dead.labels(flawed.flaw).inc()
            case OffsetsCommitted(seconds=seconds):
                self._commits.inc()
                self._commit_seconds.inc(seconds)
            case CommitFailed(failure=failure):
                self._commit_failures.labels(failure).inc()
            case PartitionsAssigned(partitions=partitions):
                self._rebalances.inc()
                for topic, count in Tally(partition.topic for partition in partitions).items():
                    self._assigned.labels(topic).set(count)
                for partition in partitions:
                    self._stuck.labels(*partition)
                    for counter in (self._again, self._expired, self._given_up):
                        counter.labels(*partition)
            case PartitionsRevoked():
                # The next owner of the partitions reports their lag; reported here as well, it would count twice.
                for gauge in (self._assigned, self._lag_records, self._lag_seconds, self._withheld, self._stuck):
                    gauge.clear()
            case LagSampled(lags=lags):
                for gauge in (self._lag_records, self._lag_seconds, self._withheld):
                    gauge.clear()
                for lag in lags:
                    self._lag_records.labels(*lag.partition).set(lag.records)
                    self._lag_seconds.labels(*lag.partition).set(lag.seconds)
                    self._withheld.labels(*lag.partition).set(lag.withheld)
            case ConsumerReplaced():
                self._replaced.inc()
            case BrokersAnswer(answer=answer):
                self._silent.set(not answer)
            case TopicsMissing(topics=topics):
                self._missing.set(len(topics))
            case RecordsExpired(partition=partition, records=records):
                self._expired.labels(*partition).inc(records)
            case DatabaseWentBack(partition=partition, records=records):
                self._again.labels(*partition).inc(records)
            case PartitionStuck(partition=partition):
                self._stuck.labels(*partition).set(1)
            case PartitionFreed(partition=partition, skipped=skipped):
                self._stuck.labels(*partition).set(0)
                self._given_up.labels(*partition).inc(skipped)
            case GroupJoined() | PartitionBegun() | RecordsWithheld():
                pass
            case _:
                assert_never(fact)

    def _done(self, fact: RecordsDone) -> None:
        for skip, count in fact.skipped.items():
            self._skipped.labels(skip).inc(count)
        for flaw, count in fact.flawed.items():
            self._failures.labels(flaw).inc(count)
        self._repeated.inc(fact.repeated)
        for topic, ages in fact.ages.items():
            self._latency.observe(topic, ages)
