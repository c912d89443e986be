"""What cannot be processed, or not in time, and the records beside it in a batch."""

import psycopg

from tests.kafka.inbox import assert_one_message_each, until_messages, value
from tests.kafka.scene import Scene
from tests.kafka.topics import event, events
from tests.processes import running
from tests.waiting import wait_for

SLOW = """
    create function public.slow() returns trigger language plpgsql as $$begin perform pg_sleep(%s); return new; end$$;
    create trigger slow before insert on public.messages for each row when (new.content_text = 'slow')
        execute function public.slow()
"""


class TestDeadLetters:
    async def test_one_bad_record_harms_no_other(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """The batch with it commits the rest; the dead letter is the record as it was, and says where it comes from."""
        await scene.topics.send(scene.topic, events(50), partition=0)
        await scene.topics.send(
            scene.topic, [b"\xff\x00"], partition=0, headers=[("tenant", b"7"), ("x", b"\xfe"), ("no", None)]
        )
        await scene.topics.send(scene.topic, events(50, 50), partition=0)
        with running(database, env=scene.env) as router:
            until_messages(db, 100)
            await scene.until_committed(101)
            (letter,) = await scene.topics.read(scene.dead)
            assert router.metric("webhook_router_kafka_dead_letters_total", error="not_json") == 1
            assert router.metric("webhook_router_kafka_decode_failures_total", error="not_json") == 1
        assert (letter.value, letter.key) == (b"\xff\x00", b"key")
        headers = dict(letter.headers)
        assert (headers["tenant"], headers["x"], headers["no"]) == (b"7", b"\xfe", None)
        assert headers["webhook-router-error"] == b"not_json"
        assert headers["webhook-router-topic"] == scene.topic.encode()
        assert (headers["webhook-router-partition"], headers["webhook-router-offset"]) == (b"0", b"50")
        assert b"not JSON" in headers["webhook-router-error-message"]
        assert_one_message_each(db, 100)

    async def test_a_dead_letter_topic_that_cannot_be_written_stops_the_offset(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """The record is not dropped: what stands before it is committed, the rest waits until it can be written."""
        await scene.topics.create(scene.dead, partitions=1, settings={"max.message.bytes": "200"})
        await scene.topics.send(scene.topic, events(20), partition=0)
        await scene.topics.send(scene.topic, [bytes(range(256)) * 4], partition=0)
        await scene.topics.send(scene.topic, events(10, 20), partition=0)
        await scene.topics.send(scene.topic, events(10, 30), partition=1)
        with running(database, env=scene.env) as router:
            until_messages(db, 40)
            await scene.until_committed(30)
            wait_for(lambda: router.logged("cannot go on"), what="a line about it")
            assert "max.message.bytes" in router.logged("cannot go on")[0]["reason"]
            wait_for(lambda: router.metric("webhook_router_loop_failures_total", loop="kafka") >= 3)
            committed = await scene.topics.committed(scene.group, scene.topic)
            assert {number: offset for number, offset in committed.items() if offset} == {0: 20, 1: 10}
            assert await scene.topics.read(scene.dead) == []
            await scene.topics.configure(scene.dead, {"max.message.bytes": "100000"})
            await scene.until_committed(41)
        (letter,) = await scene.topics.read(scene.dead)
        assert letter.value == bytes(range(256)) * 4
        assert_one_message_each(db, 40)

    async def test_an_event_that_cannot_be_routed_is_parked(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """It is an event like any other, in the table: the sweep tries it again, and no dead letter is needed."""
        db.execute("alter table public.messages add constraint no_bad check (content_text <> 'bad')")
        await scene.topics.send(scene.topic, [event(1, content="bad"), event(2)])
        with running(database, env=scene.env) as router:
            await scene.until_committed(2)
            assert router.metric("webhook_router_events_parked_total", path="kafka") == 1
        assert await scene.topics.read(scene.dead) == []
        assert value(db, "select count(*) from router.parked_events") == 1

    async def test_an_event_that_takes_too_long_is_parked(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """The batch gets smaller until the culprit stands alone; the others are routed, and the partition goes on."""
        db.execute((SLOW % 30).encode())
        forty = events(40)
        forty[17]["content"] = "slow"
        await scene.topics.send(scene.topic, forty, partition=0)
        with running(database, "--call-timeout", "2", env=scene.env) as router:
            until_messages(db, 39)
            await scene.until_committed(40)
            wait_for(lambda: router.logged("a batch took too long"), what="a line about it")
        assert value(db, "select count(*) from router.parked_events where error_code = '57014'") == 1
