"""Fixtures of the Kafka tests: brokers, topics of their own, a service that reads them."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
import pytest_asyncio

from tests.kafka import broker
from tests.kafka.broker import Cluster, KafkaUnavailable
from tests.kafka.topics import Topics, unique


def _prepared(count: int, *, secured: bool = False) -> Cluster:
    try:
        return broker.prepare(count, secured=secured)
    except KafkaUnavailable as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@contextlib.contextmanager
def _running(cluster: Cluster) -> Iterator[Cluster]:
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One broker with all listeners, shared by all tests: do not stop it."""
    with _running(_prepared(1, secured=True)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _victim() -> Iterator[Cluster]:
    with _running(_prepared(1)) as cluster:
        yield cluster


@pytest.fixture
def victim(_victim: Cluster) -> Iterator[Cluster]:
    """One broker that a test may freeze, kill and start; the next test finds it running."""
    _victim.start()
    yield _victim
    for node in _victim.brokers:
        if node.running:
            node.signal(signal.SIGCONT)


@pytest.fixture
def unborn() -> Iterator[Cluster]:
    """One broker for this test alone that has not been started yet."""
    cluster = _prepared(1)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def three_brokers() -> Iterator[Cluster]:
    """Three brokers for this test alone; topics with three copies survive the loss of one."""
    with _running(_prepared(3)) as cluster:
        yield cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A topic with a group of its own on the shared broker."""

    topics: Topics
    topic: str
    dead: str
    group: str = field(default_factory=lambda: unique("group"))

    @property
    def env(self) -> dict[str, str]:
        """The settings of a service that reads it."""
        return kafka_env(self.topics.bootstrap, self.topic, self.dead, self.group)

    async def committed(self) -> int:
        """How many records the group is done with, over all partitions."""
        return sum((await self.topics.committed(self.group, self.topic)).values())


def kafka_env(bootstrap: str, topic: str, dead: str, group: str) -> dict[str, str]:
    """Settings of a service that reads a topic, with times as tests like them."""
    return {
        "WEBHOOK_ROUTER_SOURCE": "kafka",
        "WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "WEBHOOK_ROUTER_KAFKA_TOPICS": topic,
        "WEBHOOK_ROUTER_KAFKA_GROUP_ID": group,
        "WEBHOOK_ROUTER_KAFKA_DEAD_LETTER_TOPIC": dead,
        "WEBHOOK_ROUTER_KAFKA_POLL_TIMEOUT": "0.1",
        "WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT": "3",
        "WEBHOOK_ROUTER_SAMPLE_INTERVAL": "0.2",
    }


@pytest_asyncio.fixture
async def scene(kafka: Cluster) -> AsyncIterator[Scene]:
    """Six partitions, nobody has read them yet."""
    topics = Topics(kafka.bootstrap)
    topic = await topics.create(unique("events"))
    yield Scene(topics=topics, topic=topic, dead=f"{topic}.dead")


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A connection of the application."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
