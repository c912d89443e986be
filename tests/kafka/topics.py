"""What tests do with Kafka besides the service: make topics, write records, read what is there, ask for offsets."""

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError

from consumer.domain.records import key_of


def unique(prefix: str) -> str:
    """A name of its own."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def event(number: int, **more: Any) -> dict[str, Any]:
    """An event as its JSON schema says; 50 authors."""
    return {
        "channel": "instagram",
        "type": "message",
        "event_id": f"e{number}",
        "author_id": f"author-{number % 50}",
        "author_name": f"Name {number % 50}",
        "content": f"text {number}",
        "event_date": "2026-01-31T09:30:00Z",
        "raw_payload": {"number": number},
    } | more


class Topics:
    """The topics of a cluster. Every call makes its own client: brokers come and go in tests."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def create(
        self, name: str, *, partitions: int = 6, copies: int = 1, settings: Mapping[str, str] | None = None
    ) -> str:
        """Makes a topic, and waits until its partitions have leaders; returns its name."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            made = NewTopic(name, partitions, copies, topic_configs=dict(settings or {}))
            answer = await admin.create_topics([made])
            assert all(error[1] == 0 for error in answer.topic_errors), answer
        finally:
            await admin.close()
        await self.ends(name)
        return name

    async def delete(self, name: str) -> None:
        """Deletes a topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([name])
        finally:
            await admin.close()

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        """Changes a topic's settings."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=dict(settings))])
        finally:
            await admin.close()

    async def grow(self, name: str, partitions: int) -> None:
        """Adds partitions to a topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({name: NewPartitions(partitions)})
        finally:
            await admin.close()

    async def names(self) -> set[str]:
        """All topics."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            return set(await admin.list_topics())
        finally:
            await admin.close()

    async def send(
        self,
        topic: str,
        values: Iterable[object],
        *,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        compression: str | None = None,
    ) -> None:
        """Writes records, bytes as they are and anything else as JSON, events with their key."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", linger_ms=5, max_batch_size=65_536,
            max_request_size=64 * 1024 * 1024, compression_type=compression,
        )  # fmt: skip
        await producer.start()
        try:
            sent = []
            for value in values:
                body = value if isinstance(value, bytes) else None if value is None else orjson.dumps(value)
                key = key_of(value).encode() if isinstance(value, dict) and "event_id" in value else b"key"
                sent.append(await producer.send(topic, body, key=key, headers=list(headers), partition=partition))
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def ends(self, topic: str) -> dict[int, int]:
        """Where each partition ends."""
        async with AIOKafkaConsumer(topic, bootstrap_servers=self.bootstrap) as consumer:
            partitions = consumer.partitions_for_topic(topic)
            ends = await consumer.end_offsets([TopicPartition(topic, number) for number in partitions])
            return {place.partition: end for place, end in ends.items()}

    async def read(self, topic: str) -> list[Any]:
        """Every record that is in a topic now."""
        if topic not in await self.names():
            return []
        ends = await self.ends(topic)
        places = [TopicPartition(topic, number) for number, end in ends.items() if end]
        found: list[Any] = []
        if not places:
            return []
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while any([await consumer.position(place) < ends[place.partition] for place in places]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        return found

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """The group's offset in each partition where it has one."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:  # the first group of a broker: its offsets' topic is being made
            return {}
        finally:
            await admin.close()
        return {place.partition: found.offset for place, found in offsets.items() if place.topic == topic}
