"""What providers POST: events and what happens to them, as bodies that are signed as each provider does."""

import hashlib
import hmac
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from tests.chaos.events import Event
from tests.chaos.ledger import Told

PROVIDERS = {"instagram": "instagram", "whatsapp": "whatsapp", "facebook": "messenger"}
"""By channel."""
SECRETS = {provider: f"secret of {provider}" for provider in PROVIDERS.values()}
ENVIRONMENT = {f"WEBHOOK_ROUTER_{provider.upper()}_APP_SECRETS": secret for provider, secret in SECRETS.items()}
ACCOUNTS = {"instagram": "17840000000001", "whatsapp": "900100", "facebook": "100000000001"}
"""Ours, by channel."""
NUMBER = "15550100001"
"""Ours at WhatsApp."""
REACTED = 0.05
ANSWERED = 0.05
"""Shares of messages."""
STATUSES = {
    "instagram": ("read",),
    "whatsapp": ("sent", "delivered", "read"),
    "facebook": ("delivered", "read"),
}
"""That each channel tells of."""
EMOJI = ("❤", "👍", "😆", "")
"""The last one takes a reaction back."""
Item = Event | tuple[Told, str]
"""What a body tells: an event, or an effect and the person it is about."""


@dataclass(frozen=True, slots=True)
class Post:
    """A request."""

    provider: str
    body: bytes
    items: tuple[Item, ...]

    @property
    def digest(self) -> str:
        """What the ledger knows it by."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def events(self) -> list[Event]:
        return [item for item in self.items if isinstance(item, Event)]

    @property
    def effects(self) -> list[Told]:
        return [item[0] for item in self.items if not isinstance(item, Event)]


def signature(provider: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256."""
    return f"sha256={hmac.digest(SECRETS[provider].encode(), body, 'sha256').hex()}"


def is_postable(event: Event) -> bool:
    """Whether its provider could tell of it: messages of somebody, and comments of somebody but at WhatsApp."""
    return event.author_id is not None and (event.type == "message" or event.channel != "whatsapp")


def follows(event: Event) -> list[Item]:
    """What happens to a message: reactions, an answer of ours and how far that came; the same at each delivery."""
    chance = random.Random(event.event_id)
    if event.type != "message" or event.faulty:
        return []
    assert event.author_id is not None
    found: list[Item] = []
    told: list[Told] = []
    if chance.random() < REACTED:
        told += [
            Told(
                kind="reaction",
                channel=event.channel,
                target=event.event_id,
                actor=event.author_id,
                value=chance.choice(EMOJI),
                at=later(event.sent_at, number, chance),
            )
            for number in range(1, chance.randint(2, 4))
        ]
    if chance.random() < ANSWERED:
        answer = replace(
            event,
            event_id=f"{event.event_id}-answer",
            author_name=None,
            content=f"answer to {event.event_id}",
            sent_at=later(event.sent_at, 0, chance),
            direction="outbound",
        )
        found.append(answer)
        told += [
            Told(
                kind="status",
                channel=event.channel,
                target=answer.event_id,
                value=status,
                at=later(answer.sent_at, number, chance),
            )
            for number, status in enumerate(STATUSES[event.channel], start=1)
        ]
    return found + [(effect, event.author_id) for effect in told]


def later(time: datetime, minutes: int, chance: random.Random) -> datetime:
    """Some minutes later, to the millisecond."""
    return time + timedelta(minutes=minutes, milliseconds=chance.randrange(60_000))


def posts_of(items: Sequence[Item], chance: random.Random) -> list[Post]:
    """Bodies in any order, most of them with one item, some with several of one channel."""
    shuffled = list(items)
    chance.shuffle(shuffled)
    found: list[Post] = []
    for channel, provider in PROVIDERS.items():
        left = [item for item in shuffled if _channel(item) == channel]
        while left:
            size = 1 if chance.random() < 0.9 else chance.randint(2, 5)
            some, left = left[:size], left[size:]
            body = _whatsapp(some) if channel == "whatsapp" else _meta(channel, some)
            found.append(Post(provider, json.dumps(body, ensure_ascii=chance.random() < 0.5).encode(), tuple(some)))
    chance.shuffle(found)
    return found


def _channel(item: Item) -> str:
    return item.channel if isinstance(item, Event) else item[0].channel


def _time(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _meta(channel: str, items: Sequence[Item]) -> dict[str, Any]:
    """One entry for what happens in conversations, and one for each comment."""
    account = ACCOUNTS[channel]
    comments = [item for item in items if isinstance(item, Event) and item.type == "comment"]
    others = [item for item in items if item not in comments]
    entries: list[dict[str, Any]] = [
        {
            "id": account,
            "time": _time(comment.sent_at),
            "changes": [_page_comment(comment) if channel == "facebook" else _comment(comment)],
        }
        for comment in comments
    ]
    if others:
        entries.append({"id": account, "time": 1780000000000, "messaging": [_messaging(item) for item in others]})
    return {"object": "page" if channel == "facebook" else "instagram", "entry": entries}


def _comment(event: Event) -> dict[str, Any]:
    value = {
        "id": event.event_id,
        "text": event.content,
        "media": {"id": event.post_id},
        "timestamp": _time(event.sent_at),
        "from": {"id": event.author_id} | ({"username": event.author_name} if event.author_name else {}),
    }
    return {"field": "comments", "value": value}


def _page_comment(event: Event) -> dict[str, Any]:
    value = {
        "item": "comment",
        "verb": "add",
        "comment_id": event.event_id,
        "post_id": event.post_id,
        "message": event.content,
        "created_time": _time(event.sent_at),
        "from": {"id": event.author_id} | ({"name": event.author_name} if event.author_name else {}),
    }
    return {"field": "feed", "value": value}


def _messaging(item: Item) -> dict[str, Any]:
    if isinstance(item, Event):
        account = {"id": ACCOUNTS[item.channel]}
        person = {"id": item.author_id}
        ours = item.direction == "outbound"
        message = {"mid": item.event_id, "text": item.content} | ({"is_echo": True} if ours else {})
        return {
            "sender": account if ours else person,
            "recipient": person if ours else account,
            "timestamp": _time(item.sent_at),
            "message": message,
        }
    told, someone = item
    event: dict[str, Any] = {
        "sender": {"id": someone},
        "recipient": {"id": ACCOUNTS[told.channel]},
        "timestamp": _time(told.at),
    }
    if told.kind == "reaction":
        reaction = {"mid": told.target, "action": "react" if told.value else "unreact"}
        return event | {"reaction": reaction | ({"reaction": "other", "emoji": told.value} if told.value else {})}
    if told.value == "delivered":
        return event | {"delivery": {"mids": [told.target], "watermark": _time(told.at)}}
    return event | {"read": {"mid": told.target}}


def _whatsapp(items: Sequence[Item]) -> dict[str, Any]:
    """One change for each kind of item."""
    told = sorted((_of_whatsapp(item) for item in items), key=lambda one: one[0])
    changes = []
    for key, group in groupby(told, key=lambda one: one[0]):
        values = list(group)
        contacts = {json.dumps(contact): contact for _, _, contact in values if contact}
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": NUMBER, "phone_number_id": ACCOUNTS["whatsapp"]},
            key: [item for _, item, _ in values],
        }
        if contacts:
            value["contacts"] = list(contacts.values())
        changes.append({"field": "smb_message_echoes" if key == "message_echoes" else "messages", "value": value})
    return {"object": "whatsapp_business_account", "entry": [{"id": "800100", "changes": changes}]}


def _of_whatsapp(item: Item) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """The list that it stands in, itself, and the contact beside it."""
    if isinstance(item, Event):
        message = {
            "id": item.event_id,
            "timestamp": str(_time(item.sent_at)),
            "type": "text",
            "text": {"body": item.content},
        }
        if item.direction == "outbound":
            return "message_echoes", {"from": NUMBER, "to": item.author_id} | message, None
        profile = {"name": item.author_name} if item.author_name else {}
        return "messages", {"from": item.author_id} | message, {"wa_id": item.author_id, "profile": profile}
    told, someone = item
    if told.kind == "status":
        status = {"id": told.target, "status": told.value, "timestamp": str(_time(told.at)), "recipient_id": someone}
        return "statuses", status, None
    reaction = {"message_id": told.target} | ({"emoji": told.value} if told.value else {})
    message = {
        "from": someone,
        "id": f"{told.target}-reaction-{_time(told.at)}",
        "timestamp": str(_time(told.at)),
        "type": "reaction",
        "reaction": reaction,
    }
    return "messages", message, {"wa_id": someone, "profile": {}}
