"""Which variables have facts become spans, and which spans those are."""

import logging
import time
from collections import Counter
from collections.abc import Sequence

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from consumer.adapters.telemetry.spans import FLUSH_WITHIN, MOST, Spans
from consumer.adapters.telemetry.tracing import TELL_EVERY, FewLines, from_environment, wanted
from consumer.domain.facts import (
    BatchRouted,
    BatchTooSlow,
    EventTooSlow,
    Fact,
    LoopFailed,
    Notified,
    Started,
    Stopped,
    Stopping,
    SweepFinished,
)
from consumer.domain.intake_facts import DeliveriesTaken, DeliveryTurnedDown, Outcome, Post, WaitingSwept
from consumer.domain.kafka_facts import GroupJoined, RecordDeadLettered, RecordsDone, RecordsRead
from consumer.domain.lag import Partition
from consumer.domain.records import Flaw, Flawed
from consumer.domain.routing import NOW, Batch, Path
from consumer.pipeline.parts import Part, until_stopped

NANOSECONDS = 1_700_000_000_000_000_000
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def part(loop: str, path: Path) -> Part:
    """A loop of a service."""
    return Part(loop=loop, path=path, run=lambda stop: until_stopped(stop, stop_nothing()))


async def stop_nothing() -> None:
    """No work."""


PARTS = [part("sweep", Path.SWEEP), part("kafka", Path.KAFKA)]


def routed(path: Path, *, claimed: int = 3, parked: int = 0, held: int = 0, seconds: float = 0.25) -> BatchRouted:
    """A call."""
    done = claimed - parked - held
    batch = Batch(
        claimed=claimed,
        inserted=done,
        parked=parked,
        dead=0,
        channels=("telegram",) * done,
        ages=tuple(range(done)),
        reached=NOW,
        seconds=seconds,
        held=held,
        held_reason="42703: no such column" if held else None,
    )
    return BatchRouted(path=path, batch=batch)


def post(provider: str, outcome: Outcome = Outcome.TAKEN, trace: str | None = None, seconds: float = 0.5) -> Post:
    """A POST."""
    return Post(provider=provider, outcome=outcome, seconds=seconds, trace=trace)


def taken(*posts: Post, path: Path = Path.GATEWAY) -> DeliveriesTaken:
    """A call that has answered these."""
    answered = Counter((one.provider, one.outcome) for one in posts)
    return DeliveriesTaken(path=path, seconds=0.1, posts=posts, answered=answered, effects={("status", "applied"): 2})


def records(*traces: str, topic: str = "t") -> RecordsDone:
    """The end of a poll whose records have these traces."""
    where = Partition(topic, 0)
    told = tuple((where, offset, trace) for offset, trace in enumerate(traces))
    return RecordsDone(skipped={}, flawed={}, repeated=1, ages={topic: (0.5, 2.0)}, traces=told)


def spans_of(*facts: Fact) -> dict[str, ReadableSpan]:
    """What is made of facts, by name; each only once."""
    made = all_spans_of(*facts)
    found = {span.name: span for span in made}
    assert len(found) == len(made)
    return found


def all_spans_of(*facts: Fact) -> Sequence[ReadableSpan]:
    """The same, in the order in which they end."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sink = Spans(provider, parts=PARTS, version="1", grace=20.0, now=lambda: NANOSECONDS)
    for fact in facts:
        sink(fact)
    return exporter.get_finished_spans()


def took(span: ReadableSpan) -> float:
    """Seconds."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def attributes(span: ReadableSpan) -> dict[str, object]:
    """Those of ours and of the conventions."""
    return dict(span.attributes or {})


def is_under(child: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether one is the other's child."""
    return child.parent is not None and parent.context is not None and child.parent.span_id == parent.context.span_id


def linked(span: ReadableSpan) -> set[int]:
    """The spans that it is linked to."""
    return {link.context.span_id for link in span.links}


class TestFacts:
    def test_a_batch_says_what_became_of_its_events(self) -> None:
        """Parked ones have been dealt with; held ones have not, and the call has failed by them."""
        made = spans_of(
            Started(version="1", database="shop", host="db:5432", source="postgres", address="http://here"),
            routed(Path.HOT, claimed=5, parked=2),
            routed(Path.INTAKE, claimed=2, held=1),
        )
        hot, intake = made["route hot"], made["route intake"]
        assert (hot.kind, took(hot), hot.parent) == (SpanKind.CLIENT, 0.25, None)
        assert attributes(hot) == {
            "db.system.name": "postgresql",
            "db.namespace": "shop",
            "webhook_router.path": "hot",
            "webhook_router.claimed": 5,
            "webhook_router.routed": 3,
            "webhook_router.inserted": 3,
            "webhook_router.parked": 2,
            "webhook_router.dead": 0,
            "webhook_router.held": 0,
            "webhook_router.oldest_seconds": 2,
        }
        assert hot.status.status_code is StatusCode.UNSET
        assert [event.name for event in hot.events] == ["events parked"]
        assert intake.status.status_code is StatusCode.ERROR
        assert (intake.status.description, attributes(intake)["error.type"]) == ("42703: no such column", "held")

    def test_a_post_is_in_its_senders_trace_and_its_call_is_below_it(self) -> None:
        """From its beginning to its answer; what the call has routed comes right after it."""
        made = spans_of(taken(post("telegram", trace=TRACE)), routed(Path.GATEWAY))
        delivery, call, batch = made["POST /webhooks/telegram"], made["take deliveries"], made["route gateway"]
        assert (delivery.kind, took(delivery), took(call)) == (SpanKind.SERVER, 0.5, 0.1)
        assert delivery.context is not None
        assert delivery.parent is not None
        assert format_trace_id(delivery.context.trace_id) == "a" * 32
        assert (format_span_id(delivery.parent.span_id), delivery.parent.is_remote) == ("b" * 16, True)
        assert is_under(call, delivery)
        assert is_under(batch, call)
        assert not delivery.links
        assert not call.links
        assert attributes(delivery)["http.response.status_code"] == 200
        assert attributes(delivery)["webhook_router.outcome"] == "taken"
        assert attributes(call)["webhook_router.effects.applied"] == 2
        assert attributes(call)["webhook_router.deliveries"] == 1

    def test_posts_that_share_a_call_are_linked_with_it(self) -> None:
        """Both ways, and up to a bound; a batch that no call was told right before is no child of one."""
        many = [post("telegram")] * (MOST + 2)
        first, second, *_, call, batch, other = all_spans_of(
            taken(post("telegram", trace=TRACE), post("tiktok"), *many),
            routed(Path.GATEWAY),
            Notified(),
            routed(Path.GATEWAY),
        )
        assert call.context is not None
        assert call.parent is None
        assert is_under(batch, call)
        assert other.parent is None
        assert linked(first) == linked(second) == {call.context.span_id}
        assert first.context is not None
        assert second.context is not None
        assert {first.context.span_id, second.context.span_id} <= linked(call)
        assert len(call.links) == MOST

    def test_what_is_turned_down_is_our_error_only_if_it_is(self) -> None:
        """503, but not 401; what was no delivery has no span."""
        down = [
            DeliveryTurnedDown(provider=one.provider, outcome=one.outcome, post=one)
            for one in (post("telegram", Outcome.DATABASE, TRACE), post("tiktok", Outcome.SIGNATURE))
        ]
        made = spans_of(*down, DeliveryTurnedDown(provider="whatsapp", outcome=Outcome.TOO_LARGE))
        ours, theirs = made["POST /webhooks/telegram"], made["POST /webhooks/tiktok"]
        assert len(made) == 2
        assert (ours.status.status_code, attributes(ours)["error.type"]) == (StatusCode.ERROR, "503")
        assert theirs.status.status_code is StatusCode.UNSET
        assert attributes(theirs)["http.response.status_code"] == 401

    def test_a_poll_has_its_calls_below_it_and_links_to_what_its_records_are_parts_of(self) -> None:
        """Bodies of webhooks among them; other loops that work meanwhile have nothing to do with it."""
        traces = [f"00-{number:032x}-{number:016x}-01" for number in range(MOST + 3)]  # the first one means nothing
        made = spans_of(
            GroupJoined(cluster="", group="inbox", topics=("t",)),
            RecordsRead(counts={Partition("t", 0): 3, Partition("t", 1): 4}),
            routed(Path.HOT),
            routed(Path.KAFKA),
            taken(path=Path.KAFKA),
            records(*traces),
        )
        poll = made["process t"]
        assert attributes(poll) == {
            "messaging.system": "kafka",
            "messaging.consumer.group.name": "inbox",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.batch.message_count": 7,
            "messaging.destination.name": "t",
            "webhook_router.skipped": 0,
            "webhook_router.flawed": 0,
            "webhook_router.repeated": 1,
            "webhook_router.oldest_seconds": 2.0,
        }
        assert poll.kind is SpanKind.CONSUMER
        assert linked(poll) == set(range(1, MOST))
        assert is_under(made["route kafka"], poll)
        assert is_under(made["take deliveries"], poll)
        assert made["route hot"].parent is None

    @pytest.mark.parametrize(
        ("fact", "error"),
        [
            (LoopFailed(loop="kafka", reason="", attempt=1, delay=0.0), "failed"),
            (BatchTooSlow(path=Path.KAFKA, limit=1), "timeout"),
            (RecordsRead(counts={Partition("t", 0): 1}), "rewound"),
            (Stopped(), "stopped"),
        ],
    )
    def test_records_that_are_read_again_are_an_error_of_their_poll(self, fact: Fact, error: str) -> None:
        """Whatever the reason."""
        read = RecordsRead(counts={Partition("t", 0): 1, Partition("u", 0): 1})
        made = spans_of(read, fact, records(), LoopFailed(loop="kafka", reason="", attempt=1, delay=0.0))
        assert attributes(made["process"])["error.type"] == error

    def test_a_dead_letter_is_in_the_trace_of_its_record(self) -> None:
        """Where whoever has sent it looks for it."""
        flawed = Flawed(flaw=Flaw.REFUSED, reason="what somebody wrote")
        where = Partition("t", 0)
        (letter,) = all_spans_of(RecordDeadLettered(partition=where, offset=7, flawed=flawed, trace=TRACE))
        assert letter.parent is not None
        assert format_span_id(letter.parent.span_id) == "b" * 16
        assert (attributes(letter)["error.type"], letter.status.status_code) == ("refused", StatusCode.ERROR)
        assert "somebody" not in letter.to_json()

    def test_a_sweep_has_its_calls_below_it(self) -> None:
        """Those that were too slow are errors; more than a bound are not kept until it has ended."""
        slow: list[Fact] = [BatchTooSlow(path=Path.SWEEP, limit=1, holder="somebody"), EventTooSlow(path=Path.SWEEP)]
        *calls, sweep = all_spans_of(
            routed(Path.SWEEP), *slow, routed(Path.SWEEP, parked=1), SweepFinished(found=3, due=1, held=0, seconds=2.0)
        )
        assert (sweep.name, took(sweep)) == ("sweep", 2.0)
        assert all(is_under(call, sweep) for call in calls)
        assert attributes(sweep) == {
            "webhook_router.found": 3,
            "webhook_router.due": 1,
            "webhook_router.held": 0,
        }
        assert [attributes(call).get("error.type") for call in calls] == [None, "timeout", "timeout", None]
        assert "somebody" not in calls[1].to_json()
        first, *_, last = all_spans_of(*[routed(Path.SWEEP)] * (MOST + 1), SweepFinished(found=1, due=0, seconds=1.0))
        assert first.parent is None
        assert last.name == "sweep"

    def test_a_sweep_that_fails_half_way_is_an_error(self) -> None:
        """What it had done is told; one that had not done anything has no span."""
        failed = LoopFailed(loop="sweep", reason="somebody", attempt=1, delay=0.0)
        call, sweep = all_spans_of(failed, routed(Path.SWEEP), failed)
        assert is_under(call, sweep)
        assert took(sweep) == 0.25
        assert attributes(sweep)["error.type"] == "failed"

    def test_effects_that_waited_are_told(self) -> None:
        """A step over them that has changed something."""
        (swept,) = all_spans_of(WaitingSwept(applied=2, expired=1, seconds=0.5))
        assert took(swept) == 0.5
        assert attributes(swept)["webhook_router.effects.expired"] == 1

    def test_what_is_not_sampled_is_not_linked(self) -> None:
        """And nothing fails for it."""
        exporter, provider = InMemorySpanExporter(), TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        sink = Spans(provider, parts=PARTS, version="1", grace=20.0)
        read = RecordsRead(counts={Partition("t", 0): 1})
        for fact in (taken(post("telegram"), post("tiktok")), routed(Path.GATEWAY), read, records(TRACE)):
            sink(fact)
        assert not exporter.get_finished_spans()


class _Stuck(InMemorySpanExporter):
    def shutdown(self) -> None:
        time.sleep(60)


@pytest.mark.parametrize(("grace", "longest"), [(20.0, FLUSH_WITHIN + 1), (0.0, 1.0)])
async def test_a_stop_does_not_wait_long_for_a_collector(grace: float, longest: float) -> None:
    """And not at all once the time is up that it may take."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(_Stuck()))
    sink = Spans(provider, parts=PARTS, version="1", grace=grace)
    sink(Stopping(reason="SIGTERM"))
    began = time.monotonic()
    await sink.close()
    assert time.monotonic() - began < longest


class TestVariables:
    @pytest.mark.parametrize(
        ("environment", "found"),
        [
            ({}, []),
            ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, []),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, []),
            (ENDPOINT, ["otlp"]),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, ["otlp"]),
            (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, []),
            (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, ["otlp"]),
            (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, []),
            (ENDPOINT | {"OTEL_TRACES_EXPORTER": "console"}, ["console"]),
            ({"OTEL_TRACES_EXPORTER": "otlp, Console"}, ["console", "otlp"]),
            (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ["otlp"]),
        ],
    )
    def test_they_are_the_usual_ones(self, environment: dict[str, str], found: list[str]) -> None:
        """A place to send spans to is what turns it on; others have their say after that."""
        with structlog.testing.capture_logs() as lines:
            assert list(wanted(environment)) == found
        assert not lines

    @pytest.mark.parametrize(
        ("wrong", "advice"),
        [
            ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
            (
                {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf",
            ),
            (
                {"OTEL_EXPORTER_OTLP_ENDPOINT": "key@collector:4317"},
                "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318",
            ),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[key"}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"),
            ({"OTEL_TRACES_EXPORTER": "zipkin"}, "set it to otlp, console or none"),
        ],
    )
    def test_what_is_not_to_be_had_is_a_line_and_its_advice_helps(self, wrong: dict[str, str], advice: str) -> None:
        """The service goes on without traces; a value, which may hold a key, is not repeated."""
        with structlog.testing.capture_logs() as lines:
            assert from_environment(ENDPOINT | wrong, parts=PARTS, version="1", grace=1.0) is None
        assert [line["event"] for line in lines] == ["traces are configured and not sent"]
        assert advice in lines[0]["advice"]
        assert "key" not in str(lines)
        said = dict([advice.split("=")]) if "=" in advice else {"OTEL_TRACES_EXPORTER": "otlp"}
        assert wanted(ENDPOINT | wrong | said) == ["otlp"]


def test_lines_of_opentelemetry_are_few_and_hold_no_keys() -> None:
    """One for each of its modules at once, and later one for all that came meanwhile."""
    time_now = [0.0]
    handler = FewLines(now=lambda: time_now[0])
    theirs = logging.getLogger("opentelemetry.exporter")
    with structlog.testing.capture_logs() as lines:
        for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.ERROR):
            record = theirs.makeRecord(theirs.name, level, "", 0, "cannot reach %s", ("http://c/v1?key=1",), None)
            if record.levelno >= handler.level:
                handler.handle(record)
        handler.handle(theirs.makeRecord("opentelemetry.util.re", logging.WARNING, "", 0, "no: %s", ("key",), None))
        time_now[0] = TELL_EVERY
        record = theirs.makeRecord(theirs.name, logging.ERROR, "", 0, "failed", (), (OSError, OSError("gone"), None))
        handler.handle(record)
    assert [(line["event"], line["count"]) for line in lines] == [
        ("tracing: cannot reach http://c/v1?…", 1),
        (
            "tracing: OTEL_EXPORTER_OTLP_HEADERS is no list like name=value,name=value whose values are URL-encoded",
            1,
        ),
        ("tracing: failed (OSError: gone)", 3),
    ]
