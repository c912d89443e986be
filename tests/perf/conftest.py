"""A server for counting: nothing else runs on it that would add to the counts."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.migrations.migrator import migrate
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import TEST_SETTINGS, empty_database_on, newest_binaries, oldest_binaries, tested_majors

COUNTING = {
    **TEST_SETTINGS,
    "autovacuum": "off",
    # Whole pages after a checkpoint would hide what a change of the functions adds.
    "full_page_writes": "off",
    "wal_log_hints": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "2GB",
}
TEMPLATE = "perf_template"


@pytest.fixture(scope="session", params=tested_majors(), ids=lambda major: f"pg{major}")
def counting_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """The newest and the oldest Postgres in turn."""
    newest = request.param == newest_binaries().major
    server = EmbeddedPostgres.start(binaries=newest_binaries() if newest else oldest_binaries(), settings=COUNTING)
    try:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        migrate(server.dsn(TEMPLATE))
        yield server
    finally:
        server.stop("immediate")


@pytest.fixture
def counting(counting_server: EmbeddedPostgres) -> Iterator[str]:
    """The DSN of a database with the schema on `counting_server`."""
    with empty_database_on(counting_server, template=TEMPLATE) as dsn:
        yield dsn
