"""The pages at a real listener, without a service behind them."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.adapters.web.server import HttpListener, Limits

TOKEN = "a token of the tests"
BROWSER: Mapping[str, str] = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request has got."""

    status: int
    headers: Mapping[str, str]
    text: str


class Browser:
    """Asks one listener; keeps no cookies, follows no redirects."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.session = session

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """One request; it may say how it wants `headers` and `data`."""
        async with self.session.request(method, self.address + path, allow_redirects=False, **more) as answer:
            return Answer(status=answer.status, headers=answer.headers, text=await answer.text())

    async def get(self, path: str, **headers: str) -> Answer:
        """As a browser that shows a page."""
        return await self.ask("GET", path, headers={**BROWSER, **headers})

    async def log_in(self, token: str = TOKEN, *, going: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """Sends the form, as a browser does."""
        given = {**BROWSER, "Origin": self.address, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        return await self.ask("POST", "/login", data={"token": token, "next": going}, headers=given)


@contextlib.asynccontextmanager
async def served(
    site: Site, *routes: web.AbstractRouteDef, host: str = "127.0.0.1", limits: Limits | None = None
) -> AsyncIterator[Browser]:
    """A listener with the frame of the pages and these routes."""
    routed = [*site.routes(), *routes, *site.otherwise()]
    listener = HttpListener(host=host, port=0, routes=routed, advice="", limits=limits or Limits())
    address = await listener.start()
    try:
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)
        ) as session:
            yield Browser(address, session)
    finally:
        await listener.stop()
