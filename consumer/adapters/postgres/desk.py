"""What the pages of whoever is on call ask the database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from consumer.adapters.postgres.database_url import place_of
from consumer.adapters.postgres.operating import deliveries, explain
from consumer.adapters.postgres.operating.session import Connection, session
from consumer.domain.deliveries import Troubled
from consumer.domain.errors import TooSlow
from consumer.domain.explaining import Explanation, Findings

AT_ONCE: Final = 2
"""Questions under way: pages must not take the connections of those who route."""


class Desk:
    """Asks one question after the other, each in a session of its own; nothing is open while nobody asks."""

    def __init__(self, conninfo: str, *, call_timeout: float) -> None:
        self._conninfo = conninfo
        self._call_timeout = call_timeout
        self._places = asyncio.Semaphore(AT_ONCE)

    @property
    def place(self) -> tuple[str, str]:
        """Host and database."""
        return place_of(self._conninfo)

    async def find_event(self, channel: str | None, text: str) -> Findings:
        """See `EventDesk`."""
        async with self._asking() as connection:
            return await explain.search(connection, channel, text)

    async def explain_event(self, channel: str, event_id: str) -> Explanation:
        """See `EventDesk`."""
        async with self._asking() as connection:
            return await explain.explain(connection, channel, event_id)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Connection]:
        """
        Raises:
            Transient, Misconfigured, Fatal, Rejected: see `session`.
            TooSlow: there is no answer in time.
        """
        try:
            async with (
                asyncio.timeout(self._call_timeout),
                self._places,
                session(self._conninfo, name="page") as connection,
            ):
                yield connection
        except TimeoutError as error:
            raise TooSlow(f"the database has not answered within {self._call_timeout:g} s") from error

    async def troubled(self, *, since: timedelta) -> Sequence[Troubled]:
        """See `DeliveryDesk.troubled`."""
        async with self._asking() as connection:
            return await deliveries.troubled(connection, since=datetime.now(UTC) - since)
