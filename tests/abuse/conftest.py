"""A server with the roles of an application, and a database to attack."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.chaos.server import SERVICE, Server, own_server, prepare
from tests.servers import empty_database_on

TEMPLATE = "abused_template"
LOGINS = {"anon": "chaos_anon", "authenticated": "chaos_authenticated"}
EVENTS = 200


@pytest.fixture(scope="session")
def abused_server() -> Iterator[Server]:
    """With anon and authenticated, each with a login that is a member of it."""
    with own_server() as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            for role, login in LOGINS.items():
                connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
                connection.execute(
                    sql.SQL("create role {} login password {} in role {}").format(
                        sql.Identifier(login), sql.Literal(server.password), sql.Identifier(role)
                    )
                )
        prepare(server, TEMPLATE)
        yield server


class Target:
    """A database, as different roles see it."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name

    def connect(self, who: str | None = None) -> psycopg.Connection:
        """As anon, authenticated, the service, or the owner."""
        user = SERVICE if who == "service" else LOGINS[who] if who else "postgres"
        return psycopg.connect(self._server.dsn(self._name, user), autocommit=True)

    @property
    def service_dsn(self) -> str:
        """What the service is given."""
        return self._server.dsn(self._name, SERVICE)

    @property
    def owner_dsn(self) -> str:
        """What an operator is given."""
        return self._server.dsn(self._name)

    def counts(self) -> dict[str, int]:
        """Number of rows of each table, which also shows that the table exists."""
        with self.connect() as owner:
            return {
                table: owner.execute(sql.SQL("select count(*) from {}").format(sql.SQL(table))).fetchall()[0][0]
                for table in (
                    *("public.webhook_events", "public.contacts", "public.contact_channels", "public.conversations"),
                    *("public.messages", "public.message_analysis", "router.parked_events"),
                )
            }


@contextlib.contextmanager
def _target(server: Server) -> Iterator[Target]:
    with empty_database_on(server, template=TEMPLATE) as dsn:
        target = Target(server, str(conninfo_to_dict(dsn)["dbname"]))
        with target.connect() as owner:
            owner.execute(
                """insert into public.webhook_events
                       (channel, type, event_id, author_id, author_name, content, event_date)
                   select 'instagram', 'message', 'secret-' || i, 'author-' || i %% 20, 'Secret Name', 'secret content',
                          now() - interval '1 day'
                   from generate_series(1, %s) i""",
                (EVENTS,),
            )
        yield target


@pytest.fixture
def target(abused_server: Server) -> Iterator[Target]:
    """With events that wait to be routed."""
    with _target(abused_server) as target:
        yield target


@pytest.fixture(scope="session")
def fortress(abused_server: Server) -> Iterator[Target]:
    """One for all attacks that must be refused; it is checked at the end."""
    with _target(abused_server) as target:
        before = target.counts()
        yield target
        assert target.counts() == before
