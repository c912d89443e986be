"""How long routed events are kept."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from consumer.domain.parked import age

SHORTEST: Final = timedelta(hours=1)
"""Less is a typing error: what is deleted is gone."""


class Kind(StrEnum):
    """What goes once it is old enough."""

    EVENTS = "events"
    PAYLOADS = "payloads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing, and how long it is kept after its event was routed."""

    kind: Kind
    keep: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneStep:
    """What one step of pruning has done, or would do."""

    gone: int
    """Events, or payloads."""
    bytes: int
    """What they took in their table, about."""
    refused: int
    """Events that the application keeps, by a foreign key or a trigger."""
    reason: str | None
    """Why it keeps the first of them; nothing of the event."""
    place: str | None
    """Where the next step goes on; None: nothing else is due."""
    oldest: float | None
    """When the oldest event that is left was routed, as a Unix time; None: none is left."""
    busy: bool
    """Another session prunes at this moment: nothing was done."""
    seconds: float
    """How long the step took."""


def keeping(text: str) -> timedelta:
    """For how long something is to be kept: 90d, 12h and the like.

    Raises:
        ValueError: it is no duration, or less than an hour; in words.
    """
    found = age(text.strip())
    if found < SHORTEST:
        raise ValueError(f"{text.strip()} is less than an hour, and what is deleted too early is gone")
    return found
