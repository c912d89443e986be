"""/livez, /readyz and /metrics over HTTP."""

import time
from collections.abc import Callable

from aiohttp import web

from consumer.domain.errors import Misconfigured

RENDERING_SHARE = 0.1
"""Of the time, at most, goes into rendering metrics."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HttpServer:
    """Answers probes and scrapes; `problems` and `ready` are asked at each request."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        problems: Callable[[], list[str]],
        ready: Callable[[], bool],
        metrics: Callable[[], bytes],
    ) -> None:
        self._host = host
        self._port = port
        self._problems = problems
        self._ready = ready
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self._rendered = b""
        self._rendered_until = 0.0

    async def start(self) -> str:
        """Begins to answer and returns the address, with the port that port 0 was given.

        Raises:
            Misconfigured: the address cannot be bound.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._scrape),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise Misconfigured(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}; choose another with "
                "--http-host and --http-port (port 0 picks a free one)"
            ) from error
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Ends the server."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        problems = self._problems()
        if problems:
            return web.Response(status=503, text=f"stalled: {', '.join(problems)}\n")
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if not self._ready():
            return web.Response(status=503, text="not ready: events cannot be routed at the moment\n")
        return web.Response(text="ready\n")

    async def _scrape(self, _: web.Request) -> web.Response:
        # Rendering takes milliseconds of the loop that routes: whoever asks too often gets the last answer again.
        began = time.monotonic()
        if began >= self._rendered_until:
            self._rendered = self._metrics()
            now = time.monotonic()
            self._rendered_until = now + (now - began) / RENDERING_SHARE
        return web.Response(body=self._rendered, headers={"Content-Type": METRICS_TYPE})
