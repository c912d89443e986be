"""Writing to a topic: dead letters, and events by `webhook-router produce`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, errors

from consumer.adapters.kafka.client import lost_brokers, make_producer, started, stopped, translation
from consumer.adapters.kafka.options import KafkaConnection
from consumer.adapters.kafka.shards import shard_of
from consumer.adapters.kafka.topics import partitions_of
from consumer.domain.errors import ConsumerError, Transient
from consumer.domain.records import DeadLetter, Headers

PREFIX = "webhook-router-"
LONGEST_MESSAGE = 500
TOPIC_WITHIN = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One record to write."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class TopicWriter:
    """Writes to one topic, or to several that share the records by their keys; all or an error.

    The producer is made when it is needed, and anew after a failure.
    """

    def __init__(self, connection: KafkaConnection, *topics: str, timeout: float) -> None:
        self.written = dict.fromkeys(topics, 0)
        """Records by topic."""
        self._connection = connection
        self._topics = topics
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None

    async def partitions(self, *, create: bool = False) -> dict[str, int]:
        """How many partitions each topic has. Unlike writing, this makes no topic merely because it is asked for.

        Raises:
            Misconfigured: one does not exist, unless it is to be created; or the brokers refuse the credentials.
            Fatal: the user lacks a right.
            Transient: no broker answers.
        """
        producer = await self._started()
        return await partitions_of(producer.client, self._topics, create=create)

    async def write(self, messages: Sequence[Message]) -> None:
        """Writes; when it returns, all in-sync replicas have all of it.

        Raises:
            Transient: some may be missing; the others are there twice when all are written again.
            Fatal: the user may not write there, or not even connect.
        """
        producer = await self._started()
        shares: dict[str, list[Message]] = {}
        for message in messages:
            shares.setdefault(self._topic_of(message), []).append(message)
        topic = ""
        try:
            async with asyncio.timeout(TOPIC_WITHIN):
                for topic in shares:
                    await producer.partitions_for(topic)
            async with asyncio.timeout(self._timeout):
                await asyncio.gather(*(_sent(producer, topic, share) for topic, share in shares.items()))
        except TimeoutError:
            lost = await lost_brokers(producer, self._connection)
            await self.close()
            raise Transient(
                f"kafka: topic {topic} cannot be written: it does not exist and the brokers do not create it, or "
                f"no broker answers{f' ({lost})' if lost else ''}"
            ) from None
        except _NotSent as failure:
            await self.close()
            raise _failure(failure.topic, failure.reason) from failure.reason
        except errors.KafkaError as error:
            await self.close()
            raise _failure(topic, error) from error
        for topic, share in shares.items():
            self.written[topic] += len(share)

    def _topic_of(self, message: Message) -> str:
        if len(self._topics) == 1:
            return self._topics[0]
        assert message.key is not None, "the key says which topic"
        return self._topics[shard_of(message.key, len(self._topics))]

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = make_producer(self._connection)
            await started(producer, self._connection)
            self._producer = producer
        return self._producer

    async def close(self) -> None:
        """Ends the producer; never raises."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stopped(producer, self._connection)


class _NotSent(Exception):
    def __init__(self, topic: str, reason: errors.KafkaError) -> None:
        super().__init__(topic)
        self.topic = topic
        self.reason = reason


def _failure(topic: str, error: errors.KafkaError) -> ConsumerError:
    hint = "; raise its max.message.bytes" if isinstance(error, errors.MessageSizeTooLargeError) else ""
    translated = translation(error)
    return type(translated)(f"topic {topic} cannot be written: {translated}{hint}")


async def _sent(producer: AIOKafkaProducer, topic: str, messages: Sequence[Message]) -> None:
    try:
        sent = [
            await producer.send(topic, message.value, key=message.key, headers=list(message.headers))
            for message in messages
        ]
        await asyncio.gather(*sent)
    except errors.KafkaError as error:
        raise _NotSent(topic, error) from error


def as_message(letter: DeadLetter) -> Message:
    """The record as it was, with headers that say where it comes from and why it is a dead letter."""
    record, flawed = letter.record, letter.flawed
    about = {
        "error": flawed.flaw,
        "error-message": flawed.reason[:LONGEST_MESSAGE],
        "topic": record.partition.topic,
        "partition": str(record.partition.partition),
        "offset": str(record.offset),
        "timestamp": str(round(record.timestamp * 1000)),
    }
    if flawed.code:
        about["error-code"] = flawed.code
    # Those of a dead letter that was sent again would contradict the new ones.
    headers = [(name, value) for name, value in record.headers if not name.startswith(PREFIX)]
    headers += [(PREFIX + name, value.encode()) for name, value in about.items()]
    return Message(key=record.key, value=record.value, headers=headers)
