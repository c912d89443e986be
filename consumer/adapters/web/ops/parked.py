"""/parked: events that could not be routed, and what becomes of them."""

from collections.abc import Sequence

from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.ports import ParkedDesk


def parked(site: Site, *, desk: ParkedDesk) -> Sequence[web.AbstractRouteDef]:
    """The routes."""
    del site, desk
    return []
