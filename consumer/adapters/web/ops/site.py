"""The frame of all pages: templates, static files, headers, and what becomes of errors."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, Final

import jinja2
from aiohttp import web

from consumer.adapters.web.ops import access
from consumer.adapters.web.ops.answers import wants_page, with_headers
from consumer.adapters.web.ops.door import Door, asked
from consumer.domain.errors import ConsumerError, Rejected, Transient
from consumer.domain.facts import PageFailed
from consumer.domain.text import duration, printable
from consumer.ports import Observer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

WITHIN: Final = 25.0
"""Seconds after which a page gives up; less than the listener allows, which says it in fewer words."""
AT_ONCE: Final = 50
"""Pages that may wait for their answers: a slow database must not take all connections of the listener, by which the
service is found to be alive."""
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PASSES: Final = "It may pass by itself: try again."


class Site:
    """Renders pages, and lets in who may see them.

    All addresses in pages are relative, and every page lies beside the first one (`parked`, `event`, never `a/b` but
    for `static/…`), so that a proxy may put all of it under a prefix.
    """

    def __init__(
        self,
        *,
        title: str,
        actions: bool,
        token: str | None = None,
        observer: Observer = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`title` names the replica; `actions`: whether whoever is let in may change something.

        Args:
            token: what is asked for; None: nothing is, and only this machine may look.
            now: the Unix time.
        """
        self.actions = actions
        self.door = Door(token, render=self.render, observer=observer, now=now)
        self._observer = observer
        self._waiting = 0
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("consumer.adapters.web.ops"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"title": title, "actions": actions, "asks_token": token is not None}
        self._templates.filters |= {"printable": printable, "duration": duration}

    def page(self, handler: Handler, *, within: float | None = WITHIN) -> Handler:
        """The handler of a GET, for those who may look; its answer gets the headers of every answer.

        Errors become a page, or a text where none is asked for. `within`: seconds that the answer may take.
        """

        @functools.wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            as_page = wants_page(request)
            refusal = self.door.refusal(request, as_page=as_page)
            return with_headers(refusal or await self._answered(request, handler, within=within, as_page=as_page))

        return answer

    def action(self, handler: Handler) -> Handler:
        """The handler of a POST that changes something, for those who may; called by `act` of static/site.js.

        Errors become a text.
        """

        @functools.wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            refusal = self.door.refusal(request, as_page=False)
            if refusal is None:
                by_bearer = self.door.is_by_bearer(request)
                reason = access.why_not(asked(request), actions=self.actions, by_bearer=by_bearer)
                refusal = None if reason is None else web.Response(status=403, text=f"{reason}\n")
            return with_headers(refusal or await self._answered(request, handler, within=WITHIN, as_page=False))

        return answer

    def render(self, template: str, *, status: int = 200, **values: Any) -> web.Response:  # noqa: ANN401 - of templates
        """A page; `template` is a file of templates/, which extends base.html."""
        text = self._templates.get_template(template).render(**values)
        return web.Response(status=status, text=text, content_type="text/html")

    def tell(self, page: str, error: Exception) -> None:
        """Tells of an error that nobody has foreseen, by its type: its words may quote what people wrote."""
        self._observer(PageFailed(page=page, reason=type(error).__name__))

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Those of the frame itself: static files, which are no secret, log-in and log-out."""
        folder = resources.files("consumer.adapters.web.ops") / "static"
        files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

        async def static(request: web.Request) -> web.StreamResponse:
            name = request.match_info["name"]
            if name not in files:
                return with_headers(web.Response(status=404, text="there is no such file\n"))
            kind = _TYPES[name.rpartition(".")[2]]
            return with_headers(web.Response(body=files[name], headers={"Content-Type": f"{kind}; charset=utf-8"}))

        return [web.get("/static/{name}", static), *self.door.routes()]

    def otherwise(self) -> Sequence[web.AbstractRouteDef]:
        """Answers what no other route does; it has to be the last one."""

        async def nowhere(_: web.Request) -> web.StreamResponse:
            raise web.HTTPNotFound(text="there is no such page")

        missing = self.page(nowhere)

        async def otherwise(request: web.Request) -> web.StreamResponse:
            own, methods = request.match_info.route.resource, set[str]()
            for resource in request.app.router.resources():
                if resource is not own:
                    methods |= (await resource.resolve(request))[1]
            if not methods:
                return await missing(request)
            allow = {"Allow": ", ".join(sorted(methods))}
            return with_headers(web.Response(status=405, text="this address is not asked in that way\n", headers=allow))

        return [web.route("*", "/{path:.*}", otherwise)]

    async def _answered(
        self, request: web.Request, handler: Handler, *, within: float | None, as_page: bool
    ) -> web.StreamResponse:
        """The handler's answer, or what its error is for whoever asks."""
        waits = within is not None
        if waits and self._waiting >= AT_ONCE:
            return self._failed(503, "too much is asked for at once", _PASSES, as_page=as_page)
        self._waiting += waits
        try:
            async with asyncio.timeout(within):
                return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                return web.Response(status=error.status, headers={"Location": error.headers.get("Location", "./")})
            return self._failed(error.status, error.text or error.reason, as_page=as_page)
        except (ConsumerError, TimeoutError) as error:
            return self._failed(*_told(error), as_page=as_page)
        except Exception as error:  # noqa: BLE001 - its words may quote what people wrote
            resource = request.match_info.route.resource
            self.tell(resource.canonical if resource else "", error)
            words = "The log of the service has a line about it."
            return self._failed(500, "this has failed in a way that nobody has foreseen", words, as_page=as_page)
        finally:
            self._waiting -= waits

    def _failed(self, status: int, reason: str, advice: str = "", *, as_page: bool) -> web.Response:
        reason = reason.strip()
        if not as_page:
            answer = web.Response(status=status, text=f"{printable(reason)}\n")
        else:
            heading = "Not found" if status == web.HTTPNotFound.status_code else "It has failed"
            answer = self.render("failed.html", status=status, heading=heading, problem=reason, advice=advice)
        if status == web.HTTPServiceUnavailable.status_code:
            answer.headers["Retry-After"] = "5"
        return answer


def _told(error: ConsumerError | TimeoutError) -> tuple[int, str, str]:
    """Status, reason, and what to do."""
    match error:
        case TimeoutError():
            return 504, "this has taken too long", _PASSES
        case Transient():
            return 503, str(error), _PASSES
        case Rejected():
            return 400, str(error), ""
        case _:
            return 500, str(error), "It does not pass by itself; once it is mended, try again."
