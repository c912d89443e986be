"""Blocking sessions, for commands that do one thing and end."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow

from consumer.adapters.postgres.connection import refusal, translated
from consumer.adapters.postgres.database_url import named

Connection = psycopg.Connection[TupleRow]


def connect(conninfo: str, *, name: str) -> Connection:
    """A connection in autocommit; `name` is the command that pg_stat_activity shows.

    Raises:
        Misconfigured, Transient: as `connection.connect`.
    """
    complete = of_command(conninfo, name=name)
    try:
        return psycopg.connect(complete, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise refusal(error, complete) from error


def of_command(conninfo: str, *, name: str) -> str:
    """The connection string for the session of a command, with our settings for whatever it leaves open.

    Raises:
        Misconfigured: as `with_defaults`.
    """
    return named(conninfo, f"webhook-router {name}")


@contextmanager
def session(conninfo: str, *, name: str) -> Iterator[Connection]:
    """As `connect`, for the length of a block; a transaction left open is rolled back.

    Raises:
        Fatal, Transient, Rejected: see `connection.translation`.
    """
    connection = connect(conninfo, name=name)
    try:
        with translated():
            yield connection
    finally:
        connection.close()
