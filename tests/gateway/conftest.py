"""A running service with a gateway, and what its database holds."""

import contextlib
import http.client
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.gateway.bodies import ENVIRONMENT
from tests.processes import Router, running
from tests.waiting import PATIENCE, wait_for


@dataclass(frozen=True)
class Answer:
    """What a client gets."""

    status: int
    text: str
    headers: Mapping[str, str]


class Service:
    """`webhook-router run --gateway`, as a provider sees it."""

    def __init__(self, router: Router) -> None:
        self.router = router

    @property
    def gateway(self) -> str:
        """Its address."""
        assert self.router.address
        return str(self.router.logged("webhook-router is running")[0]["gateway"])

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        return http.client.HTTPConnection(urlsplit(self.gateway).netloc, timeout=PATIENCE)

    def ask(
        self,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        """One request over a new connection; a POST where there is a body."""
        with contextlib.closing(self.connection()) as connection:
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(), dict(answer.headers))


Start = Callable[..., Service]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts services; they are killed after the test."""
    with contextlib.ExitStack() as stack:

        def started(dsn: str, *flags: str, env: Mapping[str, str] | None = None) -> Service:
            flags = ("--gateway", "--gateway-port", "0", *flags)
            service = Service(stack.enter_context(running(dsn, *flags, env=ENVIRONMENT | dict(env or {}))))
            service.router.until_ready()
            return service

        yield started


@pytest.fixture
def service(database: str, start: Start) -> Service:
    """One over a fresh database."""
    return start(database)


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A connection of the application."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def messages(db: psycopg.Connection) -> dict[str, str]:
    """Texts by the ids of messages."""
    return dict(db.execute("select provider_message_id, content_text from public.messages").fetchall())


def count(db: psycopg.Connection, table: str) -> int:
    """Rows of a table."""
    row = db.execute(f"select count(*) from {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def until_processed(db: psycopg.Connection, number: int) -> None:
    """Waits until so many deliveries are in effect, and no others are left."""

    def state() -> bool:
        row = db.execute("select count(*), count(processed_at) from router.deliveries").fetchone()
        return row == (number, number)

    wait_for(state, what=f"{number} deliveries in effect")
