"""Databases with the schema, one for a module's tests, emptied before each."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.intake import feeding
from tests.servers import Server, empty_database_on


@pytest.fixture(scope="module")
def intake_database(postgres_server: Server, schema_template: str) -> Iterator[str]:
    """The DSN of a database for the tests of a module."""
    with empty_database_on(postgres_server, template=schema_template) as dsn:
        yield dsn


@pytest.fixture
def inbox(intake_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A session with it, in autocommit, when it holds nothing."""
    with psycopg.connect(intake_database, autocommit=True) as connection:
        connection.execute(feeding.CLEAR)
        yield connection
