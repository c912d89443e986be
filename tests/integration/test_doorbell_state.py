"""What keeps the doorbell from ringing is found out by the database, told by the service, and bridged by polling."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.acceptance.test_service import insert, until_routed
from tests.cli import run
from tests.conftest import StartPostgres
from tests.deploy import service_login
from tests.processes import running
from tests.servers import TEMPLATE, empty_database_on
from tests.waiting import wait_for

LOCK = "select pg_advisory_lock(1920298101, 0)"
DISABLE = "alter table public.webhook_events disable trigger webhook_router_doorbell"
ENABLE = "alter table public.webhook_events enable trigger webhook_router_doorbell"
DROP = "drop trigger webhook_router_doorbell on public.webhook_events"

Connection = psycopg.Connection[psycopg.rows.TupleRow]


@pytest.fixture
def db(any_postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A connection to a database of its own, on each version."""
    with (
        empty_database_on(any_postgres, template=TEMPLATE) as dsn,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        yield connection


def state(db: Connection) -> str:
    """As the service asks for it."""
    row = db.execute("select router.doorbell()").fetchone()
    assert row is not None
    return str(row[0])


@contextlib.contextmanager
def another(db: Connection, name: str) -> Iterator[Connection]:
    """A session of this name on the same database."""
    dsn = psycopg.conninfo.make_conninfo(db.info.dsn, password=db.info.password, application_name=name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def test_it_rings(db: Connection) -> None:
    """Also while a service drains, whose silence is meant."""
    assert state(db) == "rings"
    with another(db, "webhook-router") as service:
        service.execute(LOCK)
        assert state(db) == "rings"


@pytest.mark.parametrize(
    ("done", "then"),
    [
        (DROP, "missing"),
        (f"{DROP}; update router.installation set doorbell = false", "off"),
        (DISABLE, "disabled"),
        ("alter table public.webhook_events enable replica trigger webhook_router_doorbell", "disabled"),
        ("alter table public.webhook_events enable always trigger webhook_router_doorbell", "rings"),
    ],
)
def test_its_trigger(db: Connection, done: str, then: str) -> None:
    """Without one it is off by choice, or something is wrong."""
    db.execute(done.encode())
    assert state(db) == then


def test_somebody_else_holds_its_lock(db: Connection) -> None:
    """Writers cannot tell it from a service that is awake; in shared mode, as they take it, it silences nobody."""
    with another(db, "app") as stranger:
        stranger.execute("select pg_advisory_lock_shared(1920298101, 0)")
        assert state(db) == "rings"
        stranger.execute("select pg_advisory_unlock_all()")
        stranger.execute(LOCK)
        assert state(db) == "silenced"
    assert wait_for(lambda: state(db) == "rings")


def test_a_service_of_another_name(db: Connection) -> None:
    """Its URL may give it one: replicas of the same name know each other."""
    with another(db, "inbox") as one, another(db, "inbox") as other:
        one.execute(LOCK)
        assert state(other) == "rings"


def test_a_service_of_another_name_and_login(db: Connection) -> None:
    """Replicas with names of their own are known by the role of the service."""
    owner = make_conninfo(db.info.dsn, password=db.info.password)
    with (
        service_login.made(owner) as (_, dsn),
        psycopg.connect(dsn, application_name="pod-7", autocommit=True) as one,
    ):
        one.execute(LOCK)
        assert state(db) == "rings"


def test_a_prepared_transaction_holds_its_lock(private_postgres: StartPostgres) -> None:
    """It belongs to no session."""
    server = private_postgres(settings={"max_prepared_transactions": "2"})
    migrator.migrate(server.dsn())
    with psycopg.connect(server.dsn(), autocommit=True) as db:
        db.execute("begin")
        db.execute("select pg_advisory_xact_lock(1920298101, 0)")
        db.execute("prepare transaction 'forgotten'")
        assert state(db) == "silenced"
        db.execute("rollback prepared 'forgotten'")
        assert state(db) == "rings"


def test_a_subscription_writes_the_events(db: Connection) -> None:
    """Its rows fire no statement trigger."""
    db.execute("create subscription events connection 'host=127.0.0.1 port=1' publication p with (connect = false)")
    try:
        assert state(db) == "rings"
        # As the server itself does once it has asked the publisher for its tables.
        db.execute("set allow_system_table_mods = on")
        db.execute(
            """insert into pg_subscription_rel (srsubid, srrelid, srsubstate)
               select oid, 'public.webhook_events'::regclass, 'r' from pg_subscription where subname = 'events'"""
        )
        assert state(db) == "replicated"
    finally:
        db.execute("alter subscription events disable")
        db.execute("alter subscription events set (slot_name = none)")
        db.execute("drop subscription events")


def test_the_service_says_so_and_polls(database: str) -> None:
    """One line when it stops, one when it is back; the metric follows, and events are routed all the while."""
    with psycopg.connect(database, autocommit=True) as app, running(database) as router:
        router.until_listening()
        assert router.metric("webhook_router_doorbell_rings") == 1
        assert not router.logged("polling")
        name = sql.Literal(app.info.dbname)
        # The service looks again when its session is lost, as it does every ten seconds.
        lost = sql.SQL(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = {} and pid <> pg_backend_pid()"
        ).format(name)
        app.execute(DISABLE)
        app.execute(lost)
        wait_for(lambda: router.logged("polling: the doorbell does not ring"), what="the line")
        wait_for(lambda: router.metric("webhook_router_doorbell_rings") == 0, what="the metric")
        assert router.logged("polling")[0]["state"] == "disabled"
        assert "doorbell            does not ring: its trigger is disabled" in run(database, "status").out
        insert(app, 10)
        until_routed(app)
        app.execute(ENABLE)
        app.execute(lost)
        wait_for(lambda: router.logged("the doorbell rings again"), what="the other line")
        wait_for(lambda: router.metric("webhook_router_doorbell_rings") == 1, what="the metric")
        assert len(router.logged("polling")) == 1


def test_an_installation_without_it(database: str) -> None:
    """The service says at its start that it polls, and why."""
    with psycopg.connect(database, autocommit=True) as app:
        app.execute(DROP)
        app.execute("update router.installation set doorbell = false")
        with running(database) as router:
            line = wait_for(lambda: router.logged("polling: the doorbell is off"), what="the line")[0]
            assert line["level"] == "info"
            insert(app, 10)
            until_routed(app)
