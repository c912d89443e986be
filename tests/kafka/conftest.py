"""Fixtures of the Kafka tests: brokers, topics of their own, a service that reads them."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import NoReturn

import psycopg
import pytest
import pytest_asyncio

from tests.kafka import broker
from tests.kafka.broker import Cluster, KafkaUnavailable
from tests.kafka.scene import Scene
from tests.kafka.topics import Topics, unique
from tests.sharing import shared


def _prepared(count: int, *, secured: bool = False) -> Cluster:
    try:
        return broker.prepare(count, secured=secured)
    except KafkaUnavailable as missing:
        unavailable(missing)


def unavailable(missing: KafkaUnavailable) -> NoReturn:
    """Skips the test on somebody's machine; in CI it is a failure."""
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


@contextlib.contextmanager
def secured() -> Iterator[Cluster]:
    """One broker with all listeners."""
    with _running(_prepared(1, secured=True)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One broker with all listeners, shared by all tests: do not stop it."""
    with shared(request.config, secured) as cluster:
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


@pytest_asyncio.fixture
async def scene(kafka: Cluster) -> AsyncIterator[Scene]:
    """A topic of six partitions that has not been read yet."""
    topics = Topics(kafka.bootstrap)
    topic = await topics.create(unique("events"))
    yield Scene(topics=topics, topic=topic, dead=f"{topic}.dead")


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A connection of the application."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
