"""Answering HTTP: one listener a port, each with its own routes, and with bounds on what its clients may hold."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

from aiohttp import web

from consumer.domain.errors import Misconfigured

CHECKS = 10
"""Checks for late connections within the time that one may keep the listener waiting."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpListener:
    """Answers requests at one address, by the routes it is given.

    A client that keeps the listener waiting for more than `patience` seconds is disconnected: it has not completed a
    request since it connected or since its last answer, or it does not read what it is sent. At `most` connections, the
    one that has kept it waiting longest makes room for the next, so that clients which never complete a request cannot
    keep others from being answered. A handler is called when the request has arrived with all of its body, and has
    `answer_within` seconds, after which the answer is 504.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        routes: Iterable[web.AbstractRouteDef],
        advice: str,
        most: int = 256,
        patience: float = 10.0,
        answer_within: float = 30.0,
    ) -> None:
        """`advice` says what to do when the address cannot be bound; port 0 takes a free one."""
        self._host = host
        self._port = port
        self._routes = routes
        self._advice = advice
        self._patience = patience
        self._answer_within = answer_within
        self._connections = _Connections(most=most)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._checking: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Begins to answer and returns the address, with the port that port 0 was given.

        Raises:
            Misconfigured: the address cannot be bound.
        """
        app = web.Application(middlewares=[self._answer])
        app.add_routes(self._routes)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        handlers = runner.server
        assert handlers is not None
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(handlers(), self._connections), self._host, self._port
            )
        except OSError as error:
            await runner.cleanup()
            raise Misconfigured(
                f"cannot listen on {self._host}:{self._port}: {_reason(error)}; {self._advice}"
            ) from error
        self._runner = runner
        self._checking = asyncio.create_task(self._check(), name=f"connections of {self._host}:{self._port}")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Takes no more connections, and closes those there are; answers under way get a moment."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._checking is not None:
            self._checking.cancel()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.transport
        await request.read()  # a body that comes slowly keeps the listener waiting, not a handler working
        self._connections.answers(connection)
        try:
            async with asyncio.timeout(self._answer_within):
                return await handler(request)
        finally:
            self._connections.answered(connection)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(self._patience / CHECKS)
            self._connections.close_late(asyncio.get_running_loop().time() - self._patience)


def _reason(error: OSError) -> str:
    """What the system says; asyncio's own words repeat the address as a tuple."""
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)


class _Connections:
    """The open connections of a listener, and which of them it waits for."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._open: set[asyncio.BaseTransport] = set()
        self._answering: set[asyncio.BaseTransport] = set()
        """Those whose request is complete, and whose handler is at work."""
        self._awaited: dict[asyncio.BaseTransport, float] = {}
        """Since when the client is waited for, in the order of these times."""

    def opened(self, connection: asyncio.Transport) -> None:
        """Makes room for it. While all others are being answered, there is none."""
        self._open.add(connection)
        if len(self._open) > self._most:
            self._close(next(iter(self._awaited), connection))
        self._wait(connection)

    def closed(self, connection: asyncio.BaseTransport) -> None:
        """By either side."""
        self._open.discard(connection)
        self._answering.discard(connection)
        self._awaited.pop(connection, None)

    def answers(self, connection: asyncio.BaseTransport | None) -> None:
        """A request is complete."""
        if connection in self._open:
            self._answering.add(connection)
            self._awaited.pop(connection, None)

    def answered(self, connection: asyncio.BaseTransport | None) -> None:
        """The answer is on its way, and the next request may come."""
        if connection in self._open:
            self._answering.discard(connection)
            self._wait(connection)

    def unread(self, connection: asyncio.BaseTransport) -> None:
        """The client does not read what it is sent."""
        if connection not in self._awaited:
            self._wait(connection)

    def read(self, connection: asyncio.BaseTransport) -> None:
        """It does again."""
        self._awaited.pop(connection, None)
        if connection not in self._answering:
            self._wait(connection)

    def close_late(self, before: float) -> None:
        """Closes those that have been waited for since before that time."""
        for connection in [connection for connection, since in self._awaited.items() if since < before]:
            self._close(connection)

    def _wait(self, connection: asyncio.BaseTransport) -> None:
        if connection in self._open:
            self._awaited.pop(connection, None)  # the order is that of insertion
            self._awaited[connection] = asyncio.get_running_loop().time()

    def _close(self, connection: asyncio.BaseTransport) -> None:
        self.closed(connection)
        cast("asyncio.Transport", connection).abort()  # an ordinary close would wait until the client reads


class _Connection(asyncio.Protocol):
    """Stands between the event loop and aiohttp's handler of a connection, to note when the client is waited for."""

    def __init__(self, handler: web.RequestHandler, connections: _Connections) -> None:
        self._handler = handler
        self._connections = connections
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._handler.connection_made(transport)
        self._connections.opened(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self._transport)
        self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._connections.unread(self._transport)
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._connections.read(self._transport)
        self._handler.resume_writing()
