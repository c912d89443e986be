"""Routing: what a call takes, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Path(StrEnum):
    """How an event came to be routed."""

    HOT = "hot"
    """Woken by the doorbell (or the short poll), in the order of arrival."""
    SWEEP = "sweep"
    """Found by the reconciliation loop: missed by the hot path, re-opened, or due for another attempt."""
    KAFKA = "kafka"
    """Came as a record of a topic."""
    GATEWAY = "gateway"
    """Came in a delivery, and was routed before that was answered."""
    INTAKE = "intake"
    """Came in a delivery that was stored first."""


CALL: Final = "call"
"""In the place of a path: somebody has called a function of the public API, or run a command, which routed it."""
_WORDS: Final[Mapping[str, str]] = {
    Path.HOT: "by the hot path",
    Path.SWEEP: "by the sweep",
    Path.KAFKA: "by the call that took its Kafka record",
    Path.GATEWAY: "by the gateway, before the delivery was answered",
    Path.INTAKE: "by the intake loop, from a stored delivery",
    CALL: "by a function or a command that was called",
}


def routed_by(path: str) -> str:
    """In words, for a value of webhook_events.routed_by: a later release may have written one that this one lacks."""
    return _WORDS.get(path, f"by {path}")


class Bell(StrEnum):
    """What a routing call does about the doorbell."""

    SILENCE = "silence"
    """This consumer is awake: writers need not notify."""
    ARM = "arm"
    """This consumer goes to sleep after this last look: writers notify again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the order of arrival: `created_at` and `id` of an event.

    The time is a number: Postgres has times that Python does not have (infinity, the year 20000), and how it writes
    them as text depends on settings of the database.
    """

    at: int | None
    """Microseconds since the beginning of 2000, as Postgres counts them; None is the moment of the call."""
    id: str


_FIRST_ID = "00000000-0000-0000-0000-000000000000"
NOW = Cursor(at=None, id=_FIRST_ID)
"""The moment of the call, by the database's clock."""
BEGINNING = Cursor(at=-(2**63), id=_FIRST_ID)
"""Before every event: Postgres's -infinity."""
END = Cursor(at=2**63 - 1, id=_FIRST_ID)
"""After every event, but for one that arrived at infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of the order of arrival a routing call looks at. Times in seconds."""

    after: Cursor = BEGINNING
    """Only events after it."""
    overlap: float = 0.0
    """Begins that long before `after`, for events whose transactions committed late."""
    until: Cursor | None = None
    """Only events that arrived more than `margin` before it; None: all."""
    margin: float = 0.0
    lane: int = 0
    lanes: int = 1
    """Only events of the people in this lane of so many, so that no two lanes work on one conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Outcome of one committed routing call."""

    claimed: int
    """Events taken: routed, parked and held ones."""
    inserted: int
    """Messages made; routed events beyond these had their message already."""
    parked: int
    """Events set aside with an error."""
    dead: int
    """Those of the parked ones that get no further attempt unless an operator asks for one."""
    channels: tuple[str, ...]
    """Channel of each routed event."""
    ages: tuple[float, ...]
    """Seconds from `created_at` to the commit of each routed event, by the database's clock."""
    reached: Cursor
    """Everything visible up to here has been claimed, by this call or before: the next call may start after it."""
    seconds: float
    """Duration of the call, as measured by this process."""
    held: int = 0
    """Events left as they were, for which the schema is to blame and not they: a later call tries them again."""
    held_reason: str | None = None
    """Why most of them are: SQLSTATE, message, object of the schema; never a text that an event may have given."""

    @property
    def routed(self) -> int:
        """Events that are done with."""
        return self.claimed - self.parked - self.held

    @property
    def already(self) -> int:
        """Events that were only marked, since their message existed."""
        return self.routed - self.inserted


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is waiting, at one moment."""

    ready: int
    """Events to be routed now."""
    oldest_seconds: float
    """Age of the oldest of them, 0 when there is none."""
    parked: int
    """Events that wait for another attempt."""
    dead: int
    """Events that wait for an operator."""
    notification_queue: float
    """Share of the server's notification queue in use, 0 to 1: it fills while a listener stays in a transaction."""
