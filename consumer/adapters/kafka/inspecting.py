"""What an operator asks the brokers about: partitions, how far a group has come in them, what lies at an offset."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from consumer.adapters.kafka.client import make_consumer, started, stopped, translation
from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.adapters.kafka.raw import Brokers, asking
from consumer.adapters.kafka.topics import meant
from consumer.domain.errors import Rejected, Transient
from consumer.domain.lag import Partition

ANSWER_WITHIN = 15.0
"""Seconds; a group's coordinator may have to be found first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a partition holds, and how far the group has come; offsets are those of the next record."""

    begin: int
    end: int
    """As far as transactions are not open."""
    group: int | None
    """None: it has no position."""


class Inspection:
    """Questions about the topics of a group, which is not joined."""

    def __init__(self, consumer: AIOKafkaConsumer, brokers: Brokers) -> None:
        self._consumer = consumer
        self._brokers = brokers

    async def topics(self) -> set[str]:
        """Those that exist.

        Raises:
            Transient: the brokers do not answer.
        """
        return set((await self._brokers.everything()).topics())

    async def partitions(self, topic: str) -> list[Partition]:
        """Those of a topic, which is not created by asking for it.

        Raises:
            Rejected: there is no such topic.
            Transient: the brokers do not answer.
        """
        cluster = await self._brokers.everything()
        numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise Rejected(f"kafka: there is no topic {topic}, or not for this user{meant(topic, cluster.topics())}")
        return [Partition(topic, number) for number in sorted(numbers)]

    async def reach(self, partitions: Iterable[Partition]) -> Mapping[Partition, Reach]:
        """Of each of them.

        Raises:
            Transient: the brokers do not answer.
            Fatal: the user lacks a right.
        """
        places = [TopicPartition(*partition) for partition in partitions]
        begins = await _answer(self._consumer.beginning_offsets(places))
        ends = await _answer(self._consumer.end_offsets(places))
        return {
            Partition(*place): Reach(
                begin=begins[place], end=ends[place], group=await _answer(self._consumer.committed(place))
            )
            for place in places
        }

    async def flaw(self, partition: Partition, offset: int) -> str | None:
        """Why the record there can be neither read nor set aside; None: it can be.

        Raises:
            Transient: the brokers do not answer.
        """
        try:
            look = await self._brokers.look(partition, offset)
        except errors.UnsupportedCodecError as error:  # if the service has the library, it is not held up
            return str(translation(error))
        return look.parted.broken if look is not None and look.parted.reached <= offset else None


@asynccontextmanager
async def inspecting(connection: KafkaConnection, options: KafkaOptions) -> AsyncIterator[Inspection]:
    """For the length of a block.

    Raises:
        Misconfigured, Fatal, Transient: as `client.started`.
    """
    consumer = make_consumer(connection, options)
    await started(consumer, connection)
    try:
        async with asking(connection, timeout=ANSWER_WITHIN) as brokers:
            yield Inspection(consumer, brokers)
    finally:
        await stopped(consumer, connection)


async def _answer(question: Awaitable[Any]) -> Any:  # noqa: ANN401 - as aiokafka has it
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            return await question
    except TimeoutError as error:
        raise Transient(f"kafka: no answer within {ANSWER_WITHIN:g} s") from error
    except errors.KafkaError as error:
        raise translation(error) from error
