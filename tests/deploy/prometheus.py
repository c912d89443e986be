"""A real Prometheus with the rules of deploy/, for tests."""

import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import orjson

from tests.deploy.tools import DEPLOY, load_yaml, tool
from tests.ports import free_port
from tests.waiting import wait_for

RULES = DEPLOY / "prometheus" / "rules.yml"
MISSED_SCRAPES = {"WebhookRouterReplicaGone", "WebhookRouterAbsent"}
"""Alerts about the scraping itself, which on a machine with much else to do may miss a turn or two."""


def alerts() -> dict[str, dict[str, Any]]:
    """The alert rules by name."""
    (document,) = load_yaml(RULES)
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"] if "alert" in rule}


def hasty() -> str:
    """The rules, whose alerts wait no longer than they must; Prometheus takes JSON for the YAML that it is."""
    (document,) = load_yaml(RULES)
    for rule in (rule for group in document["groups"] for rule in group["rules"] if "for" in rule):
        rule["for"] = "20s" if rule["alert"] in MISSED_SCRAPES else "1s"
    return orjson.dumps(document).decode()


class Prometheus:
    """A Prometheus that scrapes one service each second, with our rules, whose alerts hardly wait."""

    def __init__(self, folder: Path, target: str) -> None:
        (folder / "rules.yml").write_text(hasty(), encoding="utf-8")
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            "rule_files: [rules.yml]\n"
            f"scrape_configs: [{{job_name: webhook-router, static_configs: [{{targets: ['{target}']}}]}}]\n",
            encoding="utf-8",
        )
        self.address = f"127.0.0.1:{free_port()}"
        self.log = (folder / "log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of the API; None while it does not answer."""
        url = f"http://{self.address}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return orjson.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # which it says while it starts
                return None
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        except OSError:
            assert self.process.poll() is None, Path(self.log.name).read_text(encoding="utf-8")
            return None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        found = self.get("/api/v1/query", query=expression)
        return found["result"] if found else []

    def value(self, expression: str) -> float:
        """The one value of an expression; NaN when there is none, or more."""
        series = self.query(expression)
        return float(series[0]["value"][1]) if len(series) == 1 else float("nan")

    def firing(self) -> set[str]:
        """The alerts that fire."""
        found = wait_for(lambda: self.get("/api/v1/alerts"), what="an answer of Prometheus")
        return {alert["labels"]["alertname"] for alert in found["alerts"] if alert["state"] == "firing"}

    def until_evaluated(self, *, times: int) -> None:
        """Waits until it has looked at the alerts so many times from now on."""
        seen: set[str] = set()

        def looked() -> bool:
            if found := self.get("/api/v1/rules"):
                seen.add(found["groups"][-1]["lastEvaluation"])
            return len(seen) > times

        wait_for(looked, what=f"{times} evaluations")

    def stop(self) -> None:
        """Ends it; its data go with the folder."""
        self.process.kill()
        self.process.wait()
        self.log.close()
