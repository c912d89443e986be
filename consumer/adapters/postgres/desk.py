"""What the pages of whoever is on call ask the database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from consumer.adapters.postgres.database_url import place_of
from consumer.adapters.postgres.operating import deliveries, explain
from consumer.adapters.postgres.operating import parked as operating
from consumer.adapters.postgres.operating.session import Connection, session
from consumer.domain.deliveries import Troubled
from consumer.domain.errors import Rejected, TooSlow
from consumer.domain.explaining import Explanation, Findings
from consumer.domain.parked import Count, Decision, Found, Outcome, ParkedEvent, Place, Selection

AT_ONCE: Final = 2
"""Questions under way: pages must not take the connections of those who route."""
MOST: Final = 100_000
"""Parked events that are counted by their error."""
LONGEST: Final = 200_000
"""Characters of a payload on a page."""


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

    async def parked(self, selection: Selection, *, before: Place | None, size: int) -> Found:
        """See `ParkedDesk`; no more than `MOST` events are counted."""
        async with self._asking() as connection:
            return await operating.page(connection, selection, before=before, size=size, most=MOST)

    async def parked_event(self, event: UUID) -> ParkedEvent | None:
        """See `ParkedDesk`."""
        async with self._asking() as connection:
            found = await operating.find(connection, Selection(ids=[event]))
        return found[0] if found else None

    async def may_read(self) -> bool:
        """See `ParkedDesk`."""
        async with self._asking() as connection:
            return await operating.readable(connection)

    async def written(self, event: UUID) -> ParkedEvent | None:
        """See `ParkedDesk`."""
        async with self._asking() as connection:
            return await operating.written(connection, event, most=LONGEST)

    async def count(self, selection: Selection) -> Count:
        """See `ParkedDesk`."""
        async with self._asking() as connection:
            return await operating.count(connection, selection)

    async def decide(self, decision: Decision, selection: Selection) -> Outcome:
        """See `ParkedDesk`."""
        async with self._asking() as connection:
            return await operating.decide(connection, decision, selection)

    async def troubled(self, *, since: timedelta) -> Sequence[Troubled]:
        """See `DeliveryDesk`."""
        async with self._asking() as connection:
            return await deliveries.troubled(connection, since=datetime.now(UTC) - since)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Connection]:
        """
        Raises:
            Transient, Misconfigured, Fatal, Rejected: see `session`.
            TooSlow: there is no answer in time.
            Rejected: also when the database cannot hold a character of the question.
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
        except UnicodeEncodeError as error:
            raise Rejected(f"the database has no character {error.object[error.start]!r}") from None
