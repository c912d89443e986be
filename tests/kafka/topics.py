"""What tests do with Kafka besides the service: create topics, write records, read what is there, ask for offsets."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError

from consumer.domain.records import Headers
from consumer.domain.webhook import key_of


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


def events(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """So many events, by their numbers."""
    return [event(number) for number in range(begin, begin + count)]


class Topics:
    """The topics of a cluster. Every call makes its own client: brokers come and go in tests."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def create(
        self, name: str, *, partitions: int = 6, copies: int = 1, settings: Mapping[str, str] | None = None
    ) -> str:
        """Creates a topic, and waits until its partitions have leaders; returns its name."""
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
        headers: Headers = (),
        partition: int | None = None,
        compression: str | None = None,
    ) -> None:
        """Writes records, bytes as they are and anything else as JSON, events with their key."""
        await self.send_each(topic, [(value, headers, partition) for value in values], compression=compression)

    async def send_each(
        self, topic: str, records: Iterable[tuple[object, Headers, int | None]], *, compression: str | None = None
    ) -> None:
        """Writes records, each with headers and a partition of its own."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            linger_ms=5,
            max_batch_size=65_536,
            max_request_size=64 * 1024 * 1024,
            compression_type=compression,
        )
        await producer.start()
        try:
            sent = []
            for value, headers, partition in records:
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

    async def read(self, topic: str, begin: Mapping[int, int] | None = None) -> list[Any]:
        """Every record that is in a topic now, from the given offsets on."""
        if topic not in await self.names():
            return []
        begin = begin or {}
        ends = await self.ends(topic)
        places = [TopicPartition(topic, number) for number, end in ends.items() if end > begin.get(number, 0)]
        if not places:
            return []
        found: list[Any] = []
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            for place in places:
                if place.partition in begin:
                    consumer.seek(place, begin[place.partition])
            while any([await consumer.position(place) < ends[place.partition] for place in places]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [record for record in records if record.offset < ends[record.partition]]
        return found

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """The group's offset in each partition where it has one."""
        async with self.offsets(group, topic) as committed:
            return await committed()

    @contextlib.asynccontextmanager
    async def offsets(self, group: str, topic: str) -> AsyncIterator[Callable[[], Awaitable[dict[int, int]]]]:
        """As `committed`, to be asked again and again over one connection."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()

        async def committed() -> dict[int, int]:
            try:
                offsets = await admin.list_consumer_group_offsets(group)
            except GroupCoordinatorNotAvailableError:  # the first group of a broker: its topic of offsets is created
                return {}
            return {place.partition: found.offset for place, found in offsets.items() if place.topic == topic}

        try:
            yield committed
        finally:
            await admin.close()
