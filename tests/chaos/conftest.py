"""Fixtures of the fault tests: one server that may be broken, a scene of its own for each test."""

import contextlib
import signal
import uuid
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.chaos.kafka import SETTINGS
from tests.chaos.link import Link
from tests.chaos.possible import excused, possible
from tests.chaos.scene import Scene, scene_on
from tests.chaos.server import Server, own_server, prepare
from tests.kafka import broker
from tests.kafka.broker import Cluster, KafkaUnavailable

TEMPLATE = "chaos_template"


def require(needs: str) -> None:
    """Skips the test where the fault cannot be made; in CI, where it should be possible, fails it."""
    reason = possible(needs)
    if reason is None:
        return
    _leave_out(reason)


def _leave_out(reason: str) -> NoReturn:
    if excused(reason):
        pytest.skip(reason)
    pytest.fail(reason)


@pytest.fixture(scope="session")
def chaos_link() -> Iterator[Link | None]:
    """A route to the server that can be cut; None where namespaces are forbidden."""
    with contextlib.ExitStack() as stack:
        link: Link | None = None
        with contextlib.suppress(OSError):
            link = stack.enter_context(Link())
        yield link


@pytest.fixture(scope="session")
def chaos_server(chaos_link: Link | None) -> Iterator[Server]:
    """A server that tests may kill, as long as they start it again."""
    with own_server(chaos_link) as server:
        prepare(server, TEMPLATE)
        yield server


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    try:
        cluster = broker.prepare(3, settings=SETTINGS)
    except KafkaUnavailable as missing:
        _leave_out(str(missing))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """Three brokers, of which a test may break any; the next test finds them running."""
    yield _cluster
    for node in _cluster.brokers:
        if node.running:
            node.signal(signal.SIGCONT)
    _cluster.start()


@pytest.fixture
def kafka_scene(scene: Scene, cluster: Cluster) -> Scene:
    """A scene with a topic, and two replicas that read it."""
    scene.join(cluster)
    for _ in range(2):
        scene.start(scene.kind(kafka=True))
    return scene


@pytest.fixture
def scene(chaos_server: Server, chaos_link: Link | None) -> Iterator[Scene]:
    """A fresh database on that server, and what goes with it."""
    name = f"chaos_{uuid.uuid4().hex}"
    with scene_on(chaos_server, name, link=chaos_link, template=TEMPLATE) as made:
        yield made
