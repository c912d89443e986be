"""What a message of Telegram consists of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumer.domain.providers.atoms import MessageType
from consumer.domain.providers.shapes import attachment, id_of, number_of, object_of, objects_of, text_of

_FILES: Final[Mapping[str, tuple[str, MessageType]]] = {
    "photo": ("image", "image"),
    # An animation has a document beside it, for programs that do not know animations.
    "animation": ("video", "video"),
    "video": ("video", "video"),
    "video_note": ("video", "video"),
    "voice": ("audio", "audio"),
    "audio": ("audio", "audio"),
    "sticker": ("sticker", "image"),
    "document": ("file", "file"),
}
"""By key of the message: the attachment's type and the message's."""
_SERVICE: Final = (
    *("pinned_message", "new_chat_members", "left_chat_member", "new_chat_title", "new_chat_photo", "poll", "story"),
    *("invoice", "successful_payment", "refunded_payment", "users_shared", "chat_shared", "connected_website"),
    *("write_access_allowed", "passport_data", "giveaway", "giveaway_winners", "giveaway_completed", "game"),
    *("message_auto_delete_timer_changed", "paid_media", "checklist", "gift", "unique_gift", "chat_background_set"),
    *("proximity_alert_triggered", "video_chat_started", "video_chat_ended", "boost_added"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    message_type: MessageType
    text: str | None
    attachments: tuple[Mapping[str, Any], ...] = ()
    payload: str | None = None


def content_of(message: Mapping[str, Any]) -> Content | None:
    """None for what nobody has written or sent: news of the chat, and types that we do not know."""
    text = _text(message, "text", "caption")
    for key, (kind, message_type) in _FILES.items():
        value = _largest(message.get(key)) if key == "photo" else object_of(message.get(key))
        if value:
            return Content(message_type=message_type, text=text, attachments=(_file(kind, key, value),))
    if found := _place(message) or _card(message) or _answer(message):
        return found
    return Content(message_type="text", text=text) if text is not None else None


def service_of(message: Mapping[str, Any]) -> str:
    """By which kind a message without content is recorded."""
    return next((key for key in _SERVICE if key in message), "unknown")


def _place(message: Mapping[str, Any]) -> Content | None:
    venue = object_of(message.get("venue"))
    location = object_of(message.get("location")) or object_of(venue.get("location"))
    if not location and not venue:
        return None
    title, address = _text(venue, "title"), _text(venue, "address")
    found = attachment(
        "location",
        name=title,
        address=address,
        latitude=number_of(location.get("latitude")),
        longitude=number_of(location.get("longitude")),
    )
    return _told(_joined(title, address), found)


def _card(message: Mapping[str, Any]) -> Content | None:
    contact = object_of(message.get("contact"))
    if not contact:
        return None
    name = " ".join(part for part in (_text(contact, "first_name"), _text(contact, "last_name")) if part) or None
    phone = _text(contact, "phone_number")
    found = attachment("contact", id=contact.get("user_id"), name=name, phone=phone)
    return _told(_joined(name, phone), found)


def _told(text: str | None, found: Mapping[str, Any]) -> Content:
    """Something that messages have no type for, told in words."""
    return Content(message_type="text" if text else "event", text=text, attachments=(found,))


def _answer(message: Mapping[str, Any]) -> Content | None:
    """A throw of dice, or what a web app sends when its button is done."""
    dice, data = object_of(message.get("dice")), object_of(message.get("web_app_data"))
    if emoji := _text(dice, "emoji"):
        return Content(message_type="text", text=_joined(emoji, id_of(dice.get("value")), between=" "))
    payload = _text(data, "data")
    text = _text(data, "button_text") or payload
    return Content(message_type="text", text=text, payload=payload) if text is not None else None


def _file(kind: str, key: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    return attachment(
        kind,
        id=value.get("file_id"),
        mime=value.get("mime_type"),
        name=_text(value, "file_name", "title"),
        unique_id=id_of(value.get("file_unique_id")),
        size=number_of(value.get("file_size")),
        duration=number_of(value.get("duration")),
        emoji=_text(value, "emoji"),
        voice=True if key == "voice" else None,
        animation=True if key == "animation" else None,
    )


def _largest(sizes: object) -> Mapping[str, Any]:
    """A picture comes in several sizes."""
    return max(objects_of(sizes), key=_area, default={})


def _area(size: Mapping[str, Any]) -> tuple[float, float]:
    width, height = number_of(size.get("width")) or 0, number_of(size.get("height")) or 0
    return width * height, number_of(size.get("file_size")) or 0


def _joined(*parts: str | None, between: str = ", ") -> str | None:
    return between.join(part for part in parts if part) or None


def _text(value: Mapping[str, Any], *keys: str) -> str | None:
    return next((found for key in keys if (found := text_of(value.get(key)))), None)
