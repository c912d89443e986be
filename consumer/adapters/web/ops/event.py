"""/event: what became of an event, and of whom or what it is about."""

from collections.abc import Sequence

from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.ports import EventDesk


def event(site: Site, *, desk: EventDesk) -> Sequence[web.AbstractRouteDef]:
    """The routes."""
    del site, desk
    return []
