"""/event: what became of an event, and of whom or what it is about."""

import unicodedata
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.domain.explaining import UNKNOWN, Findings, advice, places, timeline
from consumer.domain.webhook import CHANNELS
from consumer.ports import EventDesk

LONGEST: Final = 512
"""Characters of an id, as in the schema of events."""
LONGEST_CHANNEL: Final = 64
_MATCHED: Final = {
    "event_id": "this is its id",
    "event": "this is its row",
    "message": "this is its message",
    "conversation": "it is in this conversation",
    "contact": "it is of this contact",
    "person": "it is of this person",
}
_BADGES: Final = {
    "routed": "routed",
    "ready": "ready",
    "parked": "waiting",
    "dead": "dead",
    "discarded": "discarded",
    "held": "bad",
    UNKNOWN: "bad",
}


class _Unusable(Exception):
    """What was asked for is none; the words are for whoever asked."""


def event(site: Site, *, desk: EventDesk) -> Sequence[web.AbstractRouteDef]:
    """The routes: `?channel=&text=` searches, `?channel=&event_id=` is one event."""

    async def page(request: web.Request) -> web.Response:
        asked = request.query
        channel, text, key = (asked.get(name, "") for name in ("channel", "text", "event_id"))
        try:
            if key:
                _check(key, what="The id", longest=None)
                _check(channel, what="The channel", longest=None)
                story = await desk.explain_event(channel, key)
                return shown(channel, "", Findings(hits=[], is_partial=False, story=story))
            channel, text = channel.strip().lower(), text.strip()
            _check(channel, what="The channel", longest=LONGEST_CHANNEL)
            _check(text, what="The id", longest=LONGEST)
            found = await desk.find_event(channel or None, text) if text else None
            if found and channel and channel not in CHANNELS:
                _check_channel(channel, found)
        except _Unusable as error:
            return shown(channel, text, None, error=str(error))
        return shown(channel, text, found)

    def shown(channel: str, text: str, found: Findings | None, *, error: str = "") -> web.Response:
        host, database = desk.place
        story = found and found.story
        return site.render(
            "event.html",
            status=400 if error else 200,
            channel=channel,
            channels=sorted({*CHANNELS, channel} - {""}),
            text=text,
            longest=LONGEST,
            found=found,
            error=error,
            story=story,
            steps=timeline(story) if story else (),
            places=list(places(story)) if story else (),
            advice=list(advice(story, host=host, database=database)) if story else (),
            badges=_BADGES,
            matched=_MATCHED,
        )

    return [web.get("/event", site.page(page))]


def _check(text: str, *, what: str, longest: int | None) -> None:
    """A link to one event has its id as it is; what is typed or pasted has no characters that cannot be seen."""
    if "\0" in text or any(unicodedata.category(character) == "Cs" for character in text):
        raise _Unusable(f"{what} is not Unicode text, so nothing can have it.")
    if longest is None:
        return
    if len(text) > longest:
        raise _Unusable(f"{what} has {len(text):,} characters. There is none of more than {longest}.")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise _Unusable(f"{what} has control characters, such as the end of a line. Was more copied than an id?")


def _check_channel(channel: str, found: Findings) -> None:
    """An application may have channels of its own."""
    if found.hits or (found.story is None or channel in (found.story.channels or ())):
        return
    known = ", ".join(sorted({*CHANNELS, *(found.story.channels or ())}))
    raise _Unusable(f"There is no channel {channel}. There are: {known}.")
