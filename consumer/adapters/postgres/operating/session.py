"""Sessions of an operator's calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.rows import TupleRow

from consumer.adapters.postgres.blocking import of_command
from consumer.adapters.postgres.connection import refusal, translated

Connection = psycopg.AsyncConnection[TupleRow]


@asynccontextmanager
async def session(conninfo: str, *, name: str) -> AsyncIterator[Connection]:
    """A connection in autocommit, for the length of a block; `name` is the command that pg_stat_activity shows.

    Raises:
        Misconfigured, Fatal, Transient, Rejected: see `connection.translation`.
    """
    complete = of_command(conninfo, name=name)
    try:
        connection = await psycopg.AsyncConnection.connect(complete, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise await asyncio.to_thread(refusal, error, complete) from error
    with translated():
        try:
            yield connection
        finally:
            await connection.close()
