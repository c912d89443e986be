"""An application whose triggers, locks and transactions meet the service where it does not expect them."""

from collections.abc import Callable

import pytest

from tests.chaos.scene import Scene
from tests.chaos.trial import trial
from tests.waiting import wait_for


def held(scene: Scene) -> bool:
    """Whether a replica has held events."""
    return any(replica.metric("webhook_router_events_held_total") > 0 for replica in scene.replicas)


def routes(scene: Scene) -> None:
    """Events that have come since the fault began are routed; waits for it."""
    (begun,) = scene.database.rows("select clock_timestamp()")
    wait_for(
        lambda: scene.database.value(
            "select count(*) > 200 from public.webhook_events where created_at > %s and routed_at is not null", begun
        ),
        what=f"routed events, {scene.says()}",
    )


@pytest.mark.parametrize(
    "fault",
    [
        "application-rewrites-ids",
        "application-sets-pending",
        "application-moves-arrival-times",
        "application-disables-the-doorbell",
        "application-silences-the-doorbell",
    ],
)
def test_routing_goes_on(scene: Scene, fault: str) -> None:
    """Whatever the application makes of what it is given: the events are routed meanwhile, and none is parked."""
    trial(scene, fault, hold=4, during=lambda: routes(scene))


def test_events_that_cannot_even_be_parked_are_held(scene: Scene) -> None:
    """The others of their batch are routed; when the fault ends these are parked."""

    def waits() -> None:
        wait_for(lambda: held(scene), what=f"held events, {scene.says()}")
        routes(scene)

    outcome = trial(scene, "application-refuses-parking", during=waits)
    assert outcome.verdict.parked > 0


def test_events_are_held_for_a_fault_of_the_schema(scene: Scene) -> None:
    """The others are routed, but the service is not ready and names what is missing; then these are routed as well."""

    def waits() -> None:
        wait_for(lambda: held(scene), what=f"held events, {scene.says()}")
        wait_for(lambda: any(replica.get("/readyz")[0] == 503 for replica in scene.replicas), what="not ready")
        routes(scene)
        assert all(replica.get("/livez")[0] == 200 for replica in scene.replicas)
        wait_for(lambda: "42P01" in str([replica.lines for replica in scene.replicas]), what="the reason")

    trial(scene, "application-breaks-a-trigger", during=waits)
    for replica in scene.replicas:
        replica.until_ready()


@pytest.mark.parametrize("fault", ["application-takes-our-locks", "application-prepares-transactions"])
@pytest.mark.parametrize("seed", [1, 5])
def test_locks_of_nobody_and_of_strangers(scene: Scene, fault: str, seed: int) -> None:
    """For longer than a call may take, until it has a single event: nothing is parked for it."""
    scene.chance.seed(seed)
    for _ in range(2):
        scene.start(scene.kind("--call-timeout", "1"))
    said: Callable[[], object] = lambda: any(replica.logged("cannot go on") for replica in scene.replicas)  # noqa: E731
    trial(scene, fault, hold=8, during=lambda: wait_for(said, what=f"a reason, {scene.says()}"))


def test_everything_at_once(scene: Scene) -> None:
    """Three of these beside each other, in another choice each time."""
    for seed in range(2):
        scene.chance.seed(seed)
        trial(scene, "hostile-application", hold=4)
