"""Routing calls to Postgres: one statement a batch."""

import time
from math import isfinite

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import TupleRow

from consumer.adapters.postgres.connection import Session
from consumer.domain.overview import BacklogByChannel, ChannelBacklog, Replica
from consumer.domain.routing import BEGINNING, END, Backlog, Batch, Bell, Cursor, Path, Window

# Names are qualified, in all statements of the service: the search_path of its role may begin with anything.
BOUNDS = """
    case when %(overlaps)s
         then least(%(after_at)s, pg_catalog.now()) operator(pg_catalog.-) pg_catalog.make_interval(secs => %(overlap)s)
         else coalesce(%(after_at)s, pg_catalog.now()) end,
    %(after_id)s::pg_catalog.uuid,
    coalesce(%(until_at)s, pg_catalog.now()) operator(pg_catalog.-) pg_catalog.make_interval(secs => %(margin)s)
"""
# How a time looks as text depends on DateStyle and TimeZone, and not every text can be read again.
COLUMNS = (
    "claimed, inserted, parked, dead, channels, ages, pg_catalog.timestamptz_send(reached_at), "
    "reached_id::pg_catalog.text, seconds, held, held_reason"
)
ROUTE = f"select {COLUMNS} from router.route_batch(%(limit)s, {BOUNDS}, %(bell)s, %(lane)s, %(lanes)s, %(path)s)"  # noqa: S608 - constants only
ROUTE_DUE = f"select {COLUMNS} from router.route_due(null, %(limit)s)"  # noqa: S608
ROUTE_OLDEST = (
    f"select {COLUMNS} from router.route_oldest(%(channel)s, %(limit)s, %(after_at)s, %(after_id)s::pg_catalog.uuid)"  # noqa: S608
)
ROUTE_ONE = f"select {COLUMNS} from router.route_one(%(event)s::pg_catalog.uuid, %(untried)s, %(path)s)"  # noqa: S608
NEXT_EVENT = f"select router.next_event(%(due)s, {BOUNDS}, %(lane)s, %(lanes)s)::pg_catalog.text"
BACKLOG = """
    select ready, oldest_seconds, parked, dead, notification_queue
    from router.recent_backlog(%s::pg_catalog.float8)
"""
BY_CHANNEL = """
    select channel, ready, oldest_seconds, is_partial
    from router.backlog_by_channel(%s::pg_catalog.float8)
"""
# Not a function of the schema: since when sessions are there their own role may see, and the schema's owner need not.
REPLICAS = """
    select a.application_name,
           extract(epoch from pg_catalog.now() operator(pg_catalog.-) pg_catalog.min(a.backend_start))
           ::pg_catalog.float8
    from pg_catalog.pg_stat_activity a
    where a.datname operator(pg_catalog.=) pg_catalog.current_database()
      and pg_catalog.starts_with(a.application_name, %s::pg_catalog.text)
    group by a.application_name
    order by a.application_name
    limit 200
"""
REPLICA = "webhook-router replica "
"""How the names of sessions begin that stand for a process of the service; router.status knows it as well."""
LONGEST_NAME = 63
"""Bytes of the name of a session: the server cuts off what is longer."""


def replica_of(host: str, pid: int) -> str:
    """host:pid, as short as the name of a session needs it; beginnings and ends of hosts tell them apart."""
    host = host.encode("ascii", "replace").decode().replace(" ", "_")
    return f"{host if len(host) <= 27 else f'{host[:12]}..{host[-13:]}'}:{pid}"


def session_of(replica: str, version: str) -> str:
    """The name of the session that stands for a process of the service."""
    return f"{REPLICA}{replica} {version}"[:LONGEST_NAME]


class Moment(int):
    """A time as a parameter: see `Cursor.at`."""


class _MomentDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.postgres.types["timestamptz"].oid

    def dump(self, obj: Moment) -> bytes:
        return obj.to_bytes(8, "big", signed=True)


psycopg.adapters.register_dumper(Moment, _MomentDumper)


class PostgresStore:
    """The `Store` over one connection of its own.

    Args:
        path: by which its events are routed, see router.mark_routed; those of `route_due` and `route_oldest` are the
            sweep's in any case.
    """

    def __init__(self, conninfo: str, *, call_timeout: float, path: Path = Path.HOT) -> None:
        self._session = Session(conninfo, call_timeout=call_timeout)
        self._path = path

    def keep_statements(self, *, keep: bool) -> None:
        """From the next call on; see `Session.keeps_statements`."""
        self._session.keeps_statements = keep

    async def route(self, *, limit: int, window: Window, bell: Bell | None = None) -> Batch:
        """See `Store.route`."""
        return await self._batch(ROUTE, {"limit": limit, "bell": bell, "path": self._path, **_bounds(window)})

    async def route_due(self, *, limit: int) -> Batch:
        """See `Store.route_due`."""
        return await self._batch(ROUTE_DUE, {"limit": limit})

    async def route_oldest(self, *, channel: str | None, limit: int, after: Cursor) -> Batch:
        """See `SweepStore.route_oldest`."""
        return await self._batch(
            ROUTE_OLDEST, {"channel": channel, "limit": limit, "after_at": moment(after), "after_id": after.id}
        )

    async def next_event(self, *, window: Window | None) -> str | None:
        """See `Store.next_event`."""
        parameters = {"due": window is None, **_bounds(window or Window())}
        async with self._session.call() as connection:
            row = await (await connection.execute(NEXT_EVENT, parameters, binary=True)).fetchone()
        return None if row is None else row[0]

    async def route_one(self, event: str) -> Batch:
        """See `Store.route_one`."""
        return await self._batch(ROUTE_ONE, {"event": event, "untried": False, "path": self._path})

    async def park_one(self, event: str) -> Batch:
        """See `Store.park_one`."""
        return await self._batch(ROUTE_ONE, {"event": event, "untried": True, "path": self._path})

    async def backlog(self, *, within: float | None = None) -> Backlog:
        """See `Store.backlog`."""
        async with self._session.call() as connection:
            row = await (await connection.execute(BACKLOG, (within,), binary=True)).fetchone()
        assert row is not None
        ready, oldest, parked, dead, queue = row
        return Backlog(ready=ready, oldest_seconds=oldest, parked=parked, dead=dead, notification_queue=queue)

    async def by_channel(self, *, within: float) -> BacklogByChannel:
        """See `OverviewStore.by_channel`."""
        async with self._session.call() as connection:
            channels = await (await connection.execute(BY_CHANNEL, (within,), binary=True)).fetchall()
            sessions = await (await connection.execute(REPLICAS, (REPLICA,), binary=True)).fetchall()
        return BacklogByChannel(
            channels=[
                ChannelBacklog(channel=channel, ready=ready, oldest_seconds=oldest)
                for channel, ready, oldest, _ in channels
            ],
            is_partial=any(row[-1] for row in channels),
            replicas=[replica_named(name, seconds) for name, seconds in sessions],
        )

    async def close(self) -> None:
        """See `Store.close`."""
        await self._session.close()

    async def _batch(self, statement: str, parameters: dict[str, object]) -> Batch:
        started = time.perf_counter()
        async with self._session.call() as connection:
            row = await (await connection.execute(statement, parameters, binary=True)).fetchone()
        assert row is not None
        return batch_of(row, time.perf_counter() - started)


def replica_named(session: str, seconds: float | None) -> Replica:
    name, _, version = session.removeprefix(REPLICA).partition(" ")
    return Replica(name=name, version=version, seconds=seconds)


def _bounds(window: Window) -> dict[str, object]:
    overlaps = window.overlap > 0
    return {
        "after_at": moment(window.after),
        "after_id": BEGINNING.id if overlaps else window.after.id,
        "overlaps": overlaps,
        "overlap": window.overlap,
        "until_at": moment(window.until or END),
        "margin": window.margin,
        "lane": window.lane,
        "lanes": window.lanes,
    }


def moment(place: Cursor) -> Moment | None:
    """The time of a place as a parameter; null is the moment of the call."""
    return None if place.at is None else Moment(place.at)


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
        ages=tuple(max(age + outside, 0.0) for age in ages or () if age is not None and isfinite(age)),
        reached=Cursor(at=int.from_bytes(reached_at, "big", signed=True), id=reached_id),
        seconds=seconds,
        held=held,
        held_reason=held_reason,
    )
