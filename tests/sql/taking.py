"""Messages as normalisers tell them, handed in as deliveries are, for tests of what becomes of them."""

import json
from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from tests.sql.inbox import Inbox

Line = dict[str, Any]

START = "2026-01-01T12:{:02}:00Z"


def line(event_id: str, minute: int = 0, *, channel: str = "whatsapp", **columns: Any) -> Line:
    """A message of a person to an account of ours; `normalized` is added to what is usual."""
    normalized = {"account": "acc"} | columns.pop("normalized", {})
    usual: Line = {
        "delivery": 0,
        "channel": channel,
        "type": "message",
        "event_id": event_id,
        "author_id": "p1",
        "author_name": None,
        "content": f"text of {event_id}",
        "event_date": START.format(minute),
        "post_id": None,
    }
    return usual | columns | {"normalized": {key: value for key, value in normalized.items() if value is not None}}


def take(inbox: Inbox, *lines: Line, effects: Sequence[Line] = ()) -> list[str]:
    """One delivery with these messages and effects; the reasons why some of them were refused."""
    row = inbox.row(
        "select refused, reasons from router.take_deliveries(%s, array[''::bytea], %s, %s)",
        Jsonb([{"provider": "whatsapp", "digest": "00", "version": 1, "kinds": {}}]),
        "\n".join(map(json.dumps, lines)),
        "\n".join(map(json.dumps, effects)),
    )
    return [*row["reasons"]]
