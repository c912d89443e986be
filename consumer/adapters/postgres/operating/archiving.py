"""Pruning into an archive: what goes is written and counted in the transaction that drops it, before that commits.

Until then the events are in the table; what was written is in the archive as well, and a step that is done again writes
it once more. So there may be doubles in an archive, but never a gap. What the application keeps is not written.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

import psycopg

from consumer.adapters.postgres.connection import translated
from consumer.adapters.postgres.encodings import encoding_of
from consumer.adapters.postgres.operating.answers import refuse_superusers
from consumer.adapters.postgres.operating.session import Connection
from consumer.adapters.postgres.retention_store import asked
from consumer.domain.archives import ArchivedLine
from consumer.domain.errors import Fatal
from consumer.domain.retention import Kind, PruneStep, Rule

# Lines are UTF-8, but for those of SQL_ASCII, which are as they are. No real event has a year that Python lacks.
_TAKE: Final = """
    select t.ids, t.bytes, t.place::pg_catalog.text, t.reached::pg_catalog.text, t.busy,
           array(select greatest(r.at, '0001-01-01 00:00:00+00'::pg_catalog.timestamptz)
                 from pg_catalog.unnest(t.routed) with ordinality r (at, place) order by r.place),
           array(select pg_catalog.convert_to(l.line, %(encoding)s::pg_catalog.name)
                 from pg_catalog.unnest(t.lines) with ordinality l (line, place) order by l.place)
    from router.take_due(%(kind)s::pg_catalog.text, pg_catalog.make_interval(secs => %(keep)s),
                         %(limit)s::pg_catalog.int4, %(place)s::pg_catalog.jsonb, true) t
"""
_DROP: Final = """
    select gone, kept, reason
    from router.drop_taken(%(kind)s::pg_catalog.text, pg_catalog.make_interval(secs => %(keep)s),
                           %(ids)s::pg_catalog.uuid[])
"""
_NOTE: Final = "select router.note_pruned(%s::pg_catalog.jsonb)"
# While the archive is written; the second one came with Postgres 17.
_PATIENCE: Final = """
    select pg_catalog.set_config(s.name, '0', true)
    from (values ('idle_in_transaction_session_timeout'), ('transaction_timeout')) s (name)
    where pg_catalog.current_setting(s.name, true) is not null
"""


class Archive(Protocol):
    """Where lines go; see `consumer.adapters.archive`."""

    def write(self, kind: str, lines: Sequence[ArchivedLine]) -> int:
        """Writes lines; when it returns they are safe, and it returns how many there are."""
        ...


class ArchivingPruning:
    """The `RetentionStore` of one session, of the owner of the tables, that archives what goes."""

    def __init__(self, connection: Connection, archive: Archive) -> None:
        self._connection = connection
        self._archive = archive
        self._checked = False

    async def prune(self, *, rule: Rule, limit: int, place: str | None) -> PruneStep:
        """See `RetentionStore.prune`.

        Raises:
            Misconfigured: a superuser would lend its rights to triggers of the application.
            Transient, Fatal: nothing of this step was dropped; some of it may be in the archive.
        """
        with translated():
            if not self._checked:
                await refuse_superusers(self._connection, "drop_taken")
                self._checked = True
            try:
                return await self._step(rule, limit, place)
            except psycopg.errors.InsufficientPrivilege as error:
                raise Fatal(
                    "events are archived by the owner of the tables: give the owner's URL as "
                    f"WEBHOOK_ROUTER_DATABASE_URL ({error.diag.message_primary})"
                ) from error

    async def _step(self, rule: Rule, limit: int, place: str | None) -> PruneStep:
        started = time.perf_counter()
        connection = self._connection
        parameters: dict[str, Any] = {
            **asked(rule, limit=limit, place=place),
            "encoding": "SQL_ASCII" if encoding_of(connection) == "SQL_ASCII" else "UTF8",
        }
        gone, refused, reason = 0, 0, None
        async with connection.transaction():
            await connection.execute("set transaction isolation level read committed, read write")
            await connection.execute(_PATIENCE)
            row = await (await connection.execute(_TAKE, parameters, binary=True)).fetchone()
            assert row is not None
            ids, size, next_place, reached, busy, routed, texts = row
            if ids:
                dropped = await (await connection.execute(_DROP, {**parameters, "ids": ids}, binary=True)).fetchone()
                assert dropped is not None
                gone, kept, reason = dropped
                refused, staying = len(kept), set(kept)
                taken = zip(ids, routed, texts, strict=True)
                lines = [ArchivedLine(at, text) for each, at, text in taken if each not in staying]
                written = await asyncio.to_thread(self._archive.write, rule.kind.value, lines)
                if not written == len(lines) == gone:
                    raise Fatal(f"the archive has {written} lines of {gone} events; nothing of this step was deleted")
            if rule.kind is Kind.PAYLOADS and not busy:
                await connection.execute(_NOTE, [reached])
        return PruneStep(
            gone=gone,
            bytes=size * gone // len(ids) if ids else 0,
            refused=refused,
            reason=reason,
            place=next_place,
            oldest=None,
            busy=busy,
            seconds=time.perf_counter() - started,
        )
