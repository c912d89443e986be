"""What other tests build on: fresh databases, and waiting that says what it waited for."""

import psycopg
import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import empty_database_on
from tests.waiting import await_for, wait_for


def test_databases_are_fresh_and_dropped(postgres_server: EmbeddedPostgres, empty_database: str) -> None:
    """Each is new, and is dropped even with a client in it."""
    with psycopg.connect(empty_database) as connection:
        tables = connection.execute("select 1 from pg_class where relnamespace = 'public'::regnamespace").fetchall()
    assert tables == []
    with empty_database_on(postgres_server) as dsn:
        stays = psycopg.connect(dsn)
    with pytest.raises(psycopg.OperationalError):
        stays.execute("select 1")
    stays.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(dsn)


async def test_waiting_names_what_it_waits_for() -> None:
    """Both kinds return the true answer, and fail with the name and the last answer."""

    async def never() -> int:
        return 0

    async def at_once() -> str:
        return "yes"

    assert wait_for(lambda: "yes") == await await_for(at_once) == "yes"
    with pytest.raises(AssertionError, match=r"in vain for rain; last answer: 0"):
        wait_for(lambda: 0, timeout=0.01, what="rain")
    with pytest.raises(AssertionError, match=r"in vain for rain; last answer: 0"):
        await await_for(never, timeout=0.01, what="rain")
