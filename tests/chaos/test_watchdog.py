"""The watchdog of a real process: ends what is stuck, and leaves alone what is only waiting."""

import itertools
import time

from tests.chaos.events import made
from tests.chaos.faults import session
from tests.chaos.scene import Scene
from tests.waiting import wait_for


def test_a_loop_that_is_stuck_ends_the_process(scene: Scene) -> None:
    """A call that may take ten minutes waits for a lock, longer than the watchdog does: exit 1 and a line."""
    events = list(itertools.islice(made("watchdog", prefix="watchdog", faulty=0), 50))
    replica = scene.start(scene.kind("--call-timeout", "600", "--stall-after", "2", "--reconcile-interval", "1"))
    replica.until_listening()
    scene.deliver(events)
    with session(scene, "lock table public.messages in access exclusive mode"):
        scene.deliver(list(itertools.islice(made("more", prefix="more", faulty=0), 50)))
        wait_for(lambda: replica.get("/livez")[0] == 503, timeout=10, what="a failing /livez")
        assert replica.stopped() == 1
    said = str(replica.lines[-1]["event"])
    assert said.startswith("webhook-router: the ")
    assert "hot" in said
    assert "loop made no progress for more than 2 s" in said
    scene.again(replica)
    scene.until_routed()
    assert scene.verdict().acknowledged == 100


def test_a_loop_that_waits_for_the_database_is_not_stuck(scene: Scene) -> None:
    """The lock lasts much longer than the watchdog's patience, but each call ends in time: the process stays."""
    replica = scene.start(scene.kind("--call-timeout", "0.5", "--stall-after", "2"))
    replica.until_listening()
    with session(scene, "lock table public.webhook_events in access exclusive mode"):
        held_until = time.monotonic() + 6
        while time.monotonic() < held_until:  # three times as long as it may go without progress
            assert replica.alive
            assert replica.get("/livez")[0] == 200
    scene.deliver(list(itertools.islice(made("watchdog", prefix="watchdog", faulty=0), 50)))
    scene.until_routed()
    assert replica.alive


def test_a_long_pause_between_sweeps_is_not_a_stall(scene: Scene) -> None:
    """With an hour between sweeps the sweep makes no progress for an hour."""
    replica = scene.start(scene.kind("--stall-after", "0.5", "--poll-interval", "0.1", "--reconcile-interval", "3600"))
    replica.until_listening()
    passed = time.monotonic() + 2
    while time.monotonic() < passed:
        assert replica.get("/livez")[0] == 200
    assert replica.alive
