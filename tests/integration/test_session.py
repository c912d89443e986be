"""Calls over a session with a deadline: what is to blame when the time is up."""

import asyncio
import os
import signal
import time

import psycopg
import pytest

from consumer.adapters.postgres.connection import Session, connect
from consumer.domain.errors import TooSlow, Transient
from tests.conftest import StartPostgres


async def ask(session: Session, statement: str) -> object:
    """The one value of a statement."""
    async with session.call() as connection:
        row = await (await connection.execute(statement.encode())).fetchone()
    assert row is not None
    return row[0]


async def test_a_call_that_takes_too_long_is_cancelled(empty_database: str) -> None:
    """The server has rolled it back, and the session goes on with the same connection."""
    session = Session(empty_database, call_timeout=0.2)
    try:
        before = await ask(session, "select pg_backend_pid()")
        with pytest.raises(TooSlow):
            await ask(session, "select pg_sleep(600)")
        session.call_timeout = 60
        assert await ask(session, "select pg_backend_pid()") == before
    finally:
        await session.close()


async def test_a_call_that_was_done_in_time_counts_however_late_its_answer_is_read(empty_database: str) -> None:
    """This process may get no processor for a while; what is committed meanwhile has not been too slow."""
    session = Session(empty_database, call_timeout=60)
    try:
        await ask(session, "select 1")
        session.call_timeout = 0.5
        asyncio.get_running_loop().call_later(0.05, time.sleep, 1)
        assert await ask(session, "select 'done' from pg_sleep(0.1)") == "done"
    finally:
        await session.close()


async def test_making_a_connection_is_not_the_calls_time(empty_database: str) -> None:
    """A busy server takes its time for it, and no event may be parked for that."""

    async def slowly(conninfo: str) -> psycopg.AsyncConnection:
        made = await connect(conninfo)
        await asyncio.sleep(0.3)
        session.call_timeout = 60
        return made

    session = Session(empty_database, call_timeout=0.1, connect=slowly)
    try:
        assert await ask(session, "select 1") == 1
    finally:
        await session.close()


async def test_a_server_that_cannot_be_reached_is_no_slow_call(empty_database: str) -> None:
    """Making a connection has a limit of its own."""

    async def never(conninfo: str) -> psycopg.AsyncConnection:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Transient) as caught:
        await ask(Session(empty_database, call_timeout=60, connect_timeout=0.1, connect=never), "select 1")
    assert not isinstance(caught.value, TooSlow)


async def test_somebody_else_cancels(empty_database: str) -> None:
    """An operator's pg_cancel_backend says nothing about the events."""
    session = Session(empty_database, call_timeout=60)
    with psycopg.connect(empty_database, autocommit=True) as operator:
        try:
            pid = await ask(session, "select pg_backend_pid()")
            sleeping = asyncio.create_task(ask(session, "select pg_sleep(600)"))
            cancel = "select pg_cancel_backend(pid) from pg_stat_activity where pid = %s and query ~ 'pg_sleep'"
            while not operator.execute(cancel, [pid]).fetchall():
                await asyncio.sleep(0.01)
            with pytest.raises(Transient) as caught:
                await sleeping
            assert not isinstance(caught.value, TooSlow)
        finally:
            await session.close()


async def test_a_server_that_does_not_even_cancel(private_postgres: StartPostgres) -> None:
    """It is frozen, for example: the call ends nevertheless, and blames no event."""
    server = private_postgres()
    session = Session(server.dsn(), call_timeout=0.2)
    pid = await ask(session, "select pg_backend_pid()")
    assert isinstance(pid, int)
    for process in (pid, server.pid):
        os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(Transient, match="no answer") as caught:
            await ask(session, "select 1")
        assert not isinstance(caught.value, TooSlow)
    finally:
        for process in (pid, server.pid):
            os.kill(process, signal.SIGCONT)
    session.call_timeout = 60
    assert await ask(session, "select 1") == 1
    await session.close()
