"""Who holds the lock that a session waits for."""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg.rows import TupleRow

from consumer.domain.text import one_line

# No operator of a schema of somebody else can take the place of the catalogue's.
_BLOCKING: Final = "select pg_catalog.pg_blocking_pids(%s::pg_catalog.int4)"
_WANTED: Final = """
    select case when n.nspname is null then null else pg_catalog.concat(n.nspname, '.', c.relname) end, l.locktype
    from pg_catalog.pg_locks l
    left join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) l.relation
    left join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
    where l.pid operator(pg_catalog.=) %s::pg_catalog.int4
      and (not l.granted or l.locktype operator(pg_catalog.=) 'tuple')
    order by l.granted
"""
_WHO: Final = """
    select a.application_name, pg_catalog.pg_get_userbyid(a.usesysid)::pg_catalog.text, a.state
    from pg_catalog.pg_stat_get_activity(%s::pg_catalog.int4) a
"""
_PREPARED: Final = 0
"""The number that stands for the process of a prepared transaction."""
_MOST: Final = 10

Connection = psycopg.AsyncConnection[TupleRow]


async def holder_of(connection: Connection, waiting: int) -> str:
    """What a session waits for, in words, by the number of its process; empty if it does not wait for a lock.

    Of sessions that wait for each other it names the one at the end. It needs no rights: what others do is hidden
    from a role without them, but not who they are.

    Args:
        connection: another session of the same server.
        waiting: the process. One that does not exist, as a pooler makes them up, waits for nothing.
    """
    roots = await _roots(connection, waiting)
    if not roots:
        return ""
    who = " and ".join([await _described(connection, pid) for pid in roots])
    return f"it waits for {who}, which holds a lock on {await _wanted(connection, waiting)}"


async def _roots(connection: Connection, waiting: int) -> Sequence[int]:
    seen, ask, roots = {waiting}, [waiting], list[int]()
    while ask and len(seen) <= _MOST:
        pid = ask.pop(0)
        holders = [holder for holder in await _blocking(connection, pid) if holder not in seen]
        if not holders and pid != waiting:
            roots.append(pid)
        for holder in dict.fromkeys(holders):
            seen.add(holder)
            if holder == _PREPARED:
                roots.append(holder)
            else:
                ask.append(holder)
    return roots


async def _blocking(connection: Connection, pid: int) -> Sequence[int]:
    row = await (await connection.execute(_BLOCKING, [pid])).fetchone()
    return row[0] if row else []


async def _wanted(connection: Connection, waiting: int) -> str:
    rows = await (await connection.execute(_WANTED, [waiting])).fetchall()
    kinds = {kind for _, kind in rows}
    tables = [table for table, _ in rows if table]
    if tables:
        return f"{'a row of ' if kinds & {'tuple', 'transactionid'} else ''}{one_line(tables[0])}"
    return "something that routing locks" if "advisory" in kinds else "a row"


async def _described(connection: Connection, pid: int) -> str:
    if pid == _PREPARED:
        return "a prepared transaction (see pg_prepared_xacts)"
    row = await (await connection.execute(_WHO, [pid])).fetchone()
    told = [f"role {row[1]}", row[0], row[2]] if row else []
    return f"process {pid}" + (f" ({', '.join(one_line(word) for word in told if word)})" if any(told) else "")
