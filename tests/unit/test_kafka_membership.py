"""When two processes are taken for the same member of the group."""

from types import SimpleNamespace
from typing import Any

import pytest

from consumer.adapters.kafka.membership import TURNS, Membership
from consumer.adapters.kafka.options import KafkaOptions
from consumer.domain.errors import Misconfigured

OPTIONS: dict[str, Any] = {
    "topics": ("events",),
    "group_id": "g",
    "dead_letter_topic": "d",
    "session_timeout": 10.0,
}


def join(membership: Membership, *, every: float, replaced: bool = False) -> None:
    """Joins under other ids, as often as it takes."""
    for turn in range(TURNS):
        if replaced:
            membership.left()
        consumer = SimpleNamespace(_coordinator=SimpleNamespace(member_id=f"member-{turn}"))
        membership.joined(consumer, now=turn * every)
        membership.joined(consumer, now=turn * every)  # a rebalance changes nothing


def test_only_ids_that_change_by_themselves_within_a_session_say_so() -> None:
    """Sessions that end last longer, and consumers that are replaced, as while a right is missing, have new ids."""
    named = KafkaOptions(**OPTIONS, group_instance_id="one")
    for options, every in ((KafkaOptions(**OPTIONS), 1.0), (named, 10.0)):
        membership = Membership(options)
        join(membership, every=every)
        membership.check()
    membership = Membership(named)
    join(membership, every=1.0, replaced=True)
    membership.check()
    join(membership, every=1.0)
    with pytest.raises(Misconfigured, match="GROUP_INSTANCE_ID"):
        membership.check()
