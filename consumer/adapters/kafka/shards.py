"""Several databases behind one stream of events: which topic a key belongs to."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


def topics_of(topic: str, shards: int) -> tuple[str, ...]:
    """The topics of so many databases."""
    return tuple(f"{topic}-{number}" for number in range(shards))


@lru_cache(maxsize=65_536)  # the hash is Python, and a conversation has many events
def shard_of(key: bytes, shards: int) -> int:
    """Which of so many shards a key belongs to, as Kafka's own producers find the partition of a key."""
    positive: int = murmur2(key) & 0x7FFFFFFF
    return positive % shards
