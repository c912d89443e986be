"""Servers of these tests: their own, since settings of roles and the roles themselves are felt by all databases."""

import contextlib
from collections.abc import Iterator
from functools import partial

import pytest

from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres, find_binaries
from tests.migrations.databases import make_application_roles
from tests.servers import Server, running, tested_majors
from tests.sharing import shared


@contextlib.contextmanager
def _server(binaries: Binaries) -> Iterator[Server]:
    with running(binaries) as server:
        make_application_roles(server)
        yield server


@pytest.fixture(scope="session", params=tested_majors(), ids=lambda major: f"pg{major}")
def server_with_owner(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """Newest and oldest version in turn, with the owner of the tables and PostgREST's roles."""
    with shared(request.config, partial(_server, find_binaries(major=request.param))) as server:
        yield server
