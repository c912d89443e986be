"""`webhook-router run --source kafka` as a process: records in, rows out, and each fault on the way."""

import asyncio
import json
import signal
import sys
import time
from typing import Any

import psycopg
import pytest

from consumer.adapters.postgres.migrate import migrate
from tests.conftest import StartPostgres
from tests.kafka.broker import Cluster
from tests.kafka.conftest import Scene, kafka_env
from tests.kafka.inbox import assert_one_message_each, until_messages, value
from tests.kafka.topics import Topics, event, unique
from tests.processes import Router, clean_environment, running
from tests.waiting import await_for, wait_for

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STUCK = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
SLOW = """
    create function public.slow() returns trigger language plpgsql as $$begin perform pg_sleep(%s); return new; end$$;
    create trigger slow before insert on public.messages for each row when (new.content_text = 'slow')
        execute function public.slow()
"""


def numbers(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """Events by number."""
    return [event(number) for number in range(begin, begin + count)]


def assigned(router: Router) -> float:
    """How many partitions a replica has."""
    return router.metric("webhook_router_kafka_assigned_partitions")


def until_assigned(router: Router, count: int = 6, timeout: float = 30) -> None:
    """Waits until it has so many."""
    wait_for(lambda: assigned(router) == count, timeout=timeout, what=f"{count} partitions, {router.lines}")


async def until_committed(scene: Scene, count: int, timeout: float = 20) -> None:
    """Waits until the group is done with so many records."""
    async with scene.topics.offsets(scene.group, scene.topic) as committed:

        async def enough() -> bool:
            return sum((await committed()).values()) >= count

        await await_for(enough, timeout=timeout, what=f"{count} committed records")


class TestForms:
    async def test_every_form_is_routed(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """Events, change records, names and CloudEvents; tombstones, deletes and our own marks are passed over."""
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
            await until_committed(scene, len(values) + 1)
            metrics = {
                reason: router.metric("webhook_router_kafka_records_skipped_total", reason=reason)
                for reason in ("tombstone", "delete", "nothing_to_route")
            }
            assert metrics == {"tombstone": 1, "delete": 1, "nothing_to_route": 1}
            assert router.metric("webhook_router_kafka_dead_letters_total") == 0
        found = db.execute("select event_id from webhook_events where routed_at is not null order by 1").fetchall()
        assert [name for (name,) in found] == ["e1", "e2", "e3", "e4", "e5", "e6", "e7", "e9", "in-table", "in-table-2"]
        assert_one_message_each(db, 10)

    async def test_a_trace_comes_through_to_the_log(self, scene: Scene, database: str) -> None:
        """A line a record for whoever asks for them, and always one for a record that is set aside."""
        headers = [("traceparent", TRACE.encode())]
        await scene.topics.send(scene.topic, [event(1), b"not json"], headers=headers)
        with running(database, "--log-level", "debug", env=scene.env) as router:
            wait_for(lambda: router.logged("record set aside"), timeout=20, what="the line")
            (aside,) = router.logged("record set aside")
            assert (aside["traceparent"], aside["error"], aside["topic"]) == (TRACE, "not_json", scene.topic)
            done = [line["traceparent"] for line in router.logged("record done")]
            assert done == [TRACE, TRACE]

    async def test_produce_writes_what_the_service_reads(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """NDJSON in, messages out; one conversation has one key, and a line that is no event is told by its number."""
        lines = [json.dumps(each) for each in numbers(300)]
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


class TestDeadLetters:
    async def test_one_bad_record_harms_no_other(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """The batch with it commits the rest; the dead letter is the record as it was, and says where it comes from."""
        await scene.topics.send(scene.topic, numbers(50), partition=0)
        await scene.topics.send(
            scene.topic, [b"\xff\x00"], partition=0, headers=[("tenant", b"7"), ("x", b"\xfe"), ("no", None)]
        )
        await scene.topics.send(scene.topic, numbers(50, 50), partition=0)
        with running(database, env=scene.env) as router:
            until_messages(db, 100)
            await until_committed(scene, 101)
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
        await scene.topics.send(scene.topic, numbers(20), partition=0)
        await scene.topics.send(scene.topic, [bytes(range(256)) * 4], partition=0)
        await scene.topics.send(scene.topic, numbers(10, 20), partition=0)
        await scene.topics.send(scene.topic, numbers(10, 30), partition=1)
        with running(database, env=scene.env) as router:
            until_messages(db, 40)
            await until_committed(scene, 30)
            wait_for(lambda: router.logged("cannot go on"), timeout=20, what="a line about it")
            assert "max.message.bytes" in router.logged("cannot go on")[0]["reason"]
            wait_for(lambda: router.metric("webhook_router_loop_failures_total", loop="kafka") >= 3, timeout=20)
            assert await scene.topics.committed(scene.group, scene.topic) == {0: 20, 1: 10}
            assert await scene.topics.read(scene.dead) == []
            await scene.topics.configure(scene.dead, {"max.message.bytes": "100000"})
            await until_committed(scene, 41)
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
            await until_committed(scene, 2)
            assert router.metric("webhook_router_events_parked_total", path="kafka") == 1
        assert await scene.topics.read(scene.dead) == []
        assert value(db, "select count(*) from router.parked_events") == 1

    async def test_an_event_that_takes_too_long_is_parked(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """The batch gets smaller until the culprit stands alone; the others are routed, and the partition goes on."""
        db.execute((SLOW % 30).encode())
        events = numbers(40)
        events[17]["content"] = "slow"
        await scene.topics.send(scene.topic, events, partition=0)
        with running(database, "--call-timeout", "1", env=scene.env) as router:
            until_messages(db, 39, timeout=60)
            await until_committed(scene, 40)
            assert router.logged("a batch took too long")
        assert value(db, "select count(*) from router.parked_events where error_code = '57014'") == 1


class TestFaults:
    async def test_the_database_goes_away(self, scene: Scene, private_postgres: StartPostgres) -> None:
        """Consumption pauses: nothing is committed, the member stays in the group; then it resumes, nothing is lost."""
        server = private_postgres()
        migrate(server.dsn())
        with running(server.dsn(), env=scene.env) as router:
            await scene.topics.send(scene.topic, numbers(200))
            await until_committed(scene, 200)
            server.kill()
            await scene.topics.send(scene.topic, numbers(200, 200))
            wait_for(lambda: router.metric("webhook_router_loop_failures_total", loop="kafka") >= 4, timeout=30)
            assert router.get("/readyz")[0] == 503
            assert router.get("/livez")[0] == 200
            assert await scene.committed() == 200
            assert assigned(router) == 6
            server.restart()
            await until_committed(scene, 400, timeout=40)
            assert router.metric("webhook_router_kafka_rebalances_total") == 1, "it never left the group"
            wait_for(lambda: router.get("/readyz")[0] == 200, what="ready again")
        with psycopg.connect(server.dsn()) as connection:
            assert_one_message_each(connection, 400)

    async def test_the_database_hangs(self, scene: Scene, private_postgres: StartPostgres) -> None:
        """It is there and does not answer: calls are given up, nothing is committed, and it goes on by itself."""
        server = private_postgres()
        migrate(server.dsn())
        with running(server.dsn(), "--call-timeout", "1", env=scene.env) as router:
            await scene.topics.send(scene.topic, numbers(20))
            await until_committed(scene, 20)
            with psycopg.connect(server.dsn(), autocommit=True) as locker, locker.transaction():
                locker.execute("lock table public.webhook_events in exclusive mode")
                await scene.topics.send(scene.topic, numbers(20, 20))
                wait_for(lambda: router.metric("webhook_router_batches_too_slow_total") >= 2, timeout=30)
                assert await scene.committed() == 20
            await until_committed(scene, 40, timeout=40)
        with psycopg.connect(server.dsn()) as connection:
            assert value(connection, "select count(*) from webhook_events") == 40

    async def test_the_broker_goes_away(self, victim: Cluster, database: str, db: psycopg.Connection) -> None:
        """Killed and started again: the service stays, says that it waits, and reads on."""
        topics = Topics(victim.bootstrap)
        topic, group = await topics.create(unique("events")), unique("group")
        await topics.send(topic, numbers(100))
        with running(database, env=kafka_env(victim.bootstrap, topic, "dead", group)) as router:
            until_messages(db, 100)
            victim.brokers[0].kill()
            wait_for(lambda: router.logged("the Kafka brokers do not answer"), timeout=30, what="a line about it")
            assert router.get("/livez")[0] == 200
            victim.start()
            await topics.send(topic, numbers(100, 100))
            until_messages(db, 200, timeout=60)
            wait_for(lambda: router.logged("the Kafka brokers answer again"), timeout=30, what="a line about it")
        assert_one_message_each(db, 200)

    async def test_the_broker_is_not_there_yet(self, unborn: Cluster, database: str, db: psycopg.Connection) -> None:
        """Started before Kafka, as happens when a machine starts: it waits for it and for its topic, and begins."""
        topics = Topics(unborn.bootstrap)
        with running(database, env=kafka_env(unborn.bootstrap, "events", "dead", "group")) as router:
            wait_for(lambda: router.logged("cannot go on"), timeout=20, what="a line about it")
            assert "no broker can be reached" in router.logged("cannot go on")[0]["reason"]
            await asyncio.to_thread(unborn.start)
            wait_for(lambda: router.logged("waiting for topics"), timeout=40, what="a line about the topic")
            assert router.logged("waiting for topics")[0]["topics"] == "events"
            assert router.metric("webhook_router_kafka_missing_topics") == 1
            await topics.create("events")
            await topics.send("events", numbers(10))
            until_messages(db, 10, timeout=60)
            assert len(router.logged("waiting for topics")) == 1

    async def test_one_of_three_brokers_is_lost(
        self, three_brokers: Cluster, database: str, db: psycopg.Connection
    ) -> None:
        """With three copies of everything, killing one costs seconds and no record."""
        topics = Topics(three_brokers.bootstrap)
        topic = await topics.create("events", partitions=6, copies=3)
        with running(database, env=kafka_env(three_brokers.bootstrap, topic, "dead", "group")) as router:
            until_assigned(router)
            sending = asyncio.create_task(topics.send(topic, numbers(3000)))
            await asyncio.to_thread(until_messages, db, 1)
            three_brokers.brokers[1].kill()
            await sending
            await asyncio.to_thread(until_messages, db, 3000, timeout=60)
        assert_one_message_each(db, 3000)

    async def test_a_rebalance_in_the_middle_of_a_batch(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """While the database has the batch, another replica gets it as well: there is no second effect."""
        with psycopg.connect(database) as locker, running(database, env=scene.env) as first:
            until_assigned(first)
            locker.execute("lock table public.messages in exclusive mode")
            await scene.topics.send(scene.topic, numbers(600))
            wait_for(lambda: value(db, STUCK) >= 1, what="a batch in the middle")
            with running(database, env=scene.env) as second:
                until_assigned(second, 3)
                locker.commit()
                await until_committed(scene, 600)
                assert assigned(first) + assigned(second) == 6
                assert first.metric("webhook_router_kafka_rebalances_total") == 2
        assert_one_message_each(db, 600)

    async def test_a_replica_is_killed(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """kill -9 in the middle of a batch: after its session the other one has its partitions, and its records."""
        with psycopg.connect(database) as locker, running(database, env=scene.env) as first:
            until_assigned(first)
            with running(database, env=scene.env) as second:
                until_assigned(second, 3)
                locker.execute("lock table public.messages in exclusive mode")
                await scene.topics.send(scene.topic, numbers(600))
                wait_for(lambda: value(db, STUCK) >= 2, what="both in the middle of a batch")
                second.signal(signal.SIGKILL)
                locker.commit()
                until_assigned(first, 6)
                await until_committed(scene, 600)
        assert_one_message_each(db, 600)

    async def test_a_replica_was_frozen_for_longer_than_its_session(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """A zombie: others have its partitions when it wakes up; its late commit harms nothing, and it joins again."""
        with psycopg.connect(database) as locker, running(database, env=scene.env) as zombie:
            until_assigned(zombie)
            locker.execute("lock table public.messages in exclusive mode")
            await scene.topics.send(scene.topic, numbers(300))
            wait_for(lambda: value(db, STUCK) >= 1, what="a batch in the middle")
            zombie.signal(signal.SIGSTOP)
            with running(database, env=scene.env) as other:
                until_assigned(other, 6)
                locker.commit()
                await until_committed(scene, 300)
                zombie.signal(signal.SIGCONT)
                until_assigned(other, 3)
                until_assigned(zombie, 3)
                await scene.topics.send(scene.topic, numbers(300, 300))
                await until_committed(scene, 600)
        assert_one_message_each(db, 600)

    async def test_sigterm_finishes_and_leaves_the_group(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """What is under way is committed, exit code 0, and others need not wait for the session's end."""
        await scene.topics.send(scene.topic, numbers(5000))
        slow_session = scene.env | {"WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT": "60"}
        with running(database, "--kafka-batch-size", "100", env=slow_session) as first:
            until_messages(db, 100)
            first.signal(signal.SIGTERM)
            assert first.stopped() == 0
            done = value(db, "select count(*) from messages")
            assert await scene.committed() == done, "everything that was done is committed"
            began = time.monotonic()
            with running(database, env=slow_session):
                until_messages(db, 5000)
            assert time.monotonic() - began < 20
        assert_one_message_each(db, 5000)


class TestTogether:
    async def test_both_triggers_on_the_same_events(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """Rows, change records, names and events of the same 2,000 events, both services at once: one message each."""
        events = numbers(2000)
        rows = [each | {"raw_payload": "{}", "routed_at": None} for each in events]
        changes = [{"before": None, "after": row, "op": "c"} for row in rows]
        insert = """insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
                    select 'instagram', 'message', 'e' || n, 'author-' || n %% 50, 'Name ' || n %% 50, 'text ' || n,
                           '2026-01-31T09:30:00Z' from generate_series(%s::int, %s::int) n on conflict do nothing"""
        with running(database) as by_notification, running(database, env=scene.env) as by_topic:
            by_notification.until_ready()
            until_assigned(by_topic)
            sending = asyncio.create_task(scene.topics.send(scene.topic, [*events, *changes]))
            for begin in range(0, 2000, 50):
                db.execute(insert, (begin, begin + 49))
                await asyncio.sleep(0)
            await sending
            named = [{"channel": "instagram", "event_id": each["event_id"]} for each in events]
            await scene.topics.send(scene.topic, named)
            await until_committed(scene, 6000, timeout=40)
            wait_for(lambda: value(db, "select count(*) from webhook_events where routed_at is null") == 0)
        assert_one_message_each(db, 2000)
        assert await scene.topics.read(scene.dead) == []

    async def test_the_sweep_runs_with_kafka_too(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """What comes straight into the table is routed all the same, at the next sweep."""
        with running(database, "--reconcile-interval", "0.3", "--overlap", "0.1", env=scene.env) as router:
            until_assigned(router)
            db.execute(
                "insert into webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', 'x', 'a')"
            )
            until_messages(db, 1)
            assert router.metric("webhook_router_events_routed_total", path="sweep") == 1


class TestConfiguration:
    @pytest.mark.parametrize(
        ("env", "said"),
        [
            ({"KAFKA_BOOTSTRAP_SERVERS": ""}, "no Kafka given: set WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS"),
            ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, "'broker' is not host:port"),
            ({"KAFKA_TOPICS": "a,,b"}, "'' is not a topic"),
            ({"KAFKA_DEAD_LETTER_TOPIC": "events"}, "a circle"),
            ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_SSL needs WEBHOOK_ROUTER_KAFKA_SASL_USERNAME"),
            ({"KAFKA_SASL_USERNAME": "me"}, "must be SASL_SSL or SASL_PLAINTEXT"),
            ({"KAFKA_START": "middle"}, "KAFKA_START"),
        ],
        ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
    )
    def test_a_wrong_setting_ends_it_with_a_clear_line(self, env: dict[str, str], said: str) -> None:
        """Exit code 2, before anything is started."""
        settings = kafka_env("localhost:1", "events", "dead", "group")
        settings |= {f"WEBHOOK_ROUTER_{name}": text for name, text in env.items()}
        router = Router("postgresql://nobody@localhost:1/none", env=settings)
        assert router.stopped() == 2
        wait_for(lambda: said in str(router.lines), what=f"{said}, in {router.lines}")
        assert router.process.stderr is not None
        router.process.stderr.close()
