"""The dashboard and its provisioning: every metric that the service exposes is on it, and none that it does not."""

import asyncio
import re
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from consumer.adapters.telemetry.metrics import Metrics
from consumer.domain import routing as events
from consumer.domain.facts import BacklogSampled, BatchRouted, Fact, ListenerUp, Progress, Pruned, Started
from consumer.domain.intake_facts import (
    UNKNOWN,
    DeliveriesTaken,
    IntakeSampled,
    Outcome,
    ProviderRefused,
    WaitingSwept,
)
from consumer.domain.kafka_facts import (
    DatabaseWentBack,
    LagSampled,
    OffsetsCommitted,
    PartitionsAssigned,
    RecordsDone,
    RecordsExpired,
    RecordsRead,
)
from consumer.domain.lag import Partition, PartitionLag
from consumer.domain.retention import Kind, PruneStep
from consumer.domain.routing import NOW, Backlog, Batch
from consumer.pipeline.parts import Part
from tests.deploy.dashboard import DASHBOARD, dashboard, evaluable, metrics_in, panels
from tests.deploy.prometheus import Prometheus
from tests.deploy.tools import DEPLOY, load_yaml, run, tool
from tests.processes import running
from tests.waiting import wait_for

PROVISIONING = DEPLOY / "grafana" / "provisioning"
EVENTS = Partition("events", 0)
PARTS = [
    Part(loop=loop, path=path, run=lambda stop: asyncio.sleep(0))
    for loop, path in [("hot", events.Path.HOT), ("sweep", events.Path.SWEEP), ("sampler", None)]
]
EVERYTHING: tuple[Fact, ...] = (
    Started(version="1", database="app", host="db:5432", source="kafka", address="http://127.0.0.1:9464"),
    *(Progress(loop=part.loop, ok=True) for part in PARTS),
    BatchRouted(
        path=events.Path.HOT,
        batch=Batch(
            claimed=2,
            inserted=1,
            parked=1,
            dead=0,
            channels=("whatsapp",),
            ages=(0.01,),
            reached=NOW,
            seconds=0.01,
        ),
    ),
    BacklogSampled(backlog=Backlog(ready=1, oldest_seconds=1, parked=1, dead=1, notification_queue=0)),
    ListenerUp(),
    Pruned(
        kind=Kind.EVENTS,
        step=PruneStep(gone=1, bytes=1, refused=1, reason=None, place=None, oldest=1.0, busy=False, seconds=0.01),
    ),
    RecordsRead(counts={EVENTS: 2}),
    RecordsDone(skipped={}, flawed={}, repeated=0, ages={EVENTS.topic: (0.01,)}, traces=()),
    OffsetsCommitted(seconds=0.01),
    PartitionsAssigned(partitions=frozenset({EVENTS})),
    LagSampled(lags=(PartitionLag(partition=EVENTS, records=1, seconds=1),)),
    RecordsExpired(partition=EVENTS, records=1),
    DatabaseWentBack(partition=EVENTS, offset=0, records=1),
    DeliveriesTaken(
        answered={("whatsapp", Outcome.TAKEN): 1},
        atoms={("whatsapp", UNKNOWN): 1},
        effects={("status", "applied"): 1},
        failed={"whatsapp": 1},
        committed={"whatsapp": (0.01,)},
        routed={"whatsapp": (0.01,)},
    ),
    WaitingSwept(applied=1, expired=1),
    IntakeSampled(waiting={"status": 1}, waiting_seconds=1, deferred=1, deferred_seconds=1),
    ProviderRefused(provider="telegram", reason="a check"),
)
"""Facts of which a service makes series only when it has seen one of them."""
SUFFIXES = re.compile(r"_(bucket|count|sum)$")


def families(exposition: str) -> dict[str, str]:
    """Name and kind of each metric of an exposition, but for the times at which the client has made its series."""
    kinds = dict(line.split(" ")[2:4] for line in exposition.splitlines() if line.startswith("# TYPE "))
    return {name: kind for name, kind in kinds.items() if not name.endswith("_created")}


def shown(kinds: dict[str, str]) -> set[str]:
    """The metrics that the dashboard queries."""
    names: set[str] = set()
    for _, expression in panels():
        for name in metrics_in(expression):
            family = SUFFIXES.sub("", name)
            names.add(family if kinds.get(family) == "histogram" else name)
    return names


def test_shows_every_metric_and_no_other(database: str) -> None:
    """The running service's /metrics and the dashboard name the same metrics, whatever the service has seen so far."""
    with running(database) as router:
        kinds = families(router.get("/metrics")[1])
    assert shown(kinds) == kinds.keys()
    assert kinds == families(Metrics().render().decode())


class Exposed(BaseHTTPRequestHandler):
    """Answers any GET with the metrics of its server."""

    def do_GET(self) -> None:
        assert isinstance(self.server, MetricsServer)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.metrics.render())

    def log_message(self, *_: object) -> None:
        """Nothing: scrapes come each second."""


class MetricsServer(ThreadingHTTPServer):
    """Exposes metrics that a test has fed, in a thread of its own."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(("127.0.0.1", 0), Exposed)
        self.metrics = metrics


def test_each_panel_shows_each_kind_of_fact(tmp_path: Path) -> None:
    """A real Prometheus, which has scraped a service that has seen everything, has series for each query."""
    metrics = Metrics(PARTS)
    for fact in EVERYTHING:
        metrics(fact)
    with MetricsServer(metrics) as server:
        threading.Thread(target=server.serve_forever).start()
        prometheus = Prometheus(tmp_path, f"127.0.0.1:{server.server_port}")
        try:
            for title, expression in panels():
                wait_for(partial(prometheus.query, evaluable(expression)), what=f"series of {title!r}: {expression}")
        finally:
            prometheus.stop()
            server.shutdown()


def test_latency_has_a_heat_map() -> None:
    """Latency is shown as a distribution over the histogram's buckets, not only as quantiles."""
    (heat,) = [panel for panel in dashboard()["panels"] if panel["type"] == "heatmap"]
    (target,) = heat["targets"]
    assert "webhook_router_event_latency_seconds_bucket" in target["expr"]
    assert target["format"] == "heatmap"


def test_grafana_knows_every_field(tmp_path: Path) -> None:
    """By Grafana's own published types, panels and their options included; and the check finds mistakes."""
    run([tool("grafana-types"), DASHBOARD])
    text = DASHBOARD.read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.json"
    for right, mistaken in (('"showValue":', '"showVlaue":'), ('"graphTooltip": 1', '"graphTooltip": "1"')):
        assert right in text
        wrong.write_text(text.replace(right, mistaken), encoding="utf-8")
        assert subprocess.run([tool("grafana-types"), wrong], capture_output=True, check=False).returncode == 1, (
            mistaken
        )


def test_panels_are_whole() -> None:
    """Each has an id of its own, a place of its own, and the data source that the user picks."""
    found = dashboard()["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_each_panel_says_what_it_shows() -> None:
    """Whoever is on call reads it behind the panel's title; only the headings between them have none."""
    said = {panel["title"]: panel.get("description", "") for panel in dashboard()["panels"] if panel["type"] != "row"}
    assert not [title for title, description in said.items() if not description.strip().endswith((".", "!"))]


def test_provisioning_finds_the_dashboard_and_the_data() -> None:
    """Grafana is given a Prometheus, and the folder where compose.yaml puts the dashboard."""
    (source,) = load_yaml(PROVISIONING / "datasources" / "prometheus.yaml")
    assert source["datasources"][0]["type"] == "prometheus"
    (scrape,) = load_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    assert source["datasources"][0]["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    (provider,) = load_yaml(PROVISIONING / "dashboards" / "webhook-router.yaml")
    folder = provider["providers"][0]["options"]["path"]
    (compose,) = load_yaml(DEPLOY / "compose.yaml")
    targets = {item["source"]: item["target"] for item in compose["services"]["grafana"]["configs"]}
    assert targets["grafana-dashboard"] == f"{folder}/{DASHBOARD.name}"
