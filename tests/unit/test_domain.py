"""Backoff and the values of a batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.backoff import Backoff
from consumer.domain.routing import BEGINNING, Batch


@given(attempt=st.integers(1, 10**9), jitter=st.floats(0, 1, exclude_max=True))
def test_delays_are_bounded(attempt: int, jitter: float) -> None:
    """However long a database is away, a delay is between half the first and the whole maximum."""
    backoff = Backoff(first=0.1, maximum=15.0)
    assert 0.05 <= backoff.delay(attempt, jitter=jitter) <= 15.0


def test_delays_double() -> None:
    """Without a limit in the way, each delay is twice the one before."""
    backoff = Backoff(first=0.5, maximum=100.0)
    assert [backoff.delay(n, jitter=1.0) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]


def test_jitter_spreads() -> None:
    """Two replicas with different luck come back at different times."""
    backoff = Backoff()
    assert backoff.delay(5, jitter=0.0) < backoff.delay(5, jitter=0.9)


@pytest.mark.parametrize(
    ("counts", "routed", "already"),
    [((10, 7, 1, 0), 9, 2), ((0, 0, 0, 0), 0, 0), ((3, 0, 3, 0), 0, 0), ((9, 3, 2, 4), 3, 0)],
)
def test_a_batch_adds_up(counts: tuple[int, int, int, int], routed: int, already: int) -> None:
    """Claimed events are routed, parked or held; routed ones made a message or had one."""
    claimed, inserted, parked, held = counts
    batch = Batch(
        claimed=claimed,
        inserted=inserted,
        parked=parked,
        dead=0,
        channels=(),
        ages=(),
        reached=BEGINNING,
        seconds=0.0,
        held=held,
    )
    assert (batch.routed, batch.already) == (routed, already)
