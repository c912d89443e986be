"""Telegram: messages to bots and to the business accounts that they serve, and what happens to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumer.domain.providers.atoms import Atoms, Context, Effect, Identity, Message
from consumer.domain.providers.gathered import Gathered, key_of
from consumer.domain.providers.shapes import (
    hash_of,
    id_of,
    list_of,
    object_of,
    objects_of,
    ord_of_edit,
    text_of,
    time_of,
)
from consumer.domain.providers.telegram_content import content_of, service_of

_CHANNEL: Final = "telegram"
_KINDS: Final = (
    *("channel_post", "edited_channel_post", "business_connection", "message_reaction_count", "inline_query"),
    *("chosen_inline_result", "shipping_query", "pre_checkout_query", "purchased_paid_media", "poll", "poll_answer"),
    *("my_chat_member", "chat_member", "chat_join_request", "chat_boost", "removed_chat_boost"),
)
_QUOTED: Final = ("reply_to_message", "pinned_message")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Update:
    id: str
    """It starts anew at random after a quiet week."""
    bot: str | None
    found: Gathered

    def key(self, *parts: str) -> str:
        """Ids are those of a bot, and it is the secret that names it, not the body."""
        return key_of(self.bot or "bot", *parts)

    def key_of_update(self, said: object) -> str:
        return self.key(f"u{self.id}", hash_of(said))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chat:
    """A private chat with a bot, or with a business account that it serves."""

    account: str | None
    prefix: str
    id: str
    person: Identity
    name: str | None

    def message_id(self, number: object) -> str | None:
        found = id_of(number)
        return key_of(self.prefix, self.id, found) if found is not None else None


def atoms(body: Any, context: Context) -> Atoms:  # noqa: ANN401 - any JSON value
    raw = object_of(body)
    update = _Update(id=id_of(raw.get("update_id")) or "", bot=context.bot, found=Gathered())
    for name, read in _READERS.items():
        if isinstance(raw.get(name), dict):
            read(raw[name], update)
    if not update.found.heard:
        update.found.record(next((name for name in _KINDS if name in raw), "unknown"))
    return update.found.atoms()


def _message(raw: Mapping[str, Any], update: _Update) -> None:
    chat = _chat_of(raw, update)
    if chat is None:
        update.found.record(_kind_without_chat(raw))
        return
    message_id = chat.message_id(raw.get("message_id"))
    _mention(raw, chat, update)
    owner = _is_from_us(raw, chat, update)
    content = content_of(raw)
    if content is None:
        update.found.record(service_of(raw))
        return
    if owner and update.bot is not None and id_of(object_of(raw.get("sender_business_bot")).get("id")) == update.bot:
        # Our own send: whoever has made it stores it.
        update.found.record("echo")
        return
    reply = object_of(raw.get("reply_to_message"))
    payload = content.payload
    if payload is None and not owner and content.text is not None and content.text.startswith("/start "):
        payload = content.text.removeprefix("/start ").strip() or None
    known = {
        "attachments": list(content.attachments),
        "payload": payload,
        "album": id_of(raw.get("media_group_id")),
        "echo": owner,
    }
    update.found.message(
        Message(
            kind="echo" if owner else "message",
            id=message_id or update.key_of_update(raw),
            channel=_CHANNEL,
            account=chat.account,
            people=(chat.person,),
            name=chat.name,
            outbound=owner,
            message_type=content.message_type,
            text=content.text,
            sent_at=time_of(raw.get("date")),
            reply_to=chat.message_id(reply.get("message_id")) if _is_of(reply, chat) else None,
            metadata={key: value for key, value in known.items() if value},
        )
    )


def _edited(raw: Mapping[str, Any], update: _Update) -> None:
    chat = _chat_of(raw, update)
    if chat is None:
        update.found.record(_kind_without_chat(raw))
        return
    target, content = chat.message_id(raw.get("message_id")), content_of(raw)
    _mention(raw, chat, update)
    if target is None or content is None:
        update.found.record("edit")
        return
    at, attachments = time_of(raw.get("edit_date")), list(content.attachments)
    edit_id = key_of(target, "edit", id_of(raw.get("edit_date")) or "", hash_of(content.text, attachments))
    update.found.effect(
        Effect(
            kind="edit",
            id=edit_id,
            channel=_CHANNEL,
            target=target,
            account=chat.account,
            person=chat.person,
            at=at,
            ord=ord_of_edit(at, edit_id),
            values={"text": content.text} | ({"attachments": attachments} if attachments else {}),
        )
    )


def _deleted(raw: Mapping[str, Any], update: _Update) -> None:
    chat = _chat_of(raw, update)
    if chat is None:
        update.found.record("delete")
        return
    for number in list_of(raw.get("message_ids")):
        target = chat.message_id(number)
        if target is None:
            update.found.record("delete")
            continue
        update.found.effect(
            Effect(
                kind="delete",
                id=key_of("del", target),
                channel=_CHANNEL,
                target=target,
                account=chat.account,
                person=chat.person,
            )
        )


def _callback(raw: Mapping[str, Any], update: _Update) -> None:
    """A tap on a button. It has no time, and its message may be one that is gone, or that was sent elsewhere."""
    message, author = object_of(raw.get("message")), object_of(raw.get("from"))
    chat = _chat_of({**message, "chat": message.get("chat") or author}, update)
    author_id = id_of(author.get("id"))
    if chat is None or author_id is None:
        update.found.record(_kind_without_chat(message) if message else "callback")
        return
    _mention(message, chat, update)
    query = id_of(raw.get("id"))
    payload = text_of(raw.get("data")) or text_of(raw.get("game_short_name")) or None
    text = _title_of(message, raw.get("data")) or payload
    update.found.message(
        Message(
            kind="callback",
            id=update.key("cb", query) if query is not None else update.key_of_update(raw),
            channel=_CHANNEL,
            account=chat.account,
            people=(_person_of(author_id, author),),
            name=_name_of(author),
            message_type="text" if text else "event",
            text=text,
            metadata={"payload": payload} if payload else {},
        )
    )


def _reaction(raw: Mapping[str, Any], update: _Update) -> None:
    """All reactions of a person that there are now."""
    chat, actor = _chat_of(raw, update), id_of(object_of(raw.get("user")).get("id"))
    target = chat.message_id(raw.get("message_id")) if chat is not None else None
    if chat is None or actor is None or target is None:
        update.found.record("reaction")
        return
    reaction_id = update.key_of_update(raw)
    emoji = [found for item in objects_of(raw.get("new_reaction")) if (found := _emoji_of(item)) is not None]
    update.found.effect(
        Effect(
            kind="reaction",
            id=reaction_id,
            channel=_CHANNEL,
            target=target,
            account=chat.account,
            person=chat.person,
            at=time_of(raw.get("date")),
            ord=reaction_id,
            values={"actor": actor, "emoji": emoji},
        )
    )


_READERS: Final = {
    "message": _message,
    "edited_message": _edited,
    "business_message": _message,
    "edited_business_message": _edited,
    "deleted_business_messages": _deleted,
    "callback_query": _callback,
    "message_reaction": _reaction,
}


def _chat_of(raw: Mapping[str, Any], update: _Update) -> _Chat | None:
    """None for groups and channels: what is said there belongs into nobody's private conversation."""
    chat, author = object_of(raw.get("chat")), object_of(raw.get("from"))
    chat_id, kind = id_of(chat.get("id")), chat.get("type")
    if chat_id is None or (kind != "private" if isinstance(kind, str) else chat_id.startswith("-")):
        return None
    about = author if id_of(author.get("id")) == chat_id else chat
    account = id_of(raw.get("business_connection_id")) or update.bot
    return _Chat(
        account=account,
        prefix=account or "bot",
        id=chat_id,
        person=_person_of(chat_id, about),
        name=_name_of(about) or _name_of(chat),
    )


def _kind_without_chat(raw: Mapping[str, Any]) -> str:
    return "group" if id_of(object_of(raw.get("chat")).get("id")) is not None else "unknown"


def _is_from_us(raw: Mapping[str, Any], chat: _Chat, update: _Update) -> bool:
    """Whether the owner of the business account has written it, or the bot itself."""
    author = id_of(object_of(raw.get("from")).get("id"))
    if id_of(raw.get("business_connection_id")) is not None:
        return author is not None and author != chat.id
    return author is not None and author == update.bot


def _is_of(quoted: Mapping[str, Any], chat: _Chat) -> bool:
    """Whether a quoted message is one of this chat; it may leave that out."""
    return id_of(object_of(quoted.get("chat")).get("id")) in {None, chat.id}


def _mention(raw: Mapping[str, Any], chat: _Chat, update: _Update, depth: int = 4) -> None:
    """Messages that an update quotes, itself included, since it may be only recorded; and what these quote."""
    update.found.mention(_CHANNEL, chat.message_id(raw.get("message_id")))
    for key in _QUOTED:
        quoted = object_of(raw.get(key))
        if quoted and depth and _is_of(quoted, chat):
            _mention(quoted, chat, update, depth - 1)


def _person_of(person: str, about: Mapping[str, Any]) -> Identity:
    return Identity(id=person, username=text_of(about.get("username")) or None)


def _name_of(about: Mapping[str, Any]) -> str | None:
    parts = (text_of(about.get("first_name")), text_of(about.get("last_name")))
    return " ".join(part for part in parts if part) or text_of(about.get("username")) or None


def _title_of(message: Mapping[str, Any], data: object) -> str | None:
    """What stands on the button; an old message has lost it."""
    rows = list_of(object_of(message.get("reply_markup")).get("inline_keyboard"))
    buttons = (button for row in rows for button in objects_of(row))
    titles = (text_of(button.get("text")) for button in buttons if data and button.get("callback_data") == data)
    return next((title for title in titles if title), None)


def _emoji_of(reaction: Mapping[str, Any]) -> str | None:
    match reaction.get("type"):
        case "custom_emoji":
            custom = id_of(reaction.get("custom_emoji_id"))
            return f"custom:{custom}" if custom is not None else None
        case "paid":
            return "paid"
        case _:
            return text_of(reaction.get("emoji")) or None
