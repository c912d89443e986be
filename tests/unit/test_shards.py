"""Which database an event goes to, and which lines `produce` refuses."""

from collections import Counter

import pytest

from consumer.adapters.kafka.shards import shard_of, topics_of
from consumer.cli.options import CONNECTION, FLAGS


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_a_key_has_the_shard_that_kafka_gives_it(key: str, hashed: int) -> None:
    """`toPositive(murmur2(key)) % shards`, by the hashes that Kafka's own tests expect of its Java."""
    for shards in (1, 2, 3, 4, 7, 16):
        assert shard_of(key.encode(), shards) == (hashed & 0x7FFFFFFF) % shards


def test_shards_get_equal_shares() -> None:
    """Of many conversations; the topics are numbered from 0."""
    shares = Counter(shard_of(f"whatsapp:{number}".encode(), 4) for number in range(20_000))
    assert sorted(shares) == [0, 1, 2, 3]
    assert min(shares.values()) > 4_800
    assert topics_of("events", 3) == ("events-0", "events-1", "events-2")


def test_doubling_moves_no_key_but_to_the_new_half() -> None:
    """Shard 1 of 4 becomes 1 and 5 of 8; with one more instead, four keys in five have another shard."""
    keys = [f"whatsapp:{number}".encode() for number in range(20_000)]
    assert all(shard_of(key, 8) % 4 == shard_of(key, 4) for key in keys)
    stay = sum(shard_of(key, 5) == shard_of(key, 4) for key in keys)
    assert 0.19 < stay / len(keys) < 0.21


def test_the_flags_of_the_connection() -> None:
    """What says how to reach the brokers, and nothing of what to read there."""
    assert (
        {
            "kafka_bootstrap_servers",
            "kafka_security_protocol",
            "kafka_sasl_mechanism",
            "kafka_sasl_username",
            "kafka_sasl_password_file",
            "kafka_ssl_cafile",
            "kafka_ssl_certfile",
            "kafka_ssl_keyfile",
        }
        <= set(CONNECTION)
        <= set(FLAGS)
    )
    assert not {"kafka_topics", "kafka_group_id", "kafka_batch_size", "kafka_sasl_password"} & set(CONNECTION)
