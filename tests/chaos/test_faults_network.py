"""A replica behind a network that is slow, loses packets, or is simply not there any more."""

import time

import pytest

from tests.chaos.conftest import require
from tests.chaos.scene import Replica, Scene
from tests.chaos.trial import trial
from tests.waiting import wait_for

CALL_TIMEOUT, CANCELLING = 3, 5
"""Seconds: the setting of the replicas here, and what the driver spends on cancelling a call in vain."""
CALL_WITHIN = CALL_TIMEOUT + CANCELLING
LISTENER_CHECK, LISTENER_ANSWER, LISTENER_END = 10, 5, 10
LISTENER_WITHIN = LISTENER_CHECK + LISTENER_ANSWER + LISTENER_END
SLACK = 60
"""For a machine that is busy. TCP itself would notice after a quarter of an hour."""


def behind_the_link(scene: Scene) -> Replica:
    """A replica there."""
    require("link")
    return scene.start(scene.kind(linked=True))


def test_the_network_is_cut_without_a_word(scene: Scene) -> None:
    """Found within the stated bounds by calls and by the listener, although no packet says so."""
    lonely = behind_the_link(scene)
    scene.start()
    lonely.until_listening()

    def cut() -> None:
        began = time.monotonic()
        wait_for(lambda: lonely.logged("cannot go on"), timeout=CALL_WITHIN + SLACK, what=f"{lonely.lines}")
        wait_for(
            lambda: lonely.logged("listener lost"),
            timeout=LISTENER_WITHIN + SLACK - (time.monotonic() - began),
            what=f"{lonely.lines}",
        )

    trial(scene, "network-cut", during=cut)
    lonely.until_listening()


def test_the_only_replica_is_cut_off(scene: Scene) -> None:
    """Its session in the server holds what it has claimed until the server finds out; then nothing is missing."""
    behind_the_link(scene)
    trial(scene, "network-cut", hold=2)


@pytest.mark.parametrize("fault", ["network-slow", "network-lossy"])
def test_the_network_is_bad(scene: Scene, fault: str) -> None:
    """Slower, and otherwise the same."""
    behind_the_link(scene)
    trial(scene, fault, hold=4)
