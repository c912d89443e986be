"""What the metrics make of facts about partitions."""

from consumer.adapters.telemetry.metrics import Metrics
from consumer.domain.kafka_facts import (
    DatabaseWentBack,
    LagSampled,
    PartitionFreed,
    PartitionsAssigned,
    PartitionsRevoked,
    PartitionStuck,
)
from consumer.domain.lag import Partition, PartitionLag

PLACE = Partition("events", 3)


def values(metrics: Metrics, name: str) -> dict[str, float]:
    """The samples of a metric, by labels."""
    lines = metrics.render().decode().splitlines()
    samples = (line.removeprefix(f"webhook_router_kafka_{name}{{") for line in lines if line.startswith("webhook"))
    return {labels: float(value) for labels, _, value in (line.partition("} ") for line in samples) if value}


def of(metrics: Metrics, name: str) -> float | None:
    """The one sample of the partition, if there is any."""
    return values(metrics, name).get('partition="3",topic="events"')


def test_series_of_a_partition_exist_before_anything_happens_to_it() -> None:
    """An increase from 0 can be seen; a first value of 1 could not."""
    metrics = Metrics()
    metrics(PartitionsAssigned(partitions=frozenset({PLACE})))
    for name in (
        "stuck_partitions",
        "records_read_again_total",
        "records_given_up_total",
        "records_expired_total",
    ):
        assert of(metrics, name) == 0, name


def test_a_partition_is_stuck_until_it_goes_on() -> None:
    """Whether its record was given up counts as well; what another replica has got is not reported any more."""
    metrics = Metrics()
    metrics(PartitionsAssigned(partitions=frozenset({PLACE})))
    metrics(PartitionStuck(partition=PLACE, offset=7, reason="a batch of format 9"))
    assert of(metrics, "stuck_partitions") == 1
    metrics(PartitionFreed(partition=PLACE, offset=8, skipped=False))
    assert (of(metrics, "stuck_partitions"), of(metrics, "records_given_up_total")) == (0, 0)
    metrics(PartitionStuck(partition=PLACE, offset=9, reason="a batch of format 9"))
    metrics(PartitionFreed(partition=PLACE, offset=10, skipped=True))
    assert (of(metrics, "stuck_partitions"), of(metrics, "records_given_up_total")) == (0, 1)
    metrics(PartitionStuck(partition=PLACE, offset=11, reason="a batch of format 9"))
    metrics(PartitionsRevoked())
    assert of(metrics, "stuck_partitions") is None
    assert of(metrics, "records_given_up_total") == 1


def test_what_is_read_again_and_what_is_withheld() -> None:
    """The one is counted, the other measured with the lag."""
    metrics = Metrics()
    metrics(DatabaseWentBack(partition=PLACE, offset=17, records=800))
    metrics(DatabaseWentBack(partition=PLACE, offset=17, records=6))
    assert of(metrics, "records_read_again_total") == 806
    metrics(LagSampled(lags=(PartitionLag(partition=PLACE, records=50, seconds=3.0, withheld=40),)))
    assert (of(metrics, "lag_records"), of(metrics, "withheld_records")) == (50, 40)
    metrics(PartitionsRevoked())
    assert of(metrics, "withheld_records") is None
