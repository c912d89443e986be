"""Events of Instagram's and Messenger's conversations: messages, and what happens to them."""

from collections.abc import Mapping
from typing import Any, Final

from consumer.domain.providers.atoms import Effect, Message
from consumer.domain.providers.gathered import key_of
from consumer.domain.providers.meta_attachments import attachments_of, text_in, type_of
from consumer.domain.providers.meta_entry import Entry, Parties, parties_of, payload_of
from consumer.domain.providers.shapes import (
    clean,
    hash_of,
    id_of,
    list_of,
    object_of,
    ord_of_edit,
    text_of,
    time_of,
)

_HANDOVERS: Final = ("pass_thread_control", "take_thread_control", "request_thread_control", "app_roles")
_KNOWN: Final = frozenset(
    {
        *("message", "postback", "reaction", "read", "delivery", "message_edit", "referral", *_HANDOVERS),
        *(
            "optin",
            "account_linking",
            "policy-enforcement",
            "messaging_feedback",
            "game_play",
            "payment",
            "pre_checkout",
        ),
        *("checkout_update", "order", "customer_information", "messaging_customer_information", "response_feedback"),
        *("in_thread_lead_form_submit", "message_context", "calls", "call", "business_integrity", "typing"),
    }
)
_EMOJI: Final = {"love": "❤", "like": "👍", "dislike": "👎", "smile": "😆", "angry": "😠", "sad": "😢", "wow": "😮"}
"""Where the name of a reaction comes without its emoji."""


def is_event(value: object) -> bool:
    """Whether a change is an event of a conversation."""
    keys = value.keys() if isinstance(value, dict) else ()
    return ("sender" in keys or "recipient" in keys) and any(key in _KNOWN for key in keys)


def event(raw: object, entry: Entry, *, standby: bool = False) -> None:
    """All atoms of an event; in standby another application has the conversation, and we only listen."""
    it = object_of(raw)
    before = entry.found.heard
    if isinstance(it.get("message"), dict):
        _message(it, it["message"], entry, standby=standby)
    if isinstance(it.get("postback"), dict):
        _postback(it, it["postback"], entry, standby=standby)
    for name, read in (
        ("message_edit", _edit),
        ("reaction", _reaction),
        ("read", _read),
        ("delivery", _delivery),
        ("referral", _referral),
        ("pass_thread_control", _handover),
        ("take_thread_control", _handover),
    ):
        if isinstance(it.get(name), dict):
            read(it, it[name], entry)
    if entry.found.heard == before:
        entry.found.record(next((_kind_of(key) for key in it if key in _KNOWN), "unknown"))


def _kind_of(key: str) -> str:
    return "handover" if key in _HANDOVERS else key.replace("-", "_")


def _parties(it: Mapping[str, Any], entry: Entry, *, echo: bool = False) -> Parties:
    sender = id_of(object_of(it.get("sender")).get("id"))
    recipient = id_of(object_of(it.get("recipient")).get("id"))
    return parties_of(entry, sender, recipient, echo=echo)


def _message(it: Mapping[str, Any], message: Mapping[str, Any], entry: Entry, *, standby: bool) -> None:
    mid = id_of(message.get("mid"))
    if message.get("is_deleted") is True:
        _deleted(it, mid, entry)
        return
    parties = _parties(it, entry, echo=message.get("is_echo") is True)
    outbound = parties.from_us or message.get("is_echo") is True
    app = id_of(message.get("app_id")) if outbound else None
    if outbound and parties.person is not None and parties.person == parties.account:
        # Nobody is a customer of herself.
        entry.found.mention(entry.channel, mid)
        entry.found.record("self")
        return
    if app is not None and app in entry.context.own_app_ids:
        # Whoever has sent it stores it. Its text must go from here too, if the message is deleted.
        entry.found.mention(entry.channel, mid)
        entry.found.record("echo")
        return
    reply, attachments = object_of(message.get("reply_to")), attachments_of(message.get("attachments"))
    text = text_of(message.get("text")) or text_in(message.get("attachments"))
    payload = payload_of(object_of(message.get("quick_reply")).get("payload"))
    empty = text is None and not attachments and payload is None
    story = object_of(reply.get("story"))
    known = {
        "attachments": attachments,
        "payload": payload,
        "referral": _told(message.get("referral")) or _told(it.get("referral")),
        "story": {key: value for key, value in (("id", id_of(story.get("id"))), ("link", _link(story))) if value},
        "echo": outbound,
        "standby": standby,
        # Instagram says so, Messenger leaves everything out.
        "placeholder": message.get("is_unsupported") is True or empty,
    }
    entry.found.message(
        Message(
            kind=_echo_kind(app, entry) if outbound else "message",
            id=mid or _hash_of(it, parties, message),
            channel=entry.channel,
            account=parties.account,
            people=parties.people,
            outbound=outbound,
            message_type=type_of(attachments, text),
            text=text,
            sent_at=time_of(it.get("timestamp")),
            reply_to=id_of(reply.get("mid")),
            metadata={key: value for key, value in known.items() if value},
        )
    )


def _echo_kind(app: str | None, entry: Entry) -> str:
    """Echoes of applications have a kind of their own while we do not know which of them is ours: see audit."""
    return "echo_of_app" if app is not None and not entry.context.own_app_ids else "echo"


def _deleted(it: Mapping[str, Any], mid: str | None, entry: Entry) -> None:
    if mid is None:
        entry.found.record("delete")
        return
    parties = _parties(it, entry)
    entry.found.effect(
        Effect(
            kind="delete",
            id=key_of("del", mid),
            channel=entry.channel,
            target=mid,
            account=parties.account,
            person=parties.identity,
            at=time_of(it.get("timestamp")),
        )
    )


def _postback(it: Mapping[str, Any], postback: Mapping[str, Any], entry: Entry, *, standby: bool) -> None:
    parties = _parties(it, entry)
    payload = payload_of(postback.get("payload"))
    # A button without a title says what it carries, as at Telegram.
    text = text_of(postback.get("title")) or payload
    known = {
        "payload": payload,
        "referral": _told(postback.get("referral")) or _told(it.get("referral")),
        "standby": standby,
    }
    entry.found.message(
        Message(
            kind="postback",
            id=id_of(postback.get("mid")) or _hash_of(it, parties, postback),
            channel=entry.channel,
            account=parties.account,
            people=parties.people,
            message_type="text" if text else "event",
            text=text,
            sent_at=time_of(it.get("timestamp")),
            metadata={key: value for key, value in known.items() if value},
        )
    )


def _edit(it: Mapping[str, Any], edit: Mapping[str, Any], entry: Entry) -> None:
    mid, number = id_of(edit.get("mid")), id_of(edit.get("num_edit"))
    text, attachments = text_of(edit.get("text")), attachments_of(edit.get("attachments"))
    counted = int(number) if number is not None and number.isascii() and number.isdecimal() else None
    if mid is None or counted == 0 or (text is None and not attachments):
        # Number 0 is a new message that Instagram could not deliver: it may come later, as a message.
        entry.found.mention(entry.channel, mid)
        entry.found.record("edit", is_unreadable=counted == 0)
        return
    parties, at = _parties(it, entry), time_of(it.get("timestamp"))
    edit_id = key_of("edit", mid, str(counted) if counted is not None else hash_of(text, attachments, at))
    entry.found.effect(
        Effect(
            kind="edit",
            id=edit_id,
            channel=entry.channel,
            target=mid,
            account=parties.account,
            person=parties.identity,
            at=at,
            ord=f"{counted:019d} {edit_id}" if counted is not None else ord_of_edit(at, edit_id),
            values={"text": text or None} | ({"attachments": attachments} if attachments else {}),
        )
    )


def _reaction(it: Mapping[str, Any], reaction: Mapping[str, Any], entry: Entry) -> None:
    mid, parties = id_of(reaction.get("mid")), _parties(it, entry)
    if mid is None or parties.sender is None:
        entry.found.record("reaction")
        return
    name = text_of(reaction.get("reaction")) or ""
    emoji = text_of(reaction.get("emoji")) or _EMOJI.get(name, name)
    action = text_of(reaction.get("action")) or ("react" if emoji else "unreact")
    reaction_id = key_of("react", mid, parties.sender, action, emoji, id_of(it.get("timestamp")) or "")
    entry.found.effect(
        Effect(
            kind="reaction",
            id=reaction_id,
            channel=entry.channel,
            target=mid,
            account=parties.account,
            person=parties.identity,
            at=time_of(it.get("timestamp")),
            ord=reaction_id,
            values={"actor": parties.sender, "emoji": [emoji] if action == "react" and emoji else []},
        )
    )


def _read(it: Mapping[str, Any], read: Mapping[str, Any], entry: Entry) -> None:
    at = time_of(it.get("timestamp")) or time_of(read.get("watermark"))
    _seen(it, read, entry, at=at, kind="read", prefix="read")


def _delivery(it: Mapping[str, Any], delivery: Mapping[str, Any], entry: Entry) -> None:
    # The event's timestamp is when it was told, the watermark when it was so.
    at = time_of(delivery.get("watermark")) or time_of(it.get("timestamp"))
    _seen(it, delivery, entry, at=at, kind="delivery", prefix="dlv")


def _seen(
    it: Mapping[str, Any], seen: Mapping[str, Any], entry: Entry, *, at: str | None, kind: str, prefix: str
) -> None:
    parties = _parties(it, entry)
    mids = [mid for item in (seen.get("mid"), *list_of(seen.get("mids"))) if (mid := id_of(item)) is not None]
    status = "read" if kind == "read" else "delivered"
    for mid in mids:
        entry.found.effect(
            Effect(
                kind=kind,
                id=key_of(prefix, mid, parties.person or ""),
                channel=entry.channel,
                target=mid,
                account=parties.account,
                person=parties.identity,
                at=at,
                values={"status": status},
            )
        )
    until = time_of(seen.get("watermark"))
    if mids:
        return
    if until is None or parties.person is None or parties.account is None:
        entry.found.record(kind)
        return
    entry.found.effect(
        Effect(
            kind=f"{status}_until",
            id=key_of(prefix, id_of(seen.get("watermark")) or until, parties.account, parties.person),
            channel=entry.channel,
            account=parties.account,
            person=parties.identity,
            at=at,
            values={"until": until},
        )
    )


def _referral(it: Mapping[str, Any], referral: Mapping[str, Any], entry: Entry) -> None:
    """Where somebody comes from; with a message it is that message's."""
    if isinstance(it.get("message"), dict) or isinstance(it.get("postback"), dict):
        return
    if not _told(referral):
        entry.found.record("referral")
        return
    _about_person(it, entry, kind="referral", told=referral, values={"referral": _told(referral)})


def _handover(it: Mapping[str, Any], handover: Mapping[str, Any], entry: Entry) -> None:
    owner = id_of(handover.get("new_owner_app_id"))
    if owner is None:
        entry.found.record("handover")
        return
    _about_person(it, entry, kind="handover", told=handover, values={"owner": owner})


def _about_person(
    it: Mapping[str, Any], entry: Entry, *, kind: str, told: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    parties = _parties(it, entry)
    if parties.person is None:
        entry.found.record(kind)
        return
    effect_id = _hash_of(it, parties, {kind: told})
    entry.found.effect(
        Effect(
            kind=kind,
            id=effect_id,
            channel=entry.channel,
            account=parties.account,
            person=parties.identity,
            at=time_of(it.get("timestamp")),
            ord=effect_id,
            values=values,
        )
    )


def _hash_of(it: Mapping[str, Any], parties: Parties, told: Mapping[str, Any]) -> str:
    """The id of what has none. The time of the entry is no part of it: a repetition has another one."""
    return f"hash:{hash_of(parties.account, parties.sender, it.get('timestamp'), told)}"


def _told(value: object) -> Mapping[str, Any]:
    return {key: item for key, item in clean(object_of(value)).items() if item is not None}


def _link(story: Mapping[str, Any]) -> str | None:
    return text_of(story.get("url")) or text_of(story.get("link"))
