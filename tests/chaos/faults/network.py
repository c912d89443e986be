"""A network that is slow, loses packets, or is gone."""

from collections.abc import Iterator

from tests.chaos.faults.fault import fault
from tests.chaos.link import Weather
from tests.chaos.scene import Scene


@fault(
    "network-cut",
    "all packets of a replica are dropped, in both directions, without a word",
    needs="link",
    asks_server=False,
    seconds=(3, 30),
)
def network_cut(scene: Scene) -> Iterator[None]:
    assert scene.link is not None
    scene.link.set(Weather(cut=True))
    yield
    scene.link.set(Weather())


@fault(
    "network-slow",
    "a way of 60 to 120 ms between a replica and the database",
    needs="link",
    asks_server=False,
    seconds=(3, 10),
)
def network_slow(scene: Scene) -> Iterator[None]:
    assert scene.link is not None
    scene.link.set(Weather(delay=0.03, jitter=0.03))
    yield
    scene.link.set(Weather())


@fault(
    "network-lossy",
    "every tenth packet of a replica is lost, and the others overtake each other",
    needs="link",
    asks_server=False,
)
def network_lossy(scene: Scene) -> Iterator[None]:
    assert scene.link is not None
    scene.link.set(Weather(delay=0.002, jitter=0.01, loss=0.1))
    yield
    scene.link.set(Weather())
