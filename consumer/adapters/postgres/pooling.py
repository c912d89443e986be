"""Telling a session of the server from a pooler that gives each transaction, or each statement, another one.

What is set, locked or listened to on such a connection stays behind in a session that the next client gets. So this is
found out first, by reading alone: sessions of ours are asked in turn which process of the server answers. A process
that changes, or that answers two of them, belongs to neither. A pooler that gives each client a session to keep
(PgBouncer's session mode) passes.
"""

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Final

import psycopg
from psycopg.rows import TupleRow

from consumer.domain.errors import ConsumerError

ANSWER_WITHIN: Final = 5.0
"""Seconds that a further session may take to answer: a pool whose sessions are all taken lets it wait."""

Server = tuple[int, float]
"""The process that has answered, and when it was started: processes of two servers can have the same number."""

_WHO: Final = b"""
    select a.pid, pg_catalog.date_part('epoch', a.backend_start)
    from pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a
"""
_MOST: Final = 4
"""Sessions in all where a pooler is in between: it may be several processes, each with sessions of its own."""


def examination(named: int) -> Generator[int, Server | None, bool]:
    """Yields which session to ask next and is sent who has answered; returns whether sessions are shared.

    Session 0 is the one in question, the caller opens others when they are first asked for. An answer of None says that
    there was none in time, which is never so for session 0. An error of opening one is to be thrown in.

    Args:
        named: the process that session 0 was promised when it connected; a pooler names one of its own.
    """
    first = yield 0
    seen = {} if first is None else {0: first}
    direct = first is not None and first[0] == named
    # Twice in a row each: a pooler that hands out two sessions in turn gives two clients that take turns one each.
    turns = (turn for other in range(1, 2 if direct else _MOST) for turn in (other, 0, other, other, 0, 0))
    for session in itertools.chain([0], turns):
        try:
            server = yield session
        except Exception:
            if direct or len(seen) > 1:
                return False  # a server may be full, or allow this role one connection
            raise
        if server is None:
            return not direct and len(seen) == 1  # nothing is known without a second session: better safe than sorry
        if seen.setdefault(session, server) != server or len(set(seen.values())) < len(seen):
            return True
    return False


async def is_pooled(
    connection: psycopg.AsyncConnection, another: Callable[[], Awaitable[psycopg.AsyncConnection]]
) -> bool:
    """Whether this connection has no session of the server to itself, or that cannot be found out.

    Args:
        connection: the one in question, in autocommit and idle; only queries are run on it, and nothing is left behind.
        another: makes a further connection from the same connection string; it is closed before this returns.

    Raises:
        psycopg.Error: a connection broke; besides, what `another` raises, where nothing is known without it.
    """
    sessions = [connection]
    steps = examination(connection.info.backend_pid)
    try:
        asked = next(steps)
        while True:
            if asked == len(sessions):
                try:
                    sessions.append(await another())
                except (psycopg.Error, ConsumerError) as error:
                    steps.throw(error)
            asked = steps.send(await _answer(sessions[asked], limit=ANSWER_WITHIN if asked else None))
    except StopIteration as end:
        return bool(end.value)
    finally:
        for further in sessions[1:]:
            await further.close()


def is_pooled_blocking(
    connection: psycopg.Connection[TupleRow], another: Callable[[], psycopg.Connection[TupleRow]]
) -> bool:
    """As `is_pooled`, for blocking connections."""
    sessions = [connection]
    steps = examination(connection.info.backend_pid)
    try:
        asked = next(steps)
        while True:
            if asked == len(sessions):
                try:
                    sessions.append(another())
                except (psycopg.Error, ConsumerError) as error:
                    steps.throw(error)
            asked = steps.send(_blocking_answer(sessions[asked], limit=ANSWER_WITHIN if asked else None))
    except StopIteration as end:
        return bool(end.value)
    finally:
        for further in sessions[1:]:
            further.close()


async def _answer(connection: psycopg.AsyncConnection, *, limit: float | None) -> Server | None:
    try:
        async with asyncio.timeout(limit):
            return _server(await (await connection.execute(_WHO, binary=True)).fetchone())
    except TimeoutError:
        return None


def _blocking_answer(connection: psycopg.Connection[TupleRow], *, limit: float | None) -> Server | None:
    late = threading.Event()

    def cut_off() -> None:
        late.set()
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as wire,
        ):
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limit or 0, cut_off)
    if limit is not None:
        timer.start()
    try:
        return _server(connection.execute(_WHO, binary=True).fetchone())
    except psycopg.OperationalError:
        if late.is_set():
            return None
        raise
    finally:
        timer.cancel()


def _server(row: TupleRow | None) -> Server:
    """Who has answered; the time is null, and is left out of account, where the server hides it."""
    return (int(row[0]), float(row[1] or 0)) if row else (0, 0.0)
