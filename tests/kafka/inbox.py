"""What the database must look like after records have come in, whatever happened on the way."""

from typing import Any

import psycopg

from tests.waiting import wait_for


def value(db: psycopg.Connection, query: str, *values: Any) -> int:
    """The one number that a query gives."""
    row = db.execute(query.encode(), values or None).fetchone()
    assert row is not None
    return int(row[0])


def until_messages(db: psycopg.Connection, count: int, *, timeout: float = 120) -> None:
    """Waits until there are so many messages."""
    wait_for(
        lambda: value(db, "select count(*) from public.messages") >= count, timeout=timeout, what=f"{count} messages"
    )


def assert_one_message_each(db: psycopg.Connection, events: int) -> None:
    """So many events, each routed, with exactly one message in its own conversation, and no contact made twice."""
    assert value(db, "select count(*) from public.webhook_events") == events
    assert value(db, "select count(*) from public.messages") == events
    assert value(db, "select count(*) from public.webhook_events where routed_at is null") == 0
    assert (
        value(
            db,
            """select count(*) from public.webhook_events w
               where not exists (select from public.messages m where m.channel = w.channel
                                 and m.provider_message_id = w.event_id and m.conversation_id = w.conversation_id)""",
        )
        == 0
    )
    assert (
        value(
            db,
            """select count(*) from (select from public.conversations where status = 'open'
               group by contact_id, channel, channel_conversation_id having count(*) > 1) d""",
        )
        == 0
    )
    contacts = value(db, "select count(*) from public.contacts")
    assert contacts == value(db, "select count(distinct (channel, author_id)) from public.webhook_events")
    assert contacts == value(db, "select count(*) from public.contact_channels")
