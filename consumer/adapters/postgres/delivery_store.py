"""Taking deliveries, and what is done about those that are not in effect: one statement a call."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from consumer.adapters.bodies import call, unpacked
from consumer.adapters.postgres.connection import Session
from consumer.adapters.postgres.encodings import encoding_of, fitting
from consumer.adapters.postgres.store import batch_of
from consumer.domain.deliveries import Deferred, Swept, Taken, size_of
from consumer.domain.intake_facts import IntakeSampled
from consumer.domain.providers.lines import Call, Delivery
from consumer.domain.records import Refusal
from consumer.domain.routing import Path

MUCH: Final = 64 * 1024
"""Bytes of bodies from which on packing them takes so long that others would notice."""
# Columns by their bare names, see `record_store`.
TAKE: Final = """
    select claimed, inserted, parked, dead, channels, ages, pg_catalog.timestamptz_send(reached_at),
           reached_id::pg_catalog.text, seconds, held, held_reason, r.effects::pg_catalog.text, refused, codes, reasons
    from router.take_deliveries(%(deliveries)s::pg_catalog.jsonb, %(bodies)b, %(lines)s, %(effects)s, %(store_only)s,
                                %(path)s)
             as r (batch, effects, refused, codes, reasons)
    cross join lateral (select (r.batch).*) b
"""
CLAIM: Final = """
    select id, provider, account,
           pg_catalog.to_char(pg_catalog.timezone('UTC', received_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() operator(pg_catalog.-) received_at),
           body, is_compressed
    from router.claim_deliveries(%(limit)s, %(size)s)
"""

REFUSED: Final = """
    select provider, pg_catalog.string_agg(reason, '; ' order by table_name)
    from router.refused_channels()
    group by provider
"""
SWEEP: Final = """
    select place::pg_catalog.text, applied, expired
    from router.sweep_waiting(%(limit)s::pg_catalog.int4, %(place)s::pg_catalog.jsonb, %(path)s)
"""
SAMPLE: Final = """
    select waiting::pg_catalog.text, waiting_seconds, deferred, deferred_seconds from router.intake_backlog()
"""
KEEP: Final = "select router.keep_deliveries(pg_catalog.make_interval(days => %(days)s))"


def _unwritten(delivery: Delivery) -> int:
    """Bytes that are still to be packed, or as much as that for messages that are to be written as lines."""
    if delivery.written is not None:
        return 0
    return len(delivery.body or b"") + 300 * size_of(delivery)


class PostgresDeliveryStore:
    """The `DeliveryStore` over one connection of its own.

    Args:
        path: by which the events of its deliveries are routed, see router.mark_routed.
    """

    def __init__(
        self, conninfo: str, *, call_timeout: float, connect_timeout: float = 5.0, path: Path = Path.GATEWAY
    ) -> None:
        self._session = Session(conninfo, call_timeout=call_timeout, connect_timeout=connect_timeout)
        self._path = path

    def keep_statements(self, *, keep: bool) -> None:
        """From the next call on; see `Session.keeps_statements`."""
        self._session.keeps_statements = keep

    async def take(self, deliveries: Sequence[Delivery], *, store_only: bool = False) -> Taken:
        """See `DeliveryStore.take`."""
        if sum(_unwritten(delivery) for delivery in deliveries) > MUCH:
            asked = await asyncio.to_thread(call, deliveries)
        else:
            asked = call(deliveries)
        return await self._take(asked, store_only=store_only)

    async def claim(self, *, limit: int, size: int) -> Sequence[Deferred]:
        """See `DeliveryStore.claim`."""
        async with self._session.call() as connection:
            rows = await (await connection.execute(CLAIM, {"limit": limit, "size": size}, binary=True)).fetchall()
        claimed = []
        for number, provider, account, received_at, age, stored, is_compressed in rows:
            body, error = None, None
            try:
                body = None if stored is None else unpacked(stored, is_compressed=is_compressed)
            except ValueError as problem:
                error = str(problem)
            claimed.append(
                Deferred(
                    id=number,
                    provider=provider,
                    account=account,
                    received_at=received_at,
                    age=max(age, 0.0),
                    body=body,
                    error=error,
                )
            )
        return claimed

    async def refused(self) -> Mapping[str, str]:
        """See `DeliveryStore.refused`."""
        async with self._session.call() as connection:
            rows = await (await connection.execute(REFUSED, binary=True)).fetchall()
        return dict(rows)

    async def sweep(self, *, limit: int, place: str | None) -> Swept:
        """See `IntakeStore.sweep`."""
        async with self._session.call() as connection:
            parameters = {"limit": limit, "place": place, "path": self._path}
            row = await (await connection.execute(SWEEP, parameters, binary=True)).fetchone()
        assert row is not None
        reached, applied, expired = row
        return Swept(applied=applied, expired=expired, place=reached)

    async def sample(self) -> IntakeSampled:
        """See `IntakeStore.sample`."""
        async with self._session.call() as connection:
            row = await (await connection.execute(SAMPLE, binary=True)).fetchone()
        assert row is not None
        waiting, waiting_seconds, deferred, deferred_seconds = row
        return IntakeSampled(
            waiting=orjson.loads(waiting),
            waiting_seconds=waiting_seconds,
            deferred=deferred,
            deferred_seconds=deferred_seconds,
        )

    async def keep(self, *, days: int) -> None:
        """See `IntakeStore.keep`."""
        async with self._session.call() as connection:
            await connection.execute(KEEP, {"days": days}, binary=True)

    async def close(self) -> None:
        """See `DeliveryStore.close`."""
        await self._session.close()

    async def _take(self, asked: Call, *, store_only: bool) -> Taken:
        started = time.perf_counter()
        async with self._session.call() as connection:
            encoding = encoding_of(connection)
            parameters = {
                "deliveries": fitting(asked.deliveries, encoding),
                "bodies": asked.bodies,
                "lines": fitting(asked.lines, encoding),
                "effects": fitting(asked.effects, encoding),
                "store_only": store_only,
                "path": self._path,
            }
            row = await (await connection.execute(TAKE, parameters, binary=True)).fetchone()
        assert row is not None
        *batch, effects, refused, codes, reasons = row
        return Taken(
            batch=batch_of(tuple(batch), time.perf_counter() - started),
            effects=orjson.loads(effects),
            refusals=tuple(
                Refusal(place=place - 1, code=code, reason=reason)
                for place, code, reason in zip(refused, codes, reasons, strict=True)
            ),
        )
