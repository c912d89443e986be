"""Retention beside live traffic, with a ledger of every event: what is due goes, nothing else is lost or doubled."""

import itertools
import signal

import psycopg

from tests.processes import running
from tests.waiting import wait_for

OLD = 12_000
LEDGER = """
    create table public.ledger as
    select w.event_id, w.routed_at < now() - interval '1 hour' and w.parked_until is null as due, m.id as message
    from public.webhook_events w
    left join public.messages m on m.channel = w.channel and m.provider_message_id = w.event_id
"""
INSERT = """
    insert into public.webhook_events (channel, type, event_id, author_id, content, event_date, raw_payload)
    select 'instagram', 'message', %s || i, 'author-' || i %% 50, 'text ' || i, now(), jsonb_build_object('of', i)
    from generate_series(1, %s) i
    on conflict (channel, event_id) do nothing
"""


def value(db: psycopg.Connection, query: str) -> int:
    row = db.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def doubled(db: psycopg.Connection) -> int:
    """Messages that are there twice, or that were in the ledger and are another one by now."""
    return value(
        db,
        """
        select (select count(*) - count(distinct (channel, provider_message_id)) from public.messages)
             + (select count(*) from public.ledger l
                where l.message is not null and not exists (select from public.messages m where m.id = l.message))
        """,
    )


def test_what_is_due_goes_under_traffic_and_nothing_else(database: str) -> None:
    """With two replicas, of which one is killed at work; live events all the while; redeliveries of what has gone."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(INSERT, ("old-", OLD))
        while value(db, "select (router.route_batch(1000)).claimed"):
            pass
        db.execute(
            """
            update public.webhook_events set routed_at = now() - interval '2 hours'
                - case when event_id like '%7' then interval '0' else random() * interval '3 days' end
            where event_id not like '%3'
            """
        )
        db.execute("update public.webhook_events set parked_until = 'infinity' where event_id like '%55'")
        db.execute(LEDGER)
        due = value(db, "select count(*) from public.ledger where due")
        assert due > OLD / 2
        live = itertools.count()

        def gone() -> int:
            return value(
                db,
                """
                select count(*) from public.ledger l
                where l.due and not exists (select from public.webhook_events w where w.event_id = l.event_id)
                """,
            )

        def going(share: float) -> bool:
            """Whether so many of those that are due have gone; more events come meanwhile."""
            db.execute(INSERT, (f"live-{next(live)}-", 20))
            return gone() >= due * share

        with running(database, "--keep-events", "1h") as first, running(database, "--keep-events", "1h") as second:
            wait_for(lambda: going(0.2), timeout=120, what="the first events to go")
            first.process.kill()
            wait_for(lambda: going(1.0), timeout=120, what="all events to go that are due")
            assert second.metric("webhook_router_pruned_total", kind="events") > 0
            assert second.metric("webhook_router_pruned_bytes_total", kind="events") > 0
            assert doubled(db) == 0
            assert value(db, "select count(*) from public.ledger l where not l.due") == value(
                db, "select count(*) from public.webhook_events w join public.ledger l using (event_id)"
            )
            # They come again: providers do that, and the ledger of a topic may be read from its beginning.
            db.execute(INSERT, ("old-", OLD))
            wait_for(
                lambda: (
                    value(
                        db,
                        "select count(*) from public.webhook_events where routed_at is null and parked_until is null",
                    )
                    == 0
                ),
                timeout=120,
                what="an empty backlog",
            )
            second.process.send_signal(signal.SIGTERM)
            assert second.process.wait(60) == 0
        assert doubled(db) == 0
        assert value(db, "select count(*) from public.messages") == OLD + 20 * next(live)
        assert value(db, "select count(*) from public.webhook_events where parked_until = 'infinity'") == value(
            db, "select count(*) from public.ledger where event_id like '%55'"
        )


def test_payloads_go_and_messages_stay(database: str) -> None:
    """By the loop of the service, too; its log says so once a round."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(INSERT, ("old-", 50))
        db.execute("select router.route_batch(1000)")
        db.execute("update public.webhook_events set routed_at = now() - interval '2 days'")
        messages = db.execute("select * from public.messages order by id").fetchall()
        with running(database, "--keep-payloads", "1d") as router:
            wait_for(
                lambda: value(db, "select count(*) from public.webhook_events where raw_payload <> '{}'") == 0,
                what="the payloads to go",
            )
            wait_for(lambda: router.metric("webhook_router_pruned_total", kind="payloads") == 50, what="the metric")
            assert router.metric("webhook_router_oldest_event_timestamp_seconds", kind="payloads") > 0
        assert db.execute("select * from public.messages order by id").fetchall() == messages
        assert value(db, "select count(*) from public.webhook_events") == 50
