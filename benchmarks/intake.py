"""The gateway: how fast it answers, how many POSTs it takes beside a bare handler, and what an atom costs in SQL."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import orjson
import psycopg

from benchmarks.harness import ROOT, Bench, Row, Service, connect, free_port, value
from benchmarks.posts import SECRET_VARIABLE, bodies
from consumer.domain.providers import lines, normaliser_of
from consumer.domain.providers.atoms import Context

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
    bench.add(
        Row(
            key="gateway-peak",
            what="gateway, POST/s verified, stored and in effect ÷ a bare handler that inserts the body",
            measured=median(ratios),
            target=0.6,
            sense=">=",
            note=f"medians: {median(ours):,.0f}/s against {median(theirs):,.0f}/s, {CONNECTIONS} connections",
            details={"ratios": ratios, "ours": ours, "bare": theirs},
        )
    )


def _rate(figures: dict[str, Any]) -> float:
    return float(figures["statuses"].get("200", 0)) / float(figures["seconds"])


def atoms(bench: Bench) -> None:
    """What messages and statuses cost in SQL alone, and the WAL of a status; a call has a hundred deliveries."""
    exchanges = bench.pick(quick=1_000, full=10_000)
    bench.say(f"atoms of {exchanges:,} exchanges in SQL")
    posts = list(itertools.islice(bodies(), 5 * exchanges))
    messages = [posts[number] for number in range(len(posts)) if number % 5 < 2]
    statuses = [posts[number] for number in range(len(posts)) if number % 5 >= 2]
    with bench.scratch() as dsn, connect(dsn) as connection:
        of_message = _seconds(connection, messages) / len(messages)
        applied = _effects(connection, statuses)
        known = _effects(connection, statuses)
        of_status = _seconds(connection, statuses) / len(statuses)
    bench.add(
        Row(
            key="atom-message",
            what="a message in SQL: delivery, event, message, conversation",
            measured=of_message * 1e6,
            unit="µs",
            note=f"{1 / of_message:,.0f}/s over one connection, 100 deliveries a call",
        )
    )
    bench.add(
        Row(
            key="atom-status",
            what="a status in SQL, without its delivery",
            measured=applied["seconds"] * 1e6,
            unit="µs",
            note=f"known already: {known['seconds'] * 1e6:.0f} µs; with its delivery: {of_status * 1e6:.0f} µs",
            details={"applied": applied, "known": known},
        )
    )
    bench.add(
        Row(
            key="status-wal",
            what="WAL of a status",
            measured=applied["wal"],
            target=400.0,
            sense="<=",
            unit="bytes",
            note=f"one that is known: {known['wal']:.0f}; stored deliveries come on top",
            details={"applied": applied, "known": known},
        )
    )


CALL = 100
TAKE = "select from router.take_deliveries(%s, %s, %s, %s)"
APPLY = """
    select router.apply_effects(array_agg(router.effect_of(l.line::jsonb, l.place::integer, now()) order by l.place))
    from string_to_table(%s, e'\\n') with ordinality as l (line, place)
"""


def _calls(posts: Sequence[bytes]) -> Iterator[lines.Call]:
    read = normaliser_of("whatsapp")
    for start in range(0, len(posts), CALL):
        yield lines.call_of(
            [
                lines.Delivery(provider="whatsapp", body=body, atoms=read(orjson.loads(body), Context()))
                for body in posts[start : start + CALL]
            ],
            orjson.dumps,
        )


def _seconds(connection: psycopg.Connection, posts: Sequence[bytes]) -> float:
    total = 0.0
    for call in _calls(posts):
        begun = time.perf_counter()
        connection.execute(TAKE, (call.deliveries, call.bodies, call.lines, call.effects))
        total += time.perf_counter() - begun
    return total


def _effects(connection: psycopg.Connection, posts: Sequence[bytes]) -> dict[str, float]:
    """Seconds and bytes of WAL an effect."""
    calls = [call.effects for call in _calls(posts)]
    connection.execute("checkpoint")
    before, begun = value(connection, "select pg_current_wal_insert_lsn()"), time.perf_counter()
    for call in calls:
        connection.execute(APPLY, (call,))
    seconds = time.perf_counter() - begun
    wal = float(value(connection, "select pg_current_wal_insert_lsn() - %s::pg_lsn", (before,)))
    return {"seconds": seconds / len(posts), "wal": wal / len(posts)}


def measure(bench: Bench) -> None:
    """All of them."""
    atoms(bench)
    answers(bench)
    peak(bench)
