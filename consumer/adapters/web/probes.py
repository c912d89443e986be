"""/livez, /readyz and /metrics: what the private listener answers."""

import time
from collections.abc import Callable, Sequence

from aiohttp import web

RENDERING_SHARE = 0.1
"""Of the time, at most, goes into rendering metrics."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def probes(
    *, stalled: Callable[[], list[str]], ready: Callable[[], bool], metrics: Callable[[], bytes]
) -> Sequence[web.AbstractRouteDef]:
    """The routes; `stalled` and `ready` are asked at each request."""
    rendered, rendered_until = b"", 0.0

    async def livez(_: web.Request) -> web.Response:
        if problems := stalled():
            return web.Response(status=503, text=f"stalled: {', '.join(problems)}\n")
        return web.Response(text="alive\n")

    async def readyz(_: web.Request) -> web.Response:
        if not ready():
            return web.Response(status=503, text="not ready: events cannot be routed at the moment\n")
        return web.Response(text="ready\n")

    async def scrape(_: web.Request) -> web.Response:
        # Rendering takes milliseconds of the loop that routes: a client that asks too often gets the last answer again.
        nonlocal rendered, rendered_until
        if time.monotonic() >= rendered_until:
            began = time.thread_time()  # its cost, however long a busy machine takes over it
            rendered = metrics()
            rendered_until = time.monotonic() + (time.thread_time() - began) / RENDERING_SHARE
        return web.Response(body=rendered, headers={"Content-Type": METRICS_TYPE})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", scrape)]
