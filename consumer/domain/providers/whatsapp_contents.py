"""What a message of WhatsApp says, by its type: as text that an inbox without special code can show."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.domain.providers.atoms import MessageType
from consumer.domain.providers.shapes import attachment, clean, id_of, number_of, object_of, objects_of, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    message_type: MessageType = "text"
    text: str | None = None
    attachments: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """payload and placeholder."""


_PLACEHOLDER: Final = Content(message_type="event", metadata={"placeholder": True})


def content_of(message: Mapping[str, Any]) -> Content | None:
    """None: it has no type, and nothing that tells one."""
    kind = text_of(message.get("type")) or next((kind for kind in _READERS if object_of(message.get(kind))), None)
    if not kind:
        return None
    read = _READERS.get(kind)
    if read is None:
        # Kinds that the API cannot show, and those that are newer than this: somebody has to look at the phone.
        return _PLACEHOLDER
    return read(message)


def _text(message: Mapping[str, Any]) -> Content:
    body = text_of(object_of(message.get("text")).get("body"))
    return Content(text=body if body is not None else text_of(message.get("text")))


def _media(key: str, message_type: MessageType, kind: str) -> Callable[[Mapping[str, Any]], Content]:
    def read(message: Mapping[str, Any]) -> Content:
        media = object_of(message.get(key))
        found = attachment(
            kind,
            id=media.get("id"),
            link=media.get("url") or media.get("link"),
            mime=media.get("mime_type"),
            name=media.get("filename"),
            voice=True if media.get("voice") is True else None,
            animated=True if media.get("animated") is True else None,
            sha256=text_of(media.get("sha256")),
        )
        return Content(
            message_type=message_type,
            text=text_of(media.get("caption")) or None,
            # A message of a history has the type alone: its media come later.
            attachments=(found,) if len(found) > 1 else (),
        )

    return read


def _media_placeholder(_: Mapping[str, Any]) -> Content:
    return Content(message_type="event")


def _location(message: Mapping[str, Any]) -> Content:
    location = object_of(message.get("location"))
    latitude, longitude = (number_of(location.get(key)) for key in ("latitude", "longitude"))
    name, address = text_of(location.get("name")), text_of(location.get("address"))
    text = ", ".join(part for part in (name, address) if part)
    if not text and latitude is not None and longitude is not None:
        text = f"{latitude}, {longitude}"
    found = attachment(
        "location", link=location.get("url"), name=name, latitude=latitude, longitude=longitude, address=address
    )
    return Content(text=text or None, attachments=(found,))


def _contacts(message: Mapping[str, Any]) -> Content:
    cards: list[Mapping[str, Any]] = []
    lines: list[str] = []
    for card in objects_of(message.get("contacts")):
        names = object_of(card.get("name"))
        parts = (text_of(names.get("first_name")), text_of(names.get("last_name")))
        name = text_of(names.get("formatted_name")) or " ".join(part for part in parts if part)
        numbers = [
            number
            for phone in objects_of(card.get("phones"))
            if (number := text_of(phone.get("phone")) or _wa_id(phone))
        ]
        mails = [mail for item in objects_of(card.get("emails")) if (mail := text_of(item.get("email")))]
        lines.append(", ".join(part for part in (name, *(numbers or mails)) if part))
        cards.append(
            attachment(
                "contact",
                name=name,
                phone=numbers[0] if numbers else None,
                phones=numbers if len(numbers) > 1 else None,
                email=mails[0] if mails else None,
                wa_id=next((wa_id for phone in objects_of(card.get("phones")) if (wa_id := _wa_id(phone))), None),
            )
        )
    return Content(text="\n".join(line for line in lines if line) or None, attachments=tuple(cards))


def _button(message: Mapping[str, Any]) -> Content:
    button = object_of(message.get("button"))
    return _answer(text_of(button.get("text")), button.get("payload"))


def _interactive(message: Mapping[str, Any]) -> Content:
    interactive = object_of(message.get("interactive"))
    for kind in ("button_reply", "list_reply"):
        if reply := object_of(interactive.get(kind)):
            return _answer(text_of(reply.get("title")), reply.get("id"))
    if flow := object_of(interactive.get("nfm_reply")):
        return _answer(text_of(flow.get("body")), flow.get("response_json"))
    # What we or another app of ours have sent, in an echo or a history: its text is shown, not what was to be clicked.
    if body := text_of(object_of(interactive.get("body")).get("text")):
        return Content(text=body)
    return _PLACEHOLDER


def _order(message: Mapping[str, Any]) -> Content:
    order = object_of(message.get("order"))
    items = [
        f"{quantity} × {name}"
        for item in objects_of(order.get("product_items"))
        if (name := id_of(item.get("product_retailer_id")))
        and (quantity := number_of(item.get("quantity")) or id_of(item.get("quantity")) or 1)
    ]
    return _answer(text_of(order.get("text")) or ", ".join(items), order)


def _template(message: Mapping[str, Any]) -> Content:
    """Of an echo: the texts of its parts, or its name."""
    template = object_of(message.get("template"))
    texts = [text for part in objects_of(template.get("components")) if (text := text_of(part.get("text")))]
    return Content(text="\n".join(texts) or text_of(template.get("name")))


def _answer(text: str | None, payload: object) -> Content:
    """A choice: its title is what the person says, the payload what a program wanted to know."""
    if payload is not None and not isinstance(payload, str):
        payload = json.dumps(clean(payload), ensure_ascii=False) if payload else None
    payload = text_of(payload)
    return Content(text=text or None, metadata={"payload": payload} if payload else {})


def _wa_id(phone: Mapping[str, Any]) -> str | None:
    return id_of(phone.get("wa_id"))


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Content]]] = {
    "text": _text,
    "image": _media("image", "image", "image"),
    "video": _media("video", "video", "video"),
    "audio": _media("audio", "audio", "audio"),
    "voice": _media("voice", "audio", "audio"),
    "document": _media("document", "file", "file"),
    "sticker": _media("sticker", "image", "sticker"),
    "location": _location,
    "contacts": _contacts,
    "button": _button,
    "interactive": _interactive,
    "order": _order,
    "template": _template,
    "media_placeholder": _media_placeholder,
}
