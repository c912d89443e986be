"""`webhook-router run` with a collector of OpenTelemetry, with one that is away, and without OpenTelemetry."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.gateway.bodies import ENVIRONMENT, signed, whatsapp
from tests.otlp import CLIENT, SERVER, collecting
from tests.ports import free_port
from tests.processes import Router, clean_environment, running
from tests.waiting import PATIENCE, wait_for

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            print("somebody looks for OpenTelemetry", file=sys.stderr)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""A sitecustomize: OpenTelemetry is not installed, and who imports it is heard."""
BUILD = """
import os, sys
from consumer.config import Settings
from consumer.service import build
build(Settings(database_url="postgresql://localhost/x"), environment=os.environ)
print(any(name.partition(".")[0] in ("opentelemetry", "requests", "google") for name in sys.modules))
"""
TOLD = """
import asyncio, os
from consumer.adapters.telemetry import log
from consumer.adapters.telemetry.tracing import from_environment
from consumer.domain.facts import SweepFinished
log.configure(format="json", level="info", everything=True)
spans = from_environment(os.environ, parts=[], version="1", grace=20.0)
if spans is not None:
    spans(SweepFinished(found=7, due=0, seconds=1.0))
    asyncio.run(spans.close())
"""
"""A sweep, as the variables have it told."""
INSERT = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
    values ('instagram', 'message', %s, 'author-1', 'Ana', 'hello', now())
"""


def post(router: Router, *messages: str, headers: dict[str, str]) -> int:
    """POSTs them in one delivery; returns the status of the answer."""
    assert router.address
    gateway = str(router.logged("webhook-router is running")[0]["gateway"])
    connection = http.client.HTTPConnection(urlsplit(gateway).netloc, timeout=PATIENCE)
    body = whatsapp(*messages)
    connection.request("POST", "/webhooks/whatsapp", body, (signed(body) | headers))
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_delivery_is_followed_from_its_post_to_its_batch(database: str) -> None:
    """In its sender's trace; batches of the table and sweeps have traces of their own, and a stop sends the rest.

    Nobody's names, ids and texts are in any of it.
    """
    with collecting() as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=abc%20def",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.name=other",
            "OTEL_SERVICE_NAME": "inbox",
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        }
        flags = ("--gateway", "--gateway-port", "0", "--reconcile-interval", "0.2")
        with running(database, *flags, env=ENVIRONMENT | variables) as router, psycopg.connect(database) as db:
            router.until_listening()
            assert post(router, "m-one", headers=TRACEPARENT) == 200
            assert post(router, headers=TRACEPARENT | {"X-Hub-Signature-256": "sha256=00"}) == 401
            db.execute(INSERT, ("e-one",))
            db.commit()
            wait_for(lambda: router.metric("webhook_router_events_routed_total", channel="instagram") == 1)
            wait_for(lambda: router.metric("webhook_router_sweeps_total") > 0, what="a sweep")
            router.signal(signal.SIGTERM)
            assert router.stopped() == 0
    assert collector.path == "/v1/traces"
    assert (collector.headers["api-key"], collector.headers["content-encoding"]) == ("abc def", "gzip")
    about = collector.resource
    assert (about["service.name"], about["deployment.environment.name"]) == ("inbox", "test")
    assert {"service.version", "service.instance.id"} <= about.keys()
    delivery, stranger = collector.of("POST /webhooks/whatsapp")
    assert (delivery.trace, delivery.parent, delivery.kind) == (TRACE, SPAN, SERVER)
    assert (delivery.attributes["webhook_router.outcome"], delivery.is_error) == ("taken", False)
    assert (stranger.attributes["webhook_router.outcome"], stranger.parent) == ("signature", "")
    assert stranger.trace != TRACE
    (call,) = collector.of("take deliveries")
    assert (call.trace, call.parent, call.kind) == (TRACE, delivery.id, CLIENT)
    (batch,) = collector.of("route gateway")
    assert (batch.trace, batch.parent, batch.attributes["webhook_router.inserted"]) == (TRACE, call.id, 1)
    (hot,) = collector.of("route hot")
    assert (hot.parent, hot.attributes["webhook_router.claimed"]) == ("", 1)
    assert 0 < hot.seconds < PATIENCE
    assert hot.attributes["db.namespace"] == psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    assert collector.of("sweep")
    told = str(collector.spans)
    assert not [word for word in ("Ana", "hello", "m-one", "e-one", "author-1", "15550100002") if word in told]


@pytest.mark.parametrize("hangs", [False, True])
def test_a_collector_that_is_away_keeps_nobody_waiting(database: str, hangs: bool) -> None:
    """Events are routed, the log has a line or two in its own form, and a stop is a stop."""
    release = threading.Event()
    with collecting(holds=release) as collector:
        address = collector.address if hangs else f"http://127.0.0.1:{free_port()}"
        variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "20"}
        flags = ("--gateway", "--gateway-port", "0", "--reconcile-interval", "0.05")
        with running(database, *flags, env=ENVIRONMENT | variables) as router:
            router.until_ready()
            assert post(router, "one", headers={}) == 200
            wait_for(lambda: router.metric("webhook_router_sweeps_total") > 20, what="sweeps")
            if not hangs:
                wait_for(lambda: router.logged("tracing: "), what="a line about it")
            router.signal(signal.SIGTERM)
            began = time.monotonic()
            assert router.stopped() == 0
            assert time.monotonic() - began < 15  # of a grace of 20, on a machine that has other things to do
        release.set()
    lines = router.logged("tracing: ")
    assert len(lines) <= 2, lines
    assert all({"timestamp", "level", "logger", "count"} <= line.keys() for line in lines)
    assert not [line for line in router.lines if "timestamp" not in line]


def test_an_extra_that_is_missing_is_a_line_that_says_what_to_install(database: str, tmp_path: Path) -> None:
    """The service goes on without traces."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "PYTHONPATH": str(tmp_path)}
    with running(database, env=variables) as router:
        router.until_ready()
        (line,) = router.logged("traces are configured and not sent")
        assert line["advice"] == "pip install 'webhook-router[otel]'"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "inbox"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=json.dumps,
)
def test_nothing_is_imported_without_the_variables(variables: dict[str, str], tmp_path: Path) -> None:
    """So that it costs neither time nor memory, and need not be there."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        env=clean_environment() | variables | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("False", "")


@pytest.mark.parametrize(
    ("variables", "sweeps", "lines"),
    [
        ({}, 1, []),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0, []),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, 1, ["tracing: Couldn't recognize sampler sometimes."]),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, 0, ["traces are configured and not sent"]),
    ],
    ids=json.dumps,
)
def test_the_console_is_a_place_for_traces(variables: dict[str, str], sweeps: int, lines: list[str]) -> None:
    """A line for each span, on standard output; what is wrong with a variable is a line of the log."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD],
        env=clean_environment() | {"OTEL_TRACES_EXPORTER": "console"} | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [span["attributes"]["webhook_router.found"] for span in told] == [7] * sweeps
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == lines
