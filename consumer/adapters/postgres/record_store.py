"""Storing and routing intakes: one statement a call."""

import time
from collections.abc import Sequence

from consumer.adapters.postgres.connection import Session
from consumer.adapters.postgres.encodings import encoding_of, fitting
from consumer.adapters.postgres.store import batch_of
from consumer.domain.records import IntakeOutcome, Refusal
from consumer.domain.webhook import Intake

# Columns by their bare names: where "(r.batch).held" is no column, as in an older schema, it is a function's call.
INGEST_AND_ROUTE = """
    select claimed, inserted, parked, dead, channels, ages, pg_catalog.timestamptz_send(reached_at),
           reached_id::pg_catalog.text, seconds, held, held_reason, refused, codes, reasons
    from router.ingest_and_route(%(lines)s, %(channels)b, %(event_ids)b, %(keep)b, %(untried)s)
             as r (batch, refused, codes, reasons)
    cross join lateral (select (r.batch).*) b
"""


class PostgresRecordStore:
    """The `RecordStore` over one connection of its own."""

    def __init__(self, conninfo: str, *, call_timeout: float) -> None:
        self._session = Session(conninfo, call_timeout=call_timeout)

    async def ingest_and_route(self, intakes: Sequence[Intake]) -> IntakeOutcome:
        """See `RecordStore.ingest_and_route`."""
        return await self._ingest(intakes, untried=False)

    async def ingest_and_park(self, intakes: Sequence[Intake]) -> IntakeOutcome:
        """See `RecordStore.ingest_and_park`."""
        return await self._ingest(intakes, untried=True)

    async def close(self) -> None:
        """See `RecordStore.close`."""
        await self._session.close()

    async def _ingest(self, intakes: Sequence[Intake], *, untried: bool) -> IntakeOutcome:
        lines = "\n".join(intake.line or "" for intake in intakes)
        parameters: dict[str, object] = {
            "channels": [intake.channel for intake in intakes],
            "event_ids": [intake.event_id for intake in intakes],
            "keep": [intake.keep for intake in intakes],
            "untried": untried,
        }
        started = time.perf_counter()
        async with self._session.call() as connection:
            parameters["lines"] = fitting(lines, encoding_of(connection))
            row = await (await connection.execute(INGEST_AND_ROUTE, parameters, binary=True)).fetchone()
        assert row is not None
        *batch, refused, codes, reasons = row
        return IntakeOutcome(
            batch=batch_of(tuple(batch), time.perf_counter() - started),
            refusals=tuple(
                Refusal(place=place - 1, code=code, reason=reason)
                for place, code, reason in zip(refused, codes, reasons, strict=True)
            ),
        )
