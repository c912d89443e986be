"""Databases for the tests of migrations: empty ones, and ones as they are found in the wild."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import empty_database_on

HERE = Path(__file__).parent
WILD = HERE.parent / "sql"
OWNER = "app_owner"
TABLES = ("contacts", "contact_channels", "conversations", "messages", "message_analysis", "webhook_events")
NO_DOORBELL = (
    "create table if not exists router.installation"
    " (single boolean primary key default true check (single), doorbell boolean not null default true);"
    "insert into router.installation default values on conflict do nothing;"
    "update router.installation set doorbell = false"
)
"""Sets the choice of `migrate --no-doorbell`, also where the table that remembers it is not made yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database on a server of the tests; `owner` owns its tables, or will."""

    server: EmbeddedPostgres
    name: str
    owner: str = OWNER

    @property
    def admin(self) -> str:
        """DSN as the superuser."""
        return self.server.dsn(self.name)

    @property
    def owned(self) -> str:
        """DSN as the owner."""
        return self.server.dsn(self.name, user=self.owner)

    @contextlib.contextmanager
    def session(self, role: str | None = None) -> Iterator[psycopg.Connection]:
        """A session in autocommit: as the superuser, or as that role."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            if role is not None:
                connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
            yield connection

    def run(self, *scripts: str, role: str | None = None) -> None:
        """Runs SQL in which there are no parameters."""
        with self.session(role) as connection:
            for script in scripts:
                connection.execute(script.encode())

    def value(self, query: str, *, role: str | None = None) -> object:
        """The first value of the first row; None when there is none."""
        with self.session(role) as connection:
            row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """All rows of a query."""
        with self.session() as connection:
            return connection.execute(query.encode()).fetchall()


def make_role(server: EmbeddedPostgres, name: str, options: str = "") -> None:
    """A role that can log in with the server's password, unless it exists."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        if connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone() is None:
            statement = sql.SQL("create role {} password {} ").format(
                sql.Identifier(name), sql.Literal(server.password)
            )
            # Others who use the server may make it at the same moment.
            with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                connection.execute(statement + sql.SQL(options))  # type: ignore[arg-type,unused-ignore]


def make_application_roles(server: EmbeddedPostgres) -> None:
    """What the wild has: the owner of the tables and PostgREST's two roles, and our role, made for the owner."""
    make_role(server, OWNER, "login")
    make_role(server, "anon", "nologin")
    make_role(server, "authenticated", "nologin")
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create role webhook_router_api nologin noinherit")
        connection.execute("grant webhook_router_api to app_owner")
        # Another application of the server, so that nobody who uninstalls takes the role from the other tests.
        connection.execute("create schema elsewhere")
        connection.execute("grant usage on schema elsewhere to webhook_router_api")


@contextlib.contextmanager
def empty_on(server: EmbeddedPostgres, *, owner: str = OWNER, template: str = "template1") -> Iterator[Database]:
    """An empty database (or a copy) that belongs to `owner`, as does its schema public."""
    with empty_database_on(server, template=template) as dsn:
        name = dsn.rsplit("/", 1)[1]
        database = Database(server=server, name=name, owner=owner)
        database.run(f"alter database {name} owner to {owner}", f"alter schema public owner to {owner}")
        yield database


@contextlib.contextmanager
def brownfield_on(server: EmbeddedPostgres, *, owner: str = OWNER, events: int = 0) -> Iterator[Database]:
    """A database with the tables and functions of the wild, and that many events."""
    with empty_on(server, owner=owner) as database:
        make_brownfield(database, events=events)
        yield database


def make_brownfield(database: Database, *, events: int = 0) -> None:
    """Fills an empty database."""
    database.run(
        (WILD / "brownfield.sql").read_text(), (WILD / "original_functions.sql").read_text(), role=database.owner
    )
    if events:
        with psycopg.ClientCursor(psycopg.connect(database.admin, autocommit=True)) as cursor:
            cursor.execute((WILD / "brownfield_rows.sql").read_bytes(), {"events": events})
            cursor.connection.close()


def catalogue(database: Database) -> set[tuple[object, ...]]:
    """Everything that a schema consists of, by its definition: names of constraints and indexes may differ."""
    return set(database.rows((HERE / "catalogue.sql").read_text()))
