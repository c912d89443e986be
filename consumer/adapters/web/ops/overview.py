"""/ and /stream: what the service does at this moment."""

from collections.abc import Sequence

from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.ports import Watched


def overview(site: Site, *, watched: Watched) -> Sequence[web.AbstractRouteDef]:
    """The routes."""

    async def page(_: web.Request) -> web.Response:
        return site.render("overview.html", now=watched.overview())

    return [web.get("/", site.page(page))]
