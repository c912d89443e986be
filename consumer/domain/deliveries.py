"""Deliveries on their way into the database: what became of them, and those that are to be read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain.providers.atoms import Atoms
from consumer.domain.providers.lines import Delivery
from consumer.domain.records import Refusal
from consumer.domain.routing import Batch

EXAMPLES: Final = 10
"""Groups of what was not understood that have an example: bodies are large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Outcome of one committed call that takes deliveries: all of them are stored."""

    batch: Batch
    effects: Mapping[str, Mapping[str, int]]
    """By kind: how many were applied, wait, or were known."""
    refusals: tuple[Refusal, ...]
    """Of deliveries, by their places in the call: not all that they say is in effect, and it is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """A delivery that is stored, and is to be read now."""

    id: int
    provider: str
    account: str | None
    received_at: str
    """ISO 8601."""
    age: float
    """Seconds since then."""
    body: bytes | None
    """None: it held a message that its author has deleted, or it cannot be read."""
    error: str | None = None
    """Why it cannot be read."""

    def known(self, delivery: Delivery) -> Delivery:
        """What was read of it, as a delivery that the database has."""
        return replace(delivery, id=self.id, received_at=self.received_at, body=None, written=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """Outcome of one committed step over the effects that wait."""

    applied: int
    expired: int
    """Given up, since what they change has not come."""
    place: str | None
    """Where the next step goes on, for the database to understand; None: the round is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A delivery that was not understood, as it may be shown to anybody on call."""

    id: int
    received_at: str
    size: int
    """Bytes of the body as it is stored."""
    shape: str
    """See `consumer.domain.masking`; or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """Deliveries of one kind that are not quite in order."""

    state: str
    """unknown: something was not understood; waiting: not in effect, and tried again; dead: not in effect for good."""
    provider: str
    kinds: Sequence[str]
    """Of all atoms that they have, sorted; none of those that are not in effect."""
    error: str | None
    """Of those that are not in effect."""
    deliveries: int
    atoms: int
    """That were not understood."""
    last_received_at: str
    last_id: int
    is_partial: bool
    """Whether there may be more, since only the latest were looked at."""
    example: Example | None = None
    """Of the first groups that were not understood; None: no body is left."""


def size_of(delivery: Delivery) -> int:
    """Atoms that it has effects of, or those of the part that a call is about."""
    atoms = delivery.told
    return 0 if atoms is None else len(atoms.messages) + len(atoms.effects)


def parts_of(delivery: Delivery, most: int) -> Sequence[Delivery]:
    """The same delivery for several calls, each about at most so many atoms; with the last one it is finished."""
    atoms = delivery.told or Atoms()
    pieces = [Atoms(messages=atoms.messages[at : at + most]) for at in range(0, len(atoms.messages), most)]
    pieces += [Atoms(effects=atoms.effects[at : at + most]) for at in range(0, len(atoms.effects), most)]
    last = len(pieces) - 1
    return [
        replace(delivery, part=piece, is_finished=delivery.is_finished and number == last, written=None)
        for number, piece in enumerate(pieces)
    ]
