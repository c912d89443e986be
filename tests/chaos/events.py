"""The events of a chaos run: made from a seed, so that a run can be made again."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

CHANNELS = ("instagram", "whatsapp", "facebook")
START = datetime(2026, 1, 1, tzinfo=UTC)
REFUSED = "refused by the application"
"""What the application's own trigger on messages says of an event with this content: the only cause of parking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as its provider knows it: the same in every delivery."""

    channel: str
    event_id: str
    type: str
    author_id: str | None
    author_name: str | None
    content: str
    sent_at: datetime
    post_id: str | None
    direction: str = "inbound"
    """outbound: we have written it, to its author."""

    @property
    def faulty(self) -> bool:
        """Whether it cannot be routed, for a reason in the event itself."""
        return self.content.startswith(REFUSED)

    @property
    def person(self) -> str | None:
        """The author's id as the application stores it, once it tidies up the raw ones."""
        return None if self.author_id is None else re.sub("^raw-+", "tidy-", self.author_id)


def made(
    seed: int | str, *, prefix: str, authors: int = 2000, faulty: float = 0.0005, raw: bool = False
) -> Iterator[Event]:
    """An endless sequence of events; the same arguments give the same events.

    Their times jump back and forth over two days, most come from a few authors, some are anonymous comments. `raw`: the
    authors and posts are of this sequence alone, each author has two spellings of the id, and more of them comment.
    """
    chance = random.Random(f"{seed} {prefix}")
    number = 0
    while True:
        number += 1
        author = int(authors * chance.random() ** 2)
        comment = chance.random() < (0.2 if raw else 0.02)
        signed = not comment or chance.random() < 0.5
        refused = chance.random() < faulty
        event_id = f"{prefix}-{number}"
        author_id, name, post_id = f"author-{author}", f"Name {author}", f"post-{author % 50}"
        if raw:
            post_id = f"post-{prefix}-{author}"
            author_id, name = f"raw-{chance.choice(('', '-'))}{prefix}-{author}", f"Raw {author}"
        yield Event(
            channel=CHANNELS[author % len(CHANNELS)],
            event_id=event_id,
            type="comment" if comment else "message",
            author_id=author_id if signed else None,
            author_name=name if signed and chance.random() < 0.9 else None,
            content=f"{REFUSED if refused else 'text of'} {event_id}",
            sent_at=START + timedelta(milliseconds=chance.randrange(2 * 86_400_000)),
            post_id=post_id if comment else None,
        )
