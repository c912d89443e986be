"""Databases with the schema applied, for tests of the SQL."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.migrations.migrator import migrate
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import empty_database_on
from tests.sql.inbox import Inbox

SHARED = "schema_shared"

DatabaseOn = Callable[[EmbeddedPostgres], str]

EMPTY = """
set lock_timeout = '90s';
truncate public.contacts, public.contact_channels, public.conversations, public.messages, public.message_analysis,
         public.webhook_events, router.parked_events;
do $do$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.proowner <> 'webhook_router_api'::regrole
    loop
        execute format('drop function %s cascade', v_function);
    end loop;
end
$do$;
reset lock_timeout;
"""
"""Clears the shared database of the last test's rows, and of what played the application: functions, triggers."""


@pytest.fixture(scope="session")
def template_on(postgres_server: EmbeddedPostgres, schema_template: str) -> DatabaseOn:
    """Makes a database with the schema once a server, and tells its name: copying it is much faster than migrating."""
    made = {postgres_server.dsn()}

    def template(server: EmbeddedPostgres) -> str:
        if server.dsn() not in made:
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(schema_template)))
            migrate(server.dsn(schema_template))
            made.add(server.dsn())
        return schema_template

    return template


@pytest.fixture(scope="session")
def shared_on(template_on: DatabaseOn) -> DatabaseOn:
    """Makes one more database with the schema once a server, and tells its DSN."""
    made: set[str] = set()

    def shared(server: EmbeddedPostgres) -> str:
        if server.dsn() not in made:
            template = template_on(server)
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(
                    sql.SQL("create database {} template {}").format(sql.Identifier(SHARED), sql.Identifier(template))
                )
            made.add(server.dsn())
        return server.dsn(SHARED)

    return shared


@pytest.fixture
def any_database(any_postgres: EmbeddedPostgres, template_on: DatabaseOn) -> Iterator[str]:
    """The DSN of a new database with the schema, on the newest and on the oldest Postgres in turn."""
    with empty_database_on(any_postgres, template=template_on(any_postgres)) as dsn:
        yield dsn


@pytest.fixture
def inbox(postgres_server: EmbeddedPostgres, shared_on: DatabaseOn) -> Iterator[Inbox]:
    """A session in an empty database on the newest Postgres.

    Tests share it one after the other. They may add functions and triggers; who alters tables takes `database`.
    """
    with Inbox(shared_on(postgres_server)) as opened:
        opened.run(EMPTY)
        yield opened


@pytest.fixture
def any_inbox(any_postgres: EmbeddedPostgres, shared_on: DatabaseOn) -> Iterator[Inbox]:
    """As `inbox`, on the newest and on the oldest Postgres in turn."""
    with Inbox(shared_on(any_postgres)) as opened:
        opened.run(EMPTY)
        yield opened
