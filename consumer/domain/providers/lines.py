"""Atoms as the database takes them: a JSON object a line, and beside it what is kept of the delivery itself."""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

from consumer.domain.providers import phones, shapes
from consumer.domain.providers.atoms import VERSION, Atoms, Effect, Identity, Message

Dumps: TypeAlias = Callable[[Any], bytes]
"""JSON in one line, as orjson.dumps writes it; it may raise for what JSON cannot say, and is then given less."""

_TOKEN: Final = re.compile(rb"([0-9A-F]{16,64})\0?\Z")
_MAX_NAME: Final = 1024
"""Characters of an author_name: the schema of events takes no more, and no message is refused for that."""
_SMALL: Final = 200
"""Bytes of a body that are not worth compressing."""
_WINDOW: Final = 4096
"""Bytes of a body that a small compressor compresses as well as a large one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a delivery contributes to a call, as JSON; lines lack their beginning, which tells the delivery's place."""

    head: str
    body: bytes | None
    lines: tuple[str, ...]
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A POST, and what it says."""

    provider: str
    body: bytes | None
    """As it came; None where the database has it."""
    atoms: Atoms | None
    """None: it is only to be stored, and read later."""
    account: str | None = None
    """That the route told: the bot of Telegram."""
    id: int | None = None
    """Of the row that there is already."""
    received_at: str | None = None
    error: str | None = None
    part: Atoms | None = None
    """Those of the atoms that a call is about, when they are too many for one; None: all of them."""
    is_finished: bool = True
    """Whether all of it has taken effect once this call has committed."""
    written: Written | None = field(default=None, repr=False, compare=False)
    """What `written_of` has made of all this, if it was called already: while a call is under way, the next one can be
    prepared."""

    @property
    def told(self) -> Atoms | None:
        """The atoms that a call is about."""
        return self.part or self.atoms


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The arguments of router.take_deliveries."""

    deliveries: str
    bodies: list[bytes | None]
    lines: str
    effects: str


def call_of(deliveries: Sequence[Delivery], dumps: Dumps) -> Call:
    """One call for several deliveries; their places in it are what the answer names them by."""
    heads: list[str] = []
    bodies: list[bytes | None] = []
    lines: list[str] = []
    effects: list[str] = []
    for place, delivery in enumerate(deliveries):
        written = delivery.written or written_of(delivery, dumps)
        heads.append(written.head)
        bodies.append(written.body)
        begin = f'{{"delivery":{place},'
        lines += (begin + line for line in written.lines)
        effects += (begin + line for line in written.effects)
    return Call(deliveries=f"[{','.join(heads)}]", bodies=bodies, lines="\n".join(lines), effects="\n".join(effects))


def written_of(delivery: Delivery, dumps: Dumps) -> Written:
    """What a delivery contributes to a call, whatever its place in it will be."""
    body, compressed = _packed(delivery.body)
    atoms = delivery.told or Atoms()
    return Written(
        head=_line(_head_of(delivery, compressed=compressed), dumps),
        body=body,
        lines=tuple(_without_place(line_of(message), dumps) for message in atoms.messages),
        effects=tuple(_without_place(effect_line_of(effect), dumps) for effect in atoms.effects),
    )


def line_of(message: Message, place: int = 0) -> dict[str, Any]:
    """A message as a row of webhook_events."""
    return {
        "delivery": place,
        "channel": message.channel,
        "type": "comment" if message.comment else "message",
        "event_id": message.id,
        "author_id": message.people[0].id if message.people else None,
        "author_name": message.name and message.name[:_MAX_NAME],
        "content": message.text,
        "event_date": message.sent_at,
        "post_id": message.post_id,
        "normalized": normalized_of(message),
    }


def normalized_of(message: Message) -> dict[str, Any]:
    """What the columns of webhook_events do not say of a message; an absent key says the usual."""
    found: dict[str, Any] = {"account": message.account} if message.account is not None else {}
    if message.outbound:
        found["direction"] = "outbound"
        if message.comment and message.reply_to is not None:
            found["own_comment"] = True
    if message.message_type != "text":
        found["message_type"] = message.message_type
    if metadata := message.metadata:
        found["metadata"] = dict(metadata)
        if link := next((item["link"] for item in metadata.get("attachments", ()) if item.get("link")), None):
            found["media_url"] = link
        if metadata.get("history"):
            found["history"] = True
    ids = {
        "thread": message.thread,
        "reply": message.reply_to,
        "reply_token": token_of(message.reply_to),
        "token": token_of(message.id),
        "status": message.status,
    }
    found |= {key: value for key, value in ids.items() if value is not None}
    _tell_people(message, found)
    return found


def effect_line_of(effect: Effect, place: int = 0) -> dict[str, Any]:
    """An effect as the database reads it, also from router.waiting: see router.effect."""
    person = effect.person
    return {
        "delivery": place,
        "kind": effect.kind,
        "id": effect.id,
        "channel": effect.channel,
        "target": effect.target,
        "token": token_of(effect.target),
        "account": effect.account,
        "person": person.id if person else None,
        "canonical": canonical_of(person, effect.channel) if person else None,
        "forms": list(forms_of(person, effect.channel)) if person else [],
        "at": effect.at,
        "ord": effect.ord,
        "subject": subject_of(effect.channel, effect.target) if effect.target else None,
        "content": {**effect.values, **_spellings_of(effect)},
    }


def canonical_of(person: Identity, channel: str) -> str:
    """The form that all spellings of an identity share."""
    return phones.canonical(person.id) if _has_spellings(person, channel) else person.id


def forms_of(person: Identity, channel: str) -> tuple[str, ...]:
    """The other spellings of an identity."""
    return phones.forms(person.id) if _has_spellings(person, channel) else ()


@lru_cache(maxsize=4096)  # asked several times of each id, and of one id for each status
def token_of(message_id: str | None) -> str | None:
    """What all wamids of one message have in common; None for other ids.

    A wamid encodes the other party as well, so that one message has several of them.
    """
    if message_id is None or not message_id.startswith("wamid."):
        return None
    encoded = message_id.removeprefix("wamid.").rstrip("=")
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    found = _TOKEN.search(decoded)
    return found[1].decode() if found else None


def subject_of(channel: str, message_id: str) -> int:
    """The number that router.deliveries and router.deleted_messages know a message by."""
    about = f"{channel}\0{token_of(message_id) or message_id}"
    return int.from_bytes(hashlib.blake2b(about.encode(), digest_size=8).digest(), signed=True)


def subjects_of(atoms: Atoms) -> list[int]:
    """Of all messages whose text or links the body may hold."""
    held = {(message.channel, message.id) for message in atoms.messages}
    held |= {(e.channel, e.target) for e in atoms.effects if e.kind in {"edit", "media"} and e.target}
    held.update(atoms.mentions)
    return sorted({subject_of(channel, message_id) for channel, message_id in held})


def kinds_of(atoms: Atoms) -> dict[str, int]:
    """How many atoms there are of each kind."""
    kinds: dict[str, int] = {}
    for part in (atoms.messages, atoms.effects, atoms.recorded):
        for atom in part:
            kinds[atom.kind] = kinds.get(atom.kind, 0) + 1
    return kinds


def _head_of(delivery: Delivery, *, compressed: bool) -> dict[str, Any]:
    head: dict[str, Any] = {"provider": delivery.provider, "account": delivery.account, "error": delivery.error}
    if delivery.id is not None:
        head["id"] = delivery.id
    if delivery.received_at is not None:
        head["received_at"] = delivery.received_at
    if not delivery.is_finished:
        head["partial"] = True
    if delivery.body is not None:
        head |= {"compressed": compressed, "digest": hashlib.sha256(delivery.body).hexdigest()}
    if (atoms := delivery.atoms) is not None:
        head |= {
            "version": VERSION,
            "kinds": kinds_of(atoms),
            "unknown": any(atom.kind == "unknown" for atom in atoms.recorded),
            "subjects": subjects_of(atoms) or None,
        }
    return head


def _tell_people(message: Message, found: dict[str, Any]) -> None:
    people, channel = message.people, message.channel
    if len(people) > 1 or any(person.kind == "user_id" or person.username for person in people):
        found["people"] = [
            {key: value for key, value in (("id", p.id), ("kind", p.kind), ("username", p.username)) if value}
            for p in people
        ]
    if channel == "whatsapp" and (spelt := [form for person in people for form in forms_of(person, channel)]):
        found["forms"] = spelt
    persons = list(dict.fromkeys([canonical_of(person, channel) for person in people]))
    if persons and persons != [people[0].id]:
        found["persons"] = persons


def _spellings_of(effect: Effect) -> dict[str, Any]:
    """Of the further identity that somebody has."""
    further = effect.values.get("id") if effect.kind == "system" else None
    if not isinstance(further, str):
        return {}
    identity = Identity(id=further, kind=effect.values.get("identity_kind"))
    return {"canonical": canonical_of(identity, effect.channel), "forms": list(forms_of(identity, effect.channel))}


def _has_spellings(person: Identity, channel: str) -> bool:
    return channel == "whatsapp" and person.kind != "user_id"


def _packed(body: bytes | None) -> tuple[bytes | None, bool]:
    if body is None or len(body) <= _SMALL:
        return body, False
    if len(body) > _WINDOW:
        packed = zlib.compress(body, 1)
    else:
        # A compressor clears its tables before it begins: the usual ones take thrice as long as a body of this size.
        small = zlib.compressobj(1, zlib.DEFLATED, 12, 5)
        packed = small.compress(body) + small.flush()
    return (packed, True) if len(packed) < len(body) else (body, False)


def _without_place(line: dict[str, Any], dumps: Dumps) -> str:
    del line["delivery"]
    return _line(line, dumps).removeprefix("{")


def _line(value: object, dumps: Dumps) -> str:
    try:
        return dumps(value).decode()
    except (TypeError, ValueError, RecursionError):
        return dumps(shapes.clean(value)).decode()
