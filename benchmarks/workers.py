"""The Python contenders as processes: `python -m benchmarks.workers <queue> <fill|work> <DSN> <options as JSON>`."""

import asyncio
import json
import logging
import sys
from typing import Any

import procrastinate
import psycopg
import psycopg_pool
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode
from procrastinate.types import JSONDict

PENDING = "select channel, event_id from public.webhook_events where routed_at is null order by created_at, id"
AT_ONCE = 1000
Options = dict[str, Any]


async def pending(dsn: str) -> list[tuple[str, str]]:
    """Channel and id of every pending event, in the order of arrival."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        return await (await connection.execute(PENDING)).fetchall()


async def fill_pgqueuer(dsn: str, options: Options) -> None:
    """Installs it and enqueues a job an event."""
    del options
    jobs = [json.dumps(pair).encode() for pair in await pending(dsn)]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        queries = Queries(PsycopgDriver(connection))
        await queries.install()
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            await queries.enqueue(["route"] * len(some), list(some), [0] * len(some))


async def work_pgqueuer(dsn: str, options: Options) -> None:
    """Works until the queue is empty; the handlers have connections of their own."""
    size = options["connections"]
    pool = psycopg_pool.AsyncConnectionPool(dsn, min_size=size, max_size=size, kwargs={"autocommit": True}, open=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection, pool:
        queue = PgQueuer(PsycopgDriver(connection))

        @queue.entrypoint("route")
        async def route(job: Job) -> None:
            assert job.payload is not None
            async with pool.connection() as own:
                await own.execute("select public.route_webhook_event(%s, %s)", json.loads(job.payload))

        await queue.run(batch_size=options["batch_size"], mode=QueueExecutionMode.drain)


def procrastinate_app(dsn: str, connections: int) -> procrastinate.App:
    """The application with its one task, which uses the queue's own connections."""
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=connections, max_size=connections)
    app = procrastinate.App(connector=connector)

    @app.task(name="route")
    async def route(channel: str, event_id: str) -> None:
        await connector.execute_query_async(
            "select public.route_webhook_event(%(channel)s, %(event_id)s)", channel=channel, event_id=event_id
        )

    return app


async def fill_procrastinate(dsn: str, options: Options) -> None:
    """Installs it and defers a job an event."""
    del options
    app = procrastinate_app(dsn, 2)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        jobs: list[JSONDict] = [{"channel": channel, "event_id": event_id} for channel, event_id in await pending(dsn)]
        for start in range(0, len(jobs), AT_ONCE):
            await app.tasks["route"].batch_defer_async(*jobs[start : start + AT_ONCE])


async def work_procrastinate(dsn: str, options: Options) -> None:
    """Works until the queue is empty."""
    app = procrastinate_app(dsn, options["connections"])
    async with app.open_async():
        await app.run_worker_async(
            wait=False, concurrency=options["concurrency"], delete_jobs="never", install_signal_handlers=False
        )


ROLES = {
    ("pgqueuer", "fill"): fill_pgqueuer,
    ("pgqueuer", "work"): work_pgqueuer,
    ("procrastinate", "fill"): fill_procrastinate,
    ("procrastinate", "work"): work_procrastinate,
}


def main() -> None:
    """One role of one queue."""
    logging.disable(logging.WARNING)
    name, role, dsn, options = sys.argv[1:5]
    asyncio.run(ROLES[name, role](dsn, json.loads(options)))


if __name__ == "__main__":
    main()
