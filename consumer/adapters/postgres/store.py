"""Routing calls to Postgres: one statement a batch."""

import time

from psycopg.rows import TupleRow

from consumer.adapters.postgres.connection import Session
from consumer.domain.routing import Backlog, Batch, Bell, Cursor, Window

BOUNDS = """
    case when %(overlap)s > 0 then least(%(after_at)s::timestamptz, now()) - make_interval(secs => %(overlap)s)
         else %(after_at)s::timestamptz end,
    case when %(overlap)s > 0 then '00000000-0000-0000-0000-000000000000' else %(after_id)s::uuid end,
    %(until_at)s::timestamptz - make_interval(secs => %(margin)s)
"""
COLUMNS = (
    "claimed, inserted, parked, dead, channels, ages, reached_at::text, reached_id::text, seconds, held, held_reason"
)
ROUTE = f"select {COLUMNS} from router.route_batch(%(limit)s, {BOUNDS}, %(bell)s, %(lane)s, %(lanes)s)"  # noqa: S608 - constants only
ROUTE_DUE = f"select {COLUMNS} from router.route_due(null, %(limit)s)"  # noqa: S608
ROUTE_OLDEST = f"select {COLUMNS} from router.route_oldest(%(channel)s, %(limit)s, %(after_at)s, %(after_id)s::uuid)"  # noqa: S608
ROUTE_ONE = f"select {COLUMNS} from router.route_one(%(event)s::uuid, %(untried)s)"  # noqa: S608
NEXT_EVENT = f"select router.next_event(%(due)s, {BOUNDS}, %(lane)s, %(lanes)s)::text"
BACKLOG = "select ready, oldest_seconds, parked, dead, notification_queue from router.backlog()"


class PostgresStore:
    """The `Store` over one connection of its own."""

    def __init__(self, conninfo: str, *, call_timeout: float) -> None:
        self._session = Session(conninfo, call_timeout=call_timeout)

    def keep_statements(self, *, keep: bool) -> None:
        """From the next call on; see `Session.keeps_statements`."""
        self._session.keeps_statements = keep

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        """See `Store.route`."""
        return await self._batch(ROUTE, {"limit": limit, "bell": bell, **_bounds(window)})

    async def route_due(self, *, limit: int) -> Batch:
        """See `Store.route_due`."""
        return await self._batch(ROUTE_DUE, {"limit": limit})

    async def route_oldest(self, *, channel: str | None, limit: int, after: Cursor) -> Batch:
        """See `SweepStore.route_oldest`."""
        return await self._batch(
            ROUTE_OLDEST, {"channel": channel, "limit": limit, "after_at": after.at, "after_id": after.id}
        )

    async def next_event(self, *, window: Window | None) -> str | None:
        """See `Store.next_event`."""
        parameters = {"due": window is None, **_bounds(window or Window())}
        async with self._session.call() as connection:
            row = await (await connection.execute(NEXT_EVENT, parameters, binary=True)).fetchone()
        return None if row is None else row[0]

    async def route_one(self, event: str) -> Batch:
        """See `Store.route_one`."""
        return await self._batch(ROUTE_ONE, {"event": event, "untried": False})

    async def park_one(self, event: str) -> Batch:
        """See `Store.park_one`."""
        return await self._batch(ROUTE_ONE, {"event": event, "untried": True})

    async def backlog(self) -> Backlog:
        """See `Store.backlog`."""
        async with self._session.call() as connection:
            row = await (await connection.execute(BACKLOG)).fetchone()
        assert row is not None
        ready, oldest, parked, dead, queue = row
        return Backlog(ready=ready, oldest_seconds=oldest, parked=parked, dead=dead, notification_queue=queue)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._session.close()

    async def _batch(self, statement: str, parameters: dict[str, object]) -> Batch:
        started = time.perf_counter()
        async with self._session.call() as connection:
            row = await (await connection.execute(statement, parameters, binary=True)).fetchone()
        assert row is not None
        return batch_of(row, time.perf_counter() - started)


def _bounds(window: Window) -> dict[str, object]:
    return {
        "after_at": window.after.at,
        "after_id": window.after.id,
        "overlap": window.overlap,
        "until_at": window.until.at if window.until else "infinity",
        "margin": window.margin,
        "lane": window.lane,
        "lanes": window.lanes,
    }


def batch_of(row: TupleRow, seconds: float) -> Batch:
    claimed, inserted, parked, dead, channels, ages, reached_at, reached_id, inside, held, held_reason = row
    # The function took the ages at its end; the commit and the way back, which it cannot see, are added here.
    outside = max(0.0, seconds - inside)
    return Batch(
        claimed=claimed,
        inserted=inserted,
        parked=parked,
        dead=dead,
        channels=tuple(channels or ()),
        ages=tuple(age + outside for age in ages or ()),
        reached=Cursor(at=reached_at, id=reached_id),
        seconds=seconds,
        held=held,
        held_reason=held_reason,
    )
