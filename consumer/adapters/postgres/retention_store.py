"""Steps of pruning: one statement each."""

import time
from collections.abc import Mapping

from psycopg.rows import TupleRow

from consumer.adapters.postgres.connection import Session
from consumer.domain.retention import PruneStep, Rule

PRUNE = """
    select gone, bytes, refused, reason, place::pg_catalog.text,
           case when pg_catalog.isfinite(oldest) then extract(epoch from oldest) end::pg_catalog.float8, busy
    from router.prune(%(kind)s::pg_catalog.text, pg_catalog.make_interval(secs => %(keep)s), %(limit)s::pg_catalog.int4,
                      %(place)s::pg_catalog.jsonb, %(dry_run)s)
"""


def asked(rule: Rule, *, limit: int, place: str | None, dry_run: bool = False) -> Mapping[str, object]:
    """The parameters of a step."""
    return {
        "kind": rule.kind,
        "keep": rule.keep.total_seconds(),
        "limit": limit,
        "place": place,
        "dry_run": dry_run,
    }


def step_of(row: TupleRow | None, seconds: float) -> PruneStep:
    """What a step has done."""
    assert row is not None
    gone, size, refused, reason, place, oldest, busy = row
    return PruneStep(
        gone=gone,
        bytes=size,
        refused=refused,
        reason=reason,
        place=place,
        oldest=oldest,
        busy=busy,
        seconds=seconds,
    )


class PostgresRetentionStore:
    """The `RetentionStore` over one connection of its own."""

    def __init__(self, conninfo: str, *, call_timeout: float) -> None:
        self._session = Session(conninfo, call_timeout=call_timeout)

    async def prune(self, *, rule: Rule, limit: int, place: str | None) -> PruneStep:
        """See `RetentionStore.prune`."""
        started = time.perf_counter()
        async with self._session.call() as connection:
            cursor = await connection.execute(PRUNE, asked(rule, limit=limit, place=place), binary=True)
            row = await cursor.fetchone()
        return step_of(row, time.perf_counter() - started)

    async def close(self) -> None:
        """Ends its connection; never raises."""
        await self._session.close()
