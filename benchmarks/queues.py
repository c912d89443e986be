"""What users would pick instead: job queues over Postgres, with a handler that calls route_webhook_event.

Each runs as a process of its own on the same events, tables and server, one job an event, with the settings that turned out
fastest in short runs. Rates come from commit timestamps, so that start-up does not count.
"""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.harness import ROOT, Bench, Row, await_routed, committed, connect, value

HERE = Path(__file__).resolve().parent
NODE = ROOT / ".tools" / "node"
NODE_PACKAGES = ("graphile-worker@0.17.3", "pg@8.23.1")
ROUTE = "select public.route_webhook_event(%s, %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One queue: how to fill it, how to run it, and what may be tuned."""

    name: str
    target: float
    fill: Callable[[str, dict[str, Any]], None]
    command: Callable[[str, dict[str, Any]], list[str]]
    choices: Sequence[dict[str, Any]]
    """The quick form takes the first one only."""
    expected: float
    """Events a second, roughly: how many to give it."""


def pending_events(dsn: str) -> list[tuple[str, str]]:
    """Channel and id of every pending event, in the order of arrival."""
    with connect(dsn) as connection:
        return connection.execute(
            "select channel, event_id from public.webhook_events where routed_at is null order by created_at, id"
        ).fetchall()


# pgqueuer


async def fill_pgqueuer(dsn: str) -> None:
    """Installs it and enqueues a job an event."""
    from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
    from pgqueuer.queries import Queries

    jobs = [json.dumps(pair).encode() for pair in pending_events(dsn)]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        queries = Queries(PsycopgDriver(connection))
        await queries.install()
        for start in range(0, len(jobs), 1000):
            some = jobs[start : start + 1000]
            await queries.enqueue(["route"] * len(some), list(some), [0] * len(some))
    with connect(dsn) as maintenance:
        maintenance.execute("vacuum analyze")


async def run_pgqueuer(dsn: str, options: dict[str, Any]) -> None:
    """Works until the queue is empty."""
    import psycopg_pool
    from pgqueuer import PgQueuer
    from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
    from pgqueuer.models import Job
    from pgqueuer.types import QueueExecutionMode

    pool = psycopg_pool.AsyncConnectionPool(
        dsn, min_size=options["connections"], max_size=options["connections"], kwargs={"autocommit": True}, open=False
    )
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection, pool:
        queue = PgQueuer(PsycopgDriver(connection))

        @queue.entrypoint("route")
        async def route(job: Job) -> None:
            assert job.payload is not None
            async with pool.connection() as own:
                await own.execute(ROUTE, json.loads(job.payload))

        await queue.run(batch_size=options["batch_size"], mode=QueueExecutionMode.drain)


# procrastinate


def procrastinate_app(dsn: str, connections: int) -> Any:  # noqa: ANN401
    """The application with its one task."""
    import procrastinate

    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=connections, max_size=connections)
    )

    @app.task(name="route")
    async def route(channel: str, event_id: str) -> None:
        await app.connector.execute_query_async(
            "select public.route_webhook_event(%(channel)s, %(event_id)s)", channel=channel, event_id=event_id
        )

    return app


async def fill_procrastinate(dsn: str) -> None:
    """Installs it and defers a job an event."""
    app = procrastinate_app(dsn, 2)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        pairs = [{"channel": channel, "event_id": event_id} for channel, event_id in pending_events(dsn)]
        for start in range(0, len(pairs), 1000):
            await app.tasks["route"].batch_defer_async(*pairs[start : start + 1000])
    with connect(dsn) as maintenance:
        maintenance.execute("vacuum analyze")


async def run_procrastinate(dsn: str, options: dict[str, Any]) -> None:
    """Works until the queue is empty."""
    app = procrastinate_app(dsn, options["connections"])
    async with app.open_async():
        await app.run_worker_async(
            wait=False, concurrency=options["concurrency"], delete_jobs="never", install_signal_handlers=False
        )


# graphile-worker


def install_graphile() -> str | None:
    """Installs it from npm below .tools; says why not where that fails."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if not (NODE / "node_modules" / "graphile-worker").is_dir():
        NODE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(NODE), *NODE_PACKAGES],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return f"npm install failed: {done.stderr.strip()[-200:]}"
    return None


def fill_graphile(dsn: str, options: dict[str, Any]) -> None:
    """Installs it and adds a job an event, or a job for so many events as its batch jobs take."""
    subprocess.run(
        ["node", str(HERE / "graphile.cjs"), "install"], env=graphile_environment(dsn), check=True, capture_output=True
    )
    with connect(dsn) as connection:
        connection.execute(
            """
            select count(graphile_worker.add_job('route', j.payload))
            from (
                select json_agg(json_build_array(w.channel, w.event_id) order by w.n) as payload, min(w.n) as n
                from (select channel, event_id, row_number() over (order by created_at, id) - 1 as n
                      from public.webhook_events where routed_at is null) w
                group by w.n / %s
                order by 2
            ) j
            """,
            (options["events_a_job"],),
        )
        connection.execute("vacuum analyze")


def graphile_environment(dsn: str) -> dict[str, str]:
    """Where node finds its modules and the database."""
    return {**os.environ, "NODE_PATH": str(NODE / "node_modules"), "DATABASE_URL": dsn, "NO_LOG_SUCCESS": "1"}


def python_command(name: str) -> Callable[[str, dict[str, Any]], list[str]]:
    """The command line of a worker that is a function of this module."""
    return lambda dsn, options: [sys.executable, "-m", "benchmarks.queues", name, dsn, json.dumps(options)]


CONTENDERS = (
    Contender(
        name="pgqueuer",
        target=30,
        fill=lambda dsn, _: asyncio.run(fill_pgqueuer(dsn)),
        command=python_command("pgqueuer"),
        choices=[
            {"batch_size": 1000, "connections": 10},
            {"batch_size": 1000, "connections": 4},
            {"batch_size": 200, "connections": 10},
            {"batch_size": 10, "connections": 4},
            {"batch_size": 2500, "connections": 4},
        ],
        expected=1000,
    ),
    Contender(
        name="procrastinate",
        target=40,
        fill=lambda dsn, _: asyncio.run(fill_procrastinate(dsn)),
        command=python_command("procrastinate"),
        choices=[
            {"concurrency": 2, "connections": 4},
            {"concurrency": 1, "connections": 4},
            {"concurrency": 5, "connections": 8},
            {"concurrency": 20, "connections": 20},
        ],
        expected=200,
    ),
    Contender(
        name="graphile-worker",
        target=10,
        fill=fill_graphile,
        command=lambda _, options: ["node", str(HERE / "graphile.cjs"), "run", json.dumps(options)],
        choices=[
            {"concurrency": 4, "connections": 10, "queue": 16, "events_a_job": 100},
            {"concurrency": 8, "connections": 10, "queue": 500, "events_a_job": 1},
            {"concurrency": 24, "connections": 24, "queue": 500, "events_a_job": 1},
            {"concurrency": 8, "connections": 10, "queue": -1, "events_a_job": 1},
            {"concurrency": 2, "connections": 10, "queue": 16, "events_a_job": 100},
            {"concurrency": 8, "connections": 10, "queue": 16, "events_a_job": 100},
        ],
        expected=1500,
    ),
)


def work(bench: Bench, contender: Contender, options: dict[str, Any], count: int) -> float:
    """Events a second of one run."""
    with bench.scratch(bench.backlog(count)) as dsn:
        contender.fill(dsn, options)
        environment = graphile_environment(dsn) if contender.name == "graphile-worker" else dict(os.environ)
        with subprocess.Popen(
            contender.command(dsn, options), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        ) as process:
            try:
                await_routed(dsn, seconds=180)
            finally:
                process.terminate()
        with connect(dsn) as connection:
            left = value(connection, "select count(*) from public.webhook_events where routed_at is null")
        if left:
            raise RuntimeError(f"{contender.name} left {left} events")
        return committed(dsn).rate


def measure(bench: Bench) -> None:
    """Every contender with each of its settings in short runs, then the best for longer."""
    for contender in CONTENDERS:
        bench.say(contender.name)
        if contender.name == "graphile-worker" and (reason := install_graphile()) is not None:
            bench.add(
                Row(
                    key=contender.name,
                    what=f"service ÷ {contender.name}",
                    measured=None,
                    target=contender.target,
                    sense=">=",
                    note=reason,
                )
            )
            continue
        short = int(contender.expected * bench.pick(quick=2.5, full=4))
        choices = contender.choices[: bench.pick(quick=1, full=None)]
        tried = {json.dumps(options): work(bench, contender, options, short) for options in choices}
        best = max(tried, key=lambda key: tried[key])
        rate = tried[best]
        if not bench.quick:
            rate = max(rate, work(bench, contender, json.loads(best), int(rate * 12) // 1000 * 1000 + 1000))
        bench.add(
            Row(
                key=contender.name,
                what=f"service ÷ {contender.name}, its handler calling route_webhook_event",
                measured=bench.facts["peak"] / rate,
                target=contender.target,
                sense=">=",
                note=f"{rate:,.0f}/s with {best}",
                details={"per_second": rate, "tried": tried},
            )
        )


def main() -> None:
    """A worker process: the name of the queue, the DSN, its options."""
    logging.disable(logging.WARNING)
    name, dsn, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    run = {"pgqueuer": run_pgqueuer, "procrastinate": run_procrastinate}[name]
    asyncio.run(run(dsn, options))


if __name__ == "__main__":
    main()
