"""The session of a migration: the server's own, the only one that migrates, and with the settings that our SQL expects.

Settings are made for a transaction at a time. What a session is told for longer, or locks, would meet the next client
of a pooler; so before anything of that kind a pooler is ruled out.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import psycopg
from psycopg import IsolationLevel, sql

from consumer.adapters.postgres import blocking
from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.adapters.postgres.pooling import is_pooled_blocking
from consumer.domain.errors import Fatal, Misconfigured, Transient

MINIMUM_MAJOR: Final = 14
MIGRATION_LOCK: Final = (1920298103, 0)
"""Advisory lock of the one session of a database that migrates."""

SETTINGS: Final = """set local search_path = '';
do $settings$
begin
    perform set_config(s.name, s.value, true)
    from (values ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
                 ('transaction_timeout', '0'), ('quote_all_identifiers', 'off'), ('standard_conforming_strings', 'on'),
                 ('client_min_messages', 'warning'), ('jit', 'off')
         ) as s (name, value)
    where current_setting(s.name, true) is not null;  -- transaction_timeout came with 17
end
$settings$;
"""
"""Makes a transaction independent of the defaults of role and database. Names in our files are qualified."""

Report = Callable[[str], None]

_NAME: Final = "migrate"
_PEER_SECONDS: Final = 3600.0
_REPORT_EVERY_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.2

# What a concurrent index build needs, which cannot run in a transaction.
_READ: Final = b"""
    select s.name, pg_catalog.current_setting(s.name)
    from (values ('statement_timeout'), ('lock_timeout'), ('default_transaction_read_only'),
                 ('default_transaction_isolation'), ('search_path'), ('client_min_messages')) as s (name)
"""
_BUILDING: Final = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "search_path": "",
    "client_min_messages": "warning",
}


@contextlib.contextmanager
def connected(conninfo: str, minimum_major: int = MINIMUM_MAJOR) -> Iterator[Connection]:
    """A connection in autocommit, whose transactions are read committed whatever the database's default is.

    Raises:
        Fatal, Transient: as `blocking.session`; the server is too old.
    """
    with blocking.session(conninfo, name=_NAME) as connection:
        if connection.info.server_version < minimum_major * 10_000:
            raise Fatal(
                f"the server is Postgres {connection.info.server_version // 10_000}; "
                f"webhook-router needs {minimum_major} or newer"
            )
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        yield connection


def refuse_pooler(connection: Connection, conninfo: str) -> None:
    """Makes sure that the connection is a session of the server, which a migration needs.

    Raises:
        Misconfigured: it is not, or that cannot be told.
    """
    if is_pooled_blocking(connection, lambda: blocking.connect(conninfo, name=_NAME)):
        raise Misconfigured(
            "this connection goes through a pooler that gives every transaction another session of the server, as "
            "PgBouncer does in transaction or statement mode; a migration needs one of its own, and nothing was "
            "changed. Give the direct URL of the database, or that of a session pool (on Supabase port 5432, not 6543)"
        )


@contextlib.contextmanager
def alone(connection: Connection, report: Report) -> Iterator[None]:
    """Holds the lock of migrations.

    It is asked for again and again. Waiting in pg_advisory_lock would keep a snapshot all the while, and the session
    that holds the lock may be in "create index concurrently", which waits for all old snapshots: both would wait
    forever.
    """
    start = time.monotonic()
    reported = float("-inf")
    while not _truth(connection, "select pg_catalog.pg_try_advisory_lock(%s, %s)"):
        waited = time.monotonic() - start
        if waited > _PEER_SECONDS:
            raise Transient(f"another session has been migrating this database for an hour: {_migrating(connection)}")
        if waited - reported >= _REPORT_EVERY_SECONDS:
            report(f"waiting for another session that is migrating this database: {_migrating(connection)}")
            reported = waited
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):  # a lost session has lost its locks as well
            _truth(connection, "select pg_catalog.pg_advisory_unlock(%s, %s)")


@contextlib.contextmanager
def reading(connection: Connection) -> Iterator[None]:
    """A transaction that only reads, so that it works on a standby too."""
    connection.read_only = True
    with connection.transaction():
        connection.execute(SETTINGS.encode())
        yield


@contextlib.contextmanager
def writing(connection: Connection, *, lock_timeout: float) -> Iterator[None]:
    """A transaction that waits so many seconds for a lock."""
    connection.read_only = False
    with connection.transaction():
        connection.execute(SETTINGS.encode())
        limit = sql.Literal(f"{lock_timeout * 1000:.0f}ms")
        connection.execute(sql.SQL("set local lock_timeout = {}").format(limit))
        yield


@contextlib.contextmanager
def building(connection: Connection) -> Iterator[None]:
    """For statements that cannot run in a transaction: settings of the session, taken back at the end.

    Only for a session that is no pooler's.
    """
    before: dict[str, str] = dict(connection.execute(_READ).fetchall())
    _set(connection, _BUILDING)
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):  # a lost session has lost its settings as well
            _set(connection, before)


def blockers(connection: Connection) -> str:
    """Who holds locks on our tables: processes, and prepared transactions with what ends them."""
    return _holders(connection, "tables") or "nobody any more"


def in_the_way_of_builds(connection: Connection) -> str:
    """Prepared transactions, seconds old, that a concurrent index build would wait for in silence; empty if none."""
    return _holders(connection, "builds")


def pause(connection: Connection, seconds: float) -> None:
    """Sleeps, and lets the server hear of the session meanwhile, which may end idle ones."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))
        connection.execute("select 1")


def _migrating(connection: Connection) -> str:
    return _holders(connection, "migrating") or "it has just ended"


def _holders(connection: Connection, of: str) -> str:
    with reading(connection):
        rows = connection.execute(SHIPPED.file("migrator", "blockers.sql").text.encode()).fetchall()
    return ", ".join(str(who) for what, who in rows if what == of)


def _set(connection: Connection, values: dict[str, str]) -> None:
    for name, value in values.items():
        connection.execute("select pg_catalog.set_config(%s, %s, false)", [name, value])


def _truth(connection: Connection, statement: str) -> bool:
    row = connection.execute(statement.encode(), MIGRATION_LOCK).fetchone()
    return bool(row and row[0])
