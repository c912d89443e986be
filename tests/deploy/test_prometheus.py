"""The rules: each alert fires and stays silent as it should, in promtool's tests and beside the running service."""

import re
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from consumer.adapters.telemetry.metrics import Metrics
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.deploy import service_login
from tests.deploy.dashboard import evaluable, metrics_in, panels
from tests.deploy.prometheus import RULES, Prometheus, alerts
from tests.deploy.tools import DEPLOY, DOCS, load_yaml, run, tool
from tests.docs.pages import PLATFORM
from tests.processes import Router, running
from tests.servers import empty_database_on
from tests.waiting import wait_for

CASES = DEPLOY / "prometheus" / "rules_test.yml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"


class TestRules:
    def test_promtool_accepts_them(self) -> None:
        """Configuration and rules are what Prometheus reads, with no lint left."""
        run([tool("promtool"), "check", "config", "--lint-fatal", CONFIG])
        run([tool("promtool"), "check", "rules", "--lint-fatal", RULES])

    def test_promtool_finds_nothing_to_criticise_in_the_metrics(self) -> None:
        """Names, units, help texts and types are as Prometheus wants them."""
        done = run([tool("promtool"), "check", "metrics"], stdin=Metrics().render().decode())
        assert done.stdout + done.stderr == ""

    def test_cases_pass(self) -> None:
        """promtool's own test runner, over invented series."""
        run([tool("promtool"), "test", "rules", CASES])

    def test_each_alert_has_cases_that_fire_and_that_stay_silent(self) -> None:
        """No alert is untested, and each recorded series is looked at."""
        (cases,) = load_yaml(CASES)
        expected: dict[str, set[bool]] = {}
        for case in cases["tests"]:
            for check in case.get("alert_rule_test", []):
                expected.setdefault(check["alertname"], set()).add(bool(check["exp_alerts"]))
        assert expected == {name: {True, False} for name in alerts()}
        (document,) = load_yaml(RULES)
        recorded = {rule["record"] for group in document["groups"] for rule in group["rules"] if "record" in rule}
        queried = " ".join(check["expr"] for case in cases["tests"] for check in case.get("promql_expr_test", []))
        assert not {name for name in recorded if name not in queried}

    def test_each_alert_has_its_section_in_the_runbook(self) -> None:
        """Its link is a whole one, for people who see nothing but the alert, and leads to a heading of its name.

        What it means and what to do stand there.
        """
        page = (DOCS / "operating.md").read_text(encoding="utf-8")
        sections = {
            section.partition("\n")[0]: section.partition("\n")[2]
            for section in re.split(r"^### ", page, flags=re.MULTILINE)
        }
        for name, rule in alerts().items():
            assert rule["annotations"]["runbook_url"] == f"{PLATFORM}/blob/main/docs/operating.md#{name.lower()}"
            assert {"summary", "description"} < rule["annotations"].keys()
            assert rule["labels"]["severity"] in {"warning", "critical"}
            for part in ("**Means.**", "**Look at.**", "**Do.**"):
                assert part in sections[name], f"{name} has no {part}"
        assert not {title for title in sections if title.startswith("WebhookRouter")} - alerts().keys()


class Watched:
    """A service that runs as its own login, and a Prometheus that watches it."""

    def __init__(self, router: Router, prometheus: Prometheus, login: str, database: psycopg.Connection) -> None:
        self.router = router
        self.prometheus = prometheus
        self.login = login
        self.database = database

    def insert(self, prefix: str, count: int) -> None:
        """Commits events, as an edge function would."""
        self.database.execute(
            """insert into public.webhook_events (channel, type, event_id, author_id, content)
               select 'whatsapp', 'message', %s || i, 'author ' || i %% 7, 'text' from generate_series(1, %s) i""",
            [prefix, count],
        )

    def count(self, query: str) -> int:
        """The one number that a query gives."""
        row = self.database.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="module")
def watched(
    postgres_server: EmbeddedPostgres, schema_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """All tests of this module watch the same service, in the order in which they stand here."""
    tool("prometheus")
    with (
        empty_database_on(postgres_server, template=schema_template) as owner,
        service_login.made(owner) as (login, dsn),
        psycopg.connect(owner, autocommit=True) as database,
        running(dsn, "--lanes", "1", "--sample-interval", "0.3", "--reconcile-interval", "0.5") as router,
    ):
        router.until_listening()
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), router.address.removeprefix("http://"))
        try:
            wait_for(lambda: prometheus.value("webhook_router_listener_up") == 1, what="the first scrape")
            yield Watched(router, prometheus, login, database)
        finally:
            prometheus.stop()


class TestRunningService:
    def test_events_are_seen_in_prometheus(self, watched: Watched) -> None:
        """What was routed is what Prometheus counts, by channel and path, and the recording rules make rates of it."""
        watched.insert("seen ", 300)
        total = 'sum(webhook_router_events_routed_total{channel="whatsapp"})'
        wait_for(lambda: watched.prometheus.value(total) == 300, what="300 events in Prometheus")
        assert watched.prometheus.value("sum(webhook_router_event_latency_seconds_count)") == 300
        watched.insert("rated ", 300)
        rate = "sum(job_path:webhook_router_events_routed:rate5m)"
        wait_for(lambda: watched.prometheus.value(rate) > 0, what="a recorded rate")
        wait_for(
            lambda: 0 < watched.prometheus.value("job:webhook_router_event_latency_seconds:p99_5m") < 60,
            what="a recorded quantile",
        )
        # The last sample may have been taken between the insert and the routing.
        wait_for(lambda: watched.prometheus.value("job:webhook_router_backlog_events:max") == 0, what="no backlog")

    def test_each_panel_of_the_dashboard_shows_something(self, watched: Watched) -> None:
        """Every query of the dashboard is valid, and finds series wherever the service has any to find."""
        exposed = {line.split("{")[0].split(" ")[0] for line in watched.router.get("/metrics")[1].splitlines()}
        for title, expression in panels():
            query = partial(watched.prometheus.query, evaluable(expression))
            if metrics_in(expression) <= exposed:
                wait_for(query, what=f"series of the panel {title!r}: {expression}")
            else:
                query()  # which fails if the expression is wrong

    def test_nothing_fires_while_all_is_well(self, watched: Watched) -> None:
        """Not one of the alerts, even without the time that they wait."""
        watched.prometheus.until_evaluated(times=3)
        assert watched.prometheus.firing() == set()

    def test_a_listener_that_cannot_come_back_fires_and_comes_back(self, watched: Watched) -> None:
        """The session that listens is ended and kept out: the alert fires until it is back, while events are routed."""
        sessions = f"select count(*) from pg_stat_activity where usename = '{watched.login}'"
        wait_for(lambda: watched.count(sessions) == 5, what="hot path, sweep, intake, sampler and listener")
        watched.database.execute(f"alter role {watched.login} connection limit 4".encode())
        ended = watched.count(
            f"select count(pg_terminate_backend(pid)) from pg_stat_activity "
            f"where usename = '{watched.login}' and query ilike '%listen%'"
        )
        assert ended == 1
        wait_for(lambda: "WebhookRouterListenerDown" in watched.prometheus.firing(), what="the alert to fire")
        watched.insert("polled ", 50)
        wait_for(
            lambda: watched.count("select count(*) from webhook_events where routed_at is null") == 0,
            what="events routed without a listener",
        )
        assert watched.prometheus.firing() == {"WebhookRouterListenerDown"}
        watched.database.execute(f"alter role {watched.login} connection limit -1".encode())
        wait_for(lambda: watched.prometheus.firing() == set(), what="the alert to end")

    def test_a_replica_that_is_gone_fires(self, watched: Watched) -> None:
        """A killed service is missed, and since it was the last one, nobody is left."""
        watched.router.process.kill()
        wait_for(
            lambda: {"WebhookRouterReplicaGone", "WebhookRouterAbsent"} <= watched.prometheus.firing(),
            what="both alerts",
        )
