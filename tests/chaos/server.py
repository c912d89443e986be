"""A Postgres that faults may harm, with the roles of the service and of the application, and its operator."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres import process
from consumer.embedded_postgres.cluster import SUPERUSER
from consumer.embedded_postgres.server import HOST, EmbeddedPostgres
from tests.chaos.ledger import WITNESSES
from tests.chaos.link import Link
from tests.servers import newest_binaries
from tests.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
SERVICE, APPLICATION = "chaos_service", "chaos_application"
SETTINGS = {
    "fsync": "off",  # what a crash of the machine would lose; the faults here are crashes of processes
    "max_connections": "60",
    "deadlock_timeout": "200ms",
    "log_min_messages": "fatal",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_prepared_transactions": "10",
    "wal_recycle": "off",  # every segment is a new file, and a full disk is felt at once
}


class Server(EmbeddedPostgres):
    """A Postgres that may also come up as a standby."""

    spare: int | None = None
    """The port of the server that may take over from it: see `pair`."""

    def anywhere(self, dbname: str = "postgres", user: str = SUPERUSER) -> str:
        """The DSN of a database on whichever of the pair has it; `dsn` is that of this server alone."""
        if self.spare is None:
            return self.dsn(dbname, user)
        return make_conninfo(self.dsn(dbname, user), host=f"{HOST},{HOST}", port=f"{self.port},{self.spare}")

    def _attempt(self, wanted: tuple[str, ...] = ("ready", "standby")) -> None:
        super()._attempt(wanted)

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    def restart_as_standby(self) -> None:
        """It only reads from now on, and follows whom its settings name, if they name somebody."""
        self._end("fast")
        (self.data / "standby.signal").touch()
        self.restart()

    def promote(self) -> None:
        """A standby takes writes from now on."""
        with psycopg.connect(self.dsn(), autocommit=True, connect_timeout=int(PATIENCE)) as connection:
            connection.execute("select pg_promote()")
            wait_for(
                lambda: connection.execute("select pg_is_in_recovery()").fetchone() == (False,), what="a promotion"
            )

    def freeze(self) -> list[int]:
        """SIGSTOP of all its processes, which are returned for `thaw`."""
        family = [self.pid, *process._children(self.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return family


def thaw(family: Sequence[int]) -> None:
    """What was frozen goes on."""
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Database:
    """One database, asked by an operator: as a superuser, again and again until it answers.

    Of several servers, it is asked on the one that is no standby.
    """

    def __init__(self, dsn: str) -> None:
        # Regardless of defaults that a fault has set.
        options = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"
        self.dsn = make_conninfo(
            dsn,
            connect_timeout=5,
            application_name="operator",
            target_session_attrs="primary",
            options=f"{options} -c default_transaction_isolation=read\\ committed",
        )

    def connect(self) -> psycopg.Connection:
        """A connection in autocommit."""
        return psycopg.connect(self.dsn, autocommit=True)

    def rows(self, query: str, parameters: Any = None, *, patience: float = 60) -> list[tuple[Any, ...]]:
        """What a query returns; nothing for a statement."""
        deadline = time.monotonic() + patience
        while True:
            try:
                with self.connect() as connection:
                    cursor = connection.execute(sql.SQL(query), parameters)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def value(self, query: str, parameters: Any = None) -> Any:
        """The one value that a query returns."""
        return self.rows(query, parameters)[0][0]

    def terminate(self, condition: str) -> int:
        """Ends the sessions of this database that meet a condition on pg_stat_activity; returns how many."""
        return len(
            self.rows(
                f"""select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid() and {condition}"""
            )
        )


@contextlib.contextmanager
def own_server(
    link: Link | None = None,
    *,
    data: Path | None = None,
    settings: Mapping[str, str] | None = None,
    spare: int | None = None,
) -> Iterator[Server]:
    """A server for faults, with the roles of the service and of the application, reachable through the link.

    `spare` is the port of a server that may take over from it.
    """
    addresses = "127.0.0.1" if link is None else f"127.0.0.1,{link.address}"
    server = Server.start(
        data,
        binaries=newest_binaries(),
        settings={
            **SETTINGS,
            "listen_addresses": addresses,
            **({"max_notify_queue_pages": "64"} if newest_binaries().major >= 17 else {}),  # one that can be filled
            **(settings or {}),
        },
    )
    server.spare = spare
    try:
        if link is not None:
            with (server.data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {link.inside}/32 scram-sha-256\n")
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("select pg_reload_conf()")
            connection.execute((ROOT / "deploy" / "sql" / "roles.sql").read_bytes())
            password = sql.Literal(server.password)
            connection.execute(
                sql.SQL("create role {} login password {} in role webhook_router_service").format(
                    sql.Identifier(SERVICE), password
                )
            )
            connection.execute(
                sql.SQL("create role {} login bypassrls password {}").format(sql.Identifier(APPLICATION), password)
            )
        yield server
    finally:
        server.stop("immediate")


def prepare(server: EmbeddedPostgres, name: str) -> None:
    """Makes a database with the schema, the witnesses and the application's rights."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    migrator.migrate(server.dsn(name), service=True)
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        connection.execute(sql.SQL(WITNESSES))
        connection.execute(
            f"""grant select, insert, update on public.webhook_events to {APPLICATION};
                grant execute on all functions in schema public to {APPLICATION};
                grant usage on schema router to {APPLICATION}""".encode()
        )
