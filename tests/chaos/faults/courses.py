"""Building blocks of the courses of faults."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
from psycopg import sql

from consumer.domain.errors import ConsumerError
from tests.chaos.scene import Replica, Scene
from tests.chaos.server import Database
from tests.waiting import wait_for

GATE = 4242
"""The advisory lock that the application's trigger on messages asks for: see ledger.WITNESSES."""
REPLICAS = "application_name like 'webhook-router-%'"
"""The service's sessions, in pg_stat_activity."""


@contextlib.contextmanager
def session(scene: Scene, *statements: str) -> Iterator[psycopg.Connection]:
    """An operator's session in a transaction that has run these statements; rolled back at the end."""
    with contextlib.closing(operator(scene.database)) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        yield connection
        with contextlib.suppress(psycopg.Error):  # another fault may have ended it
            connection.rollback()


def operator(database: Database, patience: float = 60) -> psycopg.Connection:
    """A connection with transactions, as soon as one can be made."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return psycopg.connect(database.dsn)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def meanwhile(action: Callable[[], object], *, every: float) -> Iterator[None]:
    """Repeats something in the background; errors of the database are expected."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every):
            with contextlib.suppress(psycopg.Error, ConsumerError, OSError):
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def routing(scene: Scene, condition: str) -> list[tuple[int, str]]:
    """Server process and application name of the service's sessions that meet a condition on pg_stat_activity a."""
    return scene.database.rows(
        rf"""select a.pid, a.application_name from pg_stat_activity a
            where a.datname = current_database() and a.query ~ 'router\.(route_|take_records|take_deliveries)'
              and a.application_name like 'webhook-router-%' and {condition}"""
    )


def of_session(scene: Scene, application_name: str) -> Replica | None:
    """The replica to which a session belongs."""
    return next((r for r in scene.replicas if r.alive and r.kind.name == application_name), None)


def stuck_at(scene: Scene, condition: str, what: str) -> tuple[Replica, int]:
    """Waits until a replica's routing call waits, and returns both ends of it."""

    def found() -> tuple[Replica, int] | None:
        for backend, name in routing(scene, condition):
            if (replica := of_session(scene, name)) is not None:
                return replica, backend
        return None

    caught = wait_for(found, what=f"a routing call {what}, {scene.says()}")
    assert caught is not None
    return caught


AT_THE_GATE = """exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'advisory' and not l.granted
                 and l.objid = 4242)"""
AT_THE_CLAIM = """exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'relation' and not l.granted
                 and l.relation = 'public.webhook_events'::regclass)"""


@contextlib.contextmanager
def gate_closed(scene: Scene) -> Iterator[None]:
    """Routing stops in the middle of its transaction: events are claimed, contacts made, messages not yet."""
    with session(scene, f"select pg_advisory_xact_lock({GATE})"):
        yield


def setting(scene: Scene, name: str, value: str | None) -> None:
    """Sets it for all sessions of the database that begin from now on; None resets it."""
    target = sql.Identifier(scene.name)
    with contextlib.closing(operator(scene.database)) as connection:
        connection.autocommit = True
        if value is None:
            connection.execute(sql.SQL("alter database {} reset {}").format(target, sql.Identifier(name)))
        else:
            connection.execute(
                sql.SQL("alter database {} set {} = {}").format(target, sql.Identifier(name), sql.Literal(value))
            )


@contextlib.contextmanager
def with_setting(scene: Scene, name: str, value: str) -> Iterator[None]:
    """Sets it, and ends the sessions of the service and the application, so that their next ones have it."""
    setting(scene, name, value)
    try:
        scene.database.terminate(f"({REPLICAS} or application_name = 'application')")
        yield
    finally:
        setting(scene, name, None)
        scene.database.terminate(f"({REPLICAS} or application_name = 'application')")


def any_replica(scene: Scene) -> Replica:
    """A live replica; waits until there is one."""
    return scene.chance.choice(wait_for(lambda: [r for r in scene.replicas if r.alive], what="a replica"))
