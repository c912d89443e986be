"""Servers of the SQL tests: their own, since they make roles, which other tests' databases would feel."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres, find_binaries
from tests.migrations.databases import Database, brownfield_on, empty_on, make_application_roles
from tests.servers import TEST_SETTINGS, tested_majors


@pytest.fixture(scope="session")
def server_of_major() -> Iterator[Callable[[int], EmbeddedPostgres]]:
    """A server of that major version with the roles of the application, started when it is first asked for."""
    running: dict[int, EmbeddedPostgres] = {}
    with contextlib.ExitStack() as ending:

        def server(major: int) -> EmbeddedPostgres:
            if major not in running:
                running[major] = EmbeddedPostgres.start(binaries=find_binaries(major=major), settings=TEST_SETTINGS)
                ending.callback(running[major].stop, "immediate")
                make_application_roles(running[major])
            return running[major]

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
