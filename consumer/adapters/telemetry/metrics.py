"""Facts as Prometheus series. docs/reference/metrics.md lists them all; a test compares."""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from consumer.adapters.telemetry.intake_metrics import IntakeMetrics
from consumer.adapters.telemetry.kafka_metrics import KafkaMetrics
from consumer.domain.doorbell import RINGS
from consumer.domain.facts import (
    BacklogSampled,
    BatchRouted,
    BatchTooSlow,
    ByChannelSampled,
    DoorbellChecked,
    EventTooSlow,
    Fact,
    ListenerLost,
    ListenerUnavailable,
    ListenerUp,
    LoopFailed,
    LoopRecovered,
    Notified,
    PageFailed,
    ParkedDecided,
    Progress,
    Pruned,
    Started,
    Stopped,
    Stopping,
    SweepFinished,
    TokensRefused,
)
from consumer.domain.intake_facts import IntakeFact
from consumer.domain.kafka_facts import KafkaFact
from consumer.ports import PartInfo

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: the range from an answer to the doorbell to an outage of a minute."""
SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class BatchHistogram(Collector):
    """A histogram by one label that takes a whole batch at once.

    The client's own takes one value per call, which costs more than everything else done here with a full batch.
    """

    def __init__(self, name: str, documentation: str, buckets: tuple[float, ...], label: str = "path") -> None:
        self.name = name
        self.documentation = documentation
        self._label = label
        self._bounds = buckets
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, label: str, values: tuple[float, ...]) -> None:
        """Adds the values, in seconds."""
        counts = self._counts.setdefault(label, [0] * (len(self._bounds) + 1))
        bounds = self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sums[label] = self._sums.get(label, 0.0) + sum(values)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The series, for the registry."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=[self._label])
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for label, counts in self._counts.items():
            family.add_metric([label], list(zip(bounds, accumulate(counts), strict=True)), self._sums[label])
        yield family


class Metrics:
    """An observer that keeps the series of one service, made of these parts, in a registry of its own."""

    def __init__(self, parts: Sequence[PartInfo] = ()) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

        self.catalogue: list[tuple[str, str, tuple[str, ...], str]] = []
        """Name, type, labels and meaning of every series of this program."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            self.catalogue.append((f"webhook_router_{name}", "counter", labels, text))
            return Counter(f"webhook_router_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            self.catalogue.append((f"webhook_router_{name}", "gauge", labels, text))
            return Gauge(f"webhook_router_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            self.catalogue.append((f"webhook_router_{name}", "histogram", labels, text))
            return Histogram(f"webhook_router_{name}", text, labels, buckets=buckets, registry=self.registry)

        def latency(name: str, text: str, label: str) -> BatchHistogram:
            self.catalogue.append((f"webhook_router_{name}", "histogram", (label,), text))
            made = BatchHistogram(f"webhook_router_{name}", text, LATENCY_BUCKETS, label)
            self.registry.register(made)
            return made

        self._latency = latency(
            "event_latency_seconds",
            "Time from created_at to the commit of the routing, by the database's clock.",
            "path",
        )
        self._routed = counter("events_routed_total", "Events routed, already routed ones included.", "channel", "path")
        self._already = counter("events_already_routed_total", "Events whose message existed: only marked.", "path")
        self._parked = counter("events_parked_total", "Events set aside with an error, each attempt counted.", "path")
        self._dead = counter("events_dead_total", "Events parked for the last time.", "path")
        self._held = counter(
            "events_held_total", "Events left as they were since the schema is at fault, each attempt counted.", "path"
        )
        self._size = histogram("batch_size_events", "Events a routing call has claimed.", SIZE_BUCKETS, "path")
        self._duration = histogram("batch_duration_seconds", "Duration of a routing call.", CALL_BUCKETS, "path")
        self._too_slow = counter("batches_too_slow_total", "Routing calls that were cancelled for the time they took.")
        self._ready = gauge("backlog_events", "Events ready to be routed, at the last sample.")
        self._oldest = gauge("backlog_oldest_age_seconds", "Age of the oldest of them; 0 without any.")
        self._waiting = gauge("parked_events", "Events parked now, by state.", "state")
        self._queue = gauge(
            "notification_queue_usage_ratio", "Share of the server's notification queue in use, 0 to 1."
        )
        self._notified = counter("notifications_total", "Notifications received.")
        self._listener = gauge("listener_up", "1 while notifications arrive, 0 while the service polls.")
        self._doorbell = gauge("doorbell_rings", "1 while inserts send notifications, 0 while something prevents it.")
        self._reconnects = counter("listener_lost_total", "LISTEN sessions lost.")
        self._failures = counter("loop_failures_total", "Failed rounds of a loop; it goes on after a pause.", "loop")
        self._missed = counter("sweep_found_events_total", "Events the sweep found that the hot path had missed.")
        self._sweeps = counter("sweeps_total", "Sweeps finished.")
        self._success = gauge("last_success_timestamp_seconds", "Unix time of a loop's last good round.", "loop")
        self._pruned = counter("pruned_total", "What retention has deleted: events, or payloads of events.", "kind")
        self._pruned_bytes = counter("pruned_bytes_total", "What that took in the table, about.", "kind")
        self._refused = counter(
            "prune_refused_total", "Events that were due to go and that the application keeps, each attempt.", "kind"
        )
        self._oldest_kept = gauge(
            "oldest_event_timestamp_seconds",
            "Unix time at which the oldest event that retention has left was routed.",
            "kind",
        )
        self._info = gauge("info", "1; the labels tell what runs.", "source", "version")
        self._kafka = KafkaMetrics(counter=counter, gauge=gauge, histogram=latency)
        self._intake = IntakeMetrics(counter=counter, gauge=gauge, histogram=latency)
        # Series that exist from the start can be alerted on before the first event of their kind.
        for part in parts:
            self._failures.labels(part.loop)
            if part.path is not None:
                for by_path in (self._already, self._parked, self._dead, self._held):
                    by_path.labels(part.path)

    def render(self) -> bytes:
        """The series in the Prometheus text format."""
        return generate_latest(self.registry)

    def __call__(self, fact: Fact) -> None:  # noqa: C901, PLR0912 - one arm per fact is the point
        if isinstance(fact, KafkaFact):
            self._kafka(fact)
            return
        if isinstance(fact, IntakeFact):
            self._intake(fact)
            return
        match fact:
            case BatchRouted():
                self._batch(fact)
            case SweepFinished(found=found):
                self._sweeps.inc()
                self._missed.inc(found)
            case Progress(loop=loop, ok=ok):
                if ok:
                    self._success.labels(loop).set_to_current_time()
            case LoopFailed(loop=loop):
                self._failures.labels(loop).inc()
            case BatchTooSlow() | EventTooSlow():
                self._too_slow.inc()
            case ListenerUp():
                self._listener.set(1)
            case ListenerLost():
                self._listener.set(0)
                self._reconnects.inc()
            case ListenerUnavailable():
                self._listener.set(0)
            case Notified():
                self._notified.inc()
            case DoorbellChecked(state=state):
                self._doorbell.set(state == RINGS)
            case BacklogSampled(backlog=backlog):
                self._ready.set(backlog.ready)
                self._oldest.set(backlog.oldest_seconds)
                self._waiting.labels("waiting").set(backlog.parked)
                self._waiting.labels("dead").set(backlog.dead)
                self._queue.set(backlog.notification_queue)
            case Pruned(kind=kind, step=step):
                self._pruned.labels(kind).inc(step.gone)
                self._pruned_bytes.labels(kind).inc(step.bytes)
                self._refused.labels(kind).inc(step.refused)
                if step.oldest is not None:
                    self._oldest_kept.labels(kind).set(step.oldest)
            case Started(source=source, version=version):
                self._info.labels(source, version).set(1)
            case LoopRecovered() | ByChannelSampled() | PageFailed() | ParkedDecided() | TokensRefused():
                pass
            case Stopping() | Stopped():
                pass
            case _:
                assert_never(fact)

    def _batch(self, fact: BatchRouted) -> None:
        path, batch = fact.path, fact.batch
        for channel, count in Tally(batch.channels).items():
            self._routed.labels(channel, path).inc(count)
        self._already.labels(path).inc(batch.already)
        self._parked.labels(path).inc(batch.parked)
        self._dead.labels(path).inc(batch.dead)
        self._held.labels(path).inc(batch.held)
        self._size.labels(path).observe(batch.claimed)
        self._duration.labels(path).observe(batch.seconds)
        self._latency.observe(path, batch.ages)
