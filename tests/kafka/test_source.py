"""The Kafka adapter against a real broker: positions, groups, faults, and what it says of them."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.adapters.kafka import client, source
from consumer.domain.errors import Misconfigured, Transient
from consumer.domain.kafka_observations import (
    CommitFailed,
    CommitFailure,
    ConsumerReplaced,
    LagSampled,
    OffsetsCommitted,
    PartitionsAssigned,
    RecordsExpired,
    TopicsMissing,
)
from consumer.domain.lag import Partition
from consumer.domain.records import DeadLetter, Flaw, Flawed
from tests.kafka.broker import PASSWORD, USER, Cluster, free_port
from tests.kafka.conftest import Scene
from tests.kafka.reader import Reader, ends, firsts, ids, reading
from tests.kafka.topics import Topics, event, unique
from tests.waiting import await_for

EVENTS = sorted(f"e{number}" for number in range(100))


def numbers(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """Events by number."""
    return [event(number) for number in range(begin, begin + count)]


class TestPositions:
    async def test_a_new_group_begins_at_the_beginning(self, scene: Scene) -> None:
        """What was there before the first start is not passed by."""
        await scene.topics.send(scene.topic, numbers(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(100)) == EVENTS
        assert await scene.committed() == 100

    async def test_a_new_group_may_begin_at_the_end(self, scene: Scene) -> None:
        """`latest` takes what comes from now on, and a restart before the first record changes nothing about now."""
        await scene.topics.send(scene.topic, numbers(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start="latest") as reader:
            assert await reader.until(lambda: len(reader.seen(OffsetsCommitted)) == 6) == []
        await scene.topics.send(scene.topic, numbers(10, 100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start="latest") as reader:
            assert ids(await reader.read(10)) == sorted(f"e{number}" for number in range(100, 110))

    async def test_what_is_not_committed_comes_again(self, scene: Scene) -> None:
        """To the next member as well."""
        await scene.topics.send(scene.topic, numbers(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.read(100, commit=False)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(100)) == EVENTS

    async def test_what_was_given_back_comes_again_at_once(self, scene: Scene) -> None:
        """After a failure the same records are read again, without losing one in front of them."""
        await scene.topics.send(scene.topic, numbers(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            first = await reader.read(40, limit=10, commit=False)
            reader.source.rewind(firsts(first))
            again = await reader.read(100)
            assert ids(again) == EVENTS

    async def test_a_commit_for_a_lost_partition_is_left_out(self, scene: Scene) -> None:
        """Its new member alone says how far it is."""
        await scene.topics.send(scene.topic, numbers(100))
        async with (
            reading(scene.topics.bootstrap, scene.topic, scene.group) as first,
            reading(scene.topics.bootstrap, scene.topic, scene.group) as second,
        ):
            stale = await first.read(100, commit=False)
            await asyncio.gather(
                first.until(lambda: _sizes(first)[-1] == 3, commit=False),
                second.until(lambda: _sizes(second)[-1:] == [3], commit=False),
            )
            await first.source.commit(ends(stale))
            mine = {partition.partition for partition in first.seen(PartitionsAssigned)[-1].partitions}
            assert set(await scene.topics.committed(scene.group, scene.topic)) == mine

    async def test_records_that_the_broker_has_deleted_are_reported(self, scene: Scene) -> None:
        """The group goes on where there are records, and somebody learns that some are missing."""
        await scene.topics.send(scene.topic, numbers(20), partition=0)
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
        await scene.topics.send(scene.topic, numbers(50), partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.read(50)
        await scene.topics.delete(scene.topic)
        await await_for(lambda: _gone(scene), what="the topic's end")
        await scene.topics.create(scene.topic, partitions=6)
        await scene.topics.send(scene.topic, numbers(3, 50), partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(3)) == ["e50", "e51", "e52"]

    async def test_a_position_behind_the_end_goes_back_to_the_beginning(self, scene: Scene) -> None:
        """The broker has lost records, or the topic is another one: reading all of it again does no harm."""
        await scene.topics.send(scene.topic, numbers(5), partition=0)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, start="latest") as reader:
            await reader.until(lambda: reader.seen(OffsetsCommitted))
            reader.source.rewind({Partition(scene.topic, 0): 1000})
            assert ids(await reader.read(5)) == ["e0", "e1", "e2", "e3", "e4"]
            assert reader.seen(RecordsExpired) == [RecordsExpired(partition=Partition(scene.topic, 0), records=0)]

    async def test_aborted_transactions_are_not_read(self, scene: Scene) -> None:
        """What a producer has taken back was never said."""
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
            await reader.until(lambda: _lag(reader) == 0, timeout=10)

    @pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
    async def test_compressed_records_are_read(self, scene: Scene, codec: str) -> None:
        """As producers of the wild write them."""
        if codec != "gzip":
            pytest.importorskip("cramjam", reason="aiokafka reads snappy, lz4 and zstd with cramjam (aiokafka[all])")
        await scene.topics.send(scene.topic, numbers(100), compression=codec)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            assert ids(await reader.read(100)) == EVENTS


class TestTopics:
    async def test_a_missing_topic_is_waited_for(self, scene: Scene) -> None:
        """It is said once, the topic is not made by asking for it, and its records are read as soon as it is there."""
        missing = unique("later")
        async with reading(scene.topics.bootstrap, missing, scene.group) as reader:
            await reader.until(lambda: reader.seen(TopicsMissing))
            deadline = time.monotonic() + 3
            await reader.until(lambda: time.monotonic() > deadline)
            assert reader.seen(TopicsMissing) == [TopicsMissing(topics=(missing,))]
            assert missing not in await scene.topics.names()
            await scene.topics.create(missing)
            await scene.topics.send(missing, numbers(5))
            assert len(await reader.read(5)) == 5
            assert reader.seen(TopicsMissing)[1:] == [TopicsMissing(topics=())]

    async def test_other_topics_do_not_wait_for_it(self, scene: Scene) -> None:
        """What is there is read; the other one joins later."""
        missing = unique("later")
        await scene.topics.send(scene.topic, numbers(5))
        async with reading(scene.topics.bootstrap, (scene.topic, missing), scene.group) as reader:
            assert len(await reader.read(5)) == 5
            await scene.topics.create(missing)
            await scene.topics.send(missing, numbers(7, 5))
            assert {record.partition.topic for record in await reader.read(7)} == {missing}

    async def test_partitions_that_are_added_are_read(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """From their beginning, without a restart."""
        monkeypatch.setattr(client, "METADATA_AGE", 0.5)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.until(lambda: _sizes(reader)[-1:] == [6])
            await scene.topics.grow(scene.topic, 8)
            await scene.topics.send(scene.topic, numbers(5), partition=7)
            assert len(await reader.read(5)) == 5
            assert _sizes(reader)[-1] == 8

    async def test_lag_is_told_in_records_and_seconds(self, scene: Scene) -> None:
        """By partition, and nothing when all is read."""
        await scene.topics.send(scene.topic, numbers(3000), partition=2)
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, sample_interval=0.01) as reader:
            await reader.until(lambda: _lag(reader), limit=1)
            (behind,) = [lag for lag in reader.seen(LagSampled)[-1].lags if lag.records]
            assert behind.partition == Partition(scene.topic, 2)
            assert 0 < behind.records <= 3000
            assert 0 < behind.seconds < 60
            await reader.until(lambda: _lag(reader) == 0)
            assert all(lag.seconds == 0 for lag in reader.seen(LagSampled)[-1].lags)


class TestGroup:
    async def test_two_members_share_the_partitions(self, scene: Scene) -> None:
        """Three each, and all six again when one has left."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as first:
            await first.until(lambda: first.seen(PartitionsAssigned))
            async with reading(scene.topics.bootstrap, scene.topic, scene.group) as second:
                both = [first.until(lambda: _sizes(first)[-1] == 3), second.until(lambda: _sizes(second)[-1:] == [3])]
                await asyncio.gather(*both)
            await first.until(lambda: _sizes(first)[-1] == 6)

    async def test_a_member_that_was_thrown_out_comes_back(self, scene: Scene) -> None:
        """An operator removes it, or the coordinator took it for dead: it joins again by itself, and reads on."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            await reader.until(lambda: reader.seen(PartitionsAssigned))
            await _throw_out(reader)
            await reader.until(lambda: len(reader.seen(PartitionsAssigned)) == 2)
            await scene.topics.send(scene.topic, numbers(5))
            assert len(await reader.read(5)) == 5

    async def test_a_fenced_member_becomes_a_new_consumer(self, scene: Scene) -> None:
        """Thrown out, and refused by the group for good, the consumer is dead; new ones are made until one gets in.

        What refuses it here is a member that speaks another assignment protocol and was faster.
        """
        await scene.topics.send(scene.topic, numbers(5))
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
            await reader.until(lambda: len(reader.seen(ConsumerReplaced)) >= 2, timeout=30)
            assert any("InconsistentGroupProtocol" in failure for failure in reader.failures)
            await entering
            await intruder.stop()
            await scene.topics.send(scene.topic, numbers(5, 5))
            assert ids(await reader.read(5)) == ["e5", "e6", "e7", "e8", "e9"]

    async def test_a_commit_in_a_rebalance_is_not_an_error(self, scene: Scene) -> None:
        """It comes too late, its records come again, and that is all."""
        await scene.topics.send(scene.topic, numbers(100))
        async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
            records = await reader.read(100, commit=False)
            await _throw_out(reader)
            await reader.source.commit(ends(records))
            assert [failed.failure for failed in reader.seen(CommitFailed)] == [CommitFailure.REBALANCED]
            assert ids(await reader.read(100)) == EVENTS
        assert await scene.committed() == 100


class TestStandstill:
    async def test_a_consumer_that_stands_still_is_replaced(self, scene: Scene) -> None:
        """Its fetching has died without a word, as happens after a broker's restart; only the lag shows it."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, stall_after=1.0) as reader:
            await reader.until(lambda: reader.seen(PartitionsAssigned) and reader.seen(LagSampled))
            assert reader.source._consumer is not None
            reader.source._consumer._fetcher._fetch_task.cancel()
            await scene.topics.send(scene.topic, numbers(10))
            assert ids(await reader.read(10)) == sorted(f"e{number}" for number in range(10))
            assert [fact.reason for fact in reader.seen(ConsumerReplaced)] == [
                reader.failures[0].removeprefix("kafka: ")
            ]
            assert reader.failures[0].startswith("kafka: nothing comes from")

    async def test_a_quiet_topic_is_no_standstill(self, scene: Scene) -> None:
        """Nothing to read is no reason to begin anew."""
        async with reading(scene.topics.bootstrap, scene.topic, scene.group, stall_after=0.5) as reader:
            deadline = time.monotonic() + 2.5
            await reader.until(lambda: time.monotonic() > deadline)
            assert reader.seen(ConsumerReplaced) == []


class TestBrokers:
    async def test_a_frozen_broker_holds_up_no_commit(self, victim: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        """aiokafka would wait forever for the coordinator; ours gives up, and the next commit includes it."""
        monkeypatch.setattr(source, "COMMIT_AGAIN_AFTER", 0.5)
        topics = Topics(victim.bootstrap)
        topic = await topics.create(unique("events"))
        await topics.send(topic, numbers(50))
        group = unique("group")
        async with reading(victim.bootstrap, topic, group, commit_timeout=0.5) as reader:
            records = await reader.read(50, commit=False)
            victim.brokers[0].signal(signal.SIGSTOP)
            began = time.monotonic()
            await reader.source.commit(ends(records))
            assert time.monotonic() - began < 2
            assert reader.seen(CommitFailed)[0].failure is CommitFailure.NO_ANSWER
            victim.brokers[0].signal(signal.SIGCONT)
            await reader.until(lambda: reader.seen(OffsetsCommitted), timeout=40)
        assert sum((await topics.committed(group, topic)).values()) == 50

    async def test_a_broker_that_answers_to_nothing_costs_the_consumer_its_place(
        self, victim: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a long silence a new consumer is made, in case it is the old one that does not listen."""
        monkeypatch.setattr(source, "ANSWER_WITHIN", 0.5)
        monkeypatch.setattr(client, "STOP_WITHIN", 0.5)
        topics = Topics(victim.bootstrap)
        topic = await topics.create(unique("events"))
        async with reading(victim.bootstrap, topic, unique("group"), stall_after=1.0) as reader:
            await reader.until(lambda: reader.seen(PartitionsAssigned))
            victim.brokers[0].signal(signal.SIGSTOP)
            await reader.until(lambda: reader.seen(ConsumerReplaced), timeout=40)
            victim.brokers[0].signal(signal.SIGCONT)
            await topics.send(topic, numbers(5))
            assert len(await reader.read(5, timeout=60)) == 5

    async def test_nobody_there_is_waited_for(self, kafka: Cluster) -> None:
        """Each address is named with what is wrong with it."""
        nowhere = f"localhost:{free_port()}"
        async with reading(nowhere, "events", "group") as reader:
            with pytest.raises(Transient, match=f"no broker can be reached \\({nowhere}: .*refused"):
                await reader.source.poll(limit=1, timeout=0.1)


class TestSecurity:
    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
    async def test_a_user_gets_in_by_password(self, scene: Scene, kafka: Cluster, mechanism: str) -> None:
        """With SASL, and writes dead letters with it too."""
        await scene.topics.send(scene.topic, numbers(5))
        about = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": mechanism,
            "sasl_username": USER,
            "sasl_password": PASSWORD,
        }
        address = f"localhost:{kafka.brokers[0].sasl_port}"
        async with reading(address, scene.topic, scene.group, connection=about, dead_letter_topic=scene.dead) as reader:
            records = await reader.read(5)
            flawed = Flawed(flaw=Flaw.REFUSED, reason="by a test")
            await reader.source.dead_letter([DeadLetter(record=records[0], flawed=flawed)])
        assert len(await scene.topics.read(scene.dead)) == 1

    async def test_a_wrong_password_is_the_configuration(self, scene: Scene, kafka: Cluster) -> None:
        """At the start it is Fatal, in words that say what to check and do not say the password."""
        about = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": USER,
            "sasl_password": "wrong-secret",
        }
        async with reading(
            f"localhost:{kafka.brokers[0].sasl_port}", scene.topic, scene.group, connection=about
        ) as reader:
            with pytest.raises(Misconfigured, match=r"refuses to let us in.*check") as caught:
                await reader.source.poll(limit=1, timeout=0.1)
            assert "wrong-secret" not in str(caught.value)

    async def test_a_mechanism_that_the_broker_has_not_is_the_configuration(self, scene: Scene, kafka: Cluster) -> None:
        """The answer names those that it has."""
        about = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER,
            "sasl_password": PASSWORD,
        }
        async with reading(
            f"localhost:{kafka.brokers[0].sasl_port}", scene.topic, scene.group, connection=about
        ) as reader:
            with pytest.raises(Misconfigured, match="refuses to let us in"):
                await reader.source.poll(limit=1, timeout=0.1)

    async def test_tls_with_certificates_on_both_sides(self, scene: Scene, kafka: Cluster) -> None:
        """The broker wants ours, and we know its authority."""
        await scene.topics.send(scene.topic, numbers(5))
        assert kafka.certificates is not None
        about = {
            "security_protocol": "SSL",
            "ssl_cafile": kafka.certificates.authority,
            "ssl_certfile": kafka.certificates.certificate,
            "ssl_keyfile": kafka.certificates.key,
        }
        async with reading(
            f"localhost:{kafka.brokers[0].tls_port}", scene.topic, scene.group, connection=about
        ) as reader:
            assert len(await reader.read(5)) == 5

    async def test_an_unknown_authority_is_the_configuration(self, scene: Scene, kafka: Cluster) -> None:
        """A broker that anybody could be is not talked to."""
        async with reading(
            f"localhost:{kafka.brokers[0].tls_port}",
            scene.topic,
            scene.group,
            connection={"security_protocol": "SSL"},
        ) as reader:
            with pytest.raises(Misconfigured, match=r"no TLS with .*certificate"):
                await reader.source.poll(limit=1, timeout=0.1)

    async def test_a_certificate_file_that_is_not_there_is_the_configuration(
        self, scene: Scene, kafka: Cluster
    ) -> None:
        """Its path is named."""
        about = {"security_protocol": "SSL", "ssl_cafile": "/no/such/file.pem"}
        async with reading(kafka.bootstrap, scene.topic, scene.group, connection=about) as reader:
            with pytest.raises(Misconfigured, match=r"cannot read the certificate /no/such/file\.pem"):
                await reader.source.poll(limit=1, timeout=0.1)


def _sizes(reader: Reader) -> list[int]:
    return [len(fact.partitions) for fact in reader.seen(PartitionsAssigned)]


def _lag(reader: Reader) -> int | None:
    samples = reader.seen(LagSampled)
    return sum(lag.records for lag in samples[-1].lags) if samples and samples[-1].lags else None


async def _gone(scene: Scene) -> bool:
    return scene.topic not in await scene.topics.names()


async def _throw_out(reader: Reader) -> None:
    """Tells the coordinator that the member leaves, which nobody tells the member."""
    from aiokafka.protocol.group import LeaveGroupRequest

    assert reader.source._consumer is not None
    coordinator = reader.source._consumer._coordinator
    await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))


async def _enter(intruder: AIOKafkaConsumer, reader: Reader) -> None:
    """Gets into a group whose protocol it does not speak, by throwing its member out until it is the faster one."""
    from aiokafka.errors import KafkaError

    entering = asyncio.create_task(intruder.start())
    while not entering.done():
        if reader.source._consumer is not None:
            with contextlib.suppress(KafkaError, AttributeError):
                await _throw_out(reader)
        await asyncio.sleep(0.05)
    await entering


@contextlib.asynccontextmanager
async def _transactional(topics: Topics) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=topics.bootstrap, transactional_id=unique("transactions"))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
