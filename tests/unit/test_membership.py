"""Two processes that are the same member of a group, by mistake."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.adapters.kafka.membership import Membership
from consumer.adapters.kafka.options import KafkaOptions
from consumer.domain.errors import Taken

SESSION = 10.0


def ends_after(times: Sequence[float], *, name: str | None = "one") -> int | None:
    """How many times it has joined, each time as somebody else, when it ends; None: it does not."""
    options = KafkaOptions(
        topics=("t",), group_id="g", dead_letter_topic="d", group_instance_id=name, session_timeout=SESSION
    )
    membership = Membership(options)
    for count, now in enumerate(times, start=1):
        consumer: Any = SimpleNamespace(_coordinator=SimpleNamespace(member_id=f"one-{count}"))
        membership.joined(consumer, now=now)
        membership.joined(consumer, now=now + 0.1)
        try:
            membership.check()
        except Taken:
            return count
    return None


@pytest.mark.parametrize(
    ("times", "ends"),
    [
        ([7 + 2.5 * turn for turn in range(20)], 4),  # it came last: its first turn is its first time in the group
        ([0, *(7 + 2.5 * turn for turn in range(20))], 8),  # it was there: the other one ends before
        ([0, *(7 + 2.5 * turn for turn in range(4))], None),
        ([SESSION * time for time in range(50)], None),  # sessions that end by themselves
    ],
    ids=["the later one", "the earlier one", "the other one has ended", "sessions end"],
)
def test_the_one_that_came_later_ends(times: Sequence[float], ends: int | None) -> None:
    """What was at work goes on as soon as the other one is gone."""
    assert ends_after(times) == ends


def test_without_a_name_nothing_is_shared() -> None:
    """Each member has an id of its own."""
    assert ends_after([float(turn) for turn in range(50)], name=None) is None
