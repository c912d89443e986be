"""Members of a group that come, go, are thrown out or stand still, and brokers that are silent."""

import asyncio
import contextlib
import signal
import time

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.domain.errors import Transient
from consumer.domain.kafka_facts import (
    BrokersAnswer,
    CommitFailed,
    CommitFailure,
    ConsumerReplaced,
    GroupJoined,
    OffsetsCommitted,
    PartitionsAssigned,
)
from tests.kafka.broker import CLUSTER_ID, Cluster
from tests.kafka.reader import Reader, ends, ids, lag, reading, sizes
from tests.kafka.scene import Scene
from tests.kafka.topics import Topics, events, unique
from tests.ports import free_port

EVENTS = sorted(f"e{number}" for number in range(100))


class TestGroup:
    async def test_two_members_share_the_partitions(self, scene: Scene) -> None:
        """Three each, and all six again when one has left."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as first:
            await first.until(lambda: first.seen(PartitionsAssigned))
            async with reading(scene.topics.bootstrap, scene.topic, scene.group) as second:
                both = [first.until(lambda: sizes(first)[-1] == 3), second.until(lambda: sizes(second)[-1:] == [3])]
                await asyncio.gather(*both)
            await first.until(lambda: sizes(first)[-1] == 6)
            assert first.seen(GroupJoined) == [
                GroupJoined(cluster=CLUSTER_ID, group=scene.group, topics=(scene.topic,))
            ], "and says where it is, once"

    async def test_a_member_that_was_thrown_out_comes_back(self, scene: Scene) -> None:
        """An operator removes it, or the coordinator took it for dead: it joins again by itself, and reads on."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.until(lambda: reader.seen(PartitionsAssigned))
            await _throw_out(reader)
            await reader.until(lambda: len(reader.seen(PartitionsAssigned)) == 2)
            await scene.topics.send(scene.topic, events(5))
            assert len(await reader.read(5)) == 5

    async def test_a_database_that_is_away_does_not_disturb_the_group(self, scene: Scene) -> None:
        """Nothing is read before it is known where to go on: that is not the consumer's fault, however long it is."""
        await scene.topics.send(scene.topic, events(5))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as before:
            await before.read(5)
        await scene.topics.send(scene.topic, events(5, 5))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, stall_after=1.0) as reader:
            reader.away = True
            await reader.until(lambda: reader.seen(PartitionsAssigned))
            since = time.monotonic()
            await reader.until(lambda: time.monotonic() - since > 3)
            reader.away = False
            assert ids(await reader.read(5)) == ["e5", "e6", "e7", "e8", "e9"]
            assert (reader.seen(ConsumerReplaced), sizes(reader)) == ([], [6])

    async def test_a_fenced_member_becomes_a_new_consumer(self, scene: Scene) -> None:
        """Thrown out, and refused by the group for good, the consumer is dead; new ones are made until one gets in.

        What refuses it here is a member that speaks another assignment protocol and was faster.
        """
        await scene.topics.send(scene.topic, events(5))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.read(5)
            intruder = AIOKafkaConsumer(
                scene.topic,
                bootstrap_servers=scene.topics.bootstrap,
                group_id=scene.group,
                enable_auto_commit=False,
                partition_assignment_strategy=(RangePartitionAssignor,),
            )
            entering = asyncio.create_task(_enter(intruder, reader))
            await reader.until(lambda: len(reader.seen(ConsumerReplaced)) >= 2)
            assert any("InconsistentGroupProtocol" in failure for failure in reader.failures)
            await entering
            await intruder.stop()
            await scene.topics.send(scene.topic, events(5, 5))
            assert ids(await reader.read(5)) == ["e5", "e6", "e7", "e8", "e9"]

    async def test_a_commit_in_a_rebalance_is_not_an_error(self, scene: Scene) -> None:
        """It comes too late, its records come again, and that is all."""
        await scene.topics.send(scene.topic, events(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            records = await reader.read(100, commit=False)
            await _throw_out(reader)
            await reader.commit(ends(records))
            assert [failed.failure for failed in reader.seen(CommitFailed)] == [CommitFailure.REBALANCED]
            assert ids(await reader.read(100)) == EVENTS
        assert await scene.committed() == 100


class TestStandstill:
    async def test_a_consumer_that_stands_still_is_replaced(self, scene: Scene) -> None:
        """Its fetch task has died without an error, as happens after a broker's restart; only the lag shows it."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, stall_after=3.0) as reader:
            await reader.until(lambda: lag(reader) == 0)
            assert reader.source._consumer is not None
            fetcher = reader.source._consumer._fetcher
            fetcher._fetch_task.cancel()
            await asyncio.wait({fetcher._fetch_task, *fetcher._pending_tasks})  # an answer under way may bring records
            await scene.topics.send(scene.topic, events(10))
            assert ids(await reader.read(10)) == sorted(f"e{number}" for number in range(10))
            assert reader.seen(ConsumerReplaced)[0].reason.startswith("nothing comes from")
            assert reader.failures[0] == f"kafka: {reader.seen(ConsumerReplaced)[0].reason}"

    async def test_a_quiet_topic_is_no_standstill(self, scene: Scene) -> None:
        """Nothing to read is no reason to start anew."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, stall_after=1.0) as reader:
            await reader.until(lambda: lag(reader) == 0)
            replaced, deadline = len(reader.seen(ConsumerReplaced)), time.monotonic() + 3.0
            await reader.until(lambda: time.monotonic() > deadline)
            assert len(reader.seen(ConsumerReplaced)) == replaced


class TestBrokers:
    async def test_a_frozen_broker_holds_up_no_commit(self, victim: Cluster) -> None:
        """aiokafka would wait forever for the coordinator; ours gives up, and the next commit includes it."""
        topics = Topics(victim.bootstrap)
        topic = await topics.create(unique("events"))
        await topics.send(topic, events(50))
        group = unique("group")
        async with reading(victim.bootstrap, topic, group, commit_timeout=0.5, commit_again_after=0.5) as reader:
            records = await reader.read(50, commit=False)
            reader.facts.clear()
            victim.brokers[0].signal(signal.SIGSTOP)
            async with asyncio.timeout(60):
                await reader.commit(ends(records))
            assert reader.seen(CommitFailed)[0].failure is CommitFailure.NO_ANSWER
            victim.brokers[0].signal(signal.SIGCONT)
            await reader.until(lambda: reader.seen(OffsetsCommitted))
        assert sum((await topics.committed(group, topic)).values()) == 50

    async def test_a_broker_that_answers_to_nothing_costs_the_consumer_its_place(self, victim: Cluster) -> None:
        """After a long silence a new consumer is made, in case the old one is what is broken."""
        topics = Topics(victim.bootstrap)
        topic = await topics.create(unique("events"))
        patience = {"stall_after": 3.0, "answer_timeout": 1.0}
        connection = {"stop_timeout": 0.5}
        async with reading(victim.bootstrap, topic, unique("group"), connection=connection, **patience) as reader:
            await reader.until(lambda: reader.seen(PartitionsAssigned))
            victim.brokers[0].signal(signal.SIGSTOP)
            await reader.until(lambda: reader.seen(ConsumerReplaced))
            victim.brokers[0].signal(signal.SIGCONT)
            await topics.send(topic, events(5))
            assert len(await reader.read(5)) == 5
            answers = [fact.answer for fact in reader.seen(BrokersAnswer)]
            assert (answers[0], answers[-1]) == (False, True)

    async def test_nobody_there_is_waited_for(self, kafka: Cluster) -> None:
        """Each address is named with what is wrong with it."""
        nowhere = f"localhost:{free_port()}"
        async with reading(nowhere, "events", "group") as reader:
            with pytest.raises(Transient, match=f"no broker can be reached \\({nowhere}: .*refused"):
                await reader.source.poll(limit=1, timeout=0.1)


async def _throw_out(reader: Reader) -> None:
    """Tells the coordinator that the member leaves, without telling the member."""
    from aiokafka.protocol.group import LeaveGroupRequest

    assert reader.source._consumer is not None
    coordinator = reader.source._consumer._coordinator
    await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))


async def _enter(intruder: AIOKafkaConsumer, reader: Reader) -> None:
    """Gets into a group whose protocol it does not speak, by throwing its member out until it is faster."""
    from aiokafka.errors import KafkaError

    entering = asyncio.create_task(intruder.start())
    while not entering.done():
        if reader.source._consumer is not None:
            with contextlib.suppress(KafkaError, AttributeError):
                await _throw_out(reader)
        await asyncio.sleep(0.05)
    await entering
