"""The composition root: builds the parts, runs their loops in one task group, stops them in order."""

import asyncio
import contextlib
from collections.abc import Sequence

from consumer.adapters.clock import SystemClock
from consumer.adapters.http import HttpServer
from consumer.adapters.logs import Log
from consumer.adapters.postgres.listener import Listener
from consumer.adapters.postgres.store import PostgresStore
from consumer.adapters.prometheus import Metrics
from consumer.config import Settings
from consumer.domain.backoff import Backoff
from consumer.domain.errors import Fatal
from consumer.domain.observations import Fact, Loop, Started, Stopped, Stopping
from consumer.pipeline.health import Health
from consumer.pipeline.pacing import Signal, Watermark
from consumer.pipeline.reconciler import Reconciler, ReconcilerSettings
from consumer.pipeline.router import HotPath, HotPathSettings
from consumer.pipeline.sampler import Sampler
from consumer.ports import Observer


class Service:
    """The near-real-time service over one database. `run` it once; `stop` ends it in order."""

    def __init__(self, settings: Settings, *, observers: Sequence[Observer] = ()) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self.metrics = Metrics()
        self.health = Health(clock=self._clock, stall_after=settings.stall_after)
        self._observers: tuple[Observer, ...] = (self.metrics, self.health, *observers)
        self._stop = asyncio.Event()
        self._wake = Signal()
        self._sweep_now = Signal()
        self.address = ""
        """Where HTTP is answered, once the service runs."""

    def observe(self, fact: Fact) -> None:
        """Hands a fact to every sink."""
        for observer in self._observers:
            observer(fact)

    def stop(self, reason: str) -> None:
        """Ends the service: nothing new is taken, what is under way is finished."""
        if not self._stop.is_set():
            self.observe(Stopping(reason=reason))
            self._stop.set()
            self._wake.ring()
            self._sweep_now.ring()

    async def run(self) -> None:
        """Runs until stopped.

        Raises:
            Fatal: the configuration, the rights or the schema make routing impossible.
        """
        settings = self._settings
        conninfo = settings.database()
        watermark = Watermark()
        backoff = Backoff()
        stores = [PostgresStore(conninfo, call_timeout=settings.call_timeout) for _ in range(3)]
        hot = HotPath(
            store=stores[0],
            wake=self._wake,
            watermark=watermark,
            observer=self.observe,
            clock=self._clock,
            settings=HotPathSettings(
                batch_size=settings.batch_size, overlap=settings.overlap, poll_interval=settings.poll_interval
            ),
        )
        reconciler = Reconciler(
            store=stores[1],
            wake=self._sweep_now,
            watermark=watermark,
            observer=self.observe,
            clock=self._clock,
            settings=ReconcilerSettings(
                interval=settings.reconcile_interval, batch_size=settings.batch_size, margin=settings.overlap
            ),
        )
        sampler = Sampler(store=stores[2], observer=self.observe, clock=self._clock, interval=settings.sample_interval)

        def on_up() -> None:
            hot.doorbell(works=True)
            self._sweep_now.ring()  # for what came while nobody listened

        listener = Listener(
            conninfo,
            ring=self._wake.ring,
            on_up=on_up,
            on_down=lambda: hot.doorbell(works=False),
            observer=self.observe,
            clock=self._clock,
        )
        http = HttpServer(
            host=settings.http_host,
            port=settings.http_port,
            problems=self.health.stalled,
            ready=self.health.ready,
            metrics=self.metrics.render,
        )
        self.health.expect(Loop.HOT, Loop.SWEEP)
        self.address = await http.start()
        try:
            self.observe(Started(address=self.address, source=settings.source))
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(listener.run(backoff), name="listener")
                working = [
                    group.create_task(hot.run(self._stop, backoff), name="hot path"),
                    group.create_task(reconciler.run(self._stop, backoff), name="reconciler"),
                    group.create_task(sampler.run(self._stop, backoff), name="sampler"),
                ]
                await self._stop.wait()
                listening.cancel()
                _, late = await asyncio.wait(working, timeout=settings.shutdown_grace)
                for task in late:  # the database rolls its transaction back: nothing is lost, another one routes it
                    task.cancel()
        except BaseExceptionGroup as several:
            fatal, others = several.split(Fatal)
            if fatal is None or others is not None:
                raise
            raise fatal.exceptions[0] from None
        finally:
            for store in stores:
                with contextlib.suppress(Exception):
                    await store.close()
            await http.stop()
            self.observe(Stopped())


def logged(settings: Settings) -> Log:
    """The observer that writes the log."""
    return Log(summary_every=settings.summary_interval)
