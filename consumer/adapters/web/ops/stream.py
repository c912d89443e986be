"""/stream: what the service does, each second, to all who watch, as server-sent events."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from consumer.adapters.web.ops.answers import with_headers
from consumer.adapters.web.ops.site import Site
from consumer.adapters.web.server import endless
from consumer.domain.overview import Second
from consumer.ports import Watched

MOST: Final = 100
"""Streams at once: less than half of the listener's connections, so that probes are answered."""
EVERY: Final = 1.0
"""Seconds between messages."""
LONGEST: Final = 600.0
"""Seconds that a stream lasts; the browser asks for another one, and shows again that it may."""
BEHIND: Final = 5
"""Messages that a client may be behind; one that is slower is disconnected."""
SEND_BUFFER: Final = 128 * 1024
"""Bytes that the system keeps for a client that does not read."""
_HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


def stream(
    site: Site,
    *,
    watched: Watched,
    most: int = MOST,
    every: float = EVERY,
    longest: float = LONGEST,
    now: Callable[[], float] = time.time,
) -> Sequence[web.AbstractRouteDef]:
    """The route.

    A stream begins with `history`, a list of `Second`; `now` follows at once and each second: `overview`, and `seconds`
    that are over since the message before.
    """
    ticker = _Ticker(watched, every=every, failed=lambda error: site.tell("/stream", error))

    async def answer(request: web.Request) -> web.StreamResponse:
        if len(ticker) >= most:
            text = "as many watch as may at once; try again in a while\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "10"})
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        response = web.StreamResponse(headers=_HEADERS)
        with_headers(response)
        _keep_little(request)
        ends = min(now() + longest, site.door.session_ends(request))
        with ticker.watching(slow=lambda: _abort(request)) as messages:
            endless()
            try:
                await response.prepare(request)
                while (left := ends - now()) > 0:
                    async with asyncio.timeout(left):
                        message = await messages.get()
                    if message is None:
                        break
                    await response.write(message)
            except (ConnectionError, TimeoutError):  # the client has gone, or its time is over
                pass
        return response

    return [web.get("/stream", site.page(answer, within=None))]


class _Reader:
    """A client that watches."""

    def __init__(self, slow: Callable[[], None]) -> None:
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue(BEHIND + 1)
        """None: the stream ends."""
        self._slow = slow

    def take(self, message: bytes | None) -> None:
        try:
            self.messages.put_nowait(message)
        except asyncio.QueueFull:
            self._slow()


class _Ticker:
    """Makes one message each second while somebody watches, and hands it, the same bytes, to all who do."""

    def __init__(self, watched: Watched, *, every: float, failed: Callable[[Exception], None]) -> None:
        self._watched = watched
        self._every = every
        self._failed = failed
        self._readers: set[_Reader] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._last = 0
        """The second that was sent last."""
        self._begin: bytes | None = None
        """What a stream begins with, up to that second."""

    def __len__(self) -> int:
        return len(self._readers)

    @contextlib.contextmanager
    def watching(self, *, slow: Callable[[], None]) -> Iterator["asyncio.Queue[bytes | None]"]:
        """The messages for one more who watches; `slow` disconnects them."""
        reader = _Reader(slow)
        self._readers.add(reader)
        self._watched.enter()
        try:
            if self._ticking is None:
                self._last = _latest(self._watched.seconds(), otherwise=0)
                self._begin = None
                self._ticking = asyncio.create_task(self._tick(), name="stream of the pages")
            if self._begin is None:
                self._begin = self._beginning()
            reader.take(self._begin)
            yield reader.messages
        finally:
            self._watched.leave()
            self._readers.discard(reader)
            if not self._readers and self._ticking is not None:
                self._ticking.cancel()
                self._ticking = None

    async def _tick(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._every)
                message, self._begin = self._now(), None
                for reader in self._readers:
                    reader.take(message)
        except Exception as error:  # noqa: BLE001 - of this moment's values; whoever comes next begins anew
            self._failed(error)
            self._ticking = None
            for reader in self._readers:
                reader.take(None)

    def _beginning(self) -> bytes:
        seconds = [second for second in self._watched.seconds() if second.at <= self._last]
        now = {"overview": self._watched.overview(), "seconds": ()}
        return b"retry: 2000\n\n" + _message("history", seconds) + _message("now", now)

    def _now(self) -> bytes:
        seconds = self._watched.seconds(after=self._last)
        self._last = _latest(seconds, otherwise=self._last)
        return _message("now", {"overview": self._watched.overview(), "seconds": seconds})


def _latest(seconds: Sequence[Second], *, otherwise: int) -> int:
    return seconds[-1].at if seconds else otherwise


def _message(name: str, value: object) -> bytes:
    """JSON has no line feeds, and orjson writes NaN and Infinity as null."""
    return b"event: %s\ndata: %s\n\n" % (
        name.encode(),
        orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS),
    )


def _plain(value: Any) -> object:  # noqa: ANN401 - whatever orjson does not know
    """A mapping or sequence of another type."""
    return dict(value) if isinstance(value, Mapping) else list(value)


def _keep_little(request: web.Request) -> None:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
