"""A server that goes away, freezes, or only reads."""

from collections.abc import Iterator

from tests.chaos.faults.fault import fault
from tests.chaos.scene import Scene
from tests.chaos.server import thaw


@fault("postgres-restarted", "the server is stopped fast and started", stops_server=True)
def restarted(scene: Scene) -> Iterator[None]:
    scene.server._end("fast")
    yield
    scene.server.restart()


@fault(
    "postgres-stopped-immediate",
    "the server is stopped immediate, as by a node that is drained in a hurry",
    stops_server=True,
)
def stopped_immediate(scene: Scene) -> Iterator[None]:
    scene.server._end("immediate")
    yield
    scene.server.restart()


@fault("postgres-killed", "kill -9 of the server and all its sessions; it recovers from its log", stops_server=True)
def killed(scene: Scene) -> Iterator[None]:
    scene.server.kill()
    yield
    scene.server.restart()


@fault(
    "postgres-frozen",
    "SIGSTOP of the whole server: connections stay, packets are acknowledged, nobody answers",
    alone=True,
)
def frozen(scene: Scene) -> Iterator[None]:
    family = scene.server.freeze()
    yield
    thaw(family)


@fault("postgres-in-recovery", "the server comes back as a standby that only reads, and is promoted", stops_server=True)
def in_recovery(scene: Scene) -> Iterator[None]:
    scene.server._end("fast")
    scene.server.restart_as_standby()
    yield
    scene.server.promote()


@fault("postgres-read-only", "every transaction is read-only for a while", stops_server=True)
def read_only(scene: Scene) -> Iterator[None]:
    scene.database.rows("alter system set default_transaction_read_only = on")
    scene.database.rows("select pg_reload_conf()")
    yield
    scene.database.rows("alter system reset default_transaction_read_only")
    scene.database.rows("select pg_reload_conf()")
