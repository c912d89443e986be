"""What users would pick instead: job queues over Postgres, with a handler that calls route_webhook_event.

Each runs as a process of its own on the same events, tables and server, one job an event (graphile-worker also with
jobs of many events, its own way of batching), with the settings that turn out fastest in short runs. Rates come from
commit timestamps, from the first event to the last, so that starting up does not count.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Bench, Row, await_routed, committed, connect

HERE = Path(__file__).resolve().parent
NODE = ROOT / ".tools" / "node"
NODE_PACKAGES = ("graphile-worker@0.17.3", "pg@8.23.1")
GRAPHILE_JOBS = """
select count(graphile_worker.add_job('route', j.payload))
from (
    select json_agg(json_build_array(w.channel, w.event_id) order by w.n) as payload, min(w.n) as first
    from (select channel, event_id, row_number() over (order by created_at, id) - 1 as n
          from public.webhook_events where routed_at is null) w
    group by w.n / %s
    order by 2
) j
"""
Options = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One queue, and what may be tuned."""

    name: str
    target: float
    choices: Sequence[Options]
    """The quick form takes the first one only."""
    expected: float
    """Events a second, roughly: how many to give it."""


CONTENDERS = (
    Contender(
        name="pgqueuer",
        target=30,
        choices=[
            {"batch_size": 1000, "connections": 10},
            {"batch_size": 1000, "connections": 4},
            {"batch_size": 2500, "connections": 4},
        ],
        expected=1000,
    ),
    Contender(
        name="procrastinate",
        target=40,
        choices=[
            {"concurrency": 2, "connections": 4},
            {"concurrency": 1, "connections": 4},
            {"concurrency": 5, "connections": 8},
        ],
        expected=300,
    ),
    Contender(
        name="graphile-worker",
        target=10,
        choices=[
            {"concurrency": 4, "connections": 10, "queue": 16, "events_a_job": 100},
            {"concurrency": 8, "connections": 10, "queue": 500, "events_a_job": 1},
            {"concurrency": 2, "connections": 10, "queue": 16, "events_a_job": 100},
        ],
        expected=1500,
    ),
)


def missing(contender: Contender) -> str | None:
    """Why this one cannot run here; graphile-worker is installed from npm, below .tools, when it is not there yet."""
    if contender.name != "graphile-worker":
        return None if find_spec(contender.name) else "not installed: pip install the extra `bench`"
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if (NODE / "node_modules" / "graphile-worker").is_dir():
        return None
    NODE.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(NODE), *NODE_PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"npm install failed: {done.stderr.strip()[-200:]}" if done.returncode else None


def environment(dsn: str) -> dict[str, str]:
    """Where node finds its modules and the database."""
    return {**os.environ, "NODE_PATH": str(NODE / "node_modules"), "DATABASE_URL": dsn, "NO_LOG_SUCCESS": "1"}


def command(contender: Contender, role: str, dsn: str, options: Options) -> list[str]:
    """The command line that fills the queue or works on it."""
    if contender.name == "graphile-worker":
        return ["node", str(HERE / "graphile.cjs"), role, json.dumps(options)]
    return [sys.executable, "-m", "benchmarks.workers", contender.name, role, dsn, json.dumps(options)]


def work(bench: Bench, contender: Contender, options: Options, count: int) -> float:
    """Events a second of one run over `count` events."""
    with bench.scratch(bench.backlog(count)) as dsn:
        subprocess.run(
            command(contender, "fill", dsn, options),
            cwd=ROOT,
            env=environment(dsn),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with connect(dsn) as connection:
            if contender.name == "graphile-worker":
                connection.execute(GRAPHILE_JOBS, (options["events_a_job"],))
            connection.execute("vacuum analyze")
        with subprocess.Popen(
            command(contender, "work", dsn, options), cwd=ROOT, env=environment(dsn), stdout=subprocess.DEVNULL
        ) as process:
            try:
                await_routed(dsn, seconds=180)
            finally:
                process.terminate()
        return committed(dsn).rate


def measure(bench: Bench) -> None:
    """Every contender with each of its settings in short runs, then the best for longer."""
    for contender in CONTENDERS:
        bench.say(contender.name)
        what = f"service ÷ {contender.name}, its handler calling route_webhook_event"
        if reason := missing(contender):
            bench.add(
                Row(key=contender.name, what=what, measured=None, target=contender.target, sense=">=", note=reason)
            )
            continue
        short = round(contender.expected * bench.pick(quick=2.5, full=2), -2)
        choices = contender.choices[: bench.pick(quick=1, full=None)]
        tried = {json.dumps(options): work(bench, contender, options, int(short)) for options in choices}
        best = max(tried, key=lambda key: tried[key])
        rate = tried[best]
        if not bench.quick:  # longer, since a short run is over before a table bloats
            rate = work(bench, contender, json.loads(best), int(rate) * 8)
        bench.add(
            Row(
                key=contender.name,
                what=what,
                measured=bench.facts["peak"] / rate,
                target=contender.target,
                sense=">=",
                note=f"{rate:,.0f}/s with {best}",
                details={"per_second": rate, "tried": tried},
            )
        )
