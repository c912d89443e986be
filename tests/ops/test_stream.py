"""What the pages are told each second: the same for all, for nobody at the cost of anybody else."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest

from consumer.adapters.web.ops.access import Seal
from consumer.adapters.web.ops.site import Site
from consumer.adapters.web.ops.stream import EVERY, MOST, stream
from consumer.adapters.web.probes import probes
from consumer.adapters.web.server import HttpListener, Limits
from consumer.domain.facts import Fact, PageFailed
from consumer.domain.lag import Partition, PartitionLag
from consumer.domain.overview import Overview, ProviderDeliveries, Second
from consumer.domain.routing import Path
from consumer.pipeline.overview import Live
from tests.ops.serving import TOKEN, Browser, served
from tests.waiting import await_for

SOON = 0.05
FIRST = 1_800_000_000


class Watched(Live):
    """One second goes by each time that it is asked for those that are new."""

    def __init__(self) -> None:
        super().__init__(
            replica="host:1",
            version="1",
            source="postgres",
            database="app",
            host="db:5432",
            ready=lambda: True,
            stalled=list,
            troubles=list,
            now=lambda: float(FIRST),
        )
        self.over = [Second(at=FIRST + number, routed={Path.HOT: number}) for number in range(3)]
        self.looks = 0
        self.fails: Exception | None = None
        self.more: Mapping[str, Any] = {}

    @property
    def watchers(self) -> int:
        return self._watchers

    def seconds(self, *, after: int = 0) -> Sequence[Second]:
        if after:
            self.over.append(Second(at=self.over[-1].at + 1, p50=math.nan, p99=math.inf))
        return [second for second in self.over if second.at > after]

    def overview(self) -> Overview:
        if self.fails is not None:
            raise self.fails
        self.looks += 1
        return replace(super().overview(), **self.more)


@pytest.fixture
def watched() -> Watched:
    return Watched()


class Messages:
    """A stream, read one message after the other."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def raw(self) -> bytes:
        """The next one; empty at the end."""
        async with asyncio.timeout(30):
            lines: list[bytes] = []
            while line := await self._answer.content.readline():
                if line == b"\n" and lines:
                    break
                lines.append(line)
        return b"".join(lines)

    async def next(self) -> tuple[str, Any]:
        """Its name and what it says."""
        raw = await self.raw()
        fields = dict(line.split(": ", 1) for line in raw.decode().splitlines())
        if "event" not in fields:
            return await self.next()
        return fields["event"], json.loads(fields["data"], parse_constant=pytest.fail)


@contextlib.asynccontextmanager
async def watching(browser: Browser, **headers: str) -> AsyncIterator[Messages]:
    """One more who watches."""
    async with browser.session.get(f"{browser.address}/stream", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        yield Messages(answer)


async def until(true: Callable[[], bool], what: str) -> None:
    async def asked() -> bool:
        return true()

    await await_for(asked, timeout=30, what=what)


def ticking() -> int:
    """Tasks that make messages."""
    return sum(task.get_name() == "stream of the pages" for task in asyncio.all_tasks())


async def test_first_what_was_then_what_is(watched: Watched) -> None:
    """Each second once, and the same bytes for all, made once; nothing runs while nobody watches."""
    watched.more = {
        "deliveries": [ProviderDeliveries(provider="telegram", outcomes=MappingProxyType({"taken": 1}), unknown=0)],
        "lags": (PartitionLag(partition=Partition("topic", 3), records=2, seconds=1.0),),
    }
    site = Site(title="app", actions=False)
    async with served(site, *stream(site, watched=watched, every=SOON)) as browser:
        assert (watched.watchers, ticking()) == (0, 0)
        async with watching(browser) as one:
            assert (watched.watchers, ticking()) == (1, 1)
            name, history = await one.next()
            assert name == "history"
            assert [second["at"] for second in history] == [FIRST, FIRST + 1, FIRST + 2]
            assert history[2]["routed"] == {"hot": 2}
            name, now = await one.next()
            assert (name, now["seconds"], now["overview"]["replica"]) == ("now", [], "host:1")
            assert now["overview"]["deliveries"][0]["outcomes"] == {"taken": 1}
            assert now["overview"]["lags"][0]["partition"] == ["topic", 3]
            name, now = await one.next()
            assert (name, [second["at"] for second in now["seconds"]]) == ("now", [FIRST + 3])
            assert (now["seconds"][0]["p50"], now["seconds"][0]["p99"]) == (None, None)
            async with watching(browser) as two:
                assert (watched.watchers, ticking()) == (2, 1)
                name, history = await two.next()
                known = [second["at"] for second in history]
                assert await two.next()
                looks = watched.looks
                theirs = [await two.raw() for _ in range(10)]
                assert watched.looks - looks <= 14  # as many as messages, not as readers
                ours = [await one.raw() for _ in range(15)]
                assert set(theirs[:5]) <= set(ours)
                first = json.loads(theirs[0].partition(b"data: ")[2])["seconds"][0]["at"]
                assert first == known[-1] + 1
        await until(lambda: (watched.watchers, ticking()) == (0, 0), "the end of both")
        async with watching(browser) as again:
            assert (await again.next())[0] == "history"
            assert ticking() == 1
        await until(lambda: (watched.watchers, ticking()) == (0, 0), "the end")


async def test_who_does_not_read_is_disconnected(watched: Watched) -> None:
    """Nothing is kept for them; others get each message."""
    watched.more = {"stalled": ["x" * 200_000]}
    site = Site(title="app", actions=False)
    async with served(site, *stream(site, watched=watched, every=SOON)) as browser:
        port = int(browser.address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with watching(browser) as one:
            await until(lambda: watched.watchers == 2, "both")
            while watched.watchers == 2:
                assert await one.raw()
            assert [(await one.next())[0] for _ in range(3)][-1] == "now"
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(reader.read(65536), 30):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_streams_never_starve_the_probes(watched: Watched) -> None:
    """300 browsers watch, or want to: a hundred do, the others are asked to come again, and the probes are answered."""
    site = Site(title="app", actions=False)
    alive = probes(stalled=list, ready=lambda: True, metrics=lambda: b"")
    async with served(site, *alive, *stream(site, watched=watched)) as browser, contextlib.AsyncExitStack() as stack:
        told: list[int] = []

        async def watch() -> None:
            with contextlib.suppress(aiohttp.ClientError):  # a connection that makes room
                answer = await stack.enter_async_context(browser.session.get(f"{browser.address}/stream"))
                told.append(answer.status)
                if answer.status != 200:
                    assert answer.headers["Retry-After"] == "10"
                    await answer.read()

        async with asyncio.timeout(60):
            await asyncio.gather(*(watch() for _ in range(300)))
        assert told.count(200) == MOST == watched.watchers
        assert set(told) == {200, 503}
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await browser.ask("GET", path)).status == 200
        assert (await browser.ask("HEAD", "/stream")).status == 503
        assert (await browser.ask("HEAD", "/login")).status == 303


async def test_a_stop_ends_streams_at_once(watched: Watched) -> None:
    """And no time limit of answers ends one before."""
    site = Site(title="app", actions=False)
    routes = stream(site, watched=watched, every=SOON)
    limits = Limits(answer_within=SOON, stop_within=20.0)
    listener = HttpListener(host="127.0.0.1", port=0, routes=routes, advice="", limits=limits)
    address = await listener.start()
    async with aiohttp.ClientSession() as session, watching(Browser(address, session)) as one:
        for _ in range(10):
            assert await one.raw()
        began = time.monotonic()
        await listener.stop()
        assert time.monotonic() - began < 5
        with contextlib.suppress(aiohttp.ClientError):
            while await one.raw():
                pass
    assert (watched.watchers, ticking()) == (0, 0)


async def test_a_stream_has_its_time(watched: Watched) -> None:
    """Ten minutes, and no more than the session of whoever watches; the browser comes again, and shows that it may."""
    site = Site(title="app", actions=False, token=TOKEN)
    async with served(site, *stream(site, watched=watched, every=SOON, longest=0.5)) as browser:
        assert (await browser.ask("GET", "/stream")).status == 401
        assert watched.watchers == 0
        async with watching(browser, Authorization=f"Bearer {TOKEN}") as one:
            while await one.raw():
                pass
        assert watched.watchers == 0
    async with served(site, *stream(site, watched=watched, every=SOON)) as browser:
        known = f"webhook_router_ops={Seal(TOKEN).cookie(int(time.time()) + 2)}"
        async with watching(browser, Cookie=known) as one:
            while await one.raw():
                pass
        assert (await browser.ask("GET", "/stream", headers={"Cookie": known})).status == 401


async def test_an_error_ends_all_streams_and_not_the_next(watched: Watched) -> None:
    """It is told by its type; whoever comes again begins anew."""
    facts: list[Fact] = []
    site = Site(title="app", actions=False, observer=facts.append)
    async with served(site, *stream(site, watched=watched, every=SOON)) as browser:
        async with watching(browser) as one, watching(browser) as two:
            watched.fails = ValueError("of somebody")
            for each in (one, two):
                while await each.raw():
                    pass
        assert facts == [PageFailed(page="/stream", reason="ValueError")]
        await until(lambda: (watched.watchers, ticking()) == (0, 0), "the end of both")
        assert (await browser.ask("GET", "/stream")).status == 500
        assert (watched.watchers, ticking()) == (0, 0)
        watched.fails = None
        async with watching(browser) as one:
            assert [(await one.next())[0] for _ in range(3)] == ["history", "now", "now"]
    assert EVERY == 1.0
