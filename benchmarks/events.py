"""The events that every contender routes: the same rows, made by the database itself, whatever their number.

One event in ten is somebody's first; the others come from people seen before, at random. Six in seven are messages, the
rest comments, a fifth of those without an author. Payloads have about 500 bytes, as the providers' have.
"""

import psycopg

# hashint8extended is the database's own 64-bit hash: random enough, and the same in every run.
GENERATE = """
insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                   raw_payload, created_at)
select p.channel, e.type, %(prefix)s || e.i,
       case when not e.anonymous then %(people)s || e.person end,
       case when not e.anonymous and p.channel <> 'instagram' then 'Person ' || e.person end,
       'Message ' || e.i || ': is the order that I placed last week on its way, and when will it be here?',
       %(start)s::timestamptz + e.i * interval '1 millisecond',
       case when e.type = 'comment' then 'post-' || abs(hashint8extended(e.i, 5)) %% 200 end,
       jsonb_build_object('object', p.channel, 'entry', jsonb_build_array(jsonb_build_object(
           'id', 'page-1', 'time', e.i, 'from', e.person, 'mid', %(prefix)s || e.i, 'text', repeat('payload ', 45)))),
       now() - %(age)s::interval + e.i * interval '10 microseconds'
from (
    select g.i,
           case when abs(hashint8extended(g.i, 1)) %% 10 = 0 then g.i / 10
                else abs(hashint8extended(g.i, 2)) %% (g.i / 10 + 1) end as person,
           case when abs(hashint8extended(g.i, 3)) %% 7 = 0 then 'comment' else 'message' end as type,
           abs(hashint8extended(g.i, 3)) %% 35 = 0 as anonymous
    from generate_series(%(first)s::bigint, %(last)s::bigint) as g (i)
) e
cross join lateral (
    select (array['instagram', 'instagram', 'whatsapp', 'whatsapp', 'facebook', 'tiktok', 'youtube'])
           [1 + abs(hashint8extended(e.person, 4)) %% 7] as channel
) p
order by e.i
"""


def load(
    connection: psycopg.Connection,
    count: int,
    *,
    first: int = 1,
    prefix: str = "bench-",
    people: str = "person-",
    age: str = "1 hour",
) -> None:
    """Inserts events number `first` and following, all pending, in one transaction, without ringing the doorbell.

    They arrived one after the other, an hour ago unless another `age` is given, as a backlog has.
    """
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            GENERATE,
            {
                "first": first,
                "last": first + count - 1,
                "prefix": prefix,
                "people": people,
                "age": age,
                "start": "2026-01-01 00:00:00+00",
            },
        )
