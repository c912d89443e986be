"""The migrator's sessions: behind poolers, with odd defaults, and beside prepared transactions."""

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator, sessions
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Misconfigured, Transient
from consumer.embedded_postgres.server import EmbeddedPostgres, find_binaries
from tests.cli import run
from tests.conftest import StartPostgres
from tests.migrations.databases import Database, brownfield_on, make_application_roles
from tests.migrations.psql import psql, run_psql
from tests.migrations.test_pooling import POOLERS
from tests.pgbouncer import pooled
from tests.waiting import PATIENCE, wait_for

SETTINGS = """
    select array_agg((name, setting)::text order by name) from pg_settings
    where name in ('search_path', 'statement_timeout', 'lock_timeout', 'default_transaction_isolation',
                   'client_encoding', 'default_transaction_read_only', 'quote_all_identifiers', 'client_min_messages',
                   'transaction_timeout', 'standard_conforming_strings', 'idle_in_transaction_session_timeout',
                   'check_function_bodies')
"""
LEFT = """
    select count(*) from pg_locks
    where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
"""


def as_found(dsn: str) -> object:
    """The settings of a session that nobody has used."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(SETTINGS.encode()).fetchone()


@contextlib.contextmanager
def all_sessions(dsn: str, size: int) -> Iterator[list[psycopg.Connection]]:
    """So many clients in a transaction each, which takes every session of the pool."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(dsn)) for _ in range(size)]


@pytest.mark.parametrize("pooler", POOLERS)
def test_a_pooler_is_refused(fresh_newest: Database, pooler: str) -> None:
    """Nothing is changed in the database, and nothing is left behind in a session that another client gets."""
    before = as_found(fresh_newest.owned)
    size = POOLERS[pooler].get("size", 5)
    with pooled(fresh_newest.owned, **{"size": 5, **POOLERS[pooler]}) as dsn:
        with pytest.raises(Misconfigured, match=r"through a pooler.*nothing was changed.*direct URL"):
            migrator.migrate(dsn)
        if POOLERS[pooler]["mode"] == "transaction":
            assert migrator.check(dsn), "checking only reads, in a transaction of its own"
            assert migrator.notes(dsn) == []
            with all_sessions(dsn, size) as clients:
                for client in clients:
                    assert client.execute(SETTINGS.encode()).fetchone() == before
        assert fresh_newest.value(LEFT) == 0
        assert fresh_newest.value("select to_regnamespace('router')") is None


def test_a_session_pooler_is_welcome(fresh_newest: Database) -> None:
    """It gives a session; even one that resets nothing gets it back as it was."""
    before = as_found(fresh_newest.owned)
    with pooled(fresh_newest.owned, mode="session", reset="") as dsn:
        assert migrator.migrate(dsn).changed
        assert migrator.check(dsn) == []
        with all_sessions(dsn, 3) as clients:
            for client in clients:
                assert client.execute(SETTINGS.encode()).fetchone() == before
        assert fresh_newest.value(LEFT) == 0


def test_the_script_leaves_nothing_behind(fresh: Database) -> None:
    """On a session that a pooler shares out, where it cannot know that, and which the next client gets."""
    before = as_found(fresh.owned)
    with pooled(fresh.owned, size=1) as dsn:
        done = psql(fresh, script(), dsn=dsn)
        assert done.returncode == 0, done.stderr
        with all_sessions(dsn, 1) as (client,):
            assert client.execute(SETTINGS.encode()).fetchone() == before
        assert fresh.value(LEFT) == 0
    assert migrator.check(fresh.owned) == []


def test_the_script_notices_a_change_of_session(fresh_newest: Database) -> None:
    """As far as it can: one that uses its sessions in turn, and has more than one."""
    with pooled(fresh_newest.owned, size=3, round_robin=True) as dsn:
        with all_sessions(dsn, 3) as clients:
            for client in clients:
                client.execute("select 1")
        done = psql(fresh_newest, script(), dsn=dsn)
    assert done.returncode == 3
    assert "another session; connect directly" in done.stderr
    assert fresh_newest.value("select to_regnamespace('router')") is None


def test_the_scripts_own_session_is_as_before(fresh: Database) -> None:
    """Whatever comes after it in the same run of psql."""
    look = f"{SETTINGS}\\g (format=unaligned tuples_only=on)\n"
    done = psql(fresh, f"{look}{script()}{look}")
    assert done.returncode == 0, done.stderr
    first, *_, last = [line for line in done.stdout.splitlines() if "search_path" in line]
    assert first == last


@pytest.mark.parametrize("with_psql", [False, True], ids=["migrate", "psql"])
def test_defaults_of_the_database_make_no_difference(application_server: EmbeddedPostgres, *, with_psql: bool) -> None:
    """Names quoted everywhere, transactions that are read-only and serializable, a search path, little time."""
    with brownfield_on(application_server) as database:
        settings = [
            "quote_all_identifiers = on",
            "default_transaction_isolation = 'serializable'",
            "standard_conforming_strings = off",
            "search_path = nowhere, public",
            "idle_in_transaction_session_timeout = '3s'",
            *([] if with_psql else ["statement_timeout = '2s'", "default_transaction_read_only = on"]),
        ]
        database.run(*(f'alter database "{database.name}" set {setting}' for setting in settings))
        if with_psql:
            run_psql(database, script())
        else:
            assert migrator.migrate(database.owned).changed
        assert migrator.check(database.owned) == []
        assert not migrator.migrate(database.owned).changed
        run_psql(database, script()) if with_psql else migrator.migrate(database.owned, reapply=True)
        assert migrator.check(database.owned) == []


def test_a_list_with_quoted_names_is_understood(fresh: Database) -> None:
    """A release that did not know the setting may have written one."""
    migrator.migrate(fresh.owned)
    fresh.run(
        r"""update router.schema_functions
            set signature = regexp_replace(signature, 'router[.](\w+)', '"router"."\1"')""",
        "create function router.old(integer) returns integer language sql as 'select 1'",
        """insert into router.schema_functions values ('router.old.sql', '?', '"router"."old"(integer)', '?')""",
        role="app_owner",
    )
    assert migrator.check(fresh.owned)
    migrator.migrate(fresh.owned)
    assert migrator.check(fresh.owned) == []
    assert fresh.value("select to_regproc('router.old')") is None


def test_a_timeout_that_the_script_cannot_change_is_told(fresh_newest: Database) -> None:
    """Index builds run in no transaction, and so with the settings of whoever has started psql."""
    fresh_newest.run(f"alter database \"{fresh_newest.name}\" set statement_timeout = '5min'")
    done = psql(fresh_newest, script())
    assert (done.returncode, "statement_timeout is 5min" in done.stderr) == (0, True)
    done = psql(fresh_newest, script(), env={"PGOPTIONS": "-c statement_timeout=0"})
    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_does_not_begin_where_transactions_only_read(fresh_newest: Database) -> None:
    """Index builds would be refused half-way: nothing is changed, and the advice is enough."""
    fresh_newest.run(f'alter database "{fresh_newest.name}" set default_transaction_read_only = on')
    done = psql(fresh_newest, script())
    assert done.returncode != 0
    assert "PGOPTIONS='-c default_transaction_read_only=off'" in done.stderr
    assert fresh_newest.value("select to_regnamespace('router')") is None
    done = psql(fresh_newest, script(), env={"PGOPTIONS": "-c default_transaction_read_only=off"})
    assert (done.returncode, done.stderr) == (0, "")


DOORBELL = "select count(*) from pg_trigger where tgname = 'webhook_router_doorbell'"
EVENT = "insert into webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', '{0}', 'a1')"


@pytest.fixture(params=[15, 18], ids=lambda major: f"pg{major}")
def two_phase(request: pytest.FixtureRequest, private_postgres: StartPostgres) -> Iterator[Database]:
    """A database whose application prepares transactions."""
    server = private_postgres(binaries=find_binaries(major=request.param), settings={"max_prepared_transactions": "5"})
    make_application_roles(server)
    with brownfield_on(server) as database:
        yield database
        for (gid,) in database.rows("select gid from pg_prepared_xacts"):
            database.run(f"rollback prepared '{gid}'")


def test_without_a_doorbell(two_phase: Database) -> None:
    """Transactions can be prepared; the choice is kept by later runs, and can be taken back."""
    migrator.migrate(two_phase.owned)
    with two_phase.session() as connection:
        connection.execute(f"begin; {EVENT.format('refused')}")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            connection.execute("prepare transaction 'refused'")
    assert migrator.migrate(two_phase.owned, doorbell=False).changed
    for _ in range(2):
        assert (two_phase.value(DOORBELL), migrator.check(two_phase.owned)) == (0, [])
        migrator.migrate(two_phase.owned, reapply=True)
    run_psql(two_phase, script())
    with two_phase.session() as connection:
        connection.execute(f"begin; {EVENT.format('prepared')}")
        connection.execute("prepare transaction 'accepted'")
        connection.execute("commit prepared 'accepted'")
    assert two_phase.value("select route_unrouted_events()") == 1
    assert (two_phase.value(DOORBELL), migrator.check(two_phase.owned)) == (0, [])
    two_phase.run(
        "create trigger webhook_router_doorbell after insert on webhook_events for each statement"
        " execute function router.ring_doorbell()"
    )
    assert migrator.check(two_phase.owned), "somebody has made the trigger by hand"
    migrator.migrate(two_phase.owned)
    assert (two_phase.value(DOORBELL), migrator.check(two_phase.owned)) == (0, [])
    assert migrator.migrate(two_phase.owned, doorbell=True).changed
    assert not migrator.migrate(two_phase.owned, doorbell=True).changed
    assert (two_phase.value(DOORBELL), audit(two_phase.owned).ok) == (1, True)
    for doorbell in (False, True):
        run_psql(two_phase, script(doorbell=doorbell))
        assert (two_phase.value(DOORBELL), migrator.check(two_phase.owned)) == (int(doorbell), [])


def test_a_prepared_transaction_in_the_way(two_phase: Database) -> None:
    """No process stands for it: it is named, with what ends it."""
    with two_phase.session() as connection:
        connection.execute(f"begin; {EVENT.format('held')}")
        connection.execute("""prepare transaction 'forgotten ''one'''""")
    with pytest.raises(Transient) as error:
        migrator.migrate(two_phase.owned, patience=0, lock_timeout=0.05)
    assert "prepared transaction 'forgotten ''one''' of" in str(error.value)
    assert "rollback prepared 'forgotten ''one''';" in str(error.value)
    two_phase.run("rollback prepared 'forgotten ''one'''")
    migrator.migrate(two_phase.owned, doorbell=False)

    # An index build has no lock timeout: it is not begun while one that is no longer young holds the table.
    two_phase.run("drop index router_threads, router_ready_by_arrival")
    two_phase.run("delete from router.schema_migrations where name like '%router_indexes%'")
    with two_phase.session() as connection:
        connection.execute(f"begin; {EVENT.format('held')}")
        connection.execute("prepare transaction 'forgotten'")
    with sessions.connected(two_phase.owned) as connection:
        assert sessions.in_the_way_of_builds(connection) == "", "it may be about to be committed"
        wait_for(lambda: sessions.in_the_way_of_builds(connection), what="the prepared transaction to be of some age")
    with pytest.raises(Transient, match=r"would wait for.*prepared transaction 'forgotten'"):
        migrator.migrate(two_phase.owned, patience=0)
    two_phase.run("commit prepared 'forgotten'")
    assert len(migrator.migrate(two_phase.owned).migrations) == 1


def test_who_holds_the_lock_of_migrations_is_named(fresh_newest: Database) -> None:
    """While it is waited for."""
    lines: list[str] = []
    with psycopg.connect(fresh_newest.admin, autocommit=True, application_name="the other one") as busy:
        busy.execute("select pg_advisory_lock(%s, %s)", migrator.MIGRATION_LOCK)
        pid = busy.info.backend_pid
        migration = threading.Thread(
            target=migrator.migrate, args=[fresh_newest.owned], kwargs={"report": lines.append}
        )
        migration.start()
        wait_for(lambda: lines, what="the migrator's report that it waits")
    migration.join(PATIENCE)
    assert f"process {pid} (the other one)" in lines[0]


def test_the_command_line(fresh_newest: Database) -> None:
    """Choosing, and what a pooler gets: an error of configuration."""
    with pooled(fresh_newest.owned) as dsn:
        assert isinstance(run(dsn, "migrate").error, Misconfigured)
    assert run(fresh_newest.owned, "migrate", "--no-doorbell").code == 0
    assert fresh_newest.value("select doorbell from router.installation") is False
    assert run(fresh_newest.owned, "migrate", "--check").out.endswith("up to date\n")
    assert run(fresh_newest.owned, "migrate", "--check", "--doorbell").code == 2
    assert "values (false)" in run(fresh_newest.owned, "migrate", "--print", "--no-doorbell").out
