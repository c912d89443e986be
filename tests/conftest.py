"""Fixtures for all tests: real Postgres servers, and databases on them."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from hypothesis import settings

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres
from tests.servers import (
    TEST_SETTINGS,
    empty_database_on,
    newest_binaries,
    oldest_binaries,
    tested_majors,
)

# How long an example takes says more about the machine than about the code.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


class StartPostgres(Protocol):
    """What `private_postgres` gives: starts a server that the test may kill; it is stopped after the test."""

    def __call__(
        self,
        data_dir: Path | None = None,
        *,
        binaries: Binaries | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> EmbeddedPostgres:
        """`settings` come over `TEST_SETTINGS`; the newest version is the default for a new folder."""


@contextlib.contextmanager
def _running(binaries: Binaries) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres.start(binaries=binaries, settings=TEST_SETTINGS)
    try:
        yield server
    finally:
        server.stop("immediate")  # the data go as well, so there is nothing to bring into order


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The newest Postgres, shared by all tests: do not stop it, nor change its settings."""
    with _running(newest_binaries()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_oldest(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """The oldest Postgres to be had, shared as `postgres_server` is, and the same server when there is but one."""
    if oldest_binaries() == newest_binaries():
        yield request.getfixturevalue("postgres_server")
    else:
        with _running(oldest_binaries()) as server:
            yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs what asks for `any_postgres` once on the newest and once on the oldest version."""
    if "any_postgres" in metafunc.fixturenames:
        majors = tested_majors()
        metafunc.parametrize(
            "any_postgres", majors, ids=[f"pg{major}" for major in majors], indirect=True, scope="session"
        )


@pytest.fixture(scope="session")
def any_postgres(request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """Each version in turn: `test_x[pg18]`, `test_x[pg15]`; shared servers."""
    newest = request.param == newest_binaries().major
    server: EmbeddedPostgres = request.getfixturevalue("postgres_server" if newest else "postgres_oldest")
    return server


@pytest.fixture
def empty_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The DSN of a fresh, empty database on `postgres_server`; for another server see `empty_database_on`."""
    with empty_database_on(postgres_server) as dsn:
        yield dsn


@pytest.fixture
def private_postgres() -> Iterator[StartPostgres]:
    """Starts servers for this test alone, to kill and restart."""
    with contextlib.ExitStack() as servers:

        def start(
            data_dir: Path | None = None,
            *,
            binaries: Binaries | None = None,
            settings: Mapping[str, str] | None = None,
        ) -> EmbeddedPostgres:
            chosen = binaries or (newest_binaries() if data_dir is None else None)
            server = EmbeddedPostgres.start(data_dir, binaries=chosen, settings={**TEST_SETTINGS, **(settings or {})})
            servers.callback(server.stop, "immediate")
            return server

        yield start


@pytest.fixture(scope="session")
def schema_template(postgres_server: EmbeddedPostgres) -> str:
    """Name of a database with the schema on `postgres_server`, to copy from: `empty_database_on(template=…)`."""
    name = "schema_template"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute("create database schema_template")
    migrator.migrate(postgres_server.dsn(name))
    return name


@pytest.fixture
def database(postgres_server: EmbeddedPostgres, schema_template: str) -> Iterator[str]:
    """The DSN of a fresh database with the schema."""
    with empty_database_on(postgres_server, template=schema_template) as dsn:
        yield dsn
