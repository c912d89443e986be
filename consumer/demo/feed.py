"""Sample events: a few channels, returning and new people, duplicates, and a few that cannot be routed."""

import random
from collections import deque
from collections.abc import Iterator

from consumer.domain.webhook import WebhookEvent

CHANNELS = ("instagram", "whatsapp", "facebook", "tiktok", "youtube")
WEIGHTS = (40, 30, 15, 10, 5)
NAMES = (
    "Amina",
    "Björn",
    "Chloé",
    "Dmitri",
    "Émile",
    "فاطمة",
    "Giulia",
    "Hiro",
    "Inès",
    "José",
    "Khadija",
    "Léa",
    "مريم",
)
TEXTS = (
    "Hello, is this still available?",
    "Bonjour, quels sont vos horaires ?",
    "I need help, my order has not arrived 😟",
    "مرحبا، كم السعر من فضلك؟",
    "Merci beaucoup ! 🙏",
    "Can I pay on delivery?",
    "C'est urgent, rappelez-moi svp",
    "👍",
    "Do you ship to Casablanca?",
    "Great video, where can I buy this?",
)
NEW_PERSON = 0.1
DUPLICATE = 0.03
BROKEN = 0.0005
COMMENT = 0.15
ANONYMOUS_COMMENT = 0.2
REMEMBERED = 200
"""Recent events that a duplicate may repeat; providers repeat within seconds."""


class SampleFeed:
    """An endless, seeded stream of events."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - sample data
        self._people: list[tuple[str, str, str | None]] = []
        self._recent: deque[WebhookEvent] = deque(maxlen=REMEMBERED)
        self._serial = 0

    def __iter__(self) -> Iterator[WebhookEvent]:
        return self

    def __next__(self) -> WebhookEvent:
        chance = self._random
        if self._recent and chance.random() < DUPLICATE:
            return chance.choice(self._recent)
        event = self._new()
        self._recent.append(event)
        return event

    def _new(self) -> WebhookEvent:
        chance = self._random
        self._serial += 1
        channel, author, name = self._person()
        comment = channel != "whatsapp" and chance.random() < COMMENT
        if comment and chance.random() < ANONYMOUS_COMMENT:
            author = name = None
        return WebhookEvent(
            channel=channel,
            type="comment" if comment else "message",
            event_id=f"demo-{self._serial}",
            author_id=author,
            author_name=name,
            content=chance.choice(TEXTS),
            event_date="infinity" if chance.random() < BROKEN else "now",
            post_id=f"post-{chance.randrange(20)}" if comment else None,
        )

    def _person(self) -> tuple[str, str | None, str | None]:
        chance = self._random
        if not self._people or chance.random() < NEW_PERSON:
            (channel,) = chance.choices(CHANNELS, WEIGHTS)
            # Instagram sends no names, the others do.
            name = None if channel == "instagram" else f"{chance.choice(NAMES)} {len(self._people) + 1}"
            self._people.append((channel, f"person-{len(self._people) + 1}", name))
            return self._people[-1]
        return chance.choice(self._people)
