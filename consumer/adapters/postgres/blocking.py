"""Blocking sessions, for commands that do one thing and end."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from consumer.adapters.postgres.connection import refusal, translated, with_defaults

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
    complete = with_defaults(conninfo)
    known_as = conninfo_to_dict(conninfo).get("application_name", f"webhook-router {name}")
    return make_conninfo(complete, application_name=known_as)


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
