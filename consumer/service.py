"""The composition root: builds the parts, runs their loops in one task group, stops them in order."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from consumer.adapters.clock import SystemClock
from consumer.adapters.kafka.source import KafkaSource
from consumer.adapters.postgres.connection import with_defaults
from consumer.adapters.postgres.listener import Listener
from consumer.adapters.postgres.record_store import PostgresRecordStore
from consumer.adapters.postgres.store import PostgresStore
from consumer.adapters.pulse import Pulse
from consumer.adapters.telemetry.log import Log
from consumer.adapters.telemetry.metrics import Metrics
from consumer.adapters.web.server import HttpServer
from consumer.config import Settings
from consumer.domain.backoff import Backoff
from consumer.domain.errors import Fatal
from consumer.domain.facts import Fact, Loop, Started, Stopped, Stopping
from consumer.domain.routing import NOW
from consumer.pipeline.health import Health
from consumer.pipeline.hot_path import HotPath, HotPathSettings
from consumer.pipeline.kafka_loop import KafkaLoop, KafkaLoopSettings
from consumer.pipeline.pacing import Signal, Watermark
from consumer.pipeline.reconciler import Reconciler, ReconcilerSettings
from consumer.pipeline.sampler import Sampler
from consumer.pipeline.watchdog import Watchdog
from consumer.ports import Observer


class Closing(Protocol):
    """What must be closed in the end."""

    async def close(self) -> None:
        """Never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What brings events to be routed: one source, ready to run."""

    loop: Loop
    rest: float
    """Seconds that the loop sleeps at most on purpose."""
    run: Callable[[asyncio.Event, Backoff], Coroutine[Any, Any, None]]
    """Until told to stop; what is under way is finished."""
    listen: Sequence[Callable[[Backoff], Coroutine[Any, Any, None]]] = ()
    """Until cancelled."""
    closing: Sequence[Closing]


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
        conninfo = with_defaults(settings.database())  # checks it as well, before anything is started
        watermark = Watermark()
        backoff = Backoff()
        trigger = (
            self._kafka(conninfo, watermark) if settings.source == "kafka" else self._postgres(conninfo, watermark)
        )
        stores = [PostgresStore(conninfo, call_timeout=settings.call_timeout) for _ in range(2)]
        reconciler = Reconciler(
            store=stores[0],
            wake=self._sweep_now,
            watermark=watermark,
            observer=self.observe,
            clock=self._clock,
            settings=ReconcilerSettings(
                interval=settings.reconcile_interval, batch_size=settings.batch_size, margin=settings.overlap
            ),
        )
        sampler = Sampler(store=stores[1], observer=self.observe, clock=self._clock, interval=settings.sample_interval)
        http = HttpServer(
            host=settings.http_host,
            port=settings.http_port,
            problems=self.health.stalled,
            ready=self.health.ready,
            metrics=self.metrics.render,
        )
        self.health.expect({trigger.loop: trigger.rest, Loop.SWEEP: settings.reconcile_interval * 1.1})
        pulse = Pulse(patience=settings.stall_after, last_resort=end_at_once)
        watchdog = Watchdog(
            watched=self.health,
            clock=self._clock,
            stall_after=settings.stall_after,
            beat=pulse.beat,
            last_resort=end_at_once,
        )
        self.address = await http.start()
        try:
            pulse.start()  # before the first line: nobody may be reading the log
            self.observe(Started(address=self.address, source=settings.source))
            async with asyncio.TaskGroup() as group:
                aside = [
                    group.create_task(watchdog.run(), name="watchdog"),
                    *(group.create_task(listen(backoff), name="listener") for listen in trigger.listen),
                ]
                working = [
                    group.create_task(trigger.run(self._stop, backoff), name=trigger.loop),
                    group.create_task(reconciler.run(self._stop, backoff), name="reconciler"),
                    group.create_task(sampler.run(self._stop, backoff), name="sampler"),
                ]
                await self._stop.wait()
                pulse.stop()
                for task in aside:
                    task.cancel()
                _, late = await asyncio.wait(working, timeout=settings.shutdown_grace)
                for task in late:  # the database rolls its transaction back: nothing is lost, another one routes it
                    task.cancel()
        except BaseExceptionGroup as several:
            fatal, others = several.split(Fatal)
            if fatal is None or others is not None:
                raise
            raise fatal.exceptions[0] from None
        finally:
            pulse.stop()
            for closing in (*trigger.closing, *stores):
                with contextlib.suppress(Exception):
                    await closing.close()
            await http.stop()
            self.observe(Stopped())

    def _postgres(self, conninfo: str, watermark: Watermark) -> Trigger:
        """Woken by notifications of the database; follows the order of arrival."""
        settings = self._settings
        stores = [PostgresStore(conninfo, call_timeout=settings.call_timeout) for _ in range(settings.lanes)]
        hot = HotPath(
            stores=stores,
            wake=self._wake,
            watermark=watermark,
            observer=self.observe,
            clock=self._clock,
            settings=HotPathSettings(
                batch_size=settings.batch_size, overlap=settings.overlap, poll_interval=settings.poll_interval
            ),
        )

        def listening(*, works: bool) -> None:
            # A notification that gets through shows as well that there is no transaction pooler in between.
            for store in stores:
                store.keep_statements(keep=works)
            hot.doorbell(works=works)

        def on_up() -> None:
            listening(works=True)
            self._sweep_now.ring()  # for what came while nobody listened

        listener = Listener(
            conninfo,
            ring=self._wake.ring,
            on_up=on_up,
            on_down=lambda: listening(works=False),
            observer=self.observe,
            clock=self._clock,
        )
        return Trigger(loop=Loop.HOT, rest=settings.poll_interval, run=hot.run, listen=[listener.run], closing=stores)

    def _kafka(self, conninfo: str, watermark: Watermark) -> Trigger:
        """Fed by topics. Nobody follows the order of arrival, so the sweep takes all that is not of this moment."""
        settings = self._settings
        watermark.cursor = NOW
        connection, options = settings.kafka()
        source = KafkaSource(connection, options, observer=self.observe, clock=self._clock)
        stores = [PostgresRecordStore(conninfo, call_timeout=settings.call_timeout) for _ in range(settings.lanes)]
        kafka_loop = KafkaLoop(
            source=source,
            stores=stores,
            observer=self.observe,
            clock=self._clock,
            settings=KafkaLoopSettings(batch_size=settings.kafka_batch_size, poll_timeout=settings.kafka_poll_timeout),
        )
        return Trigger(loop=Loop.KAFKA, rest=settings.kafka_poll_timeout, run=kafka_loop.run, closing=[source, *stores])


def end_at_once(message: str) -> NoReturn:
    """Ends the process although something in it will not end, be it that nobody reads what it writes."""
    with contextlib.suppress(OSError):
        os.set_blocking(2, False)
        os.write(2, f"webhook-router: {message}\n".encode())
    os._exit(1)


def logged(settings: Settings) -> Log:
    """The observer that writes the log."""
    return Log(summary_every=settings.summary_interval)
