"""Servers of the SQL tests: their own, since they make roles, which other tests' databases would feel."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres, find_binaries
from tests.migrations.databases import (
    Database,
    brownfield_on,
    empty_on,
    make_application_roles,
    make_brownfield,
    make_role,
)
from tests.migrations.platform import database_on
from tests.servers import Server, newest_binaries, running, tested_majors
from tests.sharing import shared


@contextlib.contextmanager
def server_with_roles(binaries: Binaries) -> Iterator[Server]:
    """A server with the roles of the application."""
    with running(binaries) as server:
        make_application_roles(server)
        yield server


@pytest.fixture(scope="session")
def server_of_major(request: pytest.FixtureRequest) -> Iterator[Callable[[int], EmbeddedPostgres]]:
    """The server of that major version with the roles of the application, started when it is first asked for."""
    found: dict[int, Server] = {}
    with contextlib.ExitStack() as ending:

        def server(major: int) -> EmbeddedPostgres:
            if major not in found:
                make = partial(server_with_roles, find_binaries(major=major))
                found[major] = ending.enter_context(shared(request.config, make))
            return found[major]

        yield server


@pytest.fixture(scope="session", params=tested_majors(), ids=lambda major: f"pg{major}")
def application_server(
    request: pytest.FixtureRequest, server_of_major: Callable[[int], EmbeddedPostgres]
) -> EmbeddedPostgres:
    """Newest and oldest version in turn, with the roles app_owner, anon and authenticated."""
    return server_of_major(request.param)


@pytest.fixture(scope="session")
def newest_server(server_of_major: Callable[[int], EmbeddedPostgres]) -> EmbeddedPostgres:
    """The newest version alone, where the version makes no difference."""
    return server_of_major(tested_majors()[0])


@pytest.fixture
def fresh(application_server: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database of app_owner."""
    with empty_on(application_server) as database:
        yield database


@pytest.fixture
def fresh_newest(newest_server: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database of app_owner, newest version only."""
    with empty_on(newest_server) as database:
        yield database


@pytest.fixture
def brownfield(application_server: EmbeddedPostgres) -> Iterator[Database]:
    """The tables and functions of the wild, and a few events."""
    with brownfield_on(application_server, events=1000) as database:
        yield database


@pytest.fixture
def brownfield_newest(newest_server: EmbeddedPostgres) -> Iterator[Database]:
    """The tables and functions of the wild, without rows, newest version only."""
    with brownfield_on(newest_server) as database:
        yield database


@pytest.fixture(scope="module")
def platform() -> Iterator[EmbeddedPostgres]:
    """A server with the roles of a platform as well, which other tests' databases would feel."""
    with running(newest_binaries()) as server:
        make_application_roles(server)
        make_role(server, "service_role", "nologin bypassrls")
        make_role(server, "stranger", "login")
        make_role(server, "cron", "login")
        yield server


@pytest.fixture
def empty(platform: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database on the platform."""
    with database_on(platform) as database:
        yield database


@pytest.fixture
def installed(empty: Database) -> Database:
    """A fresh installation on the platform."""
    migrator.migrate(empty.owned)
    return empty


@pytest.fixture
def wild(empty: Database) -> Database:
    """The tables and functions of the wild, on the platform."""
    make_brownfield(empty)
    return empty
