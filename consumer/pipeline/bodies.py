"""Bodies of webhooks that come as records of a topic: they take effect as those do that come by HTTP."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from consumer.domain.deliveries import Taken, size_of
from consumer.domain.errors import Rejected, TooSlow
from consumer.domain.facts import BatchRouted
from consumer.domain.intake_facts import DeliveriesTaken, Outcome, counted_of
from consumer.domain.providers.lines import Delivery
from consumer.domain.records import DeadLetter, Flaw, Flawed, Record
from consumer.domain.routing import Path
from consumer.domain.webhook import Body
from consumer.ports import DeliveryStore, Observer

ATOMS: Final = 500
"""Most that are routed in one call. A body with more is stored first, and takes effect a moment later."""
Read = Callable[[str, str | None, bytes], Delivery]
"""Provider, account and body to what they say; never raises."""


class Bodies:
    """Takes bodies in the order of their records, one call after the other."""

    def __init__(self, *, store: DeliveryStore, read: Read, deferred: Callable[[], None], observer: Observer) -> None:
        """`deferred` is called when something was stored whose effects are still to come."""
        self._store = store
        self._read = read
        self._deferred = deferred
        self._observer = observer

    async def take(self, records: Sequence[Record]) -> list[DeadLetter]:
        """Takes the bodies of records; returns those that the database cannot even store.

        Raises:
            Transient, TooSlow, Fatal: not all of them are stored; those that are do no harm when they come again.
        """
        letters: list[DeadLetter] = []
        group: list[tuple[Record, Delivery]] = []
        atoms = 0
        for record, delivery in zip(records, await asyncio.to_thread(self._deliveries, records), strict=True):
            if group and atoms + size_of(delivery) > ATOMS:
                letters += await self._call(group)
                group, atoms = [], 0
            group.append((record, delivery))
            atoms += size_of(delivery)
        return letters + (await self._call(group) if group else [])

    def _deliveries(self, records: Sequence[Record]) -> list[Delivery]:
        found = []
        for record in records:
            body = record.meaning
            assert isinstance(body, Body)
            found.append(self._read(body.provider, body.account, body.content))
        return found

    async def _call(self, group: Sequence[tuple[Record, Delivery]]) -> list[DeadLetter]:
        deliveries = [delivery for _, delivery in group]
        alone = len(group) == 1
        if alone and (deliveries[0].atoms is None or size_of(deliveries[0]) > ATOMS):
            return await self._keep(group[0])
        try:
            taken = await self._store.take(deliveries)
        except (Rejected, TooSlow) as error:
            if alone:
                record, delivery = group[0]
                told = str(error) if isinstance(error, Rejected) else None
                return await self._keep((record, replace(delivery, error=told)))
            middle = len(group) // 2
            return await self._call(group[:middle]) + await self._call(group[middle:])
        self._tell(deliveries, taken, Outcome.TAKEN)
        return []

    async def _keep(self, one: tuple[Record, Delivery]) -> list[DeadLetter]:
        """Only stores a body."""
        record, delivery = one
        try:
            taken = await self._store.take([delivery], store_only=True)
        except Rejected as error:
            return [DeadLetter(record=record, flawed=Flawed(flaw=Flaw.REFUSED, reason=str(error)))]
        self._tell([delivery], taken, Outcome.DEFERRED)
        return []

    def _tell(self, deliveries: Sequence[Delivery], taken: Taken, outcome: Outcome) -> None:
        failed = {refusal.place for refusal in taken.refusals}
        self._observer(
            DeliveriesTaken(
                path=Path.KAFKA,
                seconds=taken.batch.seconds,
                answered=Counter((delivery.provider, outcome) for delivery in deliveries),
                atoms={} if outcome is Outcome.DEFERRED else counted_of(deliveries),
                effects={(kind, became): n for kind, numbers in taken.effects.items() for became, n in numbers.items()},
                failed=Counter(deliveries[place].provider for place in failed),
            )
        )
        if taken.batch.claimed:
            self._observer(BatchRouted(path=Path.KAFKA, batch=taken.batch))
        if failed or outcome is Outcome.DEFERRED:
            self._deferred()
