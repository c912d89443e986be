"""HTTP listeners: each with its own routes, and what clients that are slow, idle or many can do to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from consumer.adapters.web.server import HttpListener, Limits
from consumer.domain.errors import Misconfigured
from tests.waiting import PATIENCE

SOON = 0.2
"""Seconds of a listener's patience where a test waits for its end."""
NEVER = 3600.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def saying(text: str) -> Handler:
    """A handler that answers with the text."""

    async def say(_: web.Request) -> web.Response:
        return web.Response(text=text)

    return say


@contextlib.asynccontextmanager
async def listening(handler: Handler, **bounds: Any) -> AsyncIterator[str]:
    """A listener with one route; gives its address."""
    listener = HttpListener(
        host="127.0.0.1", port=0, routes=[web.route("*", "/", handler)], advice="", limits=Limits(**bounds)
    )
    address = await listener.start()
    try:
        yield address
    finally:
        await listener.stop()


class Client:
    """A connection that sends and reads what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> bytes:
        """The next piece of an answer; nothing when the connection is at its end."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(65_536)
            except ConnectionError:
                return b""

    async def until_closed(self) -> None:
        """Waits for the end of the connection, in a bounded time."""
        while await self.answer():
            pass


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """A client of the listener."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def test_two_side_by_side() -> None:
    """Each answers its own routes and none of the other's; one that stops leaves the other alone."""
    async with listening(saying("public")) as public:
        private = HttpListener(host="127.0.0.1", port=0, routes=[web.get("/livez", saying("alive"))], advice="")
        address = await private.start()
        async with aiohttp.ClientSession() as client:
            for url, status in (
                (f"{address}/livez", 200),
                (f"{address}/", 404),
                (f"{public}/livez", 404),
                (f"{public}/", 200),
            ):
                async with client.get(url) as answer:
                    assert answer.status == status, url
            await private.stop()
            async with client.get(f"{public}/") as answer:
                assert await answer.text() == "public"
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(f"{address}/livez")


async def test_an_address_that_is_taken() -> None:
    """The error says what can be done, in the words of this listener."""
    async with listening(saying("")) as address:
        port = urlsplit(address).port
        assert port is not None
        second = HttpListener(host="127.0.0.1", port=port, routes=[], advice="ask for another")
        with pytest.raises(Misconfigured, match=f"cannot listen on 127.0.0.1:{port}: .*; ask for another"):
            await second.start()


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", GET[:-2] + b"X: ", GET, GET * 3], ids=["nothing", "a line", "a head", "one", "three"]
)
async def test_a_client_that_is_waited_for_is_disconnected(sent: bytes) -> None:
    """Since it connected or since its last answer: idle connections are closed, as are requests that never end."""
    async with listening(saying("here"), patience=SOON) as address, connected(address) as client:
        client.writer.write(sent)
        await client.until_closed()


async def test_a_client_that_sends_a_little_now_and_then() -> None:
    """It does not get more time for it."""
    async with listening(saying("here"), patience=SOON) as address, connected(address) as client:
        client.writer.write(GET[:-2])
        closed = asyncio.create_task(client.until_closed())
        while not closed.done():
            client.writer.write(b"X: y\r\n")
            await asyncio.wait([closed], timeout=SOON / 4)
        await closed


async def test_a_client_that_does_not_read_its_answer() -> None:
    """It is disconnected, and what it has not read is dropped."""
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1_000_000))
        finally:
            ended.set()

    async with listening(endless, patience=SOON) as address, connected(address) as client:
        client.writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            await ended.wait()


async def test_a_client_that_reads_slowly_is_served() -> None:
    """As long as it reads, an answer may take longer than the patience."""
    size = 4_000_000

    async def big(_: web.Request) -> web.Response:
        return web.Response(body=bytes(size))

    async with listening(big, patience=NEVER) as address, connected(address) as client:
        client.writer.write(GET)
        got = 0
        while got < size:
            chunk = await client.answer()
            assert chunk
            got += len(chunk)


async def test_a_handler_that_takes_too_long() -> None:
    """The client is told, instead of waiting for ever."""

    async def hanging(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with listening(hanging, answer_within=SOON) as address, connected(address) as client:
        client.writer.write(GET)
        assert (await client.answer()).startswith(b"HTTP/1.1 504 ")


async def test_whoever_has_kept_it_waiting_longest_makes_room() -> None:
    """At the limit a new connection is answered all the same, and one that is in use stays."""
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(listening(saying("here"), most=3, patience=NEVER))
        first, second, third = [await stack.enter_async_context(connected(address)) for _ in range(3)]
        for client in (second, third, first):  # now the second has waited longest
            client.writer.write(GET)
            assert (await client.answer()).startswith(OK)
        fourth = await stack.enter_async_context(connected(address))
        fourth.writer.write(GET)
        assert (await fourth.answer()).startswith(OK)
        await second.until_closed()
        for client in (third, first, fourth):
            client.writer.write(GET)
            assert (await client.answer()).startswith(OK)


async def test_those_that_are_being_answered_are_not_closed() -> None:
    """When all are, the new one has to go."""
    asked, answer = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.release()
        await answer.wait()
        return web.Response()

    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(listening(slow, most=2, patience=SOON, answer_within=NEVER))
        clients = [await stack.enter_async_context(connected(address)) for _ in range(2)]
        for client in clients:
            client.writer.write(GET)
            await asked.acquire()
        late = await stack.enter_async_context(connected(address))
        late.writer.write(GET)
        await late.until_closed()
        answer.set()
        for client in clients:
            assert (await client.answer()).startswith(OK)
