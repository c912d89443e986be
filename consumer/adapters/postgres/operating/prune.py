"""Pruning by a command, with the rights of whoever runs it."""

import time

from consumer.adapters.postgres.connection import translated
from consumer.adapters.postgres.operating.answers import refuse_superusers
from consumer.adapters.postgres.operating.session import Connection
from consumer.adapters.postgres.retention_store import PRUNE, asked, step_of
from consumer.domain.retention import PruneStep, Rule


class Pruning:
    """The `RetentionStore` of one session."""

    def __init__(self, connection: Connection, *, dry_run: bool) -> None:
        self._connection = connection
        self._dry_run = dry_run
        self._checked = False

    async def prune(self, *, rule: Rule, limit: int, place: str | None) -> PruneStep:
        """See `RetentionStore.prune`; a dry run changes nothing, and locks nothing.

        Raises:
            Misconfigured: a superuser would lend its rights to triggers of the application.
        """
        with translated():
            if not self._checked:
                await refuse_superusers(self._connection, "prune")
                self._checked = True
            started = time.perf_counter()
            parameters = asked(rule, limit=limit, place=place, dry_run=self._dry_run)
            # Routing looks again for rows that others have made meanwhile, and so does this.
            async with self._connection.transaction():
                await self._connection.execute("set transaction isolation level read committed, read write")
                row = await (await self._connection.execute(PRUNE, parameters)).fetchone()
            return step_of(row, time.perf_counter() - started)
