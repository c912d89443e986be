"""Who keeps a call waiting is named when the call is given up, and in the log of the service at its first failure."""

import asyncio
import time
from collections.abc import Iterator

import psycopg
import pytest

from consumer.adapters.postgres.connection import Session
from consumer.domain.errors import TooSlow
from tests.conftest import StartPostgres
from tests.processes import running
from tests.waiting import wait_for


@pytest.fixture
def holder(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, application_name="a report") as opened:
        yield opened


async def given_up(dsn: str, statement: str) -> str:
    """What is said of a call that waits too long."""
    session = Session(dsn, call_timeout=1)
    try:
        with pytest.raises(TooSlow) as caught:
            async with session.call() as connection:
                await connection.execute(statement.encode())
        assert caught.value.holder in str(caught.value)
        return caught.value.holder
    finally:
        await session.close()


async def test_a_locked_table(database: str, holder: psycopg.Connection) -> None:
    """The process, its role, its name, what it does, and the table."""
    holder.execute("lock table public.messages")
    said = await given_up(database, "select count(*) from public.messages")
    who = f"process {holder.info.backend_pid} (role {holder.info.user}, a report, idle in transaction)"
    assert said == f"it waits for {who}, which holds a lock on public.messages"


async def test_a_locked_row_behind_others_that_wait(database: str, holder: psycopg.Connection) -> None:
    """Of sessions that wait for each other, the one that does not wait is named."""
    holder.execute("insert into public.contacts (full_name) values ('x')")
    holder.commit()
    holder.execute("update public.contacts set full_name = 'y'")
    waiting = asyncio.create_task(given_up(database, "update public.contacts set full_name = 'z'"))
    said = await given_up(database, "update public.contacts set full_name = 'z'")
    for one in (said, await waiting):
        assert one.startswith(f"it waits for process {holder.info.backend_pid} (")
        assert "a row" in one


async def test_nobody_holds_anything(database: str) -> None:
    """A call that is slow by itself waits for nobody."""
    assert await given_up(database, "select pg_sleep(600)") == ""


async def test_a_prepared_transaction(private_postgres: StartPostgres) -> None:
    """It has no process."""
    dsn = private_postgres(settings={"max_prepared_transactions": "2"}).dsn()
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("create table t ()")
        owner.execute("begin")
        owner.execute("lock table t")
        owner.execute("prepare transaction 'forgotten'")
        said = await given_up(dsn, "select from t")
        owner.execute("rollback prepared 'forgotten'")
    assert said.startswith("it waits for a prepared transaction (see pg_prepared_xacts)")


@pytest.mark.parametrize("table", ["public.messages", "public.webhook_events"])
def test_the_log_names_the_holder_at_once(database: str, holder: psycopg.Connection, table: str) -> None:
    """At the first call that is given up, not when calls with fewer and fewer events have failed as well."""
    with running(database, "--call-timeout", "2", "--log-format", "json") as router:
        router.until_listening()
        began = time.monotonic()
        holder.execute(
            "insert into public.webhook_events (channel, type, event_id) values ('instagram', 'message', 'e')"
        )
        if table == "public.messages":
            holder.commit()
        holder.execute(f"lock table {table}".encode())
        told = f"waits for process {holder.info.backend_pid} "
        wait_for(lambda: told in str(router.lines), what="the holder in the log")
        assert time.monotonic() - began < 7, "one call of two seconds, not four of them"
        holder.commit()
        routed = "select count(*) from public.webhook_events where routed_at is not null"
        wait_for(lambda: holder.execute(routed).fetchone() == (1,), what="the event, routed")
