"""`webhook-router run --source kafka` as a process, and each fault that it survives."""

import asyncio
import signal

import psycopg

from consumer.adapters.postgres.migrations.migrator import migrate
from tests.conftest import StartPostgres
from tests.kafka.broker import Cluster
from tests.kafka.inbox import assert_one_message_each, until_messages, value
from tests.kafka.scene import Scene, assigned, kafka_env, until_assigned
from tests.kafka.topics import Topics, events, unique
from tests.processes import Router, running
from tests.waiting import wait_for

LONG_SESSION = {"WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT": "20"}
"""For tests that count rebalances: a busy machine must not cause one of its own."""
STUCK = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


class TestFaults:
    async def test_the_database_goes_away(self, scene: Scene, private_postgres: StartPostgres) -> None:
        """Consumption pauses: nothing is committed, the member stays in the group; then it resumes, nothing is lost."""
        server = private_postgres()
        migrate(server.dsn())
        with running(server.dsn(), env=scene.env | LONG_SESSION) as router:
            await scene.topics.send(scene.topic, events(200))
            await scene.until_committed(200)
            rebalances = router.metric("webhook_router_kafka_rebalances_total")
            server.kill()
            await scene.topics.send(scene.topic, events(200, 200))
            wait_for(lambda: router.metric("webhook_router_loop_failures_total", loop="kafka") >= 4)
            wait_for(lambda: router.get("/readyz")[0] == 503, what="not ready")
            assert router.get("/livez")[0] == 200
            assert await scene.committed() == 200
            assert assigned(router) == 6
            server.restart()
            await scene.until_committed(400)
            assert router.metric("webhook_router_kafka_rebalances_total") == rebalances, "it never left the group"
            wait_for(lambda: router.get("/readyz")[0] == 200, what="ready again")
        with psycopg.connect(server.dsn()) as connection:
            assert_one_message_each(connection, 400)

    async def test_a_quiet_topic_and_no_database(self, scene: Scene, private_postgres: StartPostgres) -> None:
        """Nothing is read, so nothing fails: not ready all the same, as long as the database is away."""
        server = private_postgres()
        migrate(server.dsn())
        server.kill()
        with running(server.dsn(), env=scene.env) as router:
            wait_for(lambda: router.metric("webhook_router_loop_failures_total", loop="kafka") >= 3)
            assert router.get("/readyz")[0] == 503
            server.restart()
            router.until_ready()

    async def test_the_database_hangs(self, scene: Scene, private_postgres: StartPostgres) -> None:
        """It is there and does not answer: calls are given up, nothing is committed, and it goes on by itself."""
        server = private_postgres()
        migrate(server.dsn())
        with running(server.dsn(), "--call-timeout", "1", env=scene.env) as router:
            await scene.topics.send(scene.topic, events(20))
            await scene.until_committed(20)
            with psycopg.connect(server.dsn(), autocommit=True) as locker, locker.transaction():
                locker.execute("lock table public.webhook_events in exclusive mode")
                await scene.topics.send(scene.topic, events(20, 20))
                wait_for(lambda: _given_up(router) >= 2, what="two calls that were given up")
                assert await scene.committed() == 20
            await scene.until_committed(40)
        with psycopg.connect(server.dsn()) as connection:
            assert value(connection, "select count(*) from webhook_events") == 40

    async def test_the_broker_goes_away(self, victim: Cluster, database: str, db: psycopg.Connection) -> None:
        """Killed and started again: the service stays, says that it waits, and reads on."""
        topics = Topics(victim.bootstrap)
        topic, group = await topics.create(unique("events")), unique("group")
        await topics.send(topic, events(100))
        with running(database, env=kafka_env(victim.bootstrap, topic, "dead", group)) as router:
            until_messages(db, 100)
            victim.brokers[0].kill()
            wait_for(lambda: router.logged("the Kafka brokers do not answer"), what="a line about it")
            assert router.get("/livez")[0] == 200
            victim.start()
            await topics.send(topic, events(100, 100))
            until_messages(db, 200)
            wait_for(lambda: router.logged("the Kafka brokers answer again"), what="a line about it")
        assert_one_message_each(db, 200)

    async def test_the_broker_freezes(self, victim: Cluster, database: str, db: psycopg.Connection) -> None:
        """It takes connections and answers nothing: alive, not ready after a while, ready once it answers.

        So it is for a replica that has no partition, and therefore nothing to read.
        """
        topics = Topics(victim.bootstrap)
        topic, group = await topics.create(unique("events"), partitions=1), unique("group")
        await topics.send(topic, events(10))
        env = kafka_env(victim.bootstrap, topic, "dead", group)
        with (
            running(database, "--stall-after", "20", env=env) as router,
            running(database, "--stall-after", "20", env=env) as other,
        ):
            until_messages(db, 10)
            wait_for(lambda: {assigned(router), assigned(other)} == {0, 1}, what="a replica without a partition")
            router.until_ready()
            other.until_ready()
            victim.brokers[0].signal(signal.SIGSTOP)
            both = (router, other)
            wait_for(lambda: [_silent(replica) for replica in both] == [1, 1], what="silence")
            wait_for(lambda: [replica.get("/readyz")[0] for replica in both] == [503, 503], what="not ready")
            assert [replica.get("/livez")[0] for replica in both] == [200, 200]
            victim.brokers[0].signal(signal.SIGCONT)
            for replica in both:
                replica.until_ready()
            assert [_silent(replica) for replica in both] == [0, 0]

    async def test_the_broker_is_not_there_yet(self, unborn: Cluster, database: str, db: psycopg.Connection) -> None:
        """Started before Kafka, as happens when a machine boots: it waits for it and for its topic, and begins."""
        topics = Topics(unborn.bootstrap)
        with running(database, env=kafka_env(unborn.bootstrap, "events", "dead", "group")) as router:
            wait_for(lambda: router.logged("cannot go on"), what="a line about it")
            assert "no broker can be reached" in router.logged("cannot go on")[0]["reason"]
            await asyncio.to_thread(unborn.start)
            wait_for(lambda: router.logged("waiting for topics"), what="a line about the topic")
            assert router.logged("waiting for topics")[0]["topics"] == "events"
            assert router.metric("webhook_router_kafka_missing_topics") == 1
            await topics.create("events")
            await topics.send("events", events(10))
            until_messages(db, 10)
            assert len(router.logged("waiting for topics")) == 1

    async def test_one_of_three_brokers_is_lost(
        self, three_brokers: Cluster, database: str, db: psycopg.Connection
    ) -> None:
        """With three copies of everything, killing one costs seconds and no record."""
        topics = Topics(three_brokers.bootstrap)
        topic = await topics.create("events", partitions=6, copies=3)
        with running(database, env=kafka_env(three_brokers.bootstrap, topic, "dead", "group")) as router:
            until_assigned(router)
            sending = asyncio.create_task(topics.send(topic, events(3000)))
            await asyncio.to_thread(until_messages, db, 1)
            three_brokers.brokers[1].kill()
            await sending
            try:
                # The lost one may have been the group's coordinator, and have had requests in flight: on a machine that
                # others load heavily it takes more than seconds.
                await asyncio.to_thread(until_messages, db, 3000, timeout=300)
            except AssertionError as error:
                raise AssertionError(f"{error}; {router.lines[-20:]}") from None
        assert_one_message_each(db, 3000)

    async def test_a_rebalance_in_the_middle_of_a_batch(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """While the database has the batch, another replica gets it as well: there is no second effect."""
        env = scene.env | LONG_SESSION
        with psycopg.connect(database) as locker, running(database, env=env) as first:
            until_assigned(first)
            rebalances = first.metric("webhook_router_kafka_rebalances_total")
            locker.execute("lock table public.messages in exclusive mode")
            await scene.topics.send(scene.topic, events(600))
            wait_for(lambda: value(db, STUCK) >= 1, what="a batch in the middle")
            with running(database, env=env) as second:
                until_assigned(second, 3)
                locker.commit()
                await scene.until_committed(600)
                assert assigned(first) + assigned(second) == 6
                assert first.metric("webhook_router_kafka_rebalances_total") == rebalances + 1
        assert_one_message_each(db, 600)

    async def test_a_replica_is_killed(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """kill -9 in the middle of a batch: after its session the other one has its partitions, and its records."""
        with psycopg.connect(database) as locker, running(database, env=scene.env) as first:
            until_assigned(first)
            with running(database, env=scene.env) as second:
                until_assigned(second, 3)
                locker.execute("lock table public.messages in exclusive mode")
                await scene.topics.send(scene.topic, events(600))
                wait_for(lambda: value(db, STUCK) >= 2, what="both in the middle of a batch")
                second.signal(signal.SIGKILL)
                locker.commit()
                until_assigned(first, 6)
                await scene.until_committed(600)
        assert_one_message_each(db, 600)

    async def test_a_replica_was_frozen_for_longer_than_its_session(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """A zombie: others have its partitions when it wakes up; its late commit harms nothing, and it joins again."""
        with psycopg.connect(database) as locker, running(database, env=scene.env) as zombie:
            until_assigned(zombie)
            locker.execute("lock table public.messages in exclusive mode")
            await scene.topics.send(scene.topic, events(300))
            wait_for(lambda: value(db, STUCK) >= 1, what="a batch in the middle")
            zombie.signal(signal.SIGSTOP)
            with running(database, env=scene.env) as other:
                until_assigned(other, 6)
                locker.commit()
                await scene.until_committed(300)
                zombie.signal(signal.SIGCONT)
                until_assigned(other, 3)
                until_assigned(zombie, 3)
                await scene.topics.send(scene.topic, events(300, 300))
                await scene.until_committed(600)
        assert_one_message_each(db, 600)

    async def test_sigterm_finishes_and_leaves_the_group(
        self, scene: Scene, database: str, db: psycopg.Connection
    ) -> None:
        """What is under way is committed, exit code 0, and others need not wait for the session's end."""
        await scene.topics.send(scene.topic, events(5000))
        env = scene.env | {"WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT": "300"}
        with running(database, "--kafka-batch-size", "100", env=env) as first:
            until_messages(db, 100)
            first.signal(signal.SIGTERM)
            assert first.stopped() == 0
            done = value(db, "select count(*) from messages")
            assert await scene.committed() == done, "everything that was done is committed"
            with running(database, env=env):
                until_messages(db, 5000)
        assert_one_message_each(db, 5000)


def _given_up(router: Router) -> float:
    """How many calls were given up, of a batch or of a single event."""
    batches = router.metric("webhook_router_batches_too_slow_total")
    return batches + router.metric("webhook_router_loop_failures_total", loop="kafka")


def _silent(router: Router) -> float:
    """Whether a replica says that the brokers are."""
    return router.metric("webhook_router_kafka_brokers_silent")
