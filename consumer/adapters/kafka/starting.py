"""Where a group begins in partitions in which it has no offset yet."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.adapters.kafka.options import Start


async def first_offsets(
    consumer: AIOKafkaConsumer,
    places: Sequence[TopicPartition],
    start: Start,
    *,
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, int]:
    """The offset of the first record to read of each.

    A time begins with the first record that is not older, by its own timestamp, and at the end if all are. The
    consumer's errors are raised as they are.
    """
    if start == "earliest":
        return begins
    if start == "latest":
        return ends
    assert isinstance(start, datetime)
    found = await consumer.offsets_for_times(dict.fromkeys(places, int(start.timestamp() * 1000)))
    return dict(ends) | {place: at.offset for place, at in found.items() if at is not None}
