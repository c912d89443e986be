"""The composition root: makes the parts of a service from the settings, runs them side by side, stops them in order."""

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import NoReturn

from consumer.adapters.bodies import BodyReader
from consumer.adapters.clock import SystemClock
from consumer.adapters.postgres.database_url import named, place_of, with_defaults
from consumer.adapters.postgres.delivery_store import PostgresDeliveryStore
from consumer.adapters.postgres.listener import Listener
from consumer.adapters.postgres.record_store import PostgresRecordStore
from consumer.adapters.postgres.retention_store import PostgresRetentionStore
from consumer.adapters.postgres.store import PostgresStore, replica_of, session_of
from consumer.adapters.telemetry.log import Log, line_of
from consumer.adapters.telemetry.metrics import Metrics
from consumer.adapters.telemetry.systemd import Systemd
from consumer.adapters.telemetry.tracing import from_environment as traces
from consumer.adapters.web.gateway import deliveries, turned_down
from consumer.adapters.web.probes import probes
from consumer.adapters.web.server import HttpListener, Limits, Route
from consumer.config import Settings
from consumer.domain.backoff import Backoff
from consumer.domain.errors import Fatal
from consumer.domain.facts import LISTENER, Fact, Started, Stopped, Stopping
from consumer.domain.intake_facts import Outcome
from consumer.domain.positions import Positions
from consumer.domain.retention import Rule
from consumer.domain.routing import NOW, Path
from consumer.pages import pages, watching
from consumer.pipeline import gateway, hot_path, intake, kafka_loop, reconciler, retention, sampler
from consumer.pipeline.bodies import Bodies
from consumer.pipeline.gateway import Gateway, GatewaySettings
from consumer.pipeline.health import Health
from consumer.pipeline.hot_path import HotPath, HotPathSettings
from consumer.pipeline.intake import IntakeLoop, IntakeSettings
from consumer.pipeline.kafka_loop import KafkaLoop, KafkaLoopSettings
from consumer.pipeline.overview import Live
from consumer.pipeline.pacing import Signal, Watermark
from consumer.pipeline.parts import Closing, Part, until_stopped
from consumer.pipeline.reconciler import Reconciler, ReconcilerSettings
from consumer.pipeline.retention import Retention, RetentionSettings
from consumer.pipeline.sampler import Sampler
from consumer.pipeline.watchdog import Watchdog
from consumer.ports import Clock, Observer

SHORT_POLL = 0.2
"""Seconds between looks at the table while nothing can ring."""
CONNECTIONS = 1024
"""Of providers and reverse proxies, at most."""
LOOK_EVERY = 30.0
"""Seconds between looks of an idle gateway at the database, at least."""
PRUNE_EVERY = 60.0
"""Seconds between looks for what was kept long enough, at least."""
INTAKE_EVERY = 5.0
"""Seconds between looks at what deliveries have left to be done, at least."""
NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


class Observers:
    """Hands each fact to every sink. Parts report to it before the sinks that need to know the parts are there."""

    def __init__(self) -> None:
        self._sinks: list[Observer] = []

    def add(self, *sinks: Observer) -> None:
        """From now on these hear of facts as well."""
        self._sinks += sinks

    def __call__(self, fact: Fact) -> None:
        for sink in self._sinks:
            sink(fact)


class Service:
    """Runs parts over one database. `run` it once; `stop` ends it in order.

    The parts start and stop in the order in which they are given: one that accepts work from outside comes before those
    that only work off what is there. The probes answer before the first part starts, and until the last one has ended.
    """

    def __init__(
        self,
        settings: Settings,
        parts: Sequence[Part],
        *,
        observers: Observers,
        clock: Clock,
        pages: Sequence[Route] = (),
    ) -> None:
        """`pages` are answered beside the probes."""
        assert len({part.loop for part in parts}) == len(parts), "each part has a name of its own"
        self.parts = tuple(parts)
        self.metrics = Metrics(parts)
        self.health = Health(parts, clock=clock, stall_after=settings.stall_after)
        self.observe = observers
        observers.add(self.metrics, self.health)
        self._settings = settings
        self._clock = clock
        self._stop = asyncio.Event()
        self._probes = HttpListener(
            host=settings.http_host,
            port=settings.http_port,
            routes=itertools.chain(
                probes(stalled=self.health.stalled, ready=self.health.ready, metrics=self.metrics.render),
                pages,  # which may be made later: they show what the service knows of itself
            ),
            advice="choose another with --http-host and --http-port (port 0 picks a free one)",
        )
        self.address = ""
        """Where the probes are answered, once the service runs."""
        self.gateway = ""
        """Where deliveries are taken, once it runs; empty: nowhere."""
        self.closing: list[Closing] = []
        """Sinks that are closed once the last fact has been told."""

    def stop(self, reason: str) -> None:
        """Ends the service: nothing new is taken, what is under way is finished."""
        if not self._stop.is_set():
            self._stop.set()  # first: writing the log fails if its reader has gone
            self.observe(Stopping(reason=reason))

    async def run(self) -> None:
        """Runs until stopped.

        Raises:
            Fatal: the configuration, the rights or the schema make routing impossible, or a part is stuck.
        """
        settings = self._settings
        host, database = place_of(settings.database())
        watchdog = Watchdog(
            watched=self.health, clock=self._clock, stall_after=settings.stall_after, last_resort=end_at_once
        )
        raise_file_limit()
        self.address = await self._probes.start()
        try:
            self.health.forgive()
            watchdog.start()  # before the first line: writing it blocks if the log is not read
            opened = [await part.opening() for part in self.parts if part.opening is not None]
            self.gateway = next(iter(opened), "")
            access = settings.access() if settings.gateway else {}
            self.observe(
                Started(
                    version=version("webhook-router"),
                    database=database,
                    host=host,
                    source=settings.source,
                    address=self.address,
                    gateway=self.gateway,
                    providers=tuple(sorted(access)),
                    refusing=tuple(sorted(name for name, known in access.items() if not known.has_secret)),
                )
            )
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watchdog.verdict(), name="watchdog")
                running = [self._start(part, group) for part in self.parts]
                await self._stop.wait()
                watchdog.stop()
                watching.cancel()
                await self._drain(running)
        except BaseExceptionGroup as several:
            fatal, others = several.split(Fatal)
            if fatal is None or others is not None:
                raise
            raise _first(fatal) from None
        finally:
            for part in self.parts:
                for closing in part.closing:
                    with contextlib.suppress(Exception):
                        await closing.close()
            await self._probes.stop()
            watchdog.stop()
            self.observe(Stopped())
            for closing in self.closing:
                await closing.close()

    def _start(self, part: Part, group: asyncio.TaskGroup) -> tuple[Part, asyncio.Event, asyncio.Task[None]]:
        stop = asyncio.Event()
        return part, stop, group.create_task(part.run(stop), name=part.loop)

    async def _drain(self, running: Sequence[tuple[Part, asyncio.Event, asyncio.Task[None]]]) -> None:
        """Ends one part after the other. What is late is cancelled: the database rolls its transaction back, so nothing
        is lost, and another process routes it."""
        deadline = self._clock.monotonic() + self._settings.shutdown_grace
        for part, stop, task in running:
            stop.set()
            part.wake()
            await asyncio.wait([task], timeout=max(deadline - self._clock.monotonic(), 0))
            task.cancel()


def build(
    settings: Settings,
    *,
    log: Log | None = None,
    observers: Sequence[Observer] = (),
    environment: Mapping[str, str] = NO_ENVIRONMENT,
) -> Service:
    """The service that the settings describe.

    Args:
        settings: see `Settings`.
        log: what writes its lines; None: nothing is written.
        observers: sinks besides metrics and health.
        environment: where systemd, if it has started this process, says how to reach it, and where OpenTelemetry's
            variables are.

    Raises:
        Misconfigured: the database URL is none, or Kafka's settings do not go together.
    """
    clock, facts = SystemClock(), Observers()
    live: Live | None = None

    def watched() -> bool:
        return live is not None and live.is_watched()

    assembly = Assembly(settings, observer=facts, clock=clock, watched=watched)
    parts = assembly.parts()
    routes: list[Route] = []
    service = Service(settings, parts, observers=facts, clock=clock, pages=routes)
    if settings.ops:
        log = log or Log(summary_every=settings.summary_interval, writes=False)
        live = watching(settings, service.health, log)
        facts.add(live)
        routes += pages(settings, live, retried=assembly.sweep_soon, observer=facts)
    facts.add(*([log] if log else []), *observers)
    systemd = Systemd.from_environment(environment, parts=parts, stalled=service.health.stalled, clock=clock)
    if systemd is not None:
        facts.add(systemd)
    spans = traces(environment, parts=parts, version=version("webhook-router"), grace=settings.shutdown_grace)
    if spans is not None:
        facts.add(spans)
        service.closing.append(spans)
    return service


class Assembly:
    """Makes the parts that the settings ask for."""

    def __init__(
        self, settings: Settings, *, observer: Observer, clock: Clock, watched: Callable[[], bool] = lambda: False
    ) -> None:
        """`watched`: whether somebody looks at the overview."""
        self._settings = settings
        self._watched = watched
        self._observer = observer
        self._clock = clock
        self._conninfo = with_defaults(settings.database())  # checks it as well, before anything is started
        self._watermark = Watermark()
        self._sweep_now = Signal()
        self._backoff = Backoff()
        self._reader = BodyReader(settings.own_app_ids())
        self._deferred = Signal()
        self._direct: list[PostgresDeliveryStore | PostgresStore] = []
        """Stores whose statements may be kept while a connection is a session of the server."""
        self._sweep_store = self._store(Path.SWEEP)
        # The sweep is up to a tenth early.
        self._sweep_every = max(settings.reconcile_interval, settings.apart / 0.9)
        self._sweeping = Reconciler(
            store=self._sweep_store,
            wake=self._sweep_now,
            watermark=self._watermark,
            observer=observer,
            clock=clock,
            settings=ReconcilerSettings(
                interval=self._sweep_every, batch_size=settings.batch_size, margin=settings.overlap
            ),
        )

    def parts(self) -> list[Part]:
        """What brings events, then what works off the tables."""
        entrance = [self._gateway()] if self._settings.gateway else []
        triggers = self._kafka() if self._settings.source == "kafka" else self._postgres()
        rules = self._settings.retention()
        pruning = [self._retention(rules)] if rules else []
        return [*entrance, *triggers, self._sweep(), self._intake(), *pruning, self._sample()]

    def sweep_soon(self) -> None:
        """Parked events have become due."""
        self._sweeping.hint()

    def _gateway(self) -> Part:
        """Fed by providers."""
        settings = self._settings
        access = settings.access()
        store, storing = (PostgresDeliveryStore(self._conninfo, call_timeout=settings.call_timeout) for _ in range(2))
        self._direct.append(store)

        async def take(provider: str, account: str | None, body: bytes, trace: str | None) -> Outcome:
            return await receiving.take(provider, account, body, trace)

        listener = HttpListener(
            host=settings.gateway_host,
            port=settings.gateway_port,
            routes=deliveries(access, take=take, observer=self._observer),
            advice="choose another with --gateway-host and --gateway-port (port 0 picks a free one)",
            limits=Limits(
                most=CONNECTIONS,
                patience=30.0,
                idle=75.0,
                stop_within=min(5.0, settings.shutdown_grace / 2),
                body=settings.gateway_max_body_bytes,
            ),
            turned_down=turned_down(self._observer),
        )
        receiving = Gateway(
            entrance=listener,
            store=store,
            storing=storing,
            read=self._reader.prepare,
            deferred=self._deferred.ring,
            observer=self._observer,
            clock=self._clock,
            settings=GatewaySettings(
                providers=frozenset(access),
                most=settings.gateway_max_in_flight,
                look_every=max(LOOK_EVERY, settings.apart),
            ),
        )
        return Part(
            loop=gateway.LOOP,
            path=Path.GATEWAY,
            longest_rest=max(LOOK_EVERY, settings.apart),
            brings_events=True,
            opening=receiving.start,
            run=receiving.run,
            closing=[receiving],
        )

    def _intake(self) -> Part:
        """Has take effect what deliveries, however they came, have left to be done."""
        settings = self._settings
        limit = settings.call_timeout  # one large delivery is one call, which may take longer
        store = PostgresDeliveryStore(
            self._conninfo,
            call_timeout=max(limit, min(6 * limit, settings.stall_after / 2)),
            path=Path.INTAKE,
        )
        interval = max(INTAKE_EVERY, settings.apart)
        loop = IntakeLoop(
            store=store,
            read=self._reader.read,
            wake=self._deferred,
            observer=self._observer,
            clock=self._clock,
            settings=IntakeSettings(
                interval=interval,
                keep_days=settings.keep_deliveries,
                sample_every=max(settings.sample_interval, settings.apart),
            ),
        )
        return Part(
            loop=intake.LOOP,
            path=Path.INTAKE,
            longest_rest=interval,
            run=lambda stop: loop.run(stop, self._backoff),
            wake=self._deferred.ring,
            closing=[store],
        )

    def _postgres(self) -> list[Part]:
        """Woken by notifications of the database; follows the order of arrival."""
        settings, wake = self._settings, Signal()
        stores = [self._store(Path.HOT) for _ in range(settings.lanes)]
        self._direct += stores
        hot = HotPath(
            stores=stores,
            wake=wake,
            watermark=self._watermark,
            observer=self._observer,
            clock=self._clock,
            settings=HotPathSettings(
                batch_size=settings.batch_size,
                overlap=settings.overlap,
                poll_interval=settings.poll_interval,
                poll_interval_without_doorbell=max(SHORT_POLL, settings.apart),
            ),
            missed=self._sweeping.hint,
        )

        def listening(*, works: bool, rings: bool) -> None:
            # A notification that gets through also shows that there is no transaction pooler in between.
            for store in self._direct:
                store.keep_statements(keep=works)
            hot.doorbell(works=rings)

        def on_up(rings: bool) -> None:  # noqa: FBT001 - as the listener calls it
            listening(works=True, rings=rings)
            self._sweep_now.ring()  # for what came while notifications did not arrive
            hot.again()
            self._sweeping.again()

        listener = Listener(
            self._conninfo,
            ring=wake.ring,
            on_up=on_up,
            on_down=lambda: listening(works=False, rings=False),
            observer=self._observer,
            clock=self._clock,
            apart=settings.apart,
        )
        return [
            Part(loop=LISTENER, run=lambda stop: until_stopped(stop, listener.run(self._backoff))),
            Part(
                loop=hot_path.LOOP,
                path=Path.HOT,
                longest_rest=settings.poll_interval,
                brings_events=True,
                run=lambda stop: hot.run(stop, self._backoff),
                wake=wake.ring,
                closing=stores,
            ),
        ]

    def _kafka(self) -> list[Part]:
        """Fed by topics. Nothing follows the order of arrival, so the sweep takes all that is not of this moment."""
        settings = self._settings
        self._watermark.cursor = NOW
        connection, options = settings.kafka()
        positions = Positions()
        stores = [
            PostgresRecordStore(self._conninfo, group=options.group_id, call_timeout=settings.call_timeout)
            for _ in range(settings.lanes)
        ]
        # Nobody else need load its driver.
        from consumer.adapters.kafka.source import KafkaSource  # noqa: PLC0415

        source = KafkaSource(
            connection,
            options,
            positions=positions,
            noted=stores[0].noted,
            observer=self._observer,
            clock=self._clock,
        )
        inbox = PostgresDeliveryStore(self._conninfo, call_timeout=settings.call_timeout, path=Path.KAFKA)
        loop = KafkaLoop(
            source=source,
            stores=stores,
            positions=positions,
            bodies=Bodies(store=inbox, read=self._reader.read, deferred=self._deferred.ring, observer=self._observer),
            observer=self._observer,
            clock=self._clock,
            settings=KafkaLoopSettings(batch_size=settings.kafka_batch_size, poll_timeout=settings.kafka_poll_timeout),
        )
        return [
            Part(
                loop=kafka_loop.LOOP,
                path=Path.KAFKA,
                longest_rest=settings.kafka_poll_timeout,
                brings_events=True,
                run=lambda stop: loop.run(stop, self._backoff),
                closing=[source, *stores, inbox],
            )
        ]

    def _sweep(self) -> Part:
        return Part(
            loop=reconciler.LOOP,
            path=Path.SWEEP,
            longest_rest=self._sweep_every * 1.1,
            needed=True,
            run=lambda stop: self._sweeping.run(stop, self._backoff),
            wake=self._sweep_now.ring,
            closing=[self._sweep_store],
        )

    def _retention(self, rules: Sequence[Rule]) -> Part:
        """Not watched: it rests for as long as a step takes, nine times over, and routing does not depend on it."""
        store = PostgresRetentionStore(self._conninfo, call_timeout=self._settings.call_timeout)
        loop = Retention(
            store=store,
            rules=rules,
            observer=self._observer,
            clock=self._clock,
            settings=RetentionSettings(interval=max(PRUNE_EVERY, self._settings.apart)),
        )
        return Part(loop=retention.LOOP, run=lambda stop: loop.run(stop, self._backoff), closing=[store])

    def _sample(self) -> Part:
        """Not watched: it rests for as long as a count takes, and routing does not depend on it.

        Its session bears the name of this process, for `webhook-router status`, which counts replicas by it.
        """
        known_as = session_of(replica_of(socket.gethostname(), os.getpid()), version("webhook-router"))
        store = PostgresStore(named(self._conninfo, known_as), call_timeout=self._settings.call_timeout)
        interval = max(self._settings.sample_interval, self._settings.apart)
        sampling = Sampler(
            store=store,
            observer=self._observer,
            clock=self._clock,
            interval=interval,
            waiting=self._sweeping.hint,
            looking=store,
            watched=self._watched,
        )
        return Part(loop=sampler.LOOP, run=lambda stop: sampling.run(stop, self._backoff), closing=[store])

    def _store(self, path: Path) -> PostgresStore:
        return PostgresStore(self._conninfo, call_timeout=self._settings.call_timeout, path=path)


def raise_file_limit() -> None:
    """Allows this process as many open files, connections among them, as the system lets it have."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS calls it unlimited, and refuses that number
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def end_at_once(message: str) -> NoReturn:
    """Ends the process although something in it will not end; the message is lost if standard error is not read."""
    with contextlib.suppress(OSError):
        os.set_blocking(2, False)
        os.write(2, f"{line_of(f'webhook-router: {message}')}\n".encode())
    os._exit(1)


def logged(settings: Settings) -> Log:
    """The observer that writes the log."""
    return Log(summary_every=settings.summary_interval)


def _first(errors: BaseExceptionGroup[Fatal]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
