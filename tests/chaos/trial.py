"""One fault under traffic, from a healthy state to a healthy state, with the ledger's verdict at the end."""

import dataclasses
import functools
import time
from collections.abc import Callable

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ledger import Verdict
from tests.chaos.scene import Scene
from tests.chaos.traffic import Plan, Producer
from tests.chaos.watch import Watcher, until_caught_up
from tests.waiting import PATIENCE, wait_for

RATE = 500
"""Events a second: a few thousand a trial, which leaves a small machine time for the fault."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The outcome; `recovery` is in seconds from the end of the fault until everything was routed."""

    verdict: Verdict
    recovery: float
    refused: int
    """Deliveries that the producer had to make again."""


def trial(
    scene: Scene,
    fault: str | Fault,
    *,
    hold: float = 1.0,
    within: float = PATIENCE,
    during: Callable[[], object] | None = None,
) -> Trial:
    """Puts the replicas of a scene, two if it has none, through a fault.

    Args:
        scene: where.
        fault: or its name.
        hold: seconds that it is in force.
        within: seconds that the recovery may take.
        during: called while it is in force, e.g. to wait for what must be seen then.

    Raises:
        AssertionError: the recovery took longer, or the ledger finds something wrong.
    """
    if isinstance(fault, str):
        fault = FAULTS[fault]
    if not scene.replicas:
        scene.start()
        scene.start()
    for replica in scene.replicas:
        replica.until_ready()
    kafka = scene.kafka
    plan = Plan(fault.name, name="trial", faulty=0.002, topic=0.0 if kafka is None else 0.8)
    producer = Producer(plan, scene.ledger, scene.application_dsn(), rate=RATE, topic=kafka)
    watcher = Watcher(scene.database.dsn, scene.ledger, offsets=None if kafka is None else kafka.committed)
    producer.start()
    watcher.start()
    try:
        wait_for(lambda: producer.delivered > RATE // 2, what=f"traffic; {producer.last_error}")
        with fault.on(scene):
            ending = time.monotonic() + hold
            if during is not None:
                during()
            while time.monotonic() < ending:  # the fault's duration
                time.sleep(0.01)
        latest: Callable[[], list[tuple[str, str]]] = list
        if kafka is not None:
            latest = functools.partial(scene.ledger.latest, kafka.topic)
        recovery, caught_up = until_caught_up(scene.database.dsn, latest=latest, timeout=within)
        assert caught_up, f"no recovery within {within} s: {scene.says()}"
        after = producer.delivered
        wait_for(lambda: producer.delivered > after + RATE // 2, what=f"traffic; {producer.last_error}")
    finally:
        producer.stop()
        producer.join()
        seen = watcher.stop()
    if kafka is not None:
        kafka.until_done()
    scene.until_routed()
    assert all(replica.alive for replica in scene.replicas), scene.says()
    return Trial(verdict=scene.verdict(**seen), recovery=recovery, refused=producer.refused)


def reasons(scene: Scene) -> str:
    """Why loops could not go on, as far as the replicas have said."""
    return "\n".join(str(line["reason"]) for r in scene.replicas for line in r.logged("cannot go on"))


def until_said(scene: Scene, *words: str) -> None:
    """Waits until a replica gives one of these as its reason."""
    wait_for(lambda: any(word in reasons(scene) for word in words), what=f"one of {words}, {scene.says()}")
