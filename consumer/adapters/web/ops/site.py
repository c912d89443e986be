"""The frame of all pages: templates, static files, headers, and who may see or do what."""

import functools
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, Final

import jinja2
from aiohttp import web

from consumer.domain.text import duration, printable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Action = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Site:
    """Renders pages, and lets in who may see them.

    All addresses in pages are relative, and every page lies beside the first one (`parked`, `event`, never `a/b` but
    for `static/…`), so that a proxy may put all of it under a prefix.
    """

    def __init__(self, *, title: str, actions: bool) -> None:
        """`title` names the replica; `actions`: whether whoever is let in may change something."""
        self.actions = actions
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("consumer.adapters.web.ops"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"title": title, "actions": actions}
        self._templates.filters |= {"printable": printable, "duration": duration}

    def page(self, handler: Handler) -> Handler:
        """The handler of a GET, for those who may look; its answer gets the headers of every answer."""

        @functools.wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            return self._with_headers(await handler(request))

        return answer

    def action(self, handler: Action) -> Handler:
        """The handler of a POST that changes something, for those who may; called by `act` of static/site.js."""

        @functools.wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            return self._with_headers(await handler(request))

        return answer

    def render(self, template: str, *, status: int = 200, **values: Any) -> web.Response:  # noqa: ANN401 - of templates
        """A page; `template` is a file of templates/, which extends base.html."""
        text = self._templates.get_template(template).render(**values)
        return web.Response(status=status, text=text, content_type="text/html")

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Those of the frame itself: static files."""
        folder = resources.files("consumer.adapters.web.ops") / "static"
        files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

        async def static(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            if name not in files:
                raise web.HTTPNotFound
            kind = _TYPES[name.rpartition(".")[2]]
            return web.Response(body=files[name], headers={"Content-Type": f"{kind}; charset=utf-8"})

        return [web.get("/static/{name}", self.page(static))]

    def _with_headers(self, answer: web.StreamResponse) -> web.StreamResponse:
        if not answer.prepared:
            answer.headers.update(_HEADERS)
        return answer
