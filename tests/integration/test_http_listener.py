"""What clients may hold of an HTTP listener: connections, and time."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from consumer.adapters.web.server import HttpListener, Limits
from tests.waiting import await_for

DEADLINE = 30.0
SLOW_BODY = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegun"
GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
ENDLESS = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def status(self) -> int:
        """Of the next answer, which is read to its end."""
        async with asyncio.timeout(DEADLINE):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None, head
            await self._reader.readexactly(int(length[1]))
        return int(head.split()[1])

    async def rest(self) -> bytes:
        """What still comes until the listener closes the connection."""
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(ConnectionError):
                return await self._reader.read()
        return b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """A client, for the length of a block."""
    parts = urlsplit(address)
    client = Client(*await asyncio.open_connection(parts.hostname, parts.port))
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def begun() -> list[str]:
    """The paths whose handlers were called."""
    return []


@pytest.fixture
def routes(begun: list[str]) -> Iterable[web.AbstractRouteDef]:
    async def quick(request: web.Request) -> web.Response:
        begun.append(request.path)
        return web.Response(text="done\n")

    async def echo(request: web.Request) -> web.Response:
        begun.append(request.path)
        return web.Response(text=f"{len(await request.read())}\n")

    async def endless(request: web.Request) -> web.Response:
        begun.append(request.path)
        await asyncio.Event().wait()
        raise AssertionError

    return [web.get("/quick", quick), web.post("/echo", echo), web.get("/endless", endless)]


@contextlib.asynccontextmanager
async def listening(
    routes: Iterable[web.AbstractRouteDef],
    *,
    most: int = 100,
    patience: float = 60.0,
    answer_within: float = 60.0,
    **more: Any,
) -> AsyncIterator[str]:
    """A listener's address."""
    limits = Limits(most=most, patience=patience, answer_within=answer_within, **more)
    listener = HttpListener(host="127.0.0.1", port=0, routes=routes, advice="", limits=limits)
    address = await listener.start()
    try:
        yield address
    finally:
        await listener.stop()


async def at_work(begun: list[str]) -> None:
    """Waits until the handler that never ends has been called."""

    async def called() -> bool:
        return "/endless" in begun

    await await_for(called, what="the handler")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /quick HTTP/1.1\r\nHost:", SLOW_BODY], ids=["nothing", "half a head", "half a body"]
)
async def test_a_request_that_is_never_complete(
    routes: Iterable[web.AbstractRouteDef], begun: list[str], sent: bytes
) -> None:
    """The connection is closed, and no handler has been called."""
    async with listening(routes, patience=0.3) as address, connected(address) as client:
        await client.send(sent)
        assert await client.rest() == b""
        assert begun == []


async def test_a_body_that_takes_a_while(routes: Iterable[web.AbstractRouteDef], begun: list[str]) -> None:
    """The handler gets all of it."""
    async with listening(routes) as address, connected(address) as client:
        await client.send(SLOW_BODY)
        await client.send(b"x" * 995)
        assert (await client.status(), begun) == (200, ["/echo"])


async def test_a_connection_that_is_idle(routes: Iterable[web.AbstractRouteDef]) -> None:
    """It is answered, kept for the next request, and closed when none comes."""
    async with listening(routes, patience=1.0) as address, connected(address) as client:
        for _ in range(2):
            await client.send(GET)
            assert await client.status() == 200
        assert await client.rest() == b""


async def test_one_connection_more_than_there_may_be(routes: Iterable[web.AbstractRouteDef], begun: list[str]) -> None:
    """The client that is waited for longest makes room: one with half a body, not one that is being answered."""
    async with listening(routes, most=3) as address, contextlib.AsyncExitStack() as stack:
        working, slow, idle = [await stack.enter_async_context(connected(address)) for _ in range(3)]
        await working.send(ENDLESS)
        await at_work(begun)
        await slow.send(SLOW_BODY)
        await idle.send(GET)
        assert await idle.status() == 200
        late = await stack.enter_async_context(connected(address))
        await late.send(GET)
        assert await late.status() == 200
        assert await slow.rest() == b""
        await idle.send(GET)
        assert await idle.status() == 200


async def test_all_connections_being_answered(routes: Iterable[web.AbstractRouteDef], begun: list[str]) -> None:
    """Another one is turned away."""
    async with listening(routes, most=1) as address, connected(address) as working:
        await working.send(ENDLESS)
        await at_work(begun)
        async with connected(address) as other:
            assert await other.rest() == b""


async def test_a_handler_that_takes_too_long(routes: Iterable[web.AbstractRouteDef]) -> None:
    """The client gets 504."""
    async with listening(routes, answer_within=0.2) as address, connected(address) as client:
        await client.send(ENDLESS)
        assert await client.status() == 504
