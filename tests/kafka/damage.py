"""Damage on the disk of a broker: batches that cannot be told apart any more."""

from pathlib import Path

from tests.kafka.broker import Cluster
from tests.kafka.topics import Topics, event, unique

ALONE = {"segment.ms": "1"}
"""Settings of a topic whose batches get a file each, so that what is damaged keeps no other from being found."""


async def damaged(cluster: Cluster, *, at: int, records: int) -> str:
    """A topic of one partition with so many records, one of which nobody can read; returns its name."""
    topics = Topics(cluster.bootstrap)
    topic = await topics.create(unique("events"), partitions=1, settings=ALONE)
    for number in range(records):
        await topics.send(topic, [event(number)])
    for broker in cluster.brokers:
        damage(broker.folder / "data" / f"{topic}-0" / f"{at:020}.log")
    return topic


def damage(segment: Path) -> None:
    """Lets its first batch say that it has -1 bytes."""
    with segment.open("r+b") as file:
        file.seek(8)
        file.write(b"\xff\xff\xff\xff")
