"""Events as they come in: what a writer knows of one, and what the database is given to store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

CHANNELS: Final = ("facebook", "instagram", "telegram", "tiktok", "webchat", "whatsapp", "youtube")
"""Those that `webhook_events` takes unless its check was widened further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """An event for `webhook_events`: the columns that a writer fills in."""

    channel: str
    event_id: str
    """The provider's id; (channel, event_id) is the key of an event."""
    type: Literal["message", "comment"] = "message"
    author_id: str | None = None
    author_name: str | None = None
    content: str | None = None
    event_date: str | None = None
    """A time as text: Postgres has times that Python does not have (infinity, the year 20000)."""
    post_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """An event for the database to store and route."""

    channel: str
    event_id: str
    line: str | None
    """The event as a JSON object without line feeds; None: it is only named, and must be in webhook_events already."""
    keep: bool = False
    """Keeps the row as it is, if there is one: it is at least as new as `line`."""
    otherwise: str | None = None
    """Of one that is only named: what was wrong with it, which counts if it is not in webhook_events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of a webhook as its provider POSTed it, for the database to keep and to take apart."""

    provider: str
    account: str | None
    """That the body does not name: the bot of Telegram."""
    content: bytes


def key_of(event: Mapping[str, Any]) -> str:
    """The key that the events of one conversation share: those of one key must stay in order."""
    about = event.get("author_id") or event.get("post_id") or event.get("event_id")
    return f"{str(event.get('channel')).strip().lower()}:{about}"
