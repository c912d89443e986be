"""The envelope of Instagram and Messenger: entries, each with events of conversations, with changes, or with both."""

from collections.abc import Mapping
from typing import Any, Final

from consumer.domain.providers import meta_comments, meta_events
from consumer.domain.providers.atoms import Atoms, Context
from consumer.domain.providers.gathered import Gathered
from consumer.domain.providers.meta_entry import Entry
from consumer.domain.providers.shapes import id_of, list_of, object_of, time_of

_CHANNELS: Final = {"instagram": "instagram", "page": "facebook"}
_CHANGES: Final = {"instagram": meta_comments.instagram_change, "facebook": meta_comments.page_change}


def atoms_of(body: object, context: Context, usual: str) -> Atoms:
    """All atoms of a body. The usual object counts where the body does not name its own.

    An application that has one address for both gets pages at the route of Instagram, and the other way round.
    """
    found = Gathered()
    # Meta's documentation shows lists of bodies; nobody has seen one sent.
    for item in body if isinstance(body, list) else (body,):
        envelope = object_of(item)
        channel = _CHANNELS.get(named) if isinstance(named := envelope.get("object", usual), str) else None
        if channel is None:
            found.record("unknown")
            continue
        for raw in list_of(envelope.get("entry")) or (None,):
            _entry(object_of(raw), channel, context, found)
    return found.atoms()


def _entry(raw: Mapping[str, Any], channel: str, context: Context, found: Gathered) -> None:
    named = id_of(raw.get("id"))
    entry = Entry(
        channel=channel,
        # The dashboard's test button says 0.
        id=named if named != "0" else None,
        time=time_of(raw.get("time")),
        raw_time=raw.get("time"),
        context=context,
        found=found,
    )
    before = found.heard
    for event in list_of(raw.get("messaging")):
        meta_events.event(event, entry)
    for event in list_of(raw.get("standby")):
        meta_events.event(event, entry, standby=True)
    for change in list_of(raw.get("changes")):
        _change(object_of(change), entry)
    if "field" in raw:
        # Accounts of Instagram Login have the change in the entry itself.
        _change(raw, entry)
    if found.heard == before:
        found.record("unknown")


def _change(change: Mapping[str, Any], entry: Entry) -> None:
    field, value = change.get("field"), change.get("value")
    if not isinstance(field, str):
        entry.found.record("unknown")
    elif meta_events.is_event(value):
        # As the dashboard's test buttons send them.
        meta_events.event(value, entry, standby=field == "standby")
    else:
        _CHANGES[entry.channel](field, value, entry)
