"""The dashboard and its provisioning: every metric that the service exposes is on it, and none that it does not."""

import re

from consumer.adapters.prometheus import Metrics
from tests.deploy.dashboard import DASHBOARD, dashboard, metrics_in, panels
from tests.deploy.tools import DEPLOY, load_yaml
from tests.processes import running

PROVISIONING = DEPLOY / "grafana" / "provisioning"
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


def test_latency_has_a_heat_map() -> None:
    """Latency is shown as a distribution over the histogram's buckets, not only as quantiles."""
    (heat,) = [panel for panel in dashboard()["panels"] if panel["type"] == "heatmap"]
    (target,) = heat["targets"]
    assert "webhook_router_event_latency_seconds_bucket" in target["expr"]
    assert target["format"] == "heatmap"


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
