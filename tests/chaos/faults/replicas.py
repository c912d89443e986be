"""Replicas that die, are stopped, or have another clock."""

import signal
from collections.abc import Iterator

from tests.chaos.faults.courses import AT_THE_CLAIM, AT_THE_GATE, any_replica, gate_closed, session, stuck_at
from tests.chaos.faults.fault import fault
from tests.chaos.possible import in_other_time
from tests.chaos.scene import Kind, Scene
from tests.waiting import wait_for


@fault("replica-killed-before-claim", "kill -9 of a replica whose call waits for the table; its session goes as well")
def killed_before_claim(scene: Scene) -> Iterator[None]:
    with session(scene, "lock table public.webhook_events in access exclusive mode"):
        victim, backend = stuck_at(scene, AT_THE_CLAIM, "before its claim")
        victim.end()
        scene.database.rows("select pg_terminate_backend(%s)", (backend,))
    yield
    scene.again(victim)


@fault("replica-killed-unheard", "the same, but the server does not notice, carries the call out and commits it")
def killed_unheard(scene: Scene) -> Iterator[None]:
    with session(scene, "lock table public.webhook_events in access exclusive mode"):
        victim, _ = stuck_at(scene, AT_THE_CLAIM, "before its claim")
        victim.end()
    yield
    scene.again(victim)


@fault("replica-killed-in-transaction", "kill -9 of a replica between claim and commit; the server rolls it back")
def killed_in_transaction(scene: Scene) -> Iterator[None]:
    with gate_closed(scene):
        victim, backend = stuck_at(scene, AT_THE_GATE, "inside its transaction")
        victim.end()
        scene.database.rows("select pg_terminate_backend(%s)", (backend,))
    yield
    scene.again(victim)


@fault(
    "replica-killed-after-commit",
    "kill -9 of a replica whose call has committed and who has not read the answer, nor committed an offset",
)
def killed_after_commit(scene: Scene) -> Iterator[None]:
    with gate_closed(scene):
        victim, backend = stuck_at(scene, AT_THE_GATE, "inside its transaction")
        victim.signal(signal.SIGSTOP)
    # It is stopped, so nothing follows the commit.
    wait_for(
        lambda: not scene.database.rows("select from pg_stat_activity where pid = %s and state = 'active'", (backend,)),
        what="the commit",
    )
    victim.end()
    yield
    scene.again(victim)


@fault("replica-killed-during-shutdown", "SIGTERM in the middle of a call, and kill -9 while it waits for that call")
def killed_during_shutdown(scene: Scene) -> Iterator[None]:
    with gate_closed(scene):
        victim, _ = stuck_at(scene, AT_THE_GATE, "inside its transaction")
        victim.signal(signal.SIGTERM)
        wait_for(lambda: victim.logged("stopping"), what="the line about stopping")
        victim.end()
    yield
    scene.again(victim)


@fault("replica-terminated", "SIGTERM to a replica, as in every deployment", asks_server=False)
def terminated(scene: Scene) -> Iterator[None]:
    victim = any_replica(scene)
    victim.signal(signal.SIGTERM)
    victim.stopped()
    yield
    scene.again(victim)


@fault(
    "replica-stopped",
    "SIGSTOP of a replica for 30 s, wherever it is, and SIGCONT",
    seconds=(30, 31),
    asks_server=False,
)
def stopped(scene: Scene) -> Iterator[None]:
    victim = any_replica(scene)
    victim.signal(signal.SIGSTOP)
    yield
    if victim.alive:
        victim.signal(signal.SIGCONT)


@fault("clock-ahead", "a replica whose clock is a day ahead", needs="faketime", asks_server=False)
def clock_ahead(scene: Scene) -> Iterator[None]:
    yield from _another_clock(scene, "+1d")


@fault("clock-behind", "a replica whose clock is a day behind", needs="faketime", asks_server=False)
def clock_behind(scene: Scene) -> Iterator[None]:
    yield from _another_clock(scene, "-1d")


def _another_clock(scene: Scene, offset: str) -> Iterator[None]:
    victim = any_replica(scene)
    before = victim.kind
    victim.end()
    scene.replicas.remove(victim)
    strange = scene.start(
        Kind(
            name=before.name,
            dsn=before.dsn,
            flags=before.flags,
            prefix=before.prefix,
            env={**before.env, **in_other_time(offset)},
        )
    )
    yield
    strange.end()
    scene.replicas.remove(strange)
    scene.start(before)
