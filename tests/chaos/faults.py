"""Every fault by its name: how it is made, and how it ends.

A course is a generator: up to its `yield` it makes the fault, after it it ends it. What lies between is the caller's
business: a second in a test, up to half a minute in the driver. A course leaves as many replicas as it found, and waits
for facts, never for time.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from consumer.adapters.postgres import embedded_process, migrate
from consumer.domain.errors import ConsumerError
from tests.chaos.kafka import Kafka
from tests.chaos.link import Weather
from tests.chaos.scene import Database, Kind, Replica, Scene, in_other_time
from tests.kafka.broker import Broker
from tests.waiting import wait_for

Course = Callable[[Scene], Iterator[None]]
GATE = 4242
"""The advisory lock that the application's trigger on messages asks for: see ledger.WITNESSES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault; `seconds` is how long the driver leaves it in force."""

    name: str
    text: str
    course: Course
    seconds: tuple[float, float]
    needs: str | None
    """What must be possible here: see scene.possible. None: nothing special."""

    def on(self, scene: Scene) -> contextlib.AbstractContextManager[None]:
        """The fault, in force for as long as the `with` block; it ends however that ends."""
        return _in_force(self.course(scene))


@contextlib.contextmanager
def _in_force(course: Iterator[None]) -> Iterator[None]:
    next(course)
    try:
        yield
    finally:
        next(course, None)


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, text: str, *, seconds: tuple[float, float] = (1, 6), needs: str | None = None
) -> Callable[[Course], Course]:
    """Enters a course under its name."""

    def enter(course: Course) -> Course:
        assert name not in FAULTS
        FAULTS[name] = Fault(name=name, text=text, course=course, seconds=seconds, needs=needs)
        return course

    return enter


# --- What courses are made of ---


@contextlib.contextmanager
def session(scene: Scene, *statements: str) -> Iterator[psycopg.Connection]:
    """A session of an operator in a transaction that has run these statements; rolled back in the end."""
    with contextlib.closing(operator(scene.database)) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        yield connection
        with contextlib.suppress(psycopg.Error):  # another fault may have ended it
            connection.rollback()


def operator(database: Database, patience: float = 60) -> psycopg.Connection:
    """A connection with transactions, as soon as there is one to be had."""
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
    """Does something again and again, beside whatever else happens; errors of the database are part of the day."""
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
            where a.datname = current_database() and a.query ~ 'router\.(route_|ingest_and_route)'
              and a.application_name like 'replica-%' and {condition}"""
    )


def of_session(scene: Scene, application_name: str) -> Replica | None:
    """The replica that a session belongs to."""
    return next((r for r in scene.replicas if r.alive and r.kind.name == application_name), None)


def stuck_at(scene: Scene, condition: str, what: str) -> tuple[Replica, int]:
    """Waits until a replica's routing call waits, and returns both ends of it."""

    def found() -> tuple[Replica, int] | None:
        for backend, name in routing(scene, condition):
            if (replica := of_session(scene, name)) is not None:
                return replica, backend
        return None

    caught = wait_for(found, timeout=30, what=f"a routing call {what}, {scene.says()}")
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
    """For all sessions of the database that begin from now on; None takes it back."""
    target = sql.Identifier(scene.name)
    with contextlib.closing(operator(scene.database)) as connection:
        connection.autocommit = True
        if value is None:
            connection.execute(sql.SQL("alter database {} reset {}").format(target, sql.Identifier(name)))
        else:
            connection.execute(
                sql.SQL("alter database {} set {} = {}").format(target, sql.Identifier(name), sql.Literal(value))
            )


REPLICAS = "application_name like 'replica-%'"


@contextlib.contextmanager
def with_setting(scene: Scene, name: str, value: str) -> Iterator[None]:
    """The service and the application get it with their next session, which is now."""
    setting(scene, name, value)
    try:
        scene.database.terminate(f"({REPLICAS} or application_name = 'application')")
        yield
    finally:
        setting(scene, name, None)
        scene.database.terminate(f"({REPLICAS} or application_name = 'application')")


def any_replica(scene: Scene) -> Replica:
    """One that lives; waits for one."""
    return scene.chance.choice(wait_for(lambda: [r for r in scene.replicas if r.alive], what="a replica"))


# --- A replica ---


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
        timeout=30,
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


@fault("replica-terminated", "SIGTERM to a replica, as in every deployment")
def terminated(scene: Scene) -> Iterator[None]:
    victim = any_replica(scene)
    victim.signal(signal.SIGTERM)
    victim.stopped()
    yield
    scene.again(victim)


@fault("replica-stopped", "SIGSTOP of a replica, wherever it is, and SIGCONT", seconds=(5, 30))
def stopped(scene: Scene) -> Iterator[None]:
    victim = any_replica(scene)
    victim.signal(signal.SIGSTOP)
    yield
    if victim.alive:
        victim.signal(signal.SIGCONT)


@fault("clock-ahead", "a replica whose clock is a day ahead", needs="faketime")
def clock_ahead(scene: Scene) -> Iterator[None]:
    yield from _another_clock(scene, "+1d")


@fault("clock-behind", "a replica whose clock is a day behind", needs="faketime")
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


# --- The server ---


@fault("postgres-restarted", "the server is stopped fast and started")
def restarted(scene: Scene) -> Iterator[None]:
    scene.server._end("fast")
    yield
    scene.server.restart()


@fault("postgres-stopped-immediate", "the server is stopped immediate, as by a node that is drained in a hurry")
def stopped_immediate(scene: Scene) -> Iterator[None]:
    scene.server._end("immediate")
    yield
    scene.server.restart()


@fault("postgres-killed", "kill -9 of the server and all its sessions; it recovers from its log")
def killed(scene: Scene) -> Iterator[None]:
    scene.server.kill()
    yield
    scene.server.restart()


@fault("postgres-frozen", "SIGSTOP of the whole server: connections stay, packets are acknowledged, nobody answers")
def frozen(scene: Scene) -> Iterator[None]:
    family = [scene.server.pid, *embedded_process._children(scene.server.pid)]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    yield
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@fault("postgres-in-recovery", "the server comes back as a standby that only reads, and is promoted")
def in_recovery(scene: Scene) -> Iterator[None]:
    scene.server._end("fast")
    (scene.server.data / "standby.signal").touch()
    scene.server.restart()
    yield
    scene.database.rows("select pg_promote()")
    wait_for(lambda: not scene.database.value("select pg_is_in_recovery()"), timeout=30, what="the promotion")


@fault("postgres-read-only", "every transaction is read-only for a while")
def read_only(scene: Scene) -> Iterator[None]:
    scene.database.rows("alter system set default_transaction_read_only = on")
    scene.database.rows("select pg_reload_conf()")
    yield
    scene.database.rows("alter system reset default_transaction_read_only")
    scene.database.rows("select pg_reload_conf()")


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


@fault("notification-queue-fills", "a listener sits in a transaction and reads nothing", seconds=(2, 15))
def queue_fills(scene: Scene) -> Iterator[None]:
    with contextlib.closing(operator(scene.database)) as sleeper:
        sleeper.execute("listen webhook_router")
        sleeper.commit()
        sleeper.execute("select 1")
        yield


@fault("connections-exhausted", "max_connections is reached just when the service has lost its sessions")
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


@fault("statement-timeout", "a statement_timeout that a full batch exceeds, and a slow trigger of the application")
def statement_timeout(scene: Scene) -> Iterator[None]:
    scene.database.rows(
        """create or replace function witness.dawdle() returns trigger language plpgsql as
           $$ begin perform pg_sleep(0.002); return new; end $$;
           drop trigger if exists dawdle on public.messages;
           create trigger dawdle before insert on public.messages for each row execute function witness.dawdle()"""
    )
    with with_setting(scene, "statement_timeout", "800ms"):
        yield
    scene.database.rows("drop trigger if exists dawdle on public.messages")


@fault("lock-timeout", "a lock_timeout of 20 ms, while the application locks conversations for longer")
def lock_timeout(scene: Scene) -> Iterator[None]:
    def hold() -> None:
        with session(
            scene,
            """select from public.conversations v
               where v.id in (select m.conversation_id from public.messages m tablesample system (5) limit 200)
               order by v.id for update""",
        ):
            time.sleep(0.3)

    with with_setting(scene, "lock_timeout", "20ms"), meanwhile(hold, every=0.05):
        yield


@fault("deadlock", "the application locks the latest conversations in the wrong order")
def deadlock(scene: Scene) -> Iterator[None]:
    def cross() -> None:
        # It detects late, so that the service is the victim.
        with session(scene, "set local deadlock_timeout = '5s'") as connection:
            for (conversation,) in connection.execute(
                """select id from (select id from public.conversations order by updated_at desc limit 40) v
                   order by id desc"""
            ).fetchall():
                connection.execute("select from public.conversations where id = %s for update", (conversation,))
                time.sleep(0.005)

    with meanwhile(cross, every=0.05):
        yield


@fault("serialization-failures", "every third batch fails with 40001, and all transactions are serializable by default")
def serialization_failures(scene: Scene) -> Iterator[None]:
    scene.database.rows(
        """create or replace function witness.collide() returns trigger language plpgsql as
           $$ begin
               if random() < 0.33 then
                   raise exception 'could not serialize access' using errcode = 'serialization_failure';
               end if;
               return null;
           end $$;
           drop trigger if exists collide on public.messages;
           create trigger collide before insert on public.messages
               for each statement execute function witness.collide()"""
    )
    with with_setting(scene, "default_transaction_isolation", "serializable"):
        yield
    scene.database.rows("drop trigger if exists collide on public.messages")


@fault("repeatable-read", "all transactions see the past by default (repeatable read)")
def repeatable_read(scene: Scene) -> Iterator[None]:
    with with_setting(scene, "default_transaction_isolation", "repeatable read"):
        yield


@fault("long-snapshot", "a report holds an old snapshot", seconds=(3, 20))
def long_snapshot(scene: Scene) -> Iterator[None]:
    with session(scene, "set transaction isolation level repeatable read", "select count(*) from public.messages"):
        yield


@fault("exclusive-lock", "DDL holds an exclusive lock on messages", seconds=(2, 12))
def exclusive_lock(scene: Scene) -> Iterator[None]:
    with session(scene, "lock table public.messages in access exclusive mode"):
        yield


@fault("migrated-while-serving", "the schema is applied again, over and over, under traffic")
def migrated(scene: Scene) -> Iterator[None]:
    with meanwhile(lambda: migrate.migrate(scene.database.dsn, reapply=True, patience=20), every=0.1):
        yield


# --- The network ---


@fault("network-cut", "all packets of a replica are dropped, in both directions, without a word", needs="link")
def network_cut(scene: Scene) -> Iterator[None]:
    assert scene.link is not None
    scene.link.set(Weather(cut=True))
    yield
    scene.link.set(Weather())


@fault("network-slow", "a way of 60 to 120 ms between a replica and the database", needs="link", seconds=(3, 10))
def network_slow(scene: Scene) -> Iterator[None]:
    assert scene.link is not None
    scene.link.set(Weather(delay=0.03, jitter=0.03))
    yield
    scene.link.set(Weather())


@fault("network-lossy", "every tenth packet of a replica is lost, and the others overtake each other", needs="link")
def network_lossy(scene: Scene) -> Iterator[None]:
    assert scene.link is not None
    scene.link.set(Weather(delay=0.002, jitter=0.01, loss=0.1))
    yield
    scene.link.set(Weather())


# --- Kafka ---


def _kafka(scene: Scene) -> Kafka:
    assert scene.kafka is not None
    return scene.kafka


def _killed(broker: Broker) -> Iterator[None]:
    broker.kill()
    yield
    broker.start()
    broker.until_up()


@fault("kafka-broker-killed", "kill -9 of one of three brokers", needs="kafka", seconds=(2, 10))
def broker_killed(scene: Scene) -> Iterator[None]:
    yield from _killed(scene.chance.choice(_kafka(scene).cluster.brokers))


@fault("kafka-coordinator-killed", "kill -9 of the broker that looks after the group", needs="kafka", seconds=(2, 10))
def coordinator_killed(scene: Scene) -> Iterator[None]:
    yield from _killed(_kafka(scene).coordinator())


@fault("kafka-coordinator-moved", "the group's broker is shut down in order, and comes back", needs="kafka")
def coordinator_moved(scene: Scene) -> Iterator[None]:
    broker = _kafka(scene).coordinator()
    broker.signal(signal.SIGTERM)
    wait_for(lambda: not broker.running, timeout=60, what="the broker's end")
    yield from _killed(broker)


@fault("kafka-frozen", "SIGSTOP of all brokers: connections stay, nobody answers", needs="kafka", seconds=(2, 12))
def kafka_frozen(scene: Scene) -> Iterator[None]:
    brokers = _kafka(scene).cluster.brokers
    for broker in brokers:
        broker.signal(signal.SIGSTOP)
    yield
    for broker in brokers:
        broker.signal(signal.SIGCONT)


@fault("kafka-rebalance-storm", "members join the group and leave it, one after the other", needs="kafka")
def rebalance_storm(scene: Scene) -> Iterator[None]:
    kafka = _kafka(scene)
    with meanwhile(lambda: kafka.visit(0.5), every=0.05):
        yield


@fault("kafka-topic-made-anew", "the topic is deleted and made again, its offsets begin at 0", needs="kafka")
def topic_made_anew(scene: Scene) -> Iterator[None]:
    kafka = _kafka(scene)
    with kafka.quiet():
        scene.ledger.forget_records(kafka.topic)
        kafka.delete()
        yield
        kafka.create()


@fault("kafka-offsets-out-of-range", "the group is where records have expired", needs="kafka", seconds=(1, 2))
def offsets_out_of_range(scene: Scene) -> Iterator[None]:
    kafka = _kafka(scene)
    readers = [replica for replica in scene.replicas if replica.kind.env == kafka.env]
    with kafka.quiet():
        for replica in readers:
            replica.end()
        kafka.expire()
    yield
    for replica in readers:
        scene.again(replica)
