"""Metrics without a service: the histogram that takes batches, and what Prometheus's own tool says of all of it."""

import math
import subprocess

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from consumer.adapters.telemetry.metrics import LATENCY_BUCKETS, BatchHistogram, Metrics
from tests.deploy.tools import tool

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


def test_promtool_finds_nothing_to_criticise() -> None:
    """Names, units, help texts and types are as Prometheus wants them."""
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=Metrics().render(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
