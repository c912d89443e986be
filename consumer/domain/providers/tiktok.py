"""TikTok Business Messaging: one event a body, and what it says is JSON in a text, at `content`.

https://business-api.tiktok.com/portal/docs?id=1832190670631937
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from consumer.domain.providers.atoms import Atoms, Context, Effect, Identity, Message, Recorded
from consumer.domain.providers.gathered import key_of
from consumer.domain.providers.shapes import attachment, clean, hash_of, id_of, loads, object_of, text_of, time_of

_CHANNEL: Final = "tiktok"
_READ_BY_US: Final = Recorded(kind="im_mark_read_msg")
_UNKNOWN: Final = Recorded(kind="unknown")
_RECORDED: Final = frozenset(
    {
        "authorization.removed", "brand.mention.event", "comment.update", "im_send_msg_fail",
        "portability.download.ready", "post.publish.complete", "post.publish.failed", "video.publish.completed",
        "video.upload.failed",
    }
)  # fmt: skip
"""TikTok pushes that there are comments, but not what they say."""
_MEDIA: Final[Mapping[str, Literal["image", "video", "audio"]]] = {
    "image": "image", "sticker": "image", "emoji": "image", "video": "video", "audio": "audio", "voice": "audio",
}  # fmt: skip


def atoms(body: object, _: Context) -> Atoms:
    """What a body says; any JSON value is one."""
    event = object_of(body)
    name = event.get("event")
    if isinstance(name, str) and name in _RECORDED:
        return Atoms(recorded=(Recorded(kind=name),))
    match _atom(event, name):
        case Message() as message:
            return Atoms(messages=(message,))
        case Effect() as effect:
            return Atoms(effects=(effect,))
        case recorded:
            return Atoms(recorded=(recorded,))


@dataclass(frozen=True, slots=True)
class _Sides:
    account: str | None
    person: Identity | None
    outbound: bool
    name: str | None


def _atom(event: Mapping[str, Any], name: object) -> Message | Effect | Recorded:
    content = _content_of(event)
    if content and name in ("im_receive_msg", "im_send_msg"):
        return _message(event, content, _sides_of(event, content, sent=name == "im_send_msg"))
    if content and name == "im_mark_read_msg":
        return _read(content, _sides_of(event, content, sent=False))
    if content and name == "im_referral_msg":
        return _referral(event, content, _sides_of(event, content, sent=False))
    return _UNKNOWN


def _content_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    content = event.get("content")
    if isinstance(content, str):
        try:
            content = loads(content)
        except ValueError:
            return {}
    return object_of(content)


def _sides_of(event: Mapping[str, Any], content: Mapping[str, Any], *, sent: bool) -> _Sides:
    """Which of the two is the business: its id is the account's, or else the event tells."""
    account = id_of(event.get("user_openid"))
    sides = [object_of(content.get(key)) for key in ("from_user", "to_user")]
    author, receiver = (id_of(side.get("id")) for side in sides)
    if account is not None and account in (author, receiver):
        outbound = author == account
    elif any(side.get("role") == "business_account" for side in sides):
        outbound = sides[0].get("role") == "business_account"
    else:
        outbound = sent
    person = (receiver if outbound else author) or id_of(content.get("unique_identifier"))
    name = None if outbound else text_of(content.get("from"))
    return _Sides(account, Identity(id=person) if person else None, outbound, name or None)


def _message(event: Mapping[str, Any], content: Mapping[str, Any], sides: _Sides) -> Message | Recorded:
    kind = text_of(content.get("type")) or ("text" if object_of(content.get("text")) else None)
    if kind is None:
        return _UNKNOWN
    metadata: dict[str, Any] = {"echo": True} if sides.outbound else {}
    message_type: Literal["text", "image", "video", "audio", "event"] = "event"
    text: str | None = None
    found = object_of(content.get(kind))
    if kind == "text":
        message_type, text = "text", text_of(found.get("body"))
    elif kind in _MEDIA:
        message_type = _MEDIA[kind]
        metadata["attachments"] = [
            attachment(
                kind,
                id=found.get("media_id"),
                link=found.get("url") or found.get("download_url"),
                mime=found.get("mime_type"),
            )
        ]
    elif kind == "share_post":
        metadata["attachments"] = [attachment(kind, id=found.get("video_id"), link=found.get("embed_url"))]
    else:
        metadata["placeholder"] = True
    if referral := clean(object_of(content.get("referral"))):
        metadata["referral"] = referral
    sender = None if sides.outbound or sides.person is None else sides.person.id
    own = [sides.account, sender, content.get("timestamp"), content]
    return Message(
        kind="echo" if sides.outbound else "message",
        id=id_of(content.get("message_id")) or f"hash:{hash_of(*own)}",
        channel=_CHANNEL,
        account=sides.account,
        people=(sides.person,) if sides.person else (),
        name=sides.name,
        outbound=sides.outbound,
        message_type=message_type,
        text=text,
        sent_at=time_of(content.get("timestamp")) or time_of(event.get("create_time")),
        reply_to=id_of(object_of(content.get("referenced_message_info")).get("referenced_message_id")),
        thread=id_of(content.get("conversation_id")),
        metadata=metadata,
    )


def _read(content: Mapping[str, Any], sides: _Sides) -> Effect | Recorded:
    watermark = object_of(content.get("read")).get("last_read_timestamp")
    until = time_of(watermark)
    if sides.outbound:
        return _READ_BY_US
    if until is None or sides.person is None:
        return _UNKNOWN
    return Effect(
        kind="read_until",
        id=key_of("read", id_of(watermark) or until, sides.account or "", sides.person.id),
        channel=_CHANNEL,
        account=sides.account,
        person=sides.person,
        at=time_of(content.get("timestamp")) or until,
        values={"until": until},
    )


def _referral(event: Mapping[str, Any], content: Mapping[str, Any], sides: _Sides) -> Effect | Recorded:
    if sides.person is None or sides.outbound:
        return _UNKNOWN
    referral = clean(object_of(content.get("referral"))) or clean(content)
    at = time_of(content.get("timestamp")) or time_of(event.get("create_time"))
    atom_id = f"referral:{hash_of(sides.account, sides.person.id, at, content)}"
    return Effect(
        kind="referral",
        id=atom_id,
        channel=_CHANNEL,
        account=sides.account,
        person=sides.person,
        at=at,
        ord=atom_id,
        values={"referral": referral},
    )
