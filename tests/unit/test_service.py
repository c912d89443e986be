"""A service of parts that are made up here: what a new loop gets by being in the list, and the order of its life."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import aiohttp
import pytest
from pydantic import SecretStr

from consumer.adapters.clock import SystemClock
from consumer.adapters.telemetry.log import Log
from consumer.adapters.telemetry.systemd import Systemd
from consumer.config import Settings
from consumer.domain.errors import Fatal, Misconfigured
from consumer.domain.facts import BatchRouted, BatchTooSlow, Fact, LoopFailed, Progress, Started, Stopped, Stopping
from consumer.domain.routing import BEGINNING, Batch, Path
from consumer.pipeline.overview import Live
from consumer.pipeline.parts import Part, until_stopped
from consumer.ports import Observer
from consumer.service import Assembly, Observers, Service, build, logged, raise_file_limit
from tests.waiting import await_for

TIDE = cast("Path", "tide")
"""A path that no other part of the program has heard of."""
BATCH = Batch(
    claimed=2, inserted=1, parked=1, dead=0, channels=("x",), ages=(0.1,), reached=BEGINNING, seconds=0.01
)  # fmt: skip


class Story:
    """What happens, in its order; a service with parts that tell it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.facts: list[Fact] = []
        self.observers = Observers()
        self.observers.add(self.facts.append)

    def part(self, loop: str, **more: Any) -> Part:
        """A part that does nothing but wait until it is told to stop."""

        async def run(stop: asyncio.Event) -> None:
            self.told.append(f"{loop} runs")
            await stop.wait()
            self.told.append(f"{loop} ends")

        fields: dict[str, Any] = {"run": run, "closing": [self.closing(loop)], **more}
        return Part(loop=loop, **fields)

    def closing(self, loop: str) -> Any:
        """What the part leaves behind."""
        told = self.told

        class Rest:
            async def close(self) -> None:
                told.append(f"{loop} is closed")

        return Rest()

    def service(self, *parts: Part, **settings: Any) -> Service:
        """They in a service, with probes on a free port."""
        given: dict[str, Any] = {
            "database_url": SecretStr("postgresql://ana:secret@db.example:5433/app"),
            "http_port": 0,
        } | settings
        return Service(Settings(**given), parts, observers=self.observers, clock=SystemClock())


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    """The service runs meanwhile; its probes are at hand."""
    task = asyncio.create_task(service.run())
    try:

        async def up() -> bool:
            return bool(service.address) or task.done()

        await await_for(up)
        async with aiohttp.ClientSession(service.address) as probes:
            yield probes
    finally:
        service.stop("the test is over")
        await task


async def get(probes: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    """Status and text."""
    async with probes.get(path) as answer:
        return answer.status, await answer.text()


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def jitter(self) -> float:
        return 0.5


class TestNewPart:
    async def test_is_seen_everywhere(self) -> None:
        """Probes, metrics and systemd learn of it from the list of parts alone."""
        story = Story()
        service = story.service(story.part("tide", path=TIDE, longest_rest=1.0, brings_events=True))
        sent: list[bytes] = []
        story.observers.add(
            Systemd(
                lambda message: not sent.append(message),  # type: ignore[func-returns-value]
                parts=service.parts,
                stalled=service.health.stalled,
                clock=SystemClock(),
                watchdog=None,
            )
        )
        async with running(service) as probes:
            assert await get(probes, "/livez") == (200, "alive\n")
            assert (await get(probes, "/readyz"))[0] == 503
            _, metrics = await get(probes, "/metrics")
            assert 'webhook_router_loop_failures_total{loop="tide"} 0.0' in metrics
            assert 'webhook_router_events_parked_total{path="tide"} 0.0' in metrics
            assert sent == []
            service.observe(Progress(loop="tide", ok=True))
            assert (await get(probes, "/readyz"))[0] == 200
            assert sent == [b"READY=1\nSTATUS=routing, polling, backlog 0"]
            service.observe(LoopFailed(loop="tide", reason="ebb", attempt=1, delay=1))
            service.observe(Progress(loop="tide", ok=False))
            assert (await get(probes, "/readyz"))[0] == 503
            assert sent[1:] == [b"STATUS=tide: ebb"]
            service.observe(BatchRouted(path=TIDE, batch=BATCH))
            assert (await get(probes, "/readyz"))[0] == 200
            metrics = service.metrics.render().decode()  # /metrics may give what it has rendered a moment ago
            assert 'webhook_router_loop_failures_total{loop="tide"} 1.0' in metrics
            assert 'webhook_router_events_parked_total{path="tide"} 1.0' in metrics

    async def test_is_watched(self) -> None:
        """One that makes no progress for longer than it may rest is named by /livez; one that is not watched is not."""
        story, clock = Story(), Hand()
        parts = [story.part("tide", longest_rest=5.0), story.part("moon")]
        service = Service(
            Settings(database_url=SecretStr("dbname=app"), http_port=0, stall_after=100),
            parts,
            observers=story.observers,
            clock=clock,
        )
        async with running(service) as probes:
            clock.now += 104
            assert await get(probes, "/livez") == (200, "alive\n")
            clock.now += 2
            assert await get(probes, "/livez") == (503, "stalled: tide\n")
            service.observe(Progress(loop="tide", ok=False))
            assert await get(probes, "/livez") == (200, "alive\n")

    async def test_all_that_bring_events_must_work(self) -> None:
        """Two such parts: ready is who can route what either brings; a third kind of part does not matter."""
        story = Story()
        parts = [story.part(loop, brings_events=loop != "moon") for loop in ("tide", "stream", "moon")]
        service = story.service(*parts)
        service.observe(Progress(loop="tide", ok=True))
        assert not service.health.ready()
        service.observe(Progress(loop="stream", ok=True))
        service.observe(Progress(loop="moon", ok=False))
        assert service.health.ready()
        service.observe(Progress(loop="tide", ok=False))
        assert not service.health.ready()

    def test_facts_of_strangers_are_ignored(self) -> None:
        """A loop or a path that belongs to no part neither raises nor counts as progress."""
        story = Story()
        service = story.service(story.part("tide", longest_rest=1.0, brings_events=True))
        for fact in (
            Progress(loop="stranger", ok=True),
            BatchRouted(path=TIDE, batch=BATCH),
            BatchTooSlow(path=TIDE, limit=1),
        ):
            service.observe(fact)
        assert not service.health.ready()
        assert service.health.stalled() == []


class TestOrder:
    async def test_of_a_life(self) -> None:
        """Started, drained one after the other, and closed in the order of the list; the probes outlive all parts."""
        story = Story()

        async def last_words(stop: asyncio.Event) -> None:
            await stop.wait()
            story.told.append(f"/livez answers {(await get(probes, '/livez'))[0]}")

        service = story.service(story.part("first"), story.part("second"), story.part("third", run=last_words))
        async with running(service) as probes:
            service.stop("enough")

            async def closed() -> bool:
                return story.told[-1:] == ["third is closed"]

            await await_for(closed)
        assert story.told == [
            "first runs",
            "second runs",
            "first ends",
            "second ends",
            "/livez answers 200",
            "first is closed",
            "second is closed",
            "third is closed",
        ]
        assert [type(fact) for fact in story.facts] == [Started, Stopping, Stopped]

    async def test_the_start_says_what_runs(self) -> None:
        """Version, database and source, and never the password."""
        story = Story()
        async with running(story.service()):
            pass
        started = story.facts[0]
        assert isinstance(started, Started)
        assert (started.database, started.host, started.source) == ("app", "db.example:5433", "postgres")
        assert started.version
        assert "secret" not in str(started)

    async def test_the_next_is_told_when_the_one_before_has_ended(self) -> None:
        """Until then it goes on with its work."""
        story = Story()
        drained = asyncio.Event()

        async def slow(stop: asyncio.Event) -> None:
            await stop.wait()
            story.told.append("slow is told")
            await drained.wait()

        service = story.service(story.part("slow", run=slow), story.part("next"))
        async with running(service):
            service.stop("enough")

            async def told() -> bool:
                return "slow is told" in story.told

            await await_for(told)
            assert "next ends" not in story.told
            drained.set()
        assert "next ends" in story.told

    async def test_a_rest_ends_when_the_part_is_told_to_stop(self) -> None:
        """One that does not end with the event is ended by the part's `wake`."""
        woken = asyncio.Event()

        async def resting(stop: asyncio.Event) -> None:
            while not stop.is_set():
                await woken.wait()

        story = Story()
        async with asyncio.timeout(60), running(story.service(story.part("rests", run=resting, wake=woken.set))):
            pass

    async def test_the_log_cannot_be_written(self) -> None:
        """Its reader has gone: the service stops all the same at the first signal."""
        story = Story()

        def gone(fact: Fact) -> None:
            if isinstance(fact, Stopping):
                raise BrokenPipeError

        story.observers.add(gone)
        service = story.service(story.part("tide"))
        async with running(service):
            with pytest.raises(BrokenPipeError):
                service.stop("enough")
        assert "tide ends" in story.told

    async def test_late_ones_share_one_grace(self) -> None:
        """Those that are not done within `shutdown_grace` are cancelled; the later ones have no grace of their own."""
        story = Story()

        def deaf(loop: str) -> Callable[[asyncio.Event], Coroutine[Any, Any, None]]:
            async def run(stop: asyncio.Event) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    story.told.append(f"{loop} is cancelled, {'told' if stop.is_set() else 'untold'}")

            return run

        parts = [story.part(loop, run=deaf(loop)) for loop in ("one", "two", "three")]
        service = story.service(*parts, shutdown_grace=0.2)
        began = asyncio.get_running_loop().time()
        async with running(service):
            pass
        assert story.told[:3] == [f"{loop} is cancelled, told" for loop in ("one", "two", "three")]
        assert asyncio.get_running_loop().time() - began < 30

    async def test_a_port_that_is_taken(self) -> None:
        """Is reported before any part runs."""
        story = Story()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            service = story.service(story.part("tide"), http_port=taken.getsockname()[1])
            with pytest.raises(Misconfigured, match="cannot listen"):
                await service.run()
        assert story.told == []
        assert story.facts == []

    @pytest.mark.parametrize("nested", [False, True])
    async def test_a_part_that_cannot_go_on(self, nested: bool) -> None:
        """Its error ends the service, as itself, also when the part has run it in a group of its own."""

        async def fails(stop: asyncio.Event) -> None:
            if not nested:
                raise Fatal("ebb")
            async with asyncio.TaskGroup() as group:
                group.create_task(fails_at_once())

        async def fails_at_once() -> None:
            raise Fatal("ebb")

        story = Story()
        service = story.service(story.part("tide", run=fails), story.part("other"))
        with pytest.raises(Fatal, match="ebb"):
            await service.run()
        assert story.told[-2:] == ["tide is closed", "other is closed"]

    @pytest.mark.parametrize(
        ("settings", "loops"),
        [
            ({}, ["listener", "hot", "sweep", "intake", "sampler"]),
            ({"source": "kafka", "kafka_bootstrap_servers": "b:1"}, ["kafka", "sweep", "intake", "sampler"]),
            ({"gateway": True}, ["gateway", "listener", "hot", "sweep", "intake", "sampler"]),
        ],
    )
    def test_of_the_parts_that_there_are(self, settings: dict[str, Any], loops: list[str]) -> None:
        """What accepts work from outside comes first, so that it stops first."""
        given = Settings(database_url=SecretStr("dbname=app"), **settings)
        parts = Assembly(given, observer=lambda fact: None, clock=SystemClock()).parts()
        assert [part.loop for part in parts] == loops
        bring = {"gateway", "hot", "kafka"}
        assert [part.loop for part in parts if part.brings_events] == [loop for loop in loops if loop in bring]


def sinks(service: Service) -> list[Observer]:
    """What hears of its facts."""
    assert isinstance(service.observe, Observers)
    return service.observe._sinks


@pytest.mark.parametrize("ops", [True, False])
def test_only_pages_need_an_observer_that_remembers(ops: bool) -> None:
    """Without them there is neither one nor a log that is kept for them; a log that is written is kept for both."""
    settings = Settings(database_url=SecretStr("dbname=app"), ops=ops)
    kinds = [type(sink) for sink in sinks(build(settings))]
    assert (kinds.count(Live), kinds.count(Log)) == (ops, ops)
    kinds = [type(sink) for sink in sinks(build(settings, log=logged(settings)))]
    assert (kinds.count(Live), kinds.count(Log)) == (ops, 1)


def test_as_many_files_as_may_be() -> None:
    """The soft limit of open files becomes the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestUntilStopped:
    async def test_ends_what_only_a_cancel_ends(self) -> None:
        """And only when it is told to."""
        ended = asyncio.Event()
        stop = asyncio.Event()

        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        task = asyncio.create_task(until_stopped(stop, endless()))
        await asyncio.sleep(0)
        assert not ended.is_set()
        stop.set()
        await task
        assert ended.is_set()

    async def test_an_error_gets_through(self) -> None:
        """It is not kept until the stop."""

        async def fails() -> None:
            raise Fatal("ebb")

        with pytest.raises(Fatal):
            await until_stopped(asyncio.Event(), fails())
