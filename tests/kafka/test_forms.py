"""What goes in and what comes out: every form of record, traces, and what `produce` writes."""

import asyncio
import json
import sys

import psycopg

from tests.integration.test_ingest_bodies import message, status
from tests.kafka.inbox import assert_one_message_each, until_messages
from tests.kafka.scene import Scene
from tests.kafka.topics import event, events
from tests.processes import clean_environment, running
from tests.waiting import wait_for

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class TestForms:
    async def test_every_form_is_routed(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """Events, change records, names and CloudEvents; tombstones, deletes and our own marks are skipped."""
        db.execute(
            """insert into webhook_events (channel, type, event_id, author_id, content)
               values ('whatsapp', 'message', 'in-table', 'a', 'x'), ('whatsapp', 'message', 'in-table-2', 'a', 'x')"""
        )
        row = event(3) | {"id": "7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00", "raw_payload": "{}", "routed_at": None}
        change = {"before": None, "after": row, "op": "c", "source": {}, "ts_ms": 1}
        cloud = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t"}
        binary = [(f"ce_{name}", str(text).encode()) for name, text in cloud.items()]
        values: list[object] = [
            event(1),
            event(2, channel=" Instagram "),
            change,
            {"schema": {}, "payload": change | {"after": row | {"event_id": "e4"}, "op": "r"}},
            change | {"after": row | {"event_id": "e5"}, "op": "u"},
            {"channel": "whatsapp", "event_id": "in-table"},
            cloud | {"data": event(6)},
            cloud | {"data": {"channel": "whatsapp", "event_id": "in-table-2"}},
            cloud | {"data": change | {"after": row | {"event_id": "e7"}}},
            None,
            change | {"before": row, "after": None, "op": "d"},
            change | {"after": row | {"event_id": "e8", "routed_at": "2026-01-31T09:30:00Z"}, "op": "u"},
        ]
        await scene.topics.send(scene.topic, values)
        await scene.topics.send(scene.topic, [event(9)], headers=binary)
        with running(database, env=scene.env) as router:
            await scene.until_committed(len(values) + 1)
            metrics = {
                reason: router.metric("webhook_router_kafka_records_skipped_total", reason=reason)
                for reason in ("tombstone", "delete", "nothing_to_route")
            }
            assert metrics == {"tombstone": 1, "delete": 1, "nothing_to_route": 1}
            assert router.metric("webhook_router_kafka_dead_letters_total") == 0
        found = db.execute("select event_id from webhook_events where routed_at is not null order by 1").fetchall()
        assert [name for (name,) in found] == ["e1", "e2", "e3", "e4", "e5", "e6", "e7", "e9", "in-table", "in-table-2"]
        assert_one_message_each(db, 10)

    async def test_what_other_tools_make_of_an_event_is_routed(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """Envelopes, frames and strings around events, names and rows; numbers arrive as they were written."""
        numbers = '{"big": 184467440737095516161234, "price": 1.10, "small": -1E-7}'

        def told(number: int, **more: object) -> str:
            return json.dumps(event(number, **more)).replace(f'{{"number": {number}}}', numbers)

        def row(number: int, **more: object) -> dict[str, object]:
            own = {"id": "7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00", "created_at": "2026-01-31T09:30:01Z"}
            return event(number) | own | {"raw_payload": numbers, "routed_at": None, "normalized": None} | more

        def cloud(data: str, more: str = "") -> str:
            return f'{{"specversion":"1.0","id":"1","source":"/debezium/x","type":"t",{more}"data":{data}}}'

        db.execute(
            """insert into webhook_events (channel, type, event_id, author_id, content, event_date, raw_payload)
               values ('instagram', 'message', 'e12', 'a', 'as it was', null, '[1]'),
                      ('instagram', 'message', 'e13', 'a', 'as it was', 'infinity', '{}')"""
        )
        with_object = json.dumps({"before": None, "after": row(9, raw_payload=0)}).replace(
            '"raw_payload": 0', f'"raw_payload": {numbers}'
        )
        taken = [
            told(1),
            f'{{"schema": null, "payload": {told(2)}}}',
            json.dumps(told(3)),
            f"\0\0\0\0\x07{told(4)}",
            cloud(told(5)),
            json.dumps(row(6, __op="c", __deleted="false")),
            json.dumps(row(7)),
            cloud(json.dumps({"before": None, "after": row(8)}), '"iodebeziumop":"c",'),
            cloud(f'{{"schema": {{}}, "payload": {with_object}}}', '"iodebeziumop":"r",'),
            json.dumps({"schema": {}, "payload": json.dumps({"before": None, "op": "r", "after": row(10)})}),
            json.dumps({"before": None, "op": "c", "after": row(11, event_date="2026-01-31T09:30:00.5Z")}),
            json.dumps({"before": None, "op": "c", "after": row(12, raw_payload="[1]", content="__gone__")}),
            json.dumps({"before": None, "op": "c", "after": row(13, event_date="infinity")}),
        ]
        skipped = [
            "null",
            '{"ts_ms": 1769851801600}',
            '{"schema": {}, "payload": {"ts_ms": 1769851801600}}',
            '{"status": "BEGIN", "id": "571", "event_count": null, "data_collections": null, "ts_ms": 1}',
            '{"status": "END", "id": "571", "event_count": 1, "data_collections": [{"event_count": 1}], "ts_ms": 1}',
            json.dumps(row(99, __op="d", __deleted="true")),
        ]
        await scene.topics.configure(scene.topic, {"max.message.bytes": "4194304"})
        await scene.topics.send(scene.topic, [text.encode() for text in (*taken, *skipped)])
        await scene.topics.send(
            scene.topic, [{"object": "x", "pad": "x" * 3_000_000}], headers=[("provider", b"messenger")]
        )
        env = scene.env | {"WEBHOOK_ROUTER_KAFKA_UNAVAILABLE_VALUE": "__gone__"}
        with running(database, env=env) as router:
            await scene.until_committed(len(taken) + len(skipped) + 1)
            counted = {
                reason: router.metric("webhook_router_kafka_records_skipped_total", reason=reason)
                for reason in ("tombstone", "delete", "heartbeat", "transaction")
            }
            assert counted == {"tombstone": 1, "delete": 1, "heartbeat": 2, "transaction": 2}
            assert router.metric("webhook_router_kafka_dead_letters_total") == 0
        found = db.execute(
            "select event_id, raw_payload::text from webhook_events where content like 'text%'"
        ).fetchall()
        assert dict(found) == {f"e{number}": numbers.replace("-1E-7", "-0.0000001") for number in range(1, 12)}
        waiting = db.execute("select event_id from webhook_events where routed_at is null").fetchall()
        assert waiting == [("e13",)], "infinity is parked"
        assert db.execute("select count(*) from router.deliveries").fetchone() == (1,)
        db.execute("delete from webhook_events where event_id = 'e13'")
        assert_one_message_each(db, 12)

    async def test_bodies_of_webhooks_take_effect(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """A header names the provider: messages, what changes them, and each body in the raw inbox, beside events."""
        whatsapp = [("provider", b"whatsapp")]
        await scene.topics.send(scene.topic, [event(1)])
        await scene.topics.send(scene.topic, [json.loads(message(number)) for number in range(3)], headers=whatsapp)
        await scene.topics.send(scene.topic, [json.loads(status(9, "read")), {"object": "x"}], headers=whatsapp)
        await scene.topics.send(scene.topic, [{"update_id": 1}], headers=[("provider", b"telegram")])
        with running(database, env=scene.env) as router:
            await scene.until_committed(7)
            assert router.metric("webhook_router_kafka_dead_letters_total") == 1
            assert router.metric("webhook_router_deliveries_total", provider="whatsapp", outcome="taken") == 5
            assert router.metric("webhook_router_effects_total", kind="status", effect="waiting") == 1
        assert db.execute("select count(*) from messages").fetchone() == (4,)
        assert db.execute("select count(*) from router.deliveries").fetchone() == (5,)
        assert db.execute("select kind from router.waiting").fetchone() == ("status",)

    async def test_a_trace_comes_through_to_the_log(self, scene: Scene, database: str) -> None:
        """A log line for each record where asked for, and always one for a dead letter."""
        headers = [("traceparent", TRACE.encode())]
        await scene.topics.send(scene.topic, [event(1), b"not json"], headers=headers)
        with running(database, "--log-level", "debug", env=scene.env) as router:
            wait_for(lambda: router.logged("record set aside"), what="the line")
            (aside,) = router.logged("record set aside")
            assert (aside["traceparent"], aside["error"], aside["topic"]) == (TRACE, "not_json", scene.topic)
            done = [line["traceparent"] for line in router.logged("record done")]
            assert done == [TRACE, TRACE]

    async def test_produce_writes_what_the_service_reads(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """NDJSON in, messages out; one conversation has one key, and a bad line is reported by its number."""
        lines = [json.dumps(each) for each in events(300)]
        lines.insert(7, '{"channel": "instagram"}')
        produce = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumer", "produce", "-", "--rejected", "/dev/null", "--json"),
            env=clean_environment() | scene.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, errors = await produce.communicate("\n".join(lines).encode())
        assert produce.returncode == 1, errors
        assert json.loads(said) | {"seconds": 0} == {
            "produced": 300,
            "rejected": 1,
            "topic": scene.topic,
            "seconds": 0,
        }
        with running(database, env=scene.env):
            until_messages(db, 300)
        assert_one_message_each(db, 300)
        keys: dict[bytes, set[int]] = {}
        for record in await scene.topics.read(scene.topic):
            keys.setdefault(record.key, set()).add(record.partition)
        assert set(keys) == {f"instagram:author-{number}".encode() for number in range(50)}
        assert all(len(partitions) == 1 for partitions in keys.values())
