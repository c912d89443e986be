"""Where a group reads on: after a start, a failure, a rebalance, and when the broker has deleted records."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from consumer.domain.kafka_facts import (
    ConsumerReplaced,
    LagSampled,
    OffsetsCommitted,
    PartitionsAssigned,
    RecordsExpired,
    RecordsWithheld,
)
from consumer.domain.lag import Partition
from tests.kafka.reader import ends, firsts, ids, lag, reading, sizes
from tests.kafka.scene import Scene
from tests.kafka.topics import Topics, events, unique
from tests.waiting import await_for

EVENTS = sorted(f"e{number}" for number in range(100))


class TestPositions:
    async def test_a_new_group_begins_at_the_beginning(self, scene: Scene) -> None:
        """What was there before the first start is not skipped."""
        await scene.topics.send(scene.topic, events(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(100)) == EVENTS
        assert await scene.committed() == 100

    async def test_a_new_group_may_begin_at_the_end(self, scene: Scene) -> None:
        """`latest` takes what comes from now on, and a restart before the first record does not move that point."""
        await scene.topics.send(scene.topic, events(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start="latest") as reader:
            assert await reader.until(lambda: reader.seen(OffsetsCommitted)) == []
        await scene.topics.send(scene.topic, events(10, 100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start="latest") as reader:
            assert ids(await reader.read(10)) == sorted(f"e{number}" for number in range(100, 110))

    async def test_what_is_not_committed_comes_again(self, scene: Scene) -> None:
        """To the next member as well."""
        await scene.topics.send(scene.topic, events(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.read(100, commit=False)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(100)) == EVENTS

    async def test_what_was_given_back_comes_again_at_once(self, scene: Scene) -> None:
        """After a failure the same records are read again, without losing one in front of them."""
        await scene.topics.send(scene.topic, events(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            first = await reader.read(40, limit=10, commit=False)
            reader.source.rewind(firsts(first))
            again = await reader.read(100)
            assert ids(again) == EVENTS

    async def test_a_commit_for_a_lost_partition_is_left_out(self, scene: Scene) -> None:
        """Only its new member commits its offset."""
        await scene.topics.send(scene.topic, events(100))
        async with (
            reading(scene.topics.bootstrap, scene.topic, scene.group) as first,
            reading(scene.topics.bootstrap, scene.topic, scene.group) as second,
        ):
            stale = await first.read(100, commit=False)
            await asyncio.gather(
                first.until(lambda: sizes(first)[-1] == 3, commit=False),
                second.until(lambda: sizes(second)[-1:] == [3], commit=False),
            )
            kept = first.seen(PartitionsAssigned)[-1].partitions
            await first.until(
                lambda: all(first.positions.at(partition) is not None for partition in kept), commit=False
            )
            await first.commit(ends(stale))
            mine = {partition.partition for partition in kept}
            committed = await scene.topics.committed(scene.group, scene.topic)
            assert {number for number, offset in committed.items() if offset} == mine

    async def test_records_that_the_broker_has_deleted_are_reported(self, scene: Scene) -> None:
        """The group goes on where there are records, and it is reported that some are missing."""
        await scene.topics.send(scene.topic, events(20), partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.read(5, limit=5)
        admin = AIOKafkaAdminClient(bootstrap_servers=scene.topics.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(scene.topic, 0): RecordsToDelete(12)})
        await admin.close()
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start="latest") as reader:
            assert len(await reader.read(8)) == 8
            assert reader.seen(RecordsExpired) == [RecordsExpired(partition=Partition(scene.topic, 0), records=7)]

    async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(self, scene: Scene) -> None:
        """The group's offsets have gone with the old one."""
        await scene.topics.send(scene.topic, events(50), partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.read(50)
        await scene.topics.delete(scene.topic)
        await await_for(lambda: _gone(scene), what="the topic's end")
        await scene.topics.create(scene.topic, partitions=6)
        await scene.topics.send(scene.topic, events(3, 50), partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(3)) == ["e50", "e51", "e52"]

    async def test_a_position_behind_the_end_goes_back_to_the_beginning(self, scene: Scene) -> None:
        """The broker has lost records, or the topic is another one: reading all of it again does no harm."""
        await scene.topics.send(scene.topic, events(5), partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start="latest") as reader:
            await reader.until(lambda: reader.seen(OffsetsCommitted))
            reader.source.rewind({Partition(scene.topic, 0): 1000})
            assert ids(await reader.read(5)) == ["e0", "e1", "e2", "e3", "e4"]
            assert reader.seen(RecordsExpired) == [RecordsExpired(partition=Partition(scene.topic, 0), records=0)]

    async def test_aborted_transactions_are_not_read(self, scene: Scene) -> None:
        """As if they had never been written."""
        async with _transactional(scene.topics) as producer:
            async with producer.transaction():
                await producer.send(scene.topic, b'{"channel":"x","event_id":"kept"}', partition=0)
            await producer.begin_transaction()
            await producer.send(scene.topic, b'{"channel":"x","event_id":"aborted"}', partition=0)
            await producer.flush()
            await producer.abort_transaction()
            async with producer.transaction():
                await producer.send(scene.topic, b'{"channel":"x","event_id":"last"}', partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(2)) == ["kept", "last"]
            await reader.until(lambda: lag(reader) == 0)

    async def test_what_is_not_handed_over_counts_as_read(self, scene: Scene) -> None:
        """Markers and aborted records at the end are behind us, so that the group can be told."""
        places = [Partition(scene.topic, number) for number in range(3)]
        async with _transactional(scene.topics) as producer:
            async with producer.transaction():
                await producer.send(scene.topic, b'{"channel":"x","event_id":"kept"}', partition=0)
            for _ in range(3):
                await producer.begin_transaction()
                for partition in (0, 1):
                    await producer.send(scene.topic, b'{"channel":"x","event_id":"aborted"}', partition=partition)
                await producer.flush()
                await producer.abort_transaction()
        ends = await scene.topics.ends(scene.topic)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.read(1)
            await reader.until(lambda: all(reader.reached.get(place) == ends[place.partition] for place in places))
            await reader.until(lambda: lag(reader) == 0)
        assert await scene.topics.committed(scene.group, scene.topic) == ends, "as other tools see it"

    async def test_records_behind_an_open_transaction(self, scene: Scene) -> None:
        """Count as lag and are told as withheld; that is no reason for a new consumer."""
        place = Partition(scene.topic, 0)
        async with _transactional(scene.topics) as producer:
            await scene.topics.send(scene.topic, events(2), partition=0)
            await producer.begin_transaction()
            await producer.send(scene.topic, b'{"channel":"x","event_id":"open"}', partition=0)
            await producer.flush()
            await scene.topics.send(scene.topic, events(3, 2), partition=0)
            async with reading(scene.topics.bootstrap, scene.topic, scene.group, stall_after=2.0) as reader:
                assert ids(await reader.read(2)) == ["e0", "e1"]
                await reader.until(lambda: reader.seen(RecordsWithheld))
                (told,) = reader.seen(RecordsWithheld)
                assert (told.partition, told.records) == (place, 4)
                assert told.seconds >= 2
                (of_place,) = [of for of in reader.seen(LagSampled)[-1].lags if of.partition == place]
                assert (of_place.records, of_place.withheld) == (4, 4)
                assert lag(reader) == 4
                await producer.abort_transaction()
                assert ids(await reader.read(3)) == ["e2", "e3", "e4"]
                await reader.until(lambda: lag(reader) == 0)
                assert [(fact.partition, fact.records) for fact in reader.seen(RecordsWithheld)] == [
                    (place, 4),
                    (place, 0),
                ]
                assert not reader.seen(ConsumerReplaced)

    @pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
    async def test_compressed_records_are_read(self, scene: Scene, codec: str) -> None:
        """With every codec that producers use."""
        if codec != "gzip":
            pytest.importorskip("cramjam", reason="aiokafka reads snappy, lz4 and zstd with cramjam (aiokafka[all])")
        await scene.topics.send(scene.topic, events(100), compression=codec)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(100)) == EVENTS


async def _gone(scene: Scene) -> bool:
    return scene.topic not in await scene.topics.names()


@contextlib.asynccontextmanager
async def _transactional(topics: Topics) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=topics.bootstrap, transactional_id=unique("transactions"))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
