"""Facts as OpenTelemetry's spans: deliveries, polls, calls and sweeps.

Numbers, providers, paths and what things are called in the configuration; nothing of a body, and nobody's name or id.
Names and attributes are those of OpenTelemetry's semantic conventions where they have one. An operation that is tried
again, or has set something aside, has not failed by them: only what did not do its work is an error.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from consumer.domain.facts import (
    BatchRouted,
    BatchTooSlow,
    EventTooSlow,
    Fact,
    LoopFailed,
    Started,
    Stopped,
    Stopping,
    SweepFinished,
)
from consumer.domain.intake_facts import DeliveriesTaken, DeliveryTurnedDown, Outcome, Post, WaitingSwept
from consumer.domain.kafka_facts import GroupJoined, RecordDeadLettered, RecordsDone, RecordsRead
from consumer.domain.routing import Path
from consumer.ports import PartInfo

MOST: Final = 128
"""Links of a span, and calls that are kept for the span of their sweep."""
FLUSH_WITHIN: Final = 2.0
"""Seconds that a stop waits for the last spans to be sent."""
_STATUS: Final = {Outcome.TAKEN: 200, Outcome.DEFERRED: 200, Outcome.SIGNATURE: 401}
Attributes = Mapping[str, AttributeValue]
_DATABASE: Final[Attributes] = {"db.system.name": "postgresql"}
_KAFKA: Final[Attributes] = {"messaging.system": "kafka"}
_Call = tuple[BatchRouted | BatchTooSlow | EventTooSlow, int]
"""What became of a call, and when it was told."""


def made(
    exporters: Sequence[Literal["otlp", "console"]], *, parts: Iterable[PartInfo], version: str, grace: float
) -> "Spans":
    """A sink whose spans go there; a thread sends them. OpenTelemetry reads the rest of its variables by itself.

    Raises:
        Exception: one of them has a value that it does not take.
    """
    ours = {
        "service.name": "webhook-router",
        "service.version": version,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    resource = Resource.create(ours | dict(OTELResourceDetector().detect().attributes))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in exporters:
        exporter: SpanExporter = OTLPSpanExporter() if name == "otlp" else ConsoleSpanExporter(formatter=_line)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Spans(provider, parts=parts, version=version, grace=grace)


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


class Spans:
    """An observer that makes spans of facts, after the fact: each ends now, and began as long ago as it took.

    Facts are told in the order in which things happen: what a call has routed right after what it has taken, and what a
    poll has brought before what becomes of it. So one that follows another becomes its child.
    """

    def __init__(
        self,
        provider: TracerProvider,
        *,
        parts: Iterable[PartInfo],
        version: str,
        grace: float,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """`grace`: seconds that a stop may take, all in all; `now` tells nanoseconds since the beginning of 1970."""
        self._provider = provider
        self._tracer = provider.get_tracer("webhook-router", version)
        self._paths = {part.loop: part.path for part in parts}
        self._grace = grace
        self._now = now
        self._stopping: float | None = None
        self._database = _DATABASE
        self._group: Attributes = {}
        self._taken: tuple[Path, Context] | None = None
        """The call that the fact before this one was about."""
        self._polled: Span | None = None
        """Records that have been read, and are not done yet."""
        self._swept: list[_Call] = []
        """Calls of the sweep under way: its span is made when it has ended, since nothing tells that it begins."""

    def __call__(self, fact: Fact) -> None:  # noqa: C901, PLR0912 - one arm per fact is the point
        taken, self._taken = self._taken, None
        match fact:
            case BatchRouted() | BatchTooSlow() | EventTooSlow():
                self._called(fact, taken)
            case DeliveriesTaken(path=Path() as path):
                self._taken = path, self._took(fact, path)
            case DeliveryTurnedDown(post=Post() as post):
                self._answered(post, self._now())
            case SweepFinished():
                self._sweep(fact.seconds, found=fact.found, due=fact.due, held=fact.held)
            case RecordsRead():
                self._read(fact)
            case RecordsDone():
                self._done(fact)
            case RecordDeadLettered():
                self._dead_letter(fact)
            case WaitingSwept():
                self._waiting(fact)
            case LoopFailed(loop=loop):
                self._failed(self._paths.get(loop))
            case GroupJoined(group=group):
                self._group = {"messaging.consumer.group.name": group}
            case Started(database=database):
                self._database = {**_DATABASE, "db.namespace": database}
            case Stopping():
                self._stopping = time.monotonic()
            case Stopped():
                self._give_up("stopped")
            case _:
                pass

    async def close(self) -> None:
        """Sends what is left, for as long as a stop may still take, and not for long; never raises.

        In a thread of its own that the process does not wait for: nothing bounds how long a collector takes.
        """
        waited = 0.0 if self._stopping is None else time.monotonic() - self._stopping
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            with contextlib.suppress(Exception):
                self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), min(FLUSH_WITHIN, max(self._grace - waited, 0.0)))

    def _called(self, fact: BatchRouted | BatchTooSlow | EventTooSlow, taken: tuple[Path, Context] | None) -> None:
        now = self._now()
        if fact.path is Path.SWEEP and len(self._swept) < MOST:
            self._swept.append((fact, now))
        elif taken is not None and taken[0] is fact.path:
            self._call(fact, now, taken[1])
        else:
            self._call(fact, now, self._poll() if fact.path is Path.KAFKA else None)
        if isinstance(fact, BatchTooSlow) and fact.path is Path.KAFKA:
            self._give_up("timeout")

    def _call(self, fact: BatchRouted | BatchTooSlow | EventTooSlow, at: int, parent: Context | None) -> None:
        """A routing call, under what it is a part of."""
        seconds = fact.batch.seconds if isinstance(fact, BatchRouted) else 0.0
        span = self._tracer.start_span(
            f"route {fact.path}",
            context=parent or Context(),
            kind=SpanKind.CLIENT,
            attributes={**self._database, "webhook_router.path": fact.path.value},
            start_time=_before(at, seconds),
        )
        if span.is_recording():
            match fact:
                case BatchRouted(batch=batch):
                    span.set_attributes(
                        {
                            "webhook_router.claimed": batch.claimed,
                            "webhook_router.routed": batch.routed,
                            "webhook_router.inserted": batch.inserted,
                            "webhook_router.parked": batch.parked,
                            "webhook_router.dead": batch.dead,
                            "webhook_router.held": batch.held,
                            "webhook_router.oldest_seconds": max(batch.ages, default=0.0),
                        }
                    )
                    if batch.parked:
                        span.add_event("events parked", {"webhook_router.parked": batch.parked}, at)
                    if batch.held:
                        _fails(span, "held", batch.held_reason)
                case BatchTooSlow(limit=limit):
                    span.add_event("too slow, going on with smaller calls", {"webhook_router.limit": limit}, at)
                    _fails(span, "timeout")
                case EventTooSlow():
                    span.add_event("an event too slow all alone was parked", timestamp=at)
                    _fails(span, "timeout")
        span.end(at)

    def _took(self, fact: DeliveriesTaken, path: Path) -> Context:
        """A call that has taken deliveries, and the POSTs that it has answered.

        The only one it was made for is its parent. Several share it: they are linked, both ways.
        """
        now = self._now()
        posts = [self._begun(post, now) for post in fact.posts]
        if path is Path.KAFKA:
            parent = self._poll()
        else:
            parent = set_span_in_context(posts[0], Context()) if len(posts) == 1 else None
        call = self._tracer.start_span(
            "take deliveries",
            context=parent or Context(),
            kind=SpanKind.CLIENT,
            attributes={**self._database, "webhook_router.path": path.value},
            links=[] if len(posts) == 1 else _links(post.get_span_context() for post in posts),
            start_time=_before(now, fact.seconds),
        )
        if call.is_recording():
            became = Counter[str]()
            for (_, outcome), count in fact.effects.items():
                became[outcome] += count
            call.set_attributes({f"webhook_router.effects.{outcome}": count for outcome, count in became.items()})
            call.set_attributes(
                {
                    "webhook_router.deliveries": sum(fact.answered.values()),
                    "webhook_router.failed": sum(fact.failed.values()),
                }
            )
        for post in posts:
            if len(posts) > 1:
                for link in _links([call.get_span_context()]):
                    post.add_link(link.context)
            post.end(now)
        call.end(now)
        return set_span_in_context(call, Context())

    def _answered(self, post: Post, now: int) -> None:
        self._begun(post, now).end(now)

    def _begun(self, post: Post, now: int) -> Span:
        """A POST, in the trace that its sender has begun."""
        route = f"/webhooks/{post.provider}"
        status = _STATUS.get(post.outcome, 503)
        sender = _context_of(post.trace)
        span = self._tracer.start_span(
            f"POST {route}",
            context=Context() if sender is None else _under(sender),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "http.response.status_code": status,
                "url.path": route,
                "url.scheme": "http",
                "webhook_router.provider": post.provider,
                "webhook_router.outcome": post.outcome.value,
            },
            start_time=_before(now, post.seconds),
        )
        if status >= 500:  # the sender is to blame for others
            _fails(span, str(status))
        return span

    def _sweep(self, seconds: float, *, error: str | None = None, **counts: int) -> None:
        now, calls = self._now(), self._swept
        self._swept = []
        span = self._tracer.start_span(
            "sweep",
            context=Context(),
            attributes={f"webhook_router.{name}": count for name, count in counts.items()},
            start_time=_before(now, seconds),
        )
        for call, at in calls:
            self._call(call, at, set_span_in_context(span, Context()))
        if error is not None:
            _fails(span, error)
        span.end(now)

    def _waiting(self, fact: WaitingSwept) -> None:
        now = self._now()
        attributes = {
            **self._database,
            "webhook_router.effects.applied": fact.applied,
            "webhook_router.effects.expired": fact.expired,
        }
        span = self._tracer.start_span(
            "sweep waiting",
            context=Context(),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=_before(now, fact.seconds),
        )
        span.end(now)

    def _failed(self, path: Path | None) -> None:
        """A loop could not do its work: what it was about has ended, or begins anew."""
        if path is Path.KAFKA:
            self._give_up("failed")
        elif path is Path.SWEEP and self._swept:
            fact, at = self._swept[0]
            took = fact.batch.seconds if isinstance(fact, BatchRouted) else 0.0
            self._sweep((self._now() - at) / 1e9 + took, error="failed")

    def _read(self, fact: RecordsRead) -> None:
        count = sum(fact.counts.values())
        if not count:
            return
        self._give_up("rewound")
        topics = {partition.topic for partition in fact.counts}
        topic = next(iter(topics)) if len(topics) == 1 else None
        self._polled = self._tracer.start_span(
            "process" if topic is None else f"process {topic}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={
                **_KAFKA,
                **self._group,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.batch.message_count": count,
                **({} if topic is None else {"messaging.destination.name": topic}),
            },
            start_time=self._now(),
        )

    def _done(self, fact: RecordsDone) -> None:
        span, self._polled = self._polled, None
        if span is None:
            return
        if span.is_recording():
            for _, _, trace in fact.traces[:MOST]:
                sender = _context_of(trace)
                if sender is not None:
                    span.add_link(sender)
            span.set_attributes(
                {
                    "webhook_router.skipped": sum(fact.skipped.values()),
                    "webhook_router.flawed": sum(fact.flawed.values()),
                    "webhook_router.repeated": fact.repeated,
                    "webhook_router.oldest_seconds": max(map(max, filter(None, fact.ages.values())), default=0.0),
                }
            )
        span.end(self._now())

    def _dead_letter(self, fact: RecordDeadLettered) -> None:
        """In the trace of the record, if it is in one: whoever looks for it there sees what has become of it."""
        now, sender = self._now(), _context_of(fact.trace)
        span = self._tracer.start_span(
            "dead letter",
            attributes={**_KAFKA, "messaging.operation.name": "send", "messaging.operation.type": "send"},
            context=Context() if sender is None else _under(sender),
            kind=SpanKind.PRODUCER,
            start_time=now,
        )
        _fails(span, fact.flawed.flaw.value)
        span.end(now)

    def _poll(self) -> Context | None:
        """What a call for records is a part of."""
        return None if self._polled is None else set_span_in_context(self._polled, Context())

    def _give_up(self, error: str) -> None:
        """Records that have been read are read again."""
        if self._polled is not None:
            _fails(self._polled, error)
            self._polled.end(self._now())
            self._polled = None


def _before(now: int, seconds: float) -> int:
    return now - int(seconds * 1e9)


def _fails(span: Span, error: str, words: str | None = None) -> None:
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR, words)


def _links(contexts: Iterable[SpanContext]) -> Sequence[Link]:
    """To those that are sent: a link to another leads nowhere."""
    return [Link(context) for context in itertools.islice(contexts, MOST) if context.trace_flags.sampled]


def _under(sender: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(sender), Context())


def _context_of(trace: str | None) -> SpanContext | None:
    """What a traceparent names; None if it is none, or is of a version that means something else by it."""
    if trace is None or trace.startswith("ff"):
        return None
    _, trace_id, span_id, flags = trace.split("-")
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return context if context.is_valid else None
