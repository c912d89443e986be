"""Fixtures for all tests: real Postgres servers, and databases on them."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres
from tests.dealing import dealing, groups, rank
from tests.servers import (
    TEMPLATE,
    TEST_SETTINGS,
    Server,
    empty_database_on,
    newest_binaries,
    oldest_binaries,
    server_with_template,
    tested_majors,
)
from tests.sharing import INPUT, Sharing, is_worker, shared, tell_groups, temporary_files_in_memory

# How long an example takes depends more on the machine than on the code.
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


SHARING = pytest.StashKey[Sharing]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepares the process that deals out the tests to workers, when there are any."""
    if config.getoption("dist", "no") != "no" and not is_worker(config):
        temporary_files_in_memory()
        config.stash[SHARING] = Sharing()


def pytest_unconfigure(config: pytest.Config) -> None:
    if SHARING in config.stash:
        config.stash[SHARING].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker where to ask for what it shares with the others."""
    node.workerinput[INPUT] = node.config.stash[SHARING].input


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    return dealing(config, log, config.stash[SHARING])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker."""
    if is_worker(config):
        items.sort(key=rank)
        tell_groups(config, groups(items))


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The newest Postgres, shared by all tests: do not stop it, nor change its settings."""
    with shared(request.config, partial(server_with_template, newest_binaries())) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_oldest(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The oldest Postgres available, shared as `postgres_server` is, and the same server when there is only one."""
    if oldest_binaries() == newest_binaries():
        yield request.getfixturevalue("postgres_server")
    else:
        with shared(request.config, partial(server_with_template, oldest_binaries())) as server:
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
    """Name of a database with the schema on the shared servers, to copy from: `empty_database_on(template=…)`."""
    return TEMPLATE


@pytest.fixture
def database(postgres_server: EmbeddedPostgres, schema_template: str) -> Iterator[str]:
    """The DSN of a fresh database with the schema."""
    with empty_database_on(postgres_server, template=schema_template) as dsn:
        yield dsn
