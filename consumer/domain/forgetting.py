"""Who is to be forgotten, and where deliveries mention them."""

import json
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from consumer.domain.explaining import spellings
from consumer.domain.providers import phones

_SHORTEST: Final = 5
"""Characters of an id that is looked for outside of quotes as well: anything shorter may be any number."""
PROVIDERS: Final = {
    "whatsapp": "whatsapp",
    "instagram": "instagram",
    "facebook": "messenger",
    "telegram": "telegram",
    "tiktok": "tiktok",
}
"""Channel → whose deliveries bring its events."""


NUMBERS: Final = "whatsapp"
"""The channel whose ids are telephone numbers."""
OTHERS: Final = frozenset({"youtube", "webchat", "other"})
"""Channels that no provider's deliveries bring."""


class Identity(NamedTuple):
    """One of the ids of a person."""

    channel: str
    id: str


def given(channel: str, external_id: str) -> list[Identity]:
    """An id as somebody types it; a number of WhatsApp in all its spellings, and with the spaces that people write."""
    channel, external_id = channel.lower(), external_id.strip()
    ids = spellings(external_id) if channel == NUMBERS else [external_id]
    return [Identity(channel, found) for found in ids if found]


def all_spellings(identities: Iterable[Identity]) -> list[Identity]:
    """Those identities, and the other spellings of numbers among them; each once, in order. A blank one is nobody's.

    Elsewhere an id that looks like another spelling is somebody else's.
    """
    return sorted(
        {
            Identity(identity.channel, form)
            for identity in identities
            for form in (identity.id, *_forms(identity))
            if form.strip()
        }
    )


def _forms(identity: Identity) -> tuple[str, ...]:
    is_number = identity.channel == NUMBERS and phones.is_phone(identity.id)
    return phones.spellings(identity.id) if is_number else ()


def mention(identities: Iterable[Identity]) -> re.Pattern[bytes]:
    """What finds any of them in a body as a provider sends it: as a whole word, so that no longer number is meant.

    An id that is nearly nothing counts only as a whole string of JSON, or as the number of an id.
    """
    words = set()
    for _, found in identities:
        for quoted in {json.dumps(found), json.dumps(found, ensure_ascii=False)}:
            bare = re.escape(quoted[1:-1].encode("utf-8", "surrogatepass"))
            if len(found) >= _SHORTEST:
                words.add(rb"(?<![0-9A-Za-z_])" + bare + rb"(?![0-9A-Za-z_])")
            else:
                words |= {b'"' + bare + b'"', rb'id"\s*:\s*' + bare + rb"(?![0-9A-Za-z_])"}
    return re.compile(b"|".join(sorted(words)))
