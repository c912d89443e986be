"""Telling poolers from sessions: by reading alone, with each way in which PgBouncer hands out its sessions."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest

from consumer.adapters.postgres import blocking, pooling
from consumer.adapters.postgres.pooling import Server, examination, is_pooled, is_pooled_blocking
from consumer.domain.errors import Transient
from tests.migrations.databases import Database
from tests.pgbouncer import pooled

POOLERS: dict[str, Any] = {
    "transaction": {"mode": "transaction"},
    "statement": {"mode": "statement"},
    "in turn": {"mode": "transaction", "round_robin": True},
    "a single session": {"mode": "transaction", "size": 1},
}


def verdict(answers: Callable[[int], Server | None], *, named: int = 1) -> bool:
    """What comes of it where this function answers for each session."""
    steps = examination(named)
    session = next(steps)
    try:
        while True:
            session = steps.send(answers(session))
    except StopIteration as end:
        return bool(end.value)


def test_each_session_has_a_process_of_its_own() -> None:
    """Directly, through a session pooler, and through one that has no further session left."""
    assert not verdict(lambda session: (100 + session, 1.0))
    assert not verdict(lambda session: (100 + session, 1.0), named=100)
    assert not verdict(lambda session: (100 + session, 1.0) if session < 2 else None)
    assert not verdict(lambda session: (7, float(session))), "servers may number their processes alike"


def test_without_a_second_session_nothing_is_known() -> None:
    """Unless the process that answers is the one that the server has named itself."""
    assert verdict(lambda session: (100, 1.0) if session == 0 else None)
    assert not verdict(lambda session: (100, 1.0) if session == 0 else None, named=100)


@pytest.mark.parametrize("pool", range(1, 6))
@pytest.mark.parametrize("last_first", [True, False])
@pytest.mark.parametrize("poolers", range(1, 4))
def test_sessions_are_shared(pool: int, last_first: bool, poolers: int) -> None:
    """However many there are, whichever is handed out first, and in however many processes of the pooler."""
    free = [[(process * 10 + number + 2, 1.0) for number in range(pool)] for process in range(poolers)]

    def answers(session: int) -> Server:
        mine = free[session % poolers]
        mine.append(mine.pop(-1 if last_first else 0))
        return mine[-1]

    assert verdict(answers)


@contextlib.contextmanager
def asked(dsn: str) -> Iterator[bool]:
    with blocking.session(dsn, name="test") as session:
        yield is_pooled_blocking(session, lambda: blocking.connect(dsn, name="test"))
        assert session.execute("select 1").fetchone() == (1,)


async def asked_without_blocking(dsn: str) -> bool:
    def connect() -> Awaitable[psycopg.AsyncConnection]:
        return psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=None)

    async with await connect() as session:
        return await is_pooled(session, connect)


@pytest.mark.parametrize("pooler", POOLERS)
async def test_a_pooler_is_noticed(fresh_newest: Database, pooler: str) -> None:
    """In every mode that does not leave a client its session."""
    with pooled(fresh_newest.owned, **POOLERS[pooler]) as dsn:
        with asked(dsn) as found:
            assert found
        assert await asked_without_blocking(dsn)


async def test_a_session_is_a_session(fresh: Database) -> None:
    """Directly as well as through a session pooler; and the further connections are closed."""
    with asked(fresh.owned) as found:
        assert not found
    assert not await asked_without_blocking(fresh.owned)
    with pooled(fresh.owned, mode="session") as dsn:
        with asked(dsn) as found:
            assert not found
        assert not await asked_without_blocking(dsn)


async def test_a_session_pooler_without_a_free_session(fresh_newest: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for longer than a moment."""
    monkeypatch.setattr(pooling, "ANSWER_WITHIN", 0.3)
    with pooled(fresh_newest.owned, mode="session", size=2) as dsn:
        with asked(dsn) as found:
            assert not found
        assert not await asked_without_blocking(dsn)
    with pooled(fresh_newest.owned, mode="session", size=1) as dsn, asked(dsn) as found:
        assert found, "it cannot be told apart"


def test_a_lost_connection_is_an_error(fresh_newest: Database) -> None:
    """No verdict comes of it."""
    with psycopg.connect(fresh_newest.admin, autocommit=True) as session:
        fresh_newest.value(f"select pg_terminate_backend({session.info.backend_pid})")
        with pytest.raises(psycopg.OperationalError):
            is_pooled_blocking(session, lambda: psycopg.connect(fresh_newest.admin, autocommit=True))


def test_a_role_with_a_single_connection(fresh_newest: Database) -> None:
    """The server itself names the process that answers, so no second session is needed; a pooler's word is no proof."""

    def another() -> psycopg.Connection:
        raise Transient("too many connections")

    with psycopg.connect(fresh_newest.admin, autocommit=True) as session:
        assert not is_pooled_blocking(session, another)
    with (
        pooled(fresh_newest.owned, mode="session") as dsn,
        psycopg.connect(dsn, autocommit=True) as session,
        pytest.raises(Transient),
    ):
        is_pooled_blocking(session, another)
