"""The gateway: how fast it answers, how many POSTs it takes beside a bare handler, and what an atom costs in SQL."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.harness import ROOT, Bench, Row, Service, free_port
from benchmarks.posts import SECRET_VARIABLE

SECRET = "a-secret-of-the-benchmark"
RATE = 500
CONNECTIONS = 64


@contextlib.contextmanager
def gateway(dsn: str) -> Iterator[str]:
    """The service with its gateway; gives the URL for WhatsApp."""
    port = free_port()
    settings = {"gateway": "true", "gateway_port": port, "whatsapp_app_secrets": SECRET}
    with Service(dsn, **settings) as service:
        service.await_ready()
        yield f"http://127.0.0.1:{port}/webhooks/whatsapp"


@contextlib.contextmanager
def bare(dsn: str) -> Iterator[str]:
    """The bare handler."""
    command = [sys.executable, "-m", "benchmarks.bare_gateway", dsn]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def post(url: str, *, seconds: float, rate: float | None = None) -> dict[str, Any]:
    """Posts from another process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.posts",
        url,
        "--seconds",
        str(seconds),
        "--connections",
        str(CONNECTIONS),
    ]
    if rate:
        command += ["--rate", str(rate)]
    environment = {**os.environ, SECRET_VARIABLE: SECRET}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def answers(bench: Bench) -> None:
    """How long a provider waits for its 200 at a rate that few companies see."""
    seconds = bench.pick(quick=4, full=30)
    bench.say(f"gateway at {RATE} POST/s")
    with bench.scratch() as dsn, gateway(dsn) as url:
        post(url, seconds=2, rate=RATE)  # plans, caches, people
        figures = post(url, seconds=seconds, rate=RATE)
    others = sum(n for status, n in figures["statuses"].items() if status != "200")
    bench.add(
        Row(
            key="gateway-p99",
            what=f"gateway at {RATE} POST/s: POST → 200, everything in effect, p99",
            measured=figures["p99_ms"],
            target=20.0,
            sense="<=",
            unit="ms",
            note=f"p50 {figures['p50_ms']:.1f} ms, longest {figures['max_ms']:.0f} ms; {others} of "
            f"{figures['posts']:,} were not answered with 200",
            details=figures,
        )
    )


def peak(bench: Bench) -> None:
    """POSTs a second, with clients on the same machine, beside a handler that only stores the body."""
    rounds, seconds = bench.rounds(5), bench.pick(quick=3, full=8)
    ratios, ours, theirs = [], [], []
    for _ in range(rounds):
        with bench.scratch() as dsn, bare(dsn) as url:
            post(url, seconds=1)
            theirs.append(_rate(post(url, seconds=seconds)))
        with bench.scratch() as dsn, gateway(dsn) as url:
            post(url, seconds=1)
            ours.append(_rate(post(url, seconds=seconds)))
        ratios.append(ours[-1] / theirs[-1])
        bench.say(f"  {ours[-1]:,.0f} against {theirs[-1]:,.0f} POST/s")
    middle = sorted(ratios)[len(ratios) // 2]
    bench.add(
        Row(
            key="gateway-peak",
            what="gateway, POST/s verified, stored and in effect ÷ a bare handler that inserts the body",
            measured=middle,
            target=0.6,
            sense=">=",
            note=f"{max(ours):,.0f}/s against {max(theirs):,.0f}/s, {CONNECTIONS} connections",
            details={"ratios": ratios, "ours": ours, "bare": theirs},
        )
    )


def _rate(figures: dict[str, Any]) -> float:
    return float(figures["statuses"].get("200", 0)) / float(figures["seconds"])
