"""/livez and /readyz: what the health of the loops looks like from outside."""

import asyncio

import aiohttp
import pytest

from consumer.adapters.web.probes import probes
from consumer.adapters.web.server import HttpListener
from consumer.domain.facts import Progress
from consumer.pipeline.health import Health
from consumer.pipeline.parts import Part
from tests.fakes import HandClock

STALL_AFTER = 120.0
PARTS = [
    Part(loop="hot", longest_rest=1.0, brings_events=True, run=lambda stop: asyncio.sleep(0)),
    Part(loop="sweep", longest_rest=3600.0, run=lambda stop: asyncio.sleep(0)),
]


@pytest.mark.parametrize(
    ("works", "idle", "livez", "readyz"),
    [
        (True, 1, (200, "alive\n"), 200),
        (False, 1, (200, "alive\n"), 503),
        (True, STALL_AFTER + 2, (503, "stalled: hot\n"), 503),
        (False, STALL_AFTER + 2, (503, "stalled: hot\n"), 503),
    ],
    ids=["routes", "fails and goes round", "routed and is stuck", "failed and is stuck"],
)
async def test_alive_is_who_goes_round_and_ready_is_who_can_route(
    works: bool, idle: float, livez: tuple[int, str], readyz: int
) -> None:
    """A loop that cannot reach its database is alive and not ready; one that stands still is neither."""
    clock = HandClock()
    health = Health(PARTS, clock=clock, stall_after=STALL_AFTER)
    routes = probes(stalled=health.stalled, ready=health.ready, metrics=lambda: b"")
    server = HttpListener(host="127.0.0.1", port=0, routes=routes, advice="")
    address = await server.start()
    try:
        async with aiohttp.ClientSession(address) as probe:
            async with probe.get("/readyz") as answer:
                assert answer.status == 503  # nothing has been routed yet
            health(Progress(loop="hot", ok=works))
            clock.now += idle
            async with probe.get("/livez") as answer:
                assert (answer.status, await answer.text()) == livez
            async with probe.get("/readyz") as answer:
                assert answer.status == readyz
    finally:
        await server.stop()
