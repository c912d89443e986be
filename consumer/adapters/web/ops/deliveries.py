"""/deliveries: what was not understood of what providers sent."""

from collections.abc import Sequence

from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.ports import DeliveryDesk


def deliveries(site: Site, *, desk: DeliveryDesk) -> Sequence[web.AbstractRouteDef]:
    """The routes."""
    del site, desk
    return []
