"""Events as they come in: what a writer knows of one, and what the database is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


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
    """A time as Postgres reads it: it has times that Python has not (infinity, the year 20000)."""
    post_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """An event for the database."""

    channel: str
    event_id: str
    line: str | None
    """The event as a JSON object without line feeds; None when the record only names it."""
    keep: bool = False
    """The row, where there is one, is at least as new as the record."""


def key_of(event: Mapping[str, Any]) -> str:
    """The key of an event's record: what belongs into one conversation goes to one partition, and stays in order."""
    about = event.get("author_id") or event.get("post_id") or event.get("event_id")
    return f"{str(event.get('channel')).strip().lower()}:{about}"
