"""Calls over a session with a deadline: what is to blame when the time is up."""

import asyncio
import os
import signal
import time

import psycopg
import pytest
from psycopg import pq

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


@pytest.mark.parametrize("default", ["read committed", "repeatable read", "serializable"])
async def test_routes_at_read_committed_whatever_the_default_is(empty_database: str, default: str) -> None:
    """Each call says so, where it has to; nothing is set that a pooler would hand on to the next client."""
    with psycopg.connect(empty_database, autocommit=True) as owner:
        owner.execute("create table t (level text)")
        owner.execute(
            f"alter role current_user in database {owner.info.dbname} set default_transaction_isolation = '{default}'"
        )
    session = Session(empty_database, call_timeout=60)
    try:
        assert await ask(
            session, "insert into t values (current_setting('transaction_isolation')) returning level"
        ) == ("read committed")
        async with session.call() as connection:
            raw = connection
        assert raw.info.transaction_status == pq.TransactionStatus.IDLE
        row = await (await raw.execute("show default_transaction_isolation")).fetchone()
        assert row == (default,)
    finally:
        await session.close()
    with psycopg.connect(empty_database) as reader:
        assert reader.execute("select * from t").fetchall() == [("read committed",)]  # it was committed


@pytest.mark.parametrize("code", ["25000", "40001"])
async def test_a_call_that_fails_for_its_isolation(empty_database: str, code: str) -> None:
    """A pooler may hand out a session with another default than the one before: from then on calls name theirs."""
    session = Session(empty_database, call_timeout=60)
    try:
        with pytest.raises(Transient):
            await ask(session, f"do $$ begin raise exception 'no' using errcode = '{code}'; end $$")
        async with session.call() as connection:
            assert connection.info.transaction_status == pq.TransactionStatus.INTRANS
    finally:
        await session.close()


async def test_a_server_that_has_become_read_only(empty_database: str) -> None:
    """The session is left: its address may lead to the new primary by now."""
    session = Session(empty_database, call_timeout=60)
    try:
        before = await ask(session, "select pg_backend_pid()")
        with pytest.raises(Transient, match="a standby, or read-only"):
            await ask(session, "do $$ begin set transaction_read_only = on; create table t (); end $$")
        assert await ask(session, "select pg_backend_pid()") != before
    finally:
        await session.close()


async def test_a_session_that_the_server_has_ended_meanwhile(empty_database: str) -> None:
    """For being idle too long, or in a restart: the next call has another one, and nobody hears of it."""
    session = Session(empty_database, call_timeout=60)
    try:
        pid = await ask(session, "select pg_backend_pid()")
        with psycopg.connect(empty_database, autocommit=True) as operator:
            operator.execute("select pg_terminate_backend(%s, 60000)", [pid])
        assert await ask(session, "select pg_backend_pid()") != pid
    finally:
        await session.close()


async def test_no_synchronous_standby_confirms(private_postgres: StartPostgres) -> None:
    """The commit is done here and nowhere else: no success, as a failover would take it back, and no event's fault."""
    server = private_postgres(settings={"synchronous_standby_names": "nobody"})
    with psycopg.connect(server.dsn(), autocommit=True) as owner:
        owner.execute("set synchronous_commit = local")
        owner.execute("create table t (n integer)")
        session = Session(server.dsn(), call_timeout=0.3)
        try:
            with pytest.raises(Transient, match="no synchronous standby confirms") as caught:
                await ask(session, "insert into t values (1) returning n")
            assert not isinstance(caught.value, TooSlow)
            assert await ask(session, "select n from t") == 1
        finally:
            await session.close()


async def test_a_cancellation_in_another_language(empty_database: str) -> None:
    """Its words are unknown, but it came long before the limit of the server, or there is none."""
    session = Session(empty_database, call_timeout=60)
    wait = "do $$ begin raise exception 'Anfrage abgebrochen' using errcode = '57014'; end $$"
    try:
        with pytest.raises(Transient) as caught:
            await ask(session, wait)
        assert not isinstance(caught.value, TooSlow)
        async with session.call() as connection:
            await connection.execute("set statement_timeout = 1")
        with pytest.raises(TooSlow):
            await ask(session, "select pg_sleep(60)")
    finally:
        await session.close()
