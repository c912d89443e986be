"""Positions in the database: what it lacks after it has gone back is read again by itself, and nothing else is."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from consumer.domain.kafka_facts import DatabaseWentBack, PartitionBegun, RecordsExpired
from consumer.domain.lag import Partition
from tests.kafka.member import Backups, Member, member
from tests.kafka.scene import Scene, until_assigned
from tests.kafka.topics import events
from tests.processes import running
from tests.servers import Server
from tests.waiting import await_for, wait_for


@pytest.fixture
def backups(postgres_server: Server, database: str) -> Iterator[Backups]:
    """Copies of the database."""
    made = Backups(postgres_server.dsn(), database)
    yield made
    made.drop()


@pytest_asyncio.fixture
async def admin(scene: Scene) -> AsyncIterator[AIOKafkaAdminClient]:
    """An operator."""
    made = AIOKafkaAdminClient(bootstrap_servers=scene.topics.bootstrap)
    await made.start()
    yield made
    await made.close()


def count(dsn: str) -> int:
    """How many events are there."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from webhook_events where routed_at is not null").fetchone()
    assert row is not None
    return int(row[0])


def noted(dsn: str, scene: Scene) -> dict[int, int]:
    """What the database has noted."""
    query = "select partition, next_offset from router.kafka_positions where group_id = %s and topic = %s"
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute(query, (scene.group, scene.topic)).fetchall())


async def until(done: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Waits while a member works in this process."""

    async def answer() -> bool:
        return await asyncio.to_thread(done)

    await await_for(answer, timeout=timeout, what=what)


async def until_settled(dsn: str, scene: Scene, records: int) -> None:
    """Waits until the group, and so the database, has come so far."""
    await scene.until_committed(records)
    assert sum(noted(dsn, scene).values()) >= records


def again(reader: Member) -> int:
    """How many records are read again, as the member has told."""
    return sum(fact.records for fact in reader.seen(DatabaseWentBack))


class TestDatabasesThatGoBack:
    @pytest.mark.parametrize("lanes", [1, 2])
    async def test_under_a_member_at_work(self, database: str, scene: Scene, backups: Backups, lanes: int) -> None:
        """Whether records come meanwhile or not; the group follows, so that a restart reads nothing again."""
        async with member(database, scene, lanes=lanes) as reader:
            await scene.topics.send(scene.topic, events(300))
            await until_settled(database, scene, 300)
            await asyncio.to_thread(backups.take)
            await scene.topics.send(scene.topic, events(500, 300))
            await until_settled(database, scene, 800)
            await asyncio.to_thread(backups.restore)  # while the topic is quiet
            await until(lambda: count(database) == 800, "800 events")
            assert again(reader) == 500
            await until_settled(database, scene, 800)

            await scene.topics.send(scene.topic, events(100, 800))
            await until_settled(database, scene, 900)
            sending = asyncio.create_task(scene.topics.send(scene.topic, events(600, 900)))
            await asyncio.to_thread(backups.restore)  # while records come
            await sending
            await until(lambda: count(database) == 1500, "1500 events")
            await until_settled(database, scene, 1500)
            assert 600 <= again(reader) - 500 <= 1200
        async with member(database, scene, lanes=lanes) as second:
            await scene.topics.send(scene.topic, events(10, 1500))
            await until_settled(database, scene, 1510)
            assert again(second) == 0
        assert (await scene.topics.read(scene.dead)) == []

    async def test_between_two_members(self, database: str, scene: Scene, backups: Backups) -> None:
        """To a backup, and to one from before the first record: everything is read again, and told."""
        await asyncio.to_thread(backups.take)
        async with member(database, scene):
            await scene.topics.send(scene.topic, events(300))
            await until_settled(database, scene, 300)
        await asyncio.to_thread(backups.restore)
        async with member(database, scene, start="latest") as reader:
            await until(lambda: count(database) == 300, "300 events")
            assert again(reader) == 300
            await until_settled(database, scene, 300)

            with psycopg.connect(database) as connection:  # as a restore that left the table out
                connection.execute("truncate webhook_events, messages, router.kafka_positions cascade")
            await until(lambda: count(database) == 300, "300 events once more")
            assert again(reader) == 600
            await until_settled(database, scene, 300)
        async with member(database, scene) as reader:
            await scene.topics.send(scene.topic, events(1, 300))
            await until_settled(database, scene, 301)
            assert again(reader) == 0


class TestPruning:
    async def test_what_was_pruned_makes_no_second_message(self, database: str, scene: Scene) -> None:
        """A topic that is read again from its beginning: the events come back, and are only marked."""
        messages = "select * from messages order by id"
        async with member(database, scene) as reader:
            await scene.topics.send(scene.topic, events(200))
            await until_settled(database, scene, 200)
            with psycopg.connect(database, autocommit=True) as connection:
                before = connection.execute(messages).fetchall()
                connection.execute("update webhook_events set routed_at = now() - interval '90 days'")
                connection.execute("select router.prune('events', '30 days', 1000)")
                assert count(database) == 0
                connection.execute("truncate router.kafka_positions")
            await until(lambda: count(database) == 200, "200 events once more")
            await until_settled(database, scene, 200)
            assert again(reader) == 200
            with psycopg.connect(database) as connection:
                assert connection.execute(messages).fetchall() == before


class TestPlainRestarts:
    async def test_nothing_is_read_again(self, database: str, scene: Scene) -> None:
        """Stopped, killed while records come, or handed to another member: the database is never behind the group."""
        sent = 0
        for number in (signal.SIGTERM, signal.SIGKILL):
            with running(database, "--lanes", "2", env=scene.env) as router:
                until_assigned(router)
                await scene.topics.send(scene.topic, events(3000, sent))
                sent += 3000
                await asyncio.to_thread(
                    wait_for, lambda sent=sent: count(database) > sent - 2500, what=f"work, {router.lines}"
                )
                router.signal(number)
                await asyncio.to_thread(router.stopped)
            committed, known = await scene.topics.committed(scene.group, scene.topic), noted(database, scene)
            assert all(known[partition] >= offset for partition, offset in committed.items())
        async with member(database, scene) as reader, member(database, scene) as other:
            await until_settled(database, scene, sent)
            assert again(reader) + again(other) == 0
        assert count(database) == sent

    async def test_an_older_release_in_between(self, database: str, scene: Scene, admin: AIOKafkaAdminClient) -> None:
        """Its positions, and those of an operator, hold, further or not; the database goes on from there."""
        place = TopicPartition(scene.topic, 0)
        await scene.topics.send(scene.topic, events(100), partition=0)
        for position, left in ((50, 50), (90, 10), (20, 80)):
            async with AIOKafkaConsumer(
                bootstrap_servers=scene.topics.bootstrap, group_id=scene.group, enable_auto_commit=False
            ) as operator:
                operator.assign([place])
                await operator.commit({place: position})
            with psycopg.connect(database) as connection:
                connection.execute("truncate webhook_events, messages cascade")
            async with member(database, scene) as reader:
                await until_settled(database, scene, 100)
                assert (count(database), again(reader), noted(database, scene)[0]) == (left, 0, 100)


class TestRecordsThatAreGone:
    async def test_a_partition_that_was_never_read(
        self, database: str, scene: Scene, admin: AIOKafkaAdminClient
    ) -> None:
        """The group begins there before its first record, so what the broker deletes in front of it is told."""
        async with member(database, scene) as reader:
            await until(lambda: len(noted(database, scene)) == 6, "where the group begins")
            await until_committed_everywhere(scene)
            assert {fact.offset for fact in reader.seen(PartitionBegun)} == {0}
        await scene.topics.send(scene.topic, events(20), partition=3)
        await admin.delete_records({TopicPartition(scene.topic, 3): RecordsToDelete(12)})
        async with member(database, scene) as reader:
            await until_settled(database, scene, 20)
            assert reader.seen(RecordsExpired) == [RecordsExpired(partition=Partition(scene.topic, 3), records=12)]
            assert (count(database), again(reader)) == (8, 0)

    async def test_a_topic_that_was_made_anew(self, database: str, scene: Scene) -> None:
        """Its records have numbers that the database knows: they are read all the same, and it follows."""
        await scene.topics.send(scene.topic, events(50), partition=0)
        async with member(database, scene):
            await until_settled(database, scene, 50)
        await scene.topics.delete(scene.topic)

        async def gone() -> bool:
            return scene.topic not in await scene.topics.names()

        await await_for(gone, what="the topic's end")
        await scene.topics.create(scene.topic)
        await scene.topics.send(scene.topic, events(3, 50), partition=0)
        async with member(database, scene) as reader:
            await until(lambda: count(database) == 53, "the new records")
            await until(lambda: noted(database, scene)[0] == 3, "the database to follow")
            assert again(reader) == 0


async def until_committed_everywhere(scene: Scene) -> None:
    """Waits until the group has a position in each partition."""

    async def everywhere() -> bool:
        return len(await scene.topics.committed(scene.group, scene.topic)) == 6

    await await_for(everywhere, what="six positions")


async def test_a_dead_letter_that_is_not_safe_holds_the_group_back(database: str, scene: Scene) -> None:
    """Although the database has noted more, the record is read again after a restart; the others are done once."""
    await scene.topics.create(scene.dead, partitions=1, settings={"max.message.bytes": "100"})
    values = [*events(10), b"no event " * 40, *events(5, 10)]
    await scene.topics.send_each(scene.topic, [(value, (), 0) for value in values])
    async with member(database, scene):
        await until(lambda: count(database) == 15, "the events")
        await scene.until_committed(10)
    assert (await scene.topics.committed(scene.group, scene.topic))[0] == 10
    await scene.topics.configure(scene.dead, {"max.message.bytes": "100000"})
    async with member(database, scene) as reader:
        await until_settled(database, scene, 16)
        assert again(reader) == 0
    assert len(await scene.topics.read(scene.dead)) == 1


def test_a_quiet_topic_with_a_database_that_is_away_is_not_ready(database: str, scene: Scene, backups: Backups) -> None:
    """Within seconds, although there is nothing to store; and ready again when it is back."""
    with running(database, env=scene.env) as router:
        until_assigned(router)
        router.until_ready()
        with backups.closed():
            wait_for(lambda: router.get("/readyz")[0] == 503, timeout=10, what="not ready")
        wait_for(lambda: router.get("/readyz")[0] == 200, timeout=20, what=f"ready again, {router.lines}")
