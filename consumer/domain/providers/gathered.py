"""What a normaliser has found so far: each atom once, however often the body says it."""

from dataclasses import replace
from typing import Any

from consumer.domain.providers.atoms import Atoms, Effect, Message, Recorded
from consumer.domain.providers.shapes import hash_of, id_of


class Gathered:
    """Atoms in the order of the body."""

    def __init__(self) -> None:
        self.heard = 0
        """How many atoms the body has told, repetitions included."""
        self._messages: dict[tuple[str, str], Message] = {}
        self._effects: dict[tuple[str, str, str], Effect] = {}
        self._recorded: list[Recorded] = []
        self._mentions: dict[tuple[str, str], None] = {}

    def message(self, message: Message) -> None:
        self.heard += 1
        place = (message.channel, message.id)
        known = self._messages.get(place)
        self._messages[place] = _both(known, message) if known else message

    def effect(self, effect: Effect) -> None:
        self.heard += 1
        self._effects.setdefault((effect.channel, effect.kind, effect.id), effect)

    def record(self, kind: str, *, is_unreadable: bool = False) -> None:
        self.heard += 1
        self._recorded.append(Recorded(kind=kind, is_unreadable=is_unreadable))

    def mention(self, channel: str, message_id: str | None) -> None:
        """The body may hold a text of that message, which has to go when the message is deleted."""
        if message_id is not None:
            self._mentions[(channel, message_id)] = None

    def atoms(self) -> Atoms:
        return Atoms(
            messages=tuple(self._messages.values()),
            effects=tuple(self._effects.values()),
            # A body that says nothing at all is not understood either.
            recorded=tuple(self._recorded) if self.heard else (Recorded(kind="unknown"),),
            mentions=tuple(self._mentions),
        )


def key_of(*parts: str) -> str:
    """An id made of several parts, and of their hash where it would be too long for a key."""
    key = ":".join(parts)
    return key if id_of(key) is not None else f"{parts[0][:32]}:{hash_of(*parts)}"


def _both(known: Message, again: Message) -> Message:
    """The same message, told twice: whatever either of them knows. Flags (standby) are true if either says so."""
    values: dict[str, Any] = {
        name: getattr(again, name)
        for name in ("account", "name", "text", "sent_at", "post_id", "reply_to", "thread", "status")
        if getattr(known, name) is None
    }
    if not known.people:
        values["people"] = again.people
    return replace(known, metadata={**again.metadata, **known.metadata}, **values)
