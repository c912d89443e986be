"""Topics and partitions that come later, and what is reported of the lag of each."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.domain.kafka_facts import LagSampled, TopicsMissing
from consumer.domain.lag import Partition, PartitionLag
from tests.kafka.reader import Reader, ids, lag, reading, sizes
from tests.kafka.scene import Scene
from tests.kafka.topics import events, unique
from tests.waiting import await_for


class TestTopics:
    async def test_a_missing_topic_is_waited_for(self, scene: Scene) -> None:
        """Reported once, not created by being asked for, and its records are read as soon as it is there."""
        missing = unique("later")
        async with reading(scene.topics.bootstrap, missing, scene.group) as reader:
            await reader.until(lambda: reader.seen(TopicsMissing))
            deadline = time.monotonic() + 3
            await reader.until(lambda: time.monotonic() > deadline)
            assert reader.seen(TopicsMissing) == [TopicsMissing(topics=(missing,))]
            assert missing not in await scene.topics.names()
            await scene.topics.create(missing)
            await scene.topics.send(missing, events(5))
            assert len(await reader.read(5)) == 5
            assert reader.seen(TopicsMissing)[1:] == [TopicsMissing(topics=())]

    async def test_other_topics_do_not_wait_for_it(self, scene: Scene) -> None:
        """What is there is read; the other one joins later."""
        missing = unique("later")
        await scene.topics.send(scene.topic, events(5))
        async with reading(scene.topics.bootstrap, (scene.topic, missing), scene.group) as reader:
            assert len(await reader.read(5)) == 5
            await scene.topics.create(missing)
            await scene.topics.send(missing, events(7, 5))
            assert {record.partition.topic for record in await reader.read(7)} == {missing}

    async def test_topics_by_a_pattern(self, scene: Scene) -> None:
        """Also those that come later, and never the dead letters, whose name may match; nothing is created."""
        prefix = unique("shop")
        pattern, dead = rf"{prefix}\..*", f"{prefix}.dead"
        about: dict[str, Any] = {"topics_pattern": pattern, "dead_letter_topic": dead, "metadata_age": 0.5}
        async with reading(scene.topics.bootstrap, (), scene.group, **about) as reader:
            await reader.until(lambda: reader.seen(TopicsMissing) == [TopicsMissing(topics=(pattern,))])
            for count, name in enumerate(("one", "two"), 1):
                topic = await scene.topics.create(f"{prefix}.{name}", partitions=2)
                await scene.topics.send(topic, events(5))
                assert {record.partition.topic for record in await reader.read(5)} == {topic}
                assert sizes(reader)[-1] == 2 * count
            await scene.topics.create(dead, partitions=1)
            await scene.topics.send(dead, events(5))
            await scene.topics.send(topic, events(5, 5))
            assert {record.partition.topic for record in await reader.read(5)} == {topic}
            assert sizes(reader)[-1] == 4
        assert {name for name in await scene.topics.names() if name.startswith(prefix)} == {
            f"{prefix}.one",
            f"{prefix}.two",
            dead,
        }

    async def test_a_group_may_begin_at_a_time(self, scene: Scene) -> None:
        """With the first record that is not older, in each partition; at the end where all are. A restart goes on."""
        await scene.topics.send(scene.topic, events(5), partition=0)
        await scene.topics.send(scene.topic, events(5, 5), partition=1)
        start = datetime.now(UTC)
        await wait_until_after(start)
        await scene.topics.send(scene.topic, events(3, 10), partition=1)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start=start) as reader:
            assert ids(await reader.read(3, commit=False)) == ["e10", "e11", "e12"]
        later = start + timedelta(days=1)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start=later) as reader:
            await scene.topics.send(scene.topic, events(1, 13), partition=0)
            assert ids(await reader.read(4)) == ["e10", "e11", "e12", "e13"]

    async def test_partitions_that_are_added_are_read(self, scene: Scene) -> None:
        """From their beginning, without a restart."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, metadata_age=0.5) as reader:
            await reader.until(lambda: sizes(reader)[-1:] == [6])
            await scene.topics.grow(scene.topic, 8)
            await scene.topics.send(scene.topic, events(5), partition=7)
            assert len(await reader.read(5)) == 5
            assert sizes(reader)[-1] == 8

    async def test_lag_is_told_in_records_and_seconds(self, scene: Scene) -> None:
        """By partition, and nothing when all is read."""
        await scene.topics.send(scene.topic, events(3000), partition=2)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, sample_interval=0.01) as reader:
            (behind,) = await _behind(reader)
            assert behind.partition == Partition(scene.topic, 2)
            assert 0 < behind.records <= 3000
            await reader.until(lambda: lag(reader) == 0)
            assert all(of.seconds == 0 for of in reader.seen(LagSampled)[-1].lags)

    async def test_the_age_of_a_backlog_is_known_as_soon_as_it_is_read(self, scene: Scene) -> None:
        """Just after a start its age is unknown; it is reported as soon as it is known, not one interval later."""
        await scene.topics.send(scene.topic, events(3000), partition=2)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, sample_interval=3600) as reader:
            (behind,) = await _behind(reader)
            assert behind.partition == Partition(scene.topic, 2)


async def wait_until_after(moment: datetime) -> None:
    """Records have times in milliseconds."""
    await await_for(lambda: _passed(moment), what="the next millisecond")


async def _passed(moment: datetime) -> bool:
    return datetime.now(UTC) > moment + timedelta(milliseconds=1)


async def _behind(reader: Reader) -> list[PartitionLag]:
    """Reads record by record until some partition is reported behind, in seconds too; returns all that are."""

    def late() -> list[PartitionLag]:
        samples = reader.seen(LagSampled)
        return [of for of in samples[-1].lags if of.records] if samples else []

    await reader.until(lambda: any(of.seconds > 0 for of in late()), limit=1)
    return late()
