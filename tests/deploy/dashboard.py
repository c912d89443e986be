"""The Grafana dashboard, as tests read it."""

import json
import re
from typing import Any

from tests.deploy.tools import DEPLOY

DASHBOARD = DEPLOY / "grafana" / "dashboards" / "webhook-router.json"


def dashboard() -> Any:
    """The whole of it."""
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panels() -> list[tuple[str, str]]:
    """Title and expression of each query."""
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def metrics_in(expression: str) -> set[str]:
    """The names of our series in an expression."""
    return set(re.findall(r"\b(?:webhook_router|process|python)_\w+", expression))


def evaluable(expression: str) -> str:
    """The expression with the values that Grafana would put in for All replicas of all jobs."""
    values = {"$__rate_interval": "30s", "$job": ".+", "$instance": ".+"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert not re.search(r"\$\w", expression), expression
    return expression
