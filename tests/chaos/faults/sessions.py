"""Sessions that are ended, cancelled, held open, or unavailable."""

import contextlib
from collections.abc import Iterator

import psycopg

from tests.chaos.faults.courses import REPLICAS, meanwhile, operator
from tests.chaos.faults.fault import fault
from tests.chaos.scene import POOL_SIZE, Scene


@fault("listener-terminated", "the sessions that listen are terminated, again and again")
def listener_terminated(scene: Scene) -> Iterator[None]:
    listening = f"{REPLICAS} and (query ilike 'listen %' or query ilike '%pg_listening_channels%')"
    with meanwhile(lambda: scene.database.terminate(listening), every=0.3):
        yield


@fault("backends-terminated", "all sessions of the service are terminated, five times a second")
def backends_terminated(scene: Scene) -> Iterator[None]:
    with meanwhile(lambda: scene.database.terminate(REPLICAS), every=0.2):
        yield


@fault("calls-cancelled", "every call of the service that is seen is cancelled, twenty times a second")
def calls_cancelled(scene: Scene) -> Iterator[None]:
    query = f"select pg_cancel_backend(pid) from pg_stat_activity where {REPLICAS} and state = 'active'"
    with meanwhile(lambda: scene.database.rows(query), every=0.05):
        yield


@fault("notification-queue-fills", "a listener sits in a transaction until the queue is full", seconds=(2, 15))
def queue_fills(scene: Scene) -> Iterator[None]:
    with contextlib.closing(operator(scene.database)) as sleeper:
        sleeper.execute("listen webhook_router")
        sleeper.commit()
        sleeper.execute("select 1")  # from now on it reads nothing, and the queue keeps what it has not read

        def fill() -> None:
            for _ in range(100):
                scene.database.rows("select pg_notify('nobody_listens', repeat('x', 7000))", patience=0)

        with meanwhile(fill, every=0.1):
            yield


@fault("connections-exhausted", "max_connections is reached just when the service has lost its sessions", alone=True)
def connections_exhausted(scene: Scene) -> Iterator[None]:
    with contextlib.ExitStack() as taken:

        def take() -> None:
            for _ in range(100):
                try:
                    taken.enter_context(contextlib.closing(psycopg.connect(scene.application_dsn(), connect_timeout=5)))
                except psycopg.OperationalError:
                    return

        take()
        scene.database.terminate(REPLICAS)
        take()
        with meanwhile(take, every=0.1):
            yield


@fault("pool-exhausted", "every session of a transaction pooler is taken", needs="pgbouncer", seconds=(4, 12))
def pool_exhausted(scene: Scene) -> Iterator[None]:
    assert scene.pool is not None
    with contextlib.ExitStack() as taken:

        def take() -> None:
            for _ in range(POOL_SIZE):
                holder = psycopg.connect(str(scene.pool), prepare_threshold=None, connect_timeout=5)
                taken.enter_context(contextlib.closing(holder))
                holder.execute("set local statement_timeout = 0")  # it sits in a transaction now

        with contextlib.suppress(psycopg.OperationalError):
            take()
        yield
