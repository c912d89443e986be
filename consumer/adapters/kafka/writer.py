"""Writing to a topic: dead letters, and events by `webhook-router produce`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, errors

from consumer.adapters.kafka.client import make_producer, started, stopped, translation
from consumer.adapters.kafka.options import KafkaConnection
from consumer.domain.errors import Transient
from consumer.domain.records import DeadLetter, Headers

PREFIX = "webhook-router-"
LONGEST_MESSAGE = 500
TOPIC_WITHIN = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One record to write."""

    key: bytes | None
    value: bytes
    headers: Headers = ()


class TopicWriter:
    """Writes to one topic, all or an error. The producer is made when it is needed, and anew after a failure."""

    def __init__(self, connection: KafkaConnection, topic: str, *, timeout: float) -> None:
        self._connection = connection
        self._topic = topic
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None

    async def write(self, messages: Sequence[Message]) -> None:
        """Writes; when it returns, all in-sync replicas have all of it.

        Raises:
            Transient: some may be missing; the others are there twice when all are written again.
            Fatal: the user may not write there, or not even connect.
        """
        if self._producer is None:
            producer = make_producer(self._connection)
            await started(producer, self._connection)
            self._producer = producer
        producer = self._producer
        try:
            async with asyncio.timeout(TOPIC_WITHIN):
                await producer.partitions_for(self._topic)
            async with asyncio.timeout(self._timeout):
                sent = [
                    await producer.send(self._topic, message.value, key=message.key, headers=list(message.headers))
                    for message in messages
                ]
                await asyncio.gather(*sent)
        except TimeoutError:
            await self.close()
            raise Transient(
                f"kafka: topic {self._topic} cannot be written: it does not exist and the brokers do not create it, or "
                "no broker answers"
            ) from None
        except errors.KafkaError as error:
            await self.close()
            hint = "; raise its max.message.bytes" if isinstance(error, errors.MessageSizeTooLargeError) else ""
            raise type(translation(error))(
                f"topic {self._topic} cannot be written: {translation(error)}{hint}"
            ) from error

    async def close(self) -> None:
        """Ends the producer; never raises."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stopped(producer, self._connection)


def as_message(letter: DeadLetter) -> Message:
    """The record as it was, with headers that say where it comes from and why it is a dead letter."""
    record, flawed = letter.record, letter.flawed
    assert record.value is not None, "a tombstone is not a flaw"
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
