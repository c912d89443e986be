"""What a delivery is taken apart into: messages, effects on what is there, and what is only recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

VERSION: Final = 1
"""Of the normalisers. It is stored with each delivery, and raised when they come to read more than before."""


MessageType: TypeAlias = Literal["text", "image", "video", "audio", "file", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a body does not say of itself."""

    bot: str | None = None
    """Telegram: the bot whose secret came with the body."""
    own_app_ids: frozenset[str] = frozenset()
    """Meta: apps whose sends the application stores by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One of the ids that a person is known by."""

    id: str
    """As it came: external_id of a row of contact_channels."""
    kind: Literal["phone", "user_id"] | None = None
    """None where a channel has one kind only."""
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An atom that makes a message (M). It becomes a row of webhook_events."""

    kind: str
    """message, echo, postback, callback, comment or history; echo_of_app for the echo of an application, while none is
    known to be ours."""
    id: str
    """The provider's id of the message, see INTAKE; or a hash where there is none."""
    channel: str
    """whatsapp, instagram, facebook, telegram or tiktok."""
    account: str | None
    """Ours: phone_number_id, page, Instagram account, bot or business connection."""
    people: tuple[Identity, ...]
    """The other party, whatever the direction; the first one is the author_id of the row. Empty: nobody is known."""
    name: str | None = None
    """Of the other party."""
    outbound: bool = False
    message_type: MessageType = "text"
    text: str | None = None
    sent_at: str | None = None
    """ISO 8601 with an offset; None: the time of arrival."""
    comment: bool = False
    post_id: str | None = None
    """Of a comment."""
    reply_to: str | None = None
    """The id of the message, or comment, that it answers."""
    thread: str | None = None
    """The provider's own id of the conversation (TikTok)."""
    status: str | None = None
    """How far an outbound message of a history had come: sent, delivered, read, played or failed."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Goes into messages.metadata as it is: attachments, payload, referral, story, album; and echo, history, standby
    and placeholder, which are true or absent. An attachment has type, id, link, mime, name, …, where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An atom that changes what is there (U). One that finds nothing to change waits for it."""

    kind: str
    """status, read, delivery, reaction, edit, delete, media; read_until, delivered_until (watermarks); handover,
    referral, marketing, system."""
    id: str
    """Two effects of one id are the same one."""
    channel: str
    target: str | None = None
    """The id of the message that it changes, as the body names it; None where it is about a person."""
    account: str | None = None
    person: Identity | None = None
    """The other party, where the body tells; always there without a target."""
    at: str | None = None
    """ISO 8601 with an offset: when it happened; None: the time of arrival."""
    ord: str = ""
    """Decides between effects of one time; compared byte by byte."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """By kind:
    status, read, delivery  status (sent, delivered, read, played, failed); errors, a list
    reaction                actor, emoji: a list, empty where it is taken back
    edit                    text; attachments, where they are told: all that there are now
    media                   message_type, attachments, text: what a message of a history had without its media
    read_until, delivered_until   until: ISO 8601, the watermark
    handover                owner
    referral                referral: an object
    marketing               value: stop or resume
    system                  id, identity_kind, username: another identity that the person has now
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An atom that is counted, and nothing else (L)."""

    kind: str
    """A name from a fixed set, or unknown. Never anything that a body says, but for the fields and events of a
    provider's own list."""
    is_unreadable: bool = False
    """It stands for a message that somebody wrote, and that the provider does not hand over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Atoms:
    """All that a body says, in its order, without repetitions."""

    messages: tuple[Message, ...] = ()
    effects: tuple[Effect, ...] = ()
    recorded: tuple[Recorded, ...] = ()
    mentions: tuple[tuple[str, str], ...] = ()
    """(channel, message id) of what else of a message the body may quote: the texts of messages that are replied to,
    edited or pinned. With the messages and the targets of edits, it says what to scrub if one is deleted."""
