"""Events to count with: known people, so that a batch makes messages and nothing else."""

import psycopg

LOAD = """
insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, raw_payload,
                                   created_at)
select (array['instagram', 'whatsapp', 'facebook', 'tiktok', 'youtube'])[1 + i %% 5], 'message', %(prefix)s || i,
       'person-' || i %% %(people)s, 'Person ' || i %% %(people)s,
       'Is the order that I placed last week on its way, and when will it be here?',
       now() + i * interval '1 millisecond', jsonb_build_object('number', i, 'text', repeat('payload ', 40)),
       now() - interval '1 hour' + i * interval '1 millisecond'
from generate_series(1, %(count)s) as g (i)
"""


def load(connection: psycopg.Connection, count: int, *, prefix: str = "event-", people: int = 1000) -> None:
    """Inserts `count` pending events of `people` people, in the order of arrival."""
    connection.execute(LOAD, {"count": count, "prefix": prefix, "people": people})


def park(connection: psycopg.Connection, count: int) -> None:
    """Inserts events that are parked already, older than all others."""
    load(connection, count, prefix="parked-")
    connection.execute(
        "update public.webhook_events set parked_until = now() + interval '1 hour', "
        "created_at = created_at - interval '1 day' where event_id like 'parked-%'"
    )
