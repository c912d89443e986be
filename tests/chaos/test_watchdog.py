"""The watchdog of a real process: ends what is stuck, and leaves alone what is only waiting."""

import itertools
import time

from tests.chaos.events import made
from tests.chaos.faults.courses import session
from tests.chaos.scene import Scene
from tests.waiting import wait_for

STALL_AFTER = 10
"""Seconds: less, and a busy machine could make a healthy loop look stuck."""


def test_a_loop_that_is_stuck_ends_the_process(scene: Scene) -> None:
    """A call that may take ten minutes waits for a lock, longer than the watchdog does: exit 1 and a line."""
    replica = scene.start(
        scene.kind("--call-timeout", "600", "--stall-after", f"{STALL_AFTER}", "--reconcile-interval", "1")
    )
    replica.until_listening()
    with session(scene, "lock table public.messages in access exclusive mode"):
        scene.deliver(list(itertools.islice(made("watchdog", prefix="watchdog", faulty=0), 100)))
        assert replica.stopped() == 1
    said = str(replica.lines[-1]["event"])
    assert said.startswith("webhook-router: the ")
    assert "hot" in said
    assert f"loop made no progress for more than {STALL_AFTER} s" in said
    scene.again(replica)
    scene.until_routed()
    assert scene.verdict().acknowledged == 100


def test_a_loop_that_waits_for_the_database_is_not_stuck(scene: Scene) -> None:
    """The lock lasts twice as long as the watchdog's patience, but each call ends in time: the process stays."""
    replica = scene.start(scene.kind("--call-timeout", "0.5", "--stall-after", f"{STALL_AFTER}"))
    replica.until_listening()
    with session(scene, "lock table public.webhook_events in access exclusive mode"):
        held_until = time.monotonic() + 2 * STALL_AFTER
        wait_for(lambda: not replica.alive or time.monotonic() > held_until, what="the end of the lock")
        assert replica.alive
        assert replica.get("/livez")[0] == 200
        assert replica.get("/readyz")[0] == 503
    scene.deliver(list(itertools.islice(made("watchdog", prefix="watchdog", faulty=0), 50)))
    scene.until_routed()
    assert replica.alive


def test_a_long_pause_between_sweeps_is_not_a_stall(scene: Scene) -> None:
    """With an hour between sweeps the sweep makes no progress for an hour."""
    replica = scene.start(scene.kind("--stall-after", f"{STALL_AFTER}", "--reconcile-interval", "3600"))
    replica.until_listening()
    passed = time.monotonic() + 1.5 * STALL_AFTER
    wait_for(lambda: not replica.alive or time.monotonic() > passed, what="enough time")
    assert replica.alive
    assert replica.get("/livez")[0] == 200
