"""/webhooks/<provider>: where providers POST their deliveries, and how they find out whether we are who they think.

Nothing of a body, a header or a token goes into an answer, a log or a metric.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiohttp import web

from consumer.adapters.web.signatures import Access, same, verified
from consumer.domain.errors import ConsumerError
from consumer.domain.facts import LoopFailed
from consumer.domain.intake_facts import DeliveryTurnedDown, Outcome, Post
from consumer.domain.providers import PROVIDERS
from consumer.domain.traces import trace_of
from consumer.ports import Observer

LOOP: Final = "gateway"
TOO_LARGE: Final = 413
RETRY_AFTER: Final = {Outcome.BUSY: "1", Outcome.DATABASE: "5", Outcome.REFUSED: "60"}
"""Seconds until a delivery that was turned away may come again."""
_WORDS: Final = {
    Outcome.BUSY: "too much at once, send it again\n",
    Outcome.DATABASE: "cannot be stored at the moment, send it again\n",
    Outcome.REFUSED: "this channel is not taken at the moment, send it again\n",
}
Take = Callable[[str, str | None, bytes, str | None], Awaitable[Outcome]]
"""Provider, account that the route told, body and traceparent; returns what the answer depends on once it is stored, or
is not."""


def deliveries(access: Mapping[str, Access], *, take: Take, observer: Observer) -> Sequence[web.AbstractRouteDef]:
    """The routes of the providers that are configured."""
    routes: list[web.AbstractRouteDef] = []
    for provider, known in access.items():
        route = _Route(provider, known, take=take, observer=observer)
        routes.append(web.post(f"/webhooks/{provider}", route.taken))
        if known.verify_token is not None:
            routes.append(web.get(f"/webhooks/{provider}", route.challenged, allow_head=False))
    return routes


def turned_down(observer: Observer) -> Callable[[str, int], None]:
    """Tells of requests that have not come as far as to a route."""

    def told(path: str, status: int) -> None:
        provider = path.removeprefix("/webhooks/")
        if provider in PROVIDERS:
            outcome = Outcome.TOO_LARGE if status == TOO_LARGE else Outcome.BAD_REQUEST
            observer(DeliveryTurnedDown(provider=provider, outcome=outcome))

    return told


class _Route:
    """One provider's."""

    def __init__(self, provider: str, access: Access, *, take: Take, observer: Observer) -> None:
        self._provider = provider
        self._access = access
        self._take = take
        self._observer = observer

    async def taken(self, request: web.Request) -> web.Response:
        """A delivery: 200 once it is stored, 401 if it comes from somebody else, 503 if it is to be sent again."""
        began = asyncio.get_running_loop().time()
        body = await request.read()
        found = verified(self._provider, self._access, request.headers, body)
        if found is None:  # and what it says of a trace may be anybody's
            post = self._post(Outcome.SIGNATURE, began, None)
            return self._turned_down(post.outcome, 401, "the signature is wrong or missing\n", post=post)
        trace = trace_of(request.headers.get("traceparent"))
        try:
            outcome = await self._take(self._provider, found.account, body, trace)
        except ConsumerError:
            outcome = Outcome.DATABASE
        except Exception as error:  # noqa: BLE001 - its words may quote the body
            reason = f"a delivery could not be taken: {type(error).__name__}"
            self._observer(LoopFailed(loop=LOOP, reason=reason, attempt=1, delay=0.0))
            outcome = Outcome.DATABASE
        if outcome in _WORDS:
            headers = {"Retry-After": RETRY_AFTER[outcome]}
            return self._turned_down(outcome, 503, _WORDS[outcome], headers, post=self._post(outcome, began, trace))
        return web.Response()

    async def challenged(self, request: web.Request) -> web.Response:
        """Meta asks whether the address is ours: the right token gets its challenge back."""
        query, token = request.query, self._access.verify_token
        given = query.get("hub.verify_token", "")
        if query.get("hub.mode") != "subscribe" or token is None or not same(given, token):
            return self._turned_down(Outcome.BAD_REQUEST, 403, "the verify token is wrong or missing\n")
        return web.Response(text=query.get("hub.challenge", ""), headers={"X-Content-Type-Options": "nosniff"})

    def _post(self, outcome: Outcome, began: float, trace: str | None) -> Post:
        seconds = asyncio.get_running_loop().time() - began
        return Post(provider=self._provider, outcome=outcome, seconds=seconds, trace=trace)

    def _turned_down(
        self,
        outcome: Outcome,
        status: int,
        text: str,
        headers: Mapping[str, str] | None = None,
        *,
        post: Post | None = None,
    ) -> web.Response:
        self._observer(DeliveryTurnedDown(provider=self._provider, outcome=outcome, post=post))
        return web.Response(status=status, text=text, headers=headers)
