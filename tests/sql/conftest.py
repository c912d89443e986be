"""Databases with the schema applied, for tests of the SQL."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.embedded import EmbeddedPostgres
from consumer.adapters.postgres.migrate import migrate
from tests.servers import empty_database_on
from tests.sql.inbox import Inbox

TEMPLATE = "webhook_router_template"

TemplateOn = Callable[[EmbeddedPostgres], str]


@pytest.fixture(scope="session")
def template_on() -> TemplateOn:
    """Makes a database with the schema once a server, and tells its name: copying it is much faster than migrating."""
    made: set[str] = set()

    def template(server: EmbeddedPostgres) -> str:
        if server.dsn() not in made:
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
            migrate(server.dsn(TEMPLATE))
            made.add(server.dsn())
        return TEMPLATE

    return template


@pytest.fixture
def database(postgres_server: EmbeddedPostgres, template_on: TemplateOn) -> Iterator[str]:
    """The DSN of a database with the schema applied and no rows, on the newest Postgres."""
    with empty_database_on(postgres_server, template=template_on(postgres_server)) as dsn:
        yield dsn


@pytest.fixture
def any_database(any_postgres: EmbeddedPostgres, template_on: TemplateOn) -> Iterator[str]:
    """As `database`, on the newest and on the oldest Postgres in turn."""
    with empty_database_on(any_postgres, template=template_on(any_postgres)) as dsn:
        yield dsn


@pytest.fixture
def inbox(database: str) -> Iterator[Inbox]:
    """A session in `database`."""
    with Inbox(database) as opened:
        yield opened


@pytest.fixture
def any_inbox(any_database: str) -> Iterator[Inbox]:
    """A session in `any_database`."""
    with Inbox(any_database) as opened:
        yield opened
