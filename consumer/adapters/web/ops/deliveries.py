"""/deliveries: what was not understood of what providers sent, and what of it is not in effect."""

import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.domain.deliveries import EXAMPLES, Troubled
from consumer.ports import DeliveryDesk

SPANS: Final = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
"""As they are written in an address, and after --since."""
USUAL: Final = "24h"
_NAMES: Final = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days"}


def deliveries(site: Site, *, desk: DeliveryDesk) -> Sequence[web.AbstractRouteDef]:
    """The routes."""

    async def page(request: web.Request) -> web.Response:
        since = request.query.get("since", USUAL)
        if since not in SPANS:
            since = USUAL
        groups = await desk.troubled(since=SPANS[since])
        unknown = [group for group in groups if group.state == "unknown"]
        others = [group for group in groups if group.state != "unknown"]
        return site.render(
            "deliveries.html",
            since=since,
            spans=_NAMES,
            examples=EXAMPLES,
            unknown=unknown,
            others=others,
            lists=[_list(state, since) for state in dict.fromkeys(group.state for group in others)],
            replays_of_unknown=_replays(unknown, since),
            replays_of_dead=_replays([group for group in others if group.state == "dead"], since),
        )

    return [web.get("/deliveries", site.page(page))]


def _list(state: str, since: str) -> str:
    return f"webhook-router deliveries list --state {state} --since {since}"


def _replays(groups: Sequence[Troubled], since: str) -> Sequence[str]:
    providers = dict.fromkeys(group.provider for group in groups)
    return [f"webhook-router replay --provider {shlex.quote(provider)} --since {since}" for provider in providers]
