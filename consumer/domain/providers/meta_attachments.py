"""Attachments of Instagram and Messenger."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumer.domain.providers.atoms import MessageType
from consumer.domain.providers.shapes import attachment, id_of, number_of, object_of, objects_of, text_of

_TYPES: Final[Mapping[str, MessageType]] = {
    "image": "image",
    "sticker": "image",
    "video": "video",
    "reel": "video",
    "ig_reel": "video",
    "audio": "audio",
    "file": "file",
}
_IDS: Final = ("attachment_id", "sticker_id", "reel_video_id", "ig_post_media_id", "story_media_id", "media_id", "id")
_LINKS: Final = ("url", "story_media_url", "link")
_SPEAKING: Final = frozenset({"location", "fallback", "template"})
"""Types of which the title says all that there is to read."""


def attachments_of(value: object) -> list[dict[str, Any]]:
    """In the body's order; some types (a heart, a picture to be seen once) have no payload."""
    return [_attachment(item) for item in objects_of(value)]


def text_in(value: object) -> str | None:
    """What there is to read of a message without a text: the title of a place or link, the texts of a template."""
    parts: list[str] = []
    for item in objects_of(value):
        if text_of(item.get("type")) in _SPEAKING:
            payload = object_of(item.get("payload"))
            parts += [_of(payload, "text") or _of(item, "title") or _of(payload, "title") or ""]
            parts += [_of(element, "title") or "" for element in _elements(payload)]
    return "\n".join(part for part in parts if part) or None


def type_of(attachments: Sequence[Mapping[str, Any]], text: str | None) -> MessageType:
    """Of the first attachment that messages have a type for."""
    for item in attachments:
        if found := _TYPES.get(item["type"]):
            return found
    return "text" if text else "event"


def _attachment(item: Mapping[str, Any]) -> dict[str, Any]:
    payload = object_of(item.get("payload"))
    coordinates = object_of(payload.get("coordinates"))
    return attachment(
        text_of(item.get("type")) or "unknown",
        id=next((found for key in _IDS if (found := id_of(payload.get(key))) is not None), None),
        link=next((found for part in (payload, item) for key in _LINKS if (found := _of(part, key))), None),
        name=_of(payload, "title") or _of(item, "title"),
        latitude=number_of(coordinates.get("lat")),
        longitude=number_of(coordinates.get("long")),
        template=payload if item.get("type") == "template" and payload else None,
    )


def _elements(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of a generic template, or of a product that is shared."""
    return objects_of(payload.get("elements")) or objects_of(object_of(payload.get("product")).get("elements"))


def _of(value: Mapping[str, Any], key: str) -> str | None:
    return text_of(value.get(key)) or None
