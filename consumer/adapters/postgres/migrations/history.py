"""Marks what arrived before a time as routed, for tables that were filled long before the router came.

Where `routed_at` is missing, it is added with the time as the value of all rows there are, which writes none of them,
and those that arrived later lose it again. Otherwise rows are updated, a few thousand in a transaction, with pauses
as long as the work. How far that has come is noted in the same transactions, so that any later run goes on from there.
"""

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from psycopg import errors, sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import sessions
from consumer.adapters.postgres.migrations.sessions import Report
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.domain.errors import Fatal, Misconfigured

T = TypeVar("T")
Patiently = Callable[[str, Callable[[], T]], T]

_STEP_BYTES: Final = 1 << 20
"""Of the table, for each transaction: some thousands of rows."""
_LONGEST_PAUSE_SECONDS: Final = 1.0
_REPORT_EVERY_SECONDS: Final = 5.0
_COUNT_SECONDS: Final = 20.0

# Measured on 300,000 events, on two cores: an event whose message exists is marked only, another one makes rows.
_BYTES_MARKED, _BYTES_ROUTED = 1_500, 3_100
_RATE_MARKED, _RATE_ROUTED = 8_000, 2_500
_WORTH_A_NOTE: Final = 10_000

_STATE: Final = "select before, state, block, blocks, marked from router.history"
_BEGIN: Final = """
    insert into router.history (before, state, blocks) values (%s, 'mark', 0)
    on conflict ("only") do update set before = excluded.before, state = 'mark', block = 0, blocks = 0, marked = 0
"""
_TABLE: Final = """
    select o.rolname,
           exists (select from pg_catalog.pg_attribute a
                   where a.attrelid operator(pg_catalog.=) c.oid and a.attname operator(pg_catalog.=) 'routed_at'
                     and not a.attisdropped) as has_routed_at,
           pg_catalog.pg_relation_size(c.oid) operator(pg_catalog./)
               pg_catalog.current_setting('block_size')::pg_catalog.int8 as blocks,
           o.rolname operator(pg_catalog.=) current_user as is_mine
    from pg_catalog.pg_class c
    join pg_catalog.pg_roles o on o.oid operator(pg_catalog.=) c.relowner
    where c.oid operator(pg_catalog.=) pg_catalog.to_regclass('public.webhook_events')
"""
_STEP: Final = """
    select events, of_all
    from pg_temp.webhook_router_history(%s::pg_catalog.text, %s::pg_catalog.int8, %s::pg_catalog.int8)
"""
_READABLE: Final = """
    select case when not r.rolsuper then has_table_privilege(c.oid, 'select')
                -- What the planner evaluates of indexes and constraints runs with the rights of whoever asks.
                else not exists (
                    select from pg_depend t
                    join pg_depend f on f.classid = t.classid and f.objid = t.objid
                    where t.refclassid = 'pg_class'::regclass and t.refobjid = c.oid
                      and f.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)) end as may_be_read,
           exists (select from pg_attribute a
                   where a.attrelid = c.oid and a.attname = 'routed_at' and not a.attisdropped) as has_routed_at,
           greatest(c.reltuples, 0)::bigint as about,
           to_regclass('router.schema_migrations') is null as is_new
    from pg_class c, pg_roles r
    where c.oid = to_regclass('public.webhook_events') and c.relkind = 'r' and r.rolname = current_user
"""
_COUNT: Final = {
    True: "select count(*) from only public.webhook_events where routed_at is null",
    False: "select count(*) from only public.webhook_events",
}


class History:
    """The marking of one run of the migrator."""

    def __init__(self, connection: Connection, report: Report, patiently: Patiently[None], lock_timeout: float) -> None:
        self._connection = connection
        self._report = report
        self._patiently = patiently
        self._lock_timeout = lock_timeout
        self.marked = 0

    def begin(self, before: datetime | None) -> None:
        """Before the migrations: notes what is to be marked, and adds the column where it is missing.

        Raises:
            Fatal, Transient: as the migrator.
        """
        if self._state() == "reset":
            self.work()  # an earlier run's, which is half done
        if before is None:
            return
        if self._table() is None:
            self._report("there are no events to mark as routed")
            return
        self._patiently("history", lambda: self._note(before))
        self._patiently("history", self._add_column)

    def work(self) -> None:
        """Does what is left to do; at once if that is nothing.

        Raises:
            Fatal, Transient: as the migrator.
        """
        state = self._state()
        if state not in {"mark", "reset"}:
            return
        before, _, block, blocks, _ = self._row()
        if not blocks:
            self._patiently("history", self._measure)
            before, _, block, blocks, _ = self._row()
        elif block:
            self._report(f"history: going on with block {block:,} of {blocks:,}")
        size = max(_STEP_BYTES // self._block_size(), 1)
        reported = time.monotonic()
        while block < blocks:
            begun = time.monotonic()
            upto = min(block + size, blocks)
            self._patiently("history", lambda first=block, last=upto: self._step(state, first, last))  # type: ignore[misc]
            block = upto
            if time.monotonic() - reported >= _REPORT_EVERY_SECONDS:
                reported = time.monotonic()
                self._report(f"history: {block:,} of {blocks:,} blocks done")
            sessions.pause(self._connection, min(time.monotonic() - begun, _LONGEST_PAUSE_SECONDS))
        # One statement sees every row, those too that have moved meanwhile.
        self._patiently("history", lambda: self._step(state, None, None))
        self.marked = int(self._row()[4])
        self._report(f"history: {self.marked:,} events that arrived before {_said(before)} are marked as routed")

    def _state(self) -> str | None:
        with sessions.reading(self._connection):
            row = self._connection.execute(_STATE).fetchone()
        return str(row[1]) if row else None

    def _row(self) -> tuple[datetime, str, int, int, int]:
        with sessions.reading(self._connection):
            row = self._connection.execute(_STATE).fetchone()
        assert row is not None
        before, state, block, blocks, marked = row
        return before, state, block, blocks, marked

    def _table(self) -> tuple[str, bool, int, bool] | None:
        """Of the events: owner, whether there is a `routed_at`, blocks, whether it is the current role's own."""
        row = self._connection.execute(_TABLE).fetchone()
        return (str(row[0]), bool(row[1]), int(row[2]), bool(row[3])) if row else None

    def _note(self, before: datetime) -> None:
        with self._writing():
            self._connection.execute(_BEGIN, [before])

    def _measure(self) -> None:
        with self._writing():
            table = self._table()
            blocks = table[2] if table else 0
            self._connection.execute("update router.history set blocks = %s", [max(blocks, 1)])

    def _add_column(self) -> None:
        """With the time as the value of all rows, if that is right for most of them."""
        with self._writing():
            table = self._table()
            if table is None or table[1]:
                return
            older, events = self._call("count", None, None)
            if older * 2 < events:
                return
            (before,) = self._connection.execute("select before from router.history").fetchone() or (None,)
            self._connection.execute(
                sql.SQL("alter table public.webhook_events add column routed_at timestamptz default {}").format(
                    sql.Literal(before)
                )
            )
            self._connection.execute("alter table public.webhook_events alter column routed_at drop default")
            # Rows that are inserted between the count and the lock lose the value by the pass that follows.
            self._connection.execute(
                "update router.history set state = 'reset', blocks = %s, marked = %s", [max(table[2], 1), events]
            )
        self._report(f"history: column routed_at is added, and filled for {older:,} of {events:,} events")

    def _step(self, state: str, first: int | None, last: int | None) -> None:
        with self._writing():
            self._call(state, first, last)

    def _call(self, step: str, first: int | None, last: int | None) -> tuple[int, int]:
        """Calls the function of history.sql, made anew in the same transaction: nobody else has had it in hand."""
        table = self._table()
        if table is None:
            raise Fatal("public.webhook_events is gone")
        owner, *_, is_mine = table
        self._connection.execute(SHIPPED.file("migrator", "history.sql").text.encode())
        if not is_mine:
            role = sql.Identifier(owner)
            for statement in (
                "alter function pg_temp.webhook_router_history(text, bigint, bigint) owner to {}",
                "grant usage on schema router to {}",
                "grant select, update on router.history to {}",
            ):
                self._connection.execute(sql.SQL(statement).format(role))
        row = self._connection.execute(_STEP, [step, first, last]).fetchone()
        return (int(row[0] or 0), int(row[1] or 0)) if row else (0, 0)

    def _block_size(self) -> int:
        row = self._connection.execute("select pg_catalog.current_setting('block_size')").fetchone()
        return int(row[0]) if row else 8192

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return sessions.writing(self._connection, lock_timeout=self._lock_timeout)


def moment(text: str) -> datetime:
    """A time of the past as ISO 8601; UTC where it has no offset.

    Raises:
        Misconfigured: it is none.
    """
    try:
        time_of = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a time such as 2026-01-31 or 2026-01-31T12:00:00+01:00"
        raise Misconfigured(msg) from None
    time_of = time_of if time_of.tzinfo else time_of.replace(tzinfo=UTC)
    if time_of > datetime.now(UTC):
        msg = f"{text} is in the future: events that are still to come would count as routed"
        raise Misconfigured(msg)
    return time_of


def cost(conninfo: str) -> list[str]:
    """How many events the first run will leave to be routed, and what that takes; empty if it is not worth a word.

    Raises:
        Fatal, Transient: as `migrate`.
    """
    with sessions.connected(conninfo) as connection:
        with sessions.reading(connection):
            row = connection.execute(_READABLE).fetchone()
        if row is None:
            return []
        may_be_read, has_routed_at, about, is_new = row
        counted = _counted(connection, has_routed_at=has_routed_at) if may_be_read else None
    events = about if counted is None and not has_routed_at else counted
    if events is None or not (events if is_new else events >= _WORTH_A_NOTE):
        return []
    how = "in small steps" if has_routed_at else "which writes next to nothing while there is no column routed_at"
    said = f"{events:,}" if counted is not None else f"about {events:,}"
    return [
        (
            f"{said} events count as unrouted, and will be routed: {_size(events * _BYTES_MARKED)} of WAL and "
            f"{_duration(events / _RATE_MARKED)} if their messages exist, {_size(events * _BYTES_ROUTED)} and "
            f"{_duration(events / _RATE_ROUTED)} if all of them are new. What is done already can be marked as routed "
            f"instead, {how}: webhook-router migrate --routed-before TIME"
        )
    ]


def _counted(connection: Connection, *, has_routed_at: bool) -> int | None:
    """Of what is not routed; None if that takes too long."""
    try:
        with sessions.reading(connection):
            connection.execute(f"set local statement_timeout = '{_COUNT_SECONDS:g}s'".encode())
            row = connection.execute(_COUNT[has_routed_at].encode()).fetchone()
    except errors.QueryCanceled:
        return None
    return int(row[0]) if row else None


def _said(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds")


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.0f} h"
