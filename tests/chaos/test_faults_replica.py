"""Replicas that die, are stopped, or have another clock."""

import signal

import pytest

from tests.chaos.conftest import require
from tests.chaos.scene import Scene
from tests.chaos.trial import trial
from tests.waiting import wait_for


@pytest.mark.parametrize(
    "fault",
    [
        "replica-killed-before-claim",
        "replica-killed-unheard",
        "replica-killed-in-transaction",
        "replica-killed-after-commit",
        "replica-killed-during-shutdown",
        "replica-terminated",
    ],
)
def test_a_replica_that_dies_at_a_certain_spot(scene: Scene, fault: str) -> None:
    """Wherever it dies, the other one goes on and the ledger finds nothing."""
    trial(scene, fault)


def test_the_only_replica_dies(scene: Scene) -> None:
    """There is no other; its successor finds everything in the table."""
    scene.start()
    trial(scene, "replica-killed-in-transaction")


def test_a_stopped_replica_wakes_up_as_if_nothing_had_been(scene: Scene) -> None:
    """SIGSTOP for longer than the watchdog's patience: the others go on, and it is not ended when it wakes up."""
    for _ in range(2):
        scene.start(scene.kind("--stall-after", "3")).until_ready()
    trial(scene, "replica-stopped", hold=30)
    for replica in scene.replicas:
        assert replica.get("/livez")[0] == 200
        wait_for(lambda replica=replica: replica.get("/readyz")[0] == 200, what=f"readiness {replica.lines}")  # type: ignore[misc]
        replica.signal(signal.SIGTERM)
        assert replica.stopped() == 0


@pytest.mark.parametrize("fault", ["clock-ahead", "clock-behind"])
def test_the_clock_of_a_replica_is_off_by_a_day(scene: Scene, fault: str) -> None:
    """Times that matter are the database's."""
    require("faketime")
    scene.start()

    def in_another_time() -> None:
        strange = scene.replicas[0]
        strange.until_listening()
        wait_for(lambda: strange.metric("webhook_router_events_routed_total") > 0, what="events that it routes")
        # By the database's clock as well: no event is a day old, nor was it routed before it came.
        seconds = strange.metric("webhook_router_event_latency_seconds_sum")
        assert 0 < seconds / strange.metric("webhook_router_event_latency_seconds_count") < 60

    trial(scene, fault, during=in_another_time)
