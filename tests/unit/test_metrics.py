"""Metrics without a service: the histogram that takes batches."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from consumer.adapters.telemetry.metrics import LATENCY_BUCKETS, BatchHistogram

seconds = st.lists(st.floats(0, 100, allow_nan=False), max_size=50)


@given(batches=st.lists(seconds, max_size=5))
def test_it_is_the_clients_histogram(batches: list[list[float]]) -> None:
    """The same values give the same exposition, line by line (creation times and the sum's last digit aside)."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batchwise = BatchHistogram("latency_seconds", "Text.", LATENCY_BUCKETS)
    ours.register(batchwise)
    single = Histogram("latency_seconds", "Text.", ["path"], buckets=LATENCY_BUCKETS, registry=theirs)
    for batch in batches:
        batchwise.observe("hot", tuple(batch))
        child = single.labels("hot")
        for value in batch:
            child.observe(value)

    def lines(registry: CollectorRegistry) -> list[str]:
        return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]

    for mine, its in zip(lines(ours), lines(theirs), strict=True):
        if "_sum" in mine:
            assert math.isclose(float(mine.split()[-1]), float(its.split()[-1]), rel_tol=1e-9, abs_tol=1e-9)
        else:
            assert mine == its
