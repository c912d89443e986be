"""An entry of Meta's envelope: whose it is, when it was sent, and what has been found."""

import json
from dataclasses import dataclass
from typing import Any

from consumer.domain.providers.atoms import Context, Identity
from consumer.domain.providers.gathered import Gathered
from consumer.domain.providers.shapes import clean, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    channel: str
    id: str | None
    """Ours: the page or the Instagram account."""
    time: str | None
    """Of this delivery: a repetition has another one."""
    raw_time: Any
    context: Context
    found: Gathered


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who talks with whom."""

    account: str | None
    person: str | None
    sender: str | None
    """One of the two, as the event names it."""
    from_us: bool

    @property
    def people(self) -> tuple[Identity, ...]:
        return (Identity(id=self.person),) if self.person else ()

    @property
    def identity(self) -> Identity | None:
        return Identity(id=self.person) if self.person else None


def parties_of(entry: Entry, sender: str | None, recipient: str | None, *, echo: bool = False) -> Parties:
    """The side that is not entry.id is the person: in some events of theirs the page is the sender.

    Where neither is entry.id, as at the dashboard's test button, people write to us, and echoes are our own.
    """
    if sender is not None and sender == entry.id:
        return Parties(account=sender, person=recipient, sender=sender, from_us=True)
    if recipient is not None and recipient == entry.id:
        return Parties(account=recipient, person=sender, sender=sender, from_us=echo)
    if echo:
        return Parties(account=sender or entry.id, person=recipient, sender=sender, from_us=True)
    return Parties(account=recipient or entry.id, person=sender, sender=sender, from_us=False)


def payload_of(value: object) -> str | None:
    """What a button carries, as text whatever it is."""
    if value is None or value == "":
        return None
    return text_of(value) if isinstance(value, str) else json.dumps(clean(value), ensure_ascii=False)
