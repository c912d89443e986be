"""What other tests build on: fresh databases, what workers share, and waiting that says what it waited for."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.ports import free_port
from tests.servers import empty_database_on
from tests.sharing import INPUT, Sharing, shared, tell_groups
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


@contextlib.contextmanager
def made_in(folder: Path) -> Iterator[int]:
    """Says in a file that it was made, and that it has ended."""
    with (folder / "log").open("a") as log:
        log.write("made ")
        log.flush()
        yield 7
        log.write("ended")


def never_made() -> contextlib.AbstractContextManager[int]:
    raise ValueError("no such thing here")


def test_workers_share_one_thing(tmp_path: Path) -> None:
    """It is made when a worker first asks, ends with the process that made it, and an error is told to each of them."""
    sharing = Sharing()
    worker: Any = SimpleNamespace(workerinput={INPUT: sharing.input})
    for _ in range(2):
        with shared(worker, partial(made_in, tmp_path)) as made:
            assert made == 7
        with pytest.raises(ValueError, match="no such thing"), shared(worker, never_made):
            pass
    tell_groups(worker, {"test_a": "one"})
    assert sharing.groups == {"test_a": "one"}
    assert (tmp_path / "log").read_text() == "made "
    sharing.close()
    assert (tmp_path / "log").read_text() == "made ended"


def test_without_workers_it_is_made_on_the_spot(tmp_path: Path) -> None:
    """And ends with the block."""
    config: Any = SimpleNamespace()
    with shared(config, partial(made_in, tmp_path)) as made:
        assert made == 7
    assert (tmp_path / "log").read_text() == "made ended"


def test_ports_are_given_once() -> None:
    """Not even this process gets one again."""
    assert len({free_port() for _ in range(50)}) == 50


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
