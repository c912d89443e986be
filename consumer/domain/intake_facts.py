"""Facts about deliveries, as providers POST them; part of the closed union in consumer.domain.facts.

Nothing of a body, a header or a token is in any of them: providers, kinds and numbers only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from consumer.domain.providers.atoms import Atoms
from consumer.domain.providers.lines import Delivery, kinds_of
from consumer.domain.routing import Path

UNKNOWN: Final = "unknown"
"""The kind of an atom that no normaliser understands."""
EDIT_ZERO: Final = "edit_zero"
"""What an edit numbered 0 is counted as: it stands for a message that Meta could not deliver, and nobody can read."""


def counted(atoms: Atoms) -> Mapping[str, int]:
    """How many atoms there are of each kind, messages that nobody can read told from edits."""
    counts = dict(kinds_of(atoms))
    for atom in atoms.recorded:
        if atom.is_unreadable:
            counts[atom.kind] -= 1
            counts[EDIT_ZERO] = counts.get(EDIT_ZERO, 0) + 1
    return {kind: count for kind, count in counts.items() if count}


def counted_of(deliveries: Iterable[Delivery]) -> Mapping[tuple[str, str], int]:
    """The same, by provider and kind, of what a call was about."""
    counts: Counter[tuple[str, str]] = Counter()
    for delivery in deliveries:
        if delivery.told is not None:
            for kind, count in counted(delivery.told).items():
                counts[delivery.provider, kind] += count
    return counts


class Outcome(StrEnum):
    """What became of a POST."""

    TAKEN = "taken"
    """200: it is stored, and in effect."""
    DEFERRED = "deferred"
    """200: it is stored, and takes effect later."""
    SIGNATURE = "signature"
    """401: its signature, or secret, is wrong or missing."""
    TOO_LARGE = "too_large"
    """413."""
    BAD_REQUEST = "bad_request"
    """Another answer that begins with 4: half a body, a wrong verify token, a method that is not served."""
    BUSY = "busy"
    """503: too many are in flight."""
    DATABASE = "database"
    """503: the database is away."""
    REFUSED = "refused"
    """503: the tables' owner has refused to let the channel in."""


TURNED_AWAY: Final = frozenset({Outcome.BUSY, Outcome.DATABASE, Outcome.REFUSED})
"""The provider is asked to send it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A POST of a provider, and its answer."""

    provider: str
    outcome: Outcome
    seconds: float
    """From its beginning to its answer."""
    trace: str | None
    """Its traceparent, if it has one and comes from whom it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveriesTaken:
    """Deliveries were stored, and have taken effect unless they are deferred. Told after the commit, and right before
    the events that the same call has routed."""

    path: Path | None = None
    """How they came to be taken."""
    seconds: float = 0.0
    """Duration of the call."""
    posts: tuple[Post, ...] = ()
    """Those of `answered` that are POSTs, one by one."""
    answered: Mapping[tuple[str, Outcome], int] = field(default_factory=dict)
    """By provider: POSTs that have got 200 for it, or records of Kafka. Empty where they were counted before."""
    atoms: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By provider and kind, of those that have taken effect."""
    effects: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By kind and what became of them, see router.take_deliveries: applied, waiting or known."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """By provider: deliveries whose effects, or some of them, failed; they are tried again."""
    committed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By provider: seconds from the beginning of each POST to the commit."""
    routed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By provider: seconds from the beginning of each POST to the commit of its effects, deferred ones included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTurnedDown:
    """A POST got an answer that is not 200; nothing of it is stored."""

    provider: str
    outcome: Outcome
    post: Post | None = None
    """None: it was no delivery, or has not come as far as to be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """How many POSTs have been accepted and not answered yet."""

    deliveries: int
    size: int = 0
    """Bytes of their bodies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSwept:
    """A step over the effects that wait has applied, or given up, some."""

    applied: int
    expired: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSampled:
    """What is stored and not in effect, at one moment; counts end at a bound."""

    waiting: Mapping[str, int]
    """By kind: effects that wait for what they change."""
    waiting_seconds: float
    """For how long the oldest of them waits; 0 without any."""
    deferred: int
    """Deliveries that have not taken effect."""
    deferred_seconds: float
    """Age of the oldest of them; 0 without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRefused:
    """A provider's channel is refused by a check of the tables; empty: it is let in again."""

    provider: str
    reason: str


IntakeFact = DeliveriesTaken | DeliveryTurnedDown | InFlight | WaitingSwept | IntakeSampled | ProviderRefused
