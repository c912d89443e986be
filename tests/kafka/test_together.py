"""Both triggers at once, and the sweep beside the topics."""

import asyncio

import psycopg

from tests.kafka.inbox import assert_one_message_each, until_messages, value
from tests.kafka.scene import Scene, until_assigned
from tests.kafka.topics import events
from tests.processes import running
from tests.waiting import wait_for


class TestTogether:
    async def test_both_triggers_on_the_same_events(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """Rows, change records, names and events of the same 2,000 events, both services at once: one message each."""
        given = events(2000)
        rows = [each | {"raw_payload": "{}", "routed_at": None} for each in given]
        changes = [{"before": None, "after": row, "op": "c"} for row in rows]
        insert = """insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
                    select 'instagram', 'message', 'e' || n, 'author-' || n %% 50, 'Name ' || n %% 50, 'text ' || n,
                           '2026-01-31T09:30:00Z' from generate_series(%s::int, %s::int) n on conflict do nothing"""
        with running(database) as by_notification, running(database, env=scene.env) as by_topic:
            by_notification.until_ready()
            until_assigned(by_topic)
            sending = asyncio.create_task(scene.topics.send(scene.topic, [*given, *changes]))
            for begin in range(0, 2000, 50):
                db.execute(insert, (begin, begin + 49))
                await asyncio.sleep(0)
            await sending
            named = [{"channel": "instagram", "event_id": each["event_id"]} for each in given]
            await scene.topics.send(scene.topic, named)
            await scene.until_committed(6000)
            wait_for(lambda: value(db, "select count(*) from webhook_events where routed_at is null") == 0, what="all")
        assert_one_message_each(db, 2000)
        assert await scene.topics.read(scene.dead) == []

    async def test_the_sweep_runs_with_kafka_too(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """What comes straight into the table is routed all the same, at the next sweep."""
        with running(database, "--reconcile-interval", "0.3", "--overlap", "0.1", env=scene.env) as router:
            until_assigned(router)
            db.execute(
                "insert into webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', 'x', 'a')"
            )
            await scene.topics.send(scene.topic, events(1))
            until_messages(db, 2)
            paths: dict[str, str] = dict(db.execute("select channel, routed_by from webhook_events").fetchall())
            assert paths == {"tiktok": "sweep", "instagram": "kafka"}
            wait_for(lambda: router.metric("webhook_router_events_routed_total", path="sweep") == 1, what="its count")
