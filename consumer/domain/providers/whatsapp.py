"""WhatsApp Business Platform: bodies of the object whatsapp_business_account.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from consumer.domain.providers import phones
from consumer.domain.providers.atoms import Atoms, Context, Effect, Identity, Message
from consumer.domain.providers.gathered import Gathered, key_of
from consumer.domain.providers.shapes import (
    clean,
    hash_of,
    id_of,
    list_of,
    object_of,
    objects_of,
    ord_of_edit,
    text_of,
    time_of,
)
from consumer.domain.providers.whatsapp_contents import Content, content_of

_CHANNEL: Final = "whatsapp"
_STATUSES: Final = frozenset({"sent", "delivered", "read", "played", "failed"})
_HISTORY_STATUSES: Final = {status.upper(): status for status in _STATUSES} | {"ERROR": "failed"}
_PREFERENCES: Final = frozenset({"stop", "resume"})
_USER_ID: Final = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[0-9A-Za-z]+")
_NO_DIGIT: Final = re.compile(r"[^0-9]")
_RECORDED_FIELDS: Final = frozenset(
    {
        "account_alerts", "account_offboarded", "account_reconnected", "account_review_update",
        "account_settings_update", "account_update", "automatic_events", "business_capability_update",
        "business_status_update", "business_username_update", "calls", "flows", "group_lifecycle_update",
        "group_participants_update", "group_settings_update", "group_status_update",
        "message_template_components_update", "message_template_quality_update", "message_template_status_update",
        "messaging_handovers", "partner_solutions", "payment_configuration_update", "phone_number_name_update",
        "phone_number_quality_update", "security", "smb_app_state_sync", "template_category_update",
        "template_correct_category_detection", "template_performance_metrics", "tracking_events", "web_app_updates",
    }
)  # fmt: skip
"""About the account, calls, groups and contacts' names: nothing of them is a message."""


def atoms(body: object, context: Context) -> Atoms:
    """What a body says; any JSON value is one."""
    found = Gathered()
    for entry in objects_of(object_of(body).get("entry")):
        for change in objects_of(entry.get("changes")):
            _read_change(change, found, context, about=(id_of(entry.get("id")), time_of(entry.get("time"))))
    return found.atoms()


@dataclass(frozen=True, slots=True)
class _Contact:
    phone: str | None
    user_id: str | None
    username: str | None
    name: str | None

    def is_of(self, phone: str | None, user_id: str | None) -> bool:
        if user_id is not None and user_id == self.user_id:
            return True
        return None not in (phone, self.phone) and phones.canonical(phone or "") == phones.canonical(self.phone or "")


@dataclass(frozen=True, slots=True)
class _Side:
    """Who of the conversation a body is about."""

    people: tuple[Identity, ...]
    name: str | None

    @property
    def person(self) -> Identity | None:
        return self.people[0] if self.people else None


@dataclass(frozen=True, slots=True)
class _Value:
    """What the messages of one change have in common."""

    account: str | None
    own_number: str
    """In its canonical form; empty where none is told."""
    contacts: tuple[_Contact, ...]
    about: tuple[object, ...]
    """Id and time of the entry."""
    own_app_ids: frozenset[str]
    is_history: bool = False
    is_standby: bool = False

    def is_own(self, number: str | None) -> bool:
        if number is None:
            return False
        return number == self.account or (
            self.own_number != "" and phones.canonical(_digits(number)) == self.own_number
        )

    def side(self, phone: str | None, user_id: str | None) -> _Side:
        """The person by these ids, and by what contacts[] knows of it."""
        if phone is not None and user_id is None and _USER_ID.fullmatch(phone):
            phone, user_id = None, phone
        contact = next((one for one in self.contacts if one.is_of(phone, user_id)), None)
        if contact is None and phone is None and user_id is None and len(self.contacts) == 1:
            contact = self.contacts[0]
        if contact is not None:
            phone, user_id = phone or contact.phone, user_id or contact.user_id
        username = contact.username if contact else None
        people: list[Identity] = []
        if phone is not None:
            kind: Literal["phone"] | None = "phone" if phones.is_phone(phone) else None
            people.append(Identity(id=phone, kind=kind, username=None if user_id else username))
        if user_id is not None and user_id != phone:
            people.append(Identity(id=user_id, kind="user_id", username=username))
        return _Side(tuple(people), contact.name if contact else None)


def _read_change(change: Mapping[str, Any], found: Gathered, context: Context, about: tuple[object, ...]) -> None:
    name, content = change.get("field"), object_of(change.get("value"))
    if isinstance(name, str) and name in _RECORDED_FIELDS:
        found.record(name)
        return
    # What another app answers is told one level deeper.
    content = {**content, **object_of(content.get("standby"))}
    metadata = object_of(content.get("metadata"))
    value = _Value(
        account=id_of(metadata.get("phone_number_id")),
        own_number=phones.canonical(_digits(id_of(metadata.get("display_phone_number")) or "")),
        contacts=tuple(_contact_of(contact) for contact in objects_of(content.get("contacts"))),
        about=about,
        own_app_ids=context.own_app_ids,
        is_history=name == "history",
        is_standby=name == "standby",
    )
    is_read = False
    for key, read in _READERS:
        if isinstance(items := content.get(key), list):
            for item in items:
                read(object_of(item), value, found)
                is_read = True
    if not is_read:
        found.record("unknown")


def _read_message(message: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    if value.is_history:
        _read_media(message, value, found)
        return
    phone, user_id = id_of(message.get("from")), id_of(message.get("from_user_id"))
    if value.is_own(phone) and id_of(message.get("to")) is not None:
        _read_echo(message, value, found)
    elif value.is_own(phone):
        _read(message, value.side(None, user_id), value, found, outbound=True)
    else:
        _read(message, value.side(phone, user_id), value, found, outbound=False)


def _read_echo(message: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    app_id = id_of(message.get("app_id"))
    if app_id is not None and app_id in value.own_app_ids:
        _record(message, "echo", found)
        return
    phone, user_id = id_of(message.get("to")), id_of(message.get("to_user_id"))
    if value.is_own(phone):  # seen in revokes: the two sides are the other way round
        phone, user_id = id_of(message.get("from")), id_of(message.get("from_user_id"))
        phone = None if value.is_own(phone) else phone
    _read(message, value.side(phone, user_id), value, found, outbound=True)


def _read_media(message: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    """A message of a history once more, since the first time it came without its media."""
    target, content = id_of(message.get("id")), content_of(message)
    if target is None or content is None or not content.attachments:
        _record(message, "history", found)
        return
    outbound = value.is_own(id_of(message.get("from")))
    side = value.side(id_of(message.get("to" if outbound else "from")), None)
    found.effect(
        Effect(
            kind="media",
            id=key_of("media", target),
            channel=_CHANNEL,
            target=target,
            account=value.account,
            person=side.person,
            at=time_of(message.get("timestamp")),
            values={
                "message_type": content.message_type,
                "attachments": list(content.attachments),
                "text": content.text,
            },
        )
    )


def _read_history(part: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    if not list_of(part.get("threads")):  # the business does not share it: then there are errors
        found.record("history")
    for thread in objects_of(part.get("threads")):
        context = object_of(thread.get("context"))
        known = replace(value, contacts=(*value.contacts, _contact_of(context))) if context else value
        phone = id_of(thread.get("id")) or id_of(context.get("wa_id"))
        side = known.side(phone, id_of(thread.get("user_id")) or id_of(context.get("user_id")))
        for message in objects_of(thread.get("messages")):
            author = id_of(message.get("from"))
            outbound = value.is_own(author) or object_of(message.get("history_context")).get("from_me") is True
            if not value.own_number and author is not None and phone is not None:
                outbound = phones.canonical(author) != phones.canonical(phone)
            other = side if side.people else value.side(id_of(message.get("to" if outbound else "from")), None)
            _read(message, other, value, found, outbound=outbound)


def _read(message: Mapping[str, Any], side: _Side, value: _Value, found: Gathered, *, outbound: bool) -> None:
    """Any message, of either side."""
    kind = message.get("type")
    if id_of(message.get("group_id")) is not None:
        _record(message, "group", found)
    elif kind == "reaction":
        _read_reaction(message, side, value, found)
    elif kind == "edit":
        _read_edit(message, side, value, found)
    elif kind == "revoke":
        _read_revoke(message, side, value, found)
    elif kind == "system":
        _read_system(message, value, found)
    elif kind == "request_welcome":  # somebody has opened the chat, and written nothing
        found.record("request_welcome")
    elif object_of(message.get("interactive")).get("type") == "call_permission_reply":
        found.record("call_permission_reply")
    elif (content := content_of(message)) is None:
        _record(message, "unknown", found)
    else:
        found.message(_message(message, content, side, value, outbound=outbound))


def _record(message: Mapping[str, Any], kind: str, found: Gathered) -> None:
    """Only records a message, or an edit of one. What it says must go from here too, if the message is deleted."""
    found.mention(_CHANNEL, id_of(message.get("id")))
    found.mention(_CHANNEL, id_of(object_of(message.get("edit")).get("original_message_id")))
    found.record(kind)


def _message(message: Mapping[str, Any], content: Content, side: _Side, value: _Value, *, outbound: bool) -> Message:
    metadata = dict(content.metadata)
    if content.attachments:
        metadata["attachments"] = list(content.attachments)
    if referral := clean(object_of(message.get("referral"))):
        metadata["referral"] = referral
    flags = {"echo": outbound and not value.is_history, "history": value.is_history, "standby": value.is_standby}
    metadata |= {flag: True for flag, is_set in flags.items() if is_set}
    status = text_of(object_of(message.get("history_context")).get("status"))
    # Echoes of applications have a kind of their own while we do not know which of them is ours: see audit.
    is_of_app = id_of(message.get("app_id")) is not None and not value.own_app_ids
    kind = "echo_of_app" if is_of_app else "echo"
    return Message(
        kind="history" if value.is_history else kind if outbound else "message",
        id=_id_of(message, side, value),
        channel=_CHANNEL,
        account=value.account,
        people=side.people,
        name=side.name,
        outbound=outbound,
        message_type=content.message_type,
        text=content.text,
        sent_at=time_of(message.get("timestamp")),
        reply_to=id_of(object_of(message.get("context")).get("id")),
        status=_HISTORY_STATUSES.get(status.upper()) if status and outbound else None,
        metadata=metadata,
    )


def _read_reaction(message: Mapping[str, Any], side: _Side, value: _Value, found: Gathered) -> None:
    reaction = object_of(message.get("reaction"))
    target = id_of(reaction.get("message_id"))
    actor = id_of(message.get("from")) or id_of(message.get("from_user_id")) or (side.person and side.person.id)
    if target is None or actor is None:
        found.record("reaction")
        return
    emoji = text_of(reaction.get("emoji"))
    atom_id = _id_of(message, side, value)
    found.effect(
        Effect(
            kind="reaction",
            id=atom_id,
            channel=_CHANNEL,
            target=target,
            account=value.account,
            person=side.person,
            at=time_of(message.get("timestamp")),
            ord=atom_id,
            values={"actor": actor, "emoji": [emoji] if emoji else []},
        )
    )


def _read_edit(message: Mapping[str, Any], side: _Side, value: _Value, found: Gathered) -> None:
    edit = object_of(message.get("edit"))
    target, content = id_of(edit.get("original_message_id")), content_of(object_of(edit.get("message")))
    if target is None or content is None or content.metadata.get("placeholder"):
        _record(message, "edit", found)
        return
    values: dict[str, Any] = {"text": content.text}
    if content.attachments:
        values["attachments"] = list(content.attachments)
    atom_id, at = _id_of(message, side, value), time_of(message.get("timestamp"))
    found.effect(
        Effect(
            kind="edit",
            id=atom_id,
            channel=_CHANNEL,
            target=target,
            account=value.account,
            person=side.person,
            at=at,
            ord=ord_of_edit(at, atom_id),
            values=values,
        )
    )


def _read_revoke(message: Mapping[str, Any], side: _Side, value: _Value, found: Gathered) -> None:
    target = id_of(object_of(message.get("revoke")).get("original_message_id"))
    if target is None:
        found.record("delete")
        return
    found.effect(
        Effect(
            kind="delete",
            id=_id_of(message, side, value),
            channel=_CHANNEL,
            target=target,
            account=value.account,
            person=side.person,
            at=time_of(message.get("timestamp")),
        )
    )


def _read_status(status: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    target, state = id_of(status.get("id")), status.get("status")
    if target is None or not isinstance(state, str):
        found.record("unknown")
        return
    if state not in _STATUSES:  # deleted, warning
        found.record("status")
        return
    phone, user_id = id_of(status.get("recipient_id")), id_of(status.get("recipient_user_id"))
    # In a group the recipient is the group, for everybody.
    member = id_of(status.get("recipient_participant_id"))
    values: dict[str, Any] = {"status": state}
    if errors := clean(objects_of(status.get("errors"))):
        values["errors"] = errors
    found.effect(
        Effect(
            kind="status",
            id=key_of("status", target, state, member or phone or user_id or ""),
            channel=_CHANNEL,
            target=target,
            account=value.account,
            person=value.side(member or phone, None if member else user_id).person,
            at=time_of(status.get("timestamp")),
            values=values,
        )
    )


def _read_system(message: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    """Somebody has another number, or another user id, or both."""
    system = object_of(message.get("system"))
    old_phone, old_user_id = id_of(message.get("from")), id_of(system.get("previous_user_id"))
    old = value.side(old_phone, old_user_id).person
    new_phone = id_of(system.get("wa_id")) or id_of(system.get("new_wa_id"))
    new = _identities(new_phone, id_of(system.get("user_id")), besides=(old_phone, old_user_id))
    is_change = str(system.get("type")).endswith(("changed_number", "changed_user_id"))
    if old is None or not new or not is_change:
        found.record("system")
        return
    atom_id = _id_of(message, _Side((old,), None), value)
    for effect in _changes(new, old, atom_id, time_of(message.get("timestamp")), value.account):
        found.effect(effect)


def _read_user_id_update(update: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    change = object_of(update.get("user_id"))
    phone, previous = id_of(update.get("wa_id")), id_of(change.get("previous"))
    old = Identity(id=previous, kind="user_id") if previous else value.side(phone, None).person
    new = _identities(None, id_of(change.get("current")), besides=(previous,))
    if old is None or not new:
        found.record("user_id_update")
        return
    atom_id = f"system:{hash_of(*value.about, 'user_id_update', update)}"
    for effect in _changes(new, old, atom_id, time_of(update.get("timestamp")), value.account):
        found.effect(effect)


def _identities(phone: str | None, user_id: str | None, besides: Iterable[str | None]) -> list[Identity]:
    known = set(besides)
    found: list[Identity] = []
    if phone is not None and phone not in known:
        found.append(Identity(id=phone, kind="phone" if phones.is_phone(phone) else None))
    if user_id is not None and user_id not in known:
        found.append(Identity(id=user_id, kind="user_id"))
    return found


def _changes(
    new: Sequence[Identity], old: Identity, atom_id: str, at: str | None, account: str | None
) -> Iterator[Effect]:
    for place, identity in enumerate(new):
        yield Effect(
            kind="system",
            id=f"{atom_id}:{place}" if place else atom_id,
            channel=_CHANNEL,
            account=account,
            person=old,
            at=at,
            ord=atom_id,
            values={"id": identity.id, "identity_kind": identity.kind},
        )


def _read_preference(preference: Mapping[str, Any], value: _Value, found: Gathered) -> None:
    person = value.side(id_of(preference.get("wa_id")), id_of(preference.get("user_id"))).person
    wanted = text_of(preference.get("value"))
    if person is None or wanted not in _PREFERENCES or preference.get("category") != "marketing_messages":
        found.record("user_preferences")
        return
    atom_id = f"marketing:{hash_of(value.account, person.id, preference)}"
    found.effect(
        Effect(
            kind="marketing",
            id=atom_id,
            channel=_CHANNEL,
            account=value.account,
            person=person,
            at=time_of(preference.get("timestamp")),
            ord=atom_id,
            values={"value": wanted},
        )
    )


def _contact_of(contact: Mapping[str, Any]) -> _Contact:
    profile = object_of(contact.get("profile"))
    name = text_of(profile.get("name"))
    return _Contact(
        phone=id_of(contact.get("wa_id")),
        user_id=id_of(contact.get("user_id")),
        username=id_of(contact.get("username")) or id_of(profile.get("username")),
        name=name if name and name.strip() else None,
    )


def _id_of(message: Mapping[str, Any], side: _Side, value: _Value) -> str:
    """The wamid, or what tells this message from others and is the same when it is delivered again."""
    if (wamid := id_of(message.get("id"))) is not None:
        return wamid
    sender = side.person.id if side.person else None
    return f"hash:{hash_of(value.account, sender, message.get('timestamp'), message)}"


def _digits(number: str) -> str:
    return number if number.isascii() and number.isdigit() else _NO_DIGIT.sub("", number)


def _read_error(_: Mapping[str, Any], __: _Value, found: Gathered) -> None:
    found.record("errors")


def _read_call(_: Mapping[str, Any], __: _Value, found: Gathered) -> None:
    found.record("calls")


_READERS: Final[Sequence[tuple[str, Callable[[Mapping[str, Any], _Value, Gathered], None]]]] = (
    ("messages", _read_message),
    ("message_echoes", _read_echo),
    ("statuses", _read_status),
    ("history", _read_history),
    ("user_preferences", _read_preference),
    ("user_id_update", _read_user_id_update),
    ("errors", _read_error),
    ("calls", _read_call),
)
