"""Answering HTTP: one listener a port, each with its own routes, and with bounds on what its clients may hold."""

import asyncio
import functools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, cast

from aiohttp import web

from consumer.domain.errors import Misconfigured

CHECKS = 10
"""Checks for late connections within the time that one may keep the listener waiting."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Route = web.AbstractRouteDef
_NOWHERE: Final = logging.getLogger("consumer.adapters.web.nowhere")
"""For what aiohttp says of requests that are no HTTP: anybody may send them, and it quotes them."""
_NOWHERE.addHandler(logging.NullHandler())
_NOWHERE.propagate = False


_lift: ContextVar[Callable[[], None]] = ContextVar("lift the limit of the answer under way")


def endless() -> None:
    """For the handler that calls this, `Limits.answer_within` no longer holds: its answer ends when the client goes, or
    at once when the listener stops."""
    _lift.get()()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the clients of a listener may hold. Times in seconds, sizes in bytes."""

    most: int = 256
    """Connections."""
    patience: float = 10.0
    """How long a client may take to complete a request."""
    idle: float | None = None
    """How long it may take to begin the next one; None: as long as to complete it. It should be longer than a reverse
    proxy keeps connections that it does not use: a request that it sends at the wrong moment would be lost."""
    answer_within: float = 30.0
    stop_within: float = 1.0
    """How long requests under way have when the listener stops."""
    body: int = 1024 * 1024
    """Of one request."""
    bodies: int = 256 * 1024 * 1024
    """Of all requests that are not answered yet."""


class HttpListener:
    """Answers requests at one address, by the routes it is given.

    A client that keeps the listener waiting for too long is disconnected: it has not completed a request since it
    connected, or since its last answer, or it does not read what it is sent. At the most connections, or bytes, that
    there may be, the one that has kept the listener waiting longest makes room for the next, so that clients which
    never complete a request cannot keep others from being answered. A handler is called when the request has arrived
    with all of its body, as it came: 413 if that is too large. It has a limited time, after which the answer is 504,
    unless it calls `endless`.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        routes: Iterable[web.AbstractRouteDef],
        advice: str,
        limits: Limits = Limits(),
        turned_down: Callable[[str, int], None] = lambda _path, _status: None,
    ) -> None:
        """`advice` says what to do when the address cannot be bound; port 0 takes a free one.

        `turned_down` is told path and status of requests that no handler sees.
        """
        self._host = host
        self._port = port
        self._routes = routes
        self._advice = advice
        self._limits = limits
        self._turned_down = turned_down
        self._connections = _Connections(limits)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._checking: asyncio.Task[None] | None = None
        self._stopping = False
        self._endless: set[asyncio.Timeout] = set()

    async def start(self) -> str:
        """Begins to answer and returns the address, with the port that port 0 was given.

        Raises:
            Misconfigured: the address cannot be bound.
        """
        app = web.Application(middlewares=[self._answer], client_max_size=self._limits.body)
        app.add_routes(self._routes)
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=self._limits.stop_within,
            auto_decompress=False,  # signatures are over the bytes that were sent
            logger=_NOWHERE,
        )
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
        """Takes no more connections, and closes those there are; requests under way get their answers."""
        self._stopping = True
        for limit in self._endless:
            limit.reschedule(0)
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._checking is not None:
            self._checking.cancel()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.transport
        try:
            await self._read(request)  # a body that comes slowly keeps the listener waiting, not a handler working
        except web.HTTPRequestEntityTooLarge as error:
            self._turned_down(request.path, error.status)
            raise
        except (web.RequestPayloadError, ConnectionError):
            self._turned_down(request.path, web.HTTPBadRequest.status_code)
            raise web.HTTPBadRequest(text="the body has ended too early\n") from None
        self._connections.answers(connection)
        try:
            async with asyncio.timeout(self._limits.answer_within) as limit:
                _lift.set(functools.partial(self._lift, limit))
                try:
                    answer = await handler(request)
                finally:
                    self._endless.discard(limit)
        finally:
            self._connections.answered(connection)
        if self._stopping:
            answer.force_close()
        return answer

    def _lift(self, limit: asyncio.Timeout) -> None:
        limit.reschedule(0 if self._stopping else None)
        self._endless.add(limit)

    async def _read(self, request: web.Request) -> None:
        if (request.content_length or 0) > self._limits.body:
            raise web.HTTPRequestEntityTooLarge(self._limits.body)
        await request.read()

    async def _check(self) -> None:
        limits = self._limits
        while True:
            await asyncio.sleep(limits.patience / CHECKS)
            self._connections.close_late()


def _reason(error: OSError) -> str:
    """What the system says; asyncio's own words repeat the address as a tuple."""
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)


class _Connections:
    """The open connections of a listener, and which of them it waits for."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.most
        self._most_bytes = limits.bodies + limits.body
        self._patience = limits.patience
        self._idle = limits.patience if limits.idle is None else limits.idle
        self._open: set[asyncio.BaseTransport] = set()
        self._answering: set[asyncio.BaseTransport] = set()
        """Those whose request is complete, and whose handler is at work."""
        self._awaited: dict[asyncio.BaseTransport, float] = {}
        """Since when the client is waited for, in the order of these times."""
        self._resting: dict[asyncio.BaseTransport, float] = {}
        """The same, for those that have got an answer and sent nothing since."""
        self._received: dict[asyncio.BaseTransport, int] = {}
        """Bytes that have come, and are not answered."""
        self._bytes = 0

    def opened(self, connection: asyncio.Transport) -> None:
        """Makes room for it. While all others are being answered, there is none."""
        self._open.add(connection)
        if len(self._open) > self._most:
            longest = [next(iter(waited.items())) for waited in (self._awaited, self._resting) if waited]
            self._close(min(longest, key=itemgetter(1), default=(connection, 0.0))[0])
        self._wait(connection)

    def closed(self, connection: asyncio.BaseTransport) -> None:
        """By either side."""
        self._open.discard(connection)
        self._answering.discard(connection)
        self._awaited.pop(connection, None)
        self._resting.pop(connection, None)
        self._bytes -= self._received.pop(connection, 0)

    def received(self, connection: asyncio.BaseTransport, size: int) -> None:
        """So many bytes."""
        if connection not in self._open:
            return
        if self._resting.pop(connection, None) is not None:
            self._wait(connection)
        self._received[connection] = self._received.get(connection, 0) + size
        self._bytes += size
        while self._bytes > self._most_bytes and connection in self._open:
            late = next((other for other in self._awaited if other in self._received), connection)
            self._close(late)

    def answers(self, connection: asyncio.BaseTransport | None) -> None:
        """A request is complete."""
        if connection in self._open:
            self._answering.add(connection)
            self._awaited.pop(connection, None)

    def answered(self, connection: asyncio.BaseTransport | None) -> None:
        """The answer is on its way, and the next request may come."""
        if connection in self._open:
            self._answering.discard(connection)
            self._bytes -= self._received.pop(connection, 0)
            self._resting[connection] = asyncio.get_running_loop().time()

    def unread(self, connection: asyncio.BaseTransport) -> None:
        """The client does not read what it is sent."""
        self._resting.pop(connection, None)
        if connection not in self._awaited:
            self._wait(connection)

    def read(self, connection: asyncio.BaseTransport) -> None:
        """It does again."""
        self._awaited.pop(connection, None)
        if connection not in self._answering:
            self._wait(connection)

    def close_late(self) -> None:
        """Closes those that have been waited for too long."""
        now = asyncio.get_running_loop().time()
        for waited, longest in ((self._awaited, self._patience), (self._resting, self._idle)):
            for connection in [connection for connection, since in waited.items() if since < now - longest]:
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
        self._connections.received(self._transport, len(data))
        self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._connections.unread(self._transport)
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._connections.read(self._transport)
        self._handler.resume_writing()
