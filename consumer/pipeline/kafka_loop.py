"""The Kafka loop: poll → one call that stores and routes → dead letters → commit."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from consumer.domain.backoff import Backoff
from consumer.domain.errors import ConsumerError, Rejected, Renewed, TooSlow
from consumer.domain.facts import BatchRouted, BatchTooSlow, EventTooSlow
from consumer.domain.kafka_facts import RecordDeadLettered, RecordsDone
from consumer.domain.lag import Partition
from consumer.domain.positions import NOTHING, Noting, Positions
from consumer.domain.records import DeadLetter, Flaw, Flawed, Record, Refusal, Skip
from consumer.domain.routing import Path
from consumer.domain.webhook import Body, Intake
from consumer.pipeline.bodies import Bodies
from consumer.pipeline.pacing import keep_going
from consumer.pipeline.sizing import Size
from consumer.ports import Clock, Observer, RecordStore, Source

LOOP: Final = "kafka"
NOT_FOUND = "P0002"
WORTH_LANES = 100
"""From so many records on, two calls side by side are faster than one."""
LOOK_EVERY = 1.0
"""Seconds between looks at the database: whether it is there, and has not gone back."""
NOTE_EVERY = 0.25
"""Seconds between two calls that note positions, while there is work: each leaves a version of a row behind, which the
next ones wade through for as long as some transaction keeps an old snapshot. After a crash so much is read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaLoopSettings:
    """Times in seconds."""

    batch_size: int = 1000
    """Most records of a poll; it takes what is there, so batches follow the load."""
    poll_timeout: float = 1.0
    """How long a poll waits for the first record; a stop waits for it too."""


class KafkaLoop:
    """Stores and routes what records hold, and commits their offsets afterwards, never before.

    While the database cannot be reached, the records of a poll are given back, and the next attempt reads them again:
    nothing is held in memory, so a rebalance meanwhile does no harm. aiokafka keeps the membership alive; the pauses
    between polls are far shorter than the five minutes after which it would give it up.
    """

    def __init__(
        self,
        *,
        source: Source,
        stores: Sequence[RecordStore],
        positions: Positions,
        bodies: Bodies,
        observer: Observer,
        clock: Clock,
        settings: KafkaLoopSettings,
    ) -> None:
        self._source = source
        self._stores = stores
        self._positions = positions
        self._bodies = bodies
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._size = Size(settings.batch_size)
        self._works: bool | None = None
        """Whether the last call to the database succeeded; None before the first."""
        self._look_due = 0.0
        self._note_due = 0.0
        self._behind: set[Partition] = set()
        """Where the database has gone back."""

    async def run(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """Takes records until told to stop; those of the last poll are finished."""

        async def no_rest(_: None) -> None:
            return

        await keep_going(
            LOOP, self.step, no_rest, stop=stop, observer=self._observer, clock=self._clock, backoff=backoff
        )
        with contextlib.suppress(ConsumerError):  # what is not noted is read again
            await self._note()

    async def step(self) -> None:
        """One poll, and everything that is done with its records."""
        records = await self._source.poll(limit=self._size.limit, timeout=self._settings.poll_timeout)
        if not records:
            await self._quiet()
            return
        try:
            letters = await self._store_and_route(records)
        except Renewed:
            self._source.rewind(_firsts(records) | self._positions.take_back())
            return
        except TooSlow as error:
            self._source.rewind(_firsts(records))
            if len(records) == 1:
                raise
            self._size.too_slow(len(records))
            self._observer(BatchTooSlow(path=Path.KAFKA, limit=self._size.limit, holder=error.holder))
            return
        except ConsumerError:  # whatever it is: nothing of them is done
            self._source.rewind(_firsts(records))
            self._works = False
            raise
        self._size.done(len(records), more=True)
        ends = {record.partition: record.offset + 1 for record in self._standing(records)}
        if letters:
            try:
                await self._source.dead_letter(letters)
            except ConsumerError:
                # Everything before the first record that is not safe yet is done; that record stays.
                stuck = _firsts(self._standing([letter.record for letter in letters]))
                self._source.rewind(stuck)
                await self._source.commit(ends | stuck)
                with contextlib.suppress(ConsumerError):
                    await self._note()
                raise
            for letter in letters:
                record = letter.record
                self._observer(
                    RecordDeadLettered(
                        partition=record.partition, offset=record.offset, flawed=letter.flawed, trace=record.trace
                    )
                )
        await self._source.commit(ends)
        if not any(isinstance(record.meaning, Intake) for record in records) and self._time_to_note():
            await self._note()  # there was no call that could

    async def _quiet(self) -> None:
        """A poll without records says nothing about the database: it is looked at, and what is left is noted."""
        look = self._time_to_look()
        noting = self._positions.noting({}, look=look)
        if look or noting.offsets:
            await self._ask(noting)

    def _time_to_look(self) -> bool:
        """Whether the next call looks at all partitions: the database may go back while most of them are quiet."""
        now = self._clock.monotonic()
        if self._works and now < self._look_due:
            return False
        self._look_due = now + LOOK_EVERY
        return True

    def _time_to_note(self) -> bool:
        """Whether the next call notes what is done."""
        return self._clock.monotonic() >= self._note_due

    async def _note(self) -> None:
        """Notes what is done, and tells the group."""
        noting = self._positions.noting({}, look=self._time_to_look())
        if noting.offsets:
            await self._ask(noting)

    async def _ask(self, noting: Noting) -> None:
        """A call for positions alone; the group is told what it has noted."""
        try:
            if self._works:
                behind = await self._stores[0].note(noting)
            else:  # with all that the next records will need
                behind = (await self._stores[0].ingest_and_route((), noting)).behind
        except Renewed:
            self._source.rewind(self._positions.take_back())
            return
        except ConsumerError:
            self._works = False
            raise
        self._works = True
        self._has_noted(noting, behind)
        if behind:
            self._source.place_again(behind)
        if self._positions.committable():
            await self._source.commit({})

    def _has_noted(self, noting: Noting, behind: Collection[Partition]) -> None:
        if any(offset is not None for offset in noting.offsets.values()):
            self._note_due = self._clock.monotonic() + NOTE_EVERY
        self._positions.noted(noting, behind)

    def _standing(self, records: Sequence[Record]) -> list[Record]:
        """Those of partitions in which the database has not gone back; the others are read again from there."""
        return [record for record in records if record.partition not in self._behind]

    async def _store_and_route(self, records: Sequence[Record]) -> list[DeadLetter]:
        """Stores and routes everything that the database accepts; returns the rest as dead letters."""
        taken: list[Record] = []
        bodies: list[Record] = []
        letters: list[DeadLetter] = []
        skipped: Counter[Skip] = Counter()
        flaws: Counter[Flaw] = Counter()
        for record in records:
            match record.meaning:
                case Intake():
                    taken.append(record)
                case Body():
                    bodies.append(record)
                case Flawed() as flawed:
                    letters.append(DeadLetter(record=record, flawed=flawed))
                    flaws[flawed.flaw] += 1
                case Skip() as skip:
                    skipped[skip] += 1
        # A call that has everything of the poll take effect notes that too. Nothing else may: the rest may fail.
        whole = not bodies and not letters
        ends = {record.partition: record.offset + 1 for record in records} if whole else {}
        self._behind.clear()
        refused, fresh = await self._in_lanes(taken, ends)
        repeated = max(len(taken) - len(refused) - fresh, 0)
        if bodies:
            refused += await self._bodies.take(bodies)
            self._works = True
        now = time.time()
        ages: dict[str, list[float]] = {}
        for record in (*taken, *bodies):
            ages.setdefault(record.partition.topic, []).append(max(now - record.timestamp, 0.0))
        self._observer(
            RecordsDone(
                skipped=skipped,
                flawed=flaws,
                repeated=repeated,
                ages={topic: tuple(values) for topic, values in ages.items()},
                traces=tuple((r.partition, r.offset, r.trace) for r in records if r.trace is not None),
            )
        )
        return letters + refused

    async def _in_lanes(self, records: Sequence[Record], ends: Mapping[Partition, int]) -> tuple[list[DeadLetter], int]:
        """As `_call`, but several side by side when there are many records, each with those of other people.

        Args:
            ends: where the poll ends in each partition, if these records are all that is left to do of it.
        """
        # One lane after a failure: two may have worked on the same event, which came under two keys.
        lanes = self._stores if len(records) >= WORTH_LANES and self._works is not False else self._stores[:1]
        shares: list[list[Record]] = [[] for _ in lanes]
        for record in records:
            assert isinstance(record.meaning, Intake)
            shares[crc32(record.key or record.meaning.event_id.encode()) % len(lanes)].append(record)
        work = [(store, share) for store, share in zip(lanes, shares, strict=True) if share]
        # One of several notes what was done before them: each may fail alone.
        noting = NOTHING
        if work and self._time_to_note():
            noting = self._positions.noting(ends if len(work) == 1 else {}, look=self._time_to_look())
        calls = [
            self._call(store, share, noting if number == 0 else NOTHING) for number, (store, share) in enumerate(work)
        ]
        # A call that fails lets the others finish: what they commit is not done twice.
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        letters: list[DeadLetter] = []
        fresh = 0
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            letters += outcome[0]
            fresh += outcome[1]
        return letters, fresh

    async def _call(
        self, store: RecordStore, records: Sequence[Record], noting: Noting
    ) -> tuple[list[DeadLetter], int]:
        """Stores and routes records that hold intakes; returns those refused, and how many events were new."""
        intakes = [record.meaning for record in records if isinstance(record.meaning, Intake)]
        try:
            done = await store.ingest_and_route(intakes, noting)
        except TooSlow:
            if len(intakes) > 1:
                raise
            try:
                done = await store.ingest_and_route(intakes, noting)  # once may be the fault of a busy database
            except TooSlow as error:
                done = await store.ingest_and_park(intakes, noting)
                self._observer(EventTooSlow(path=Path.KAFKA, holder=error.holder))
        except Rejected as error:
            # What Postgres refuses, the function reports one by one; this is something that cannot even be sent.
            if len(intakes) == 1:
                return [DeadLetter(record=records[0], flawed=Flawed(flaw=Flaw.REFUSED, reason=str(error)))], 0
            middle = len(records) // 2
            (first, fresh), (second, more) = (
                await self._call(store, records[:middle], NOTHING),
                await self._call(store, records[middle:], noting),
            )
            return first + second, fresh + more
        self._works = True
        self._has_noted(noting, done.behind)
        if done.behind:
            self._behind.update(done.behind)
            self._source.place_again(done.behind)
        if done.batch.claimed:
            self._observer(BatchRouted(path=Path.KAFKA, batch=done.batch))
        refused = [
            DeadLetter(record=records[refusal.place], flawed=_flawed(intakes[refusal.place], refusal))
            for refusal in done.refusals
        ]
        return refused, done.batch.claimed


def _flawed(intake: Intake, refusal: Refusal) -> Flawed:
    """What an intake that the database has refused lacks."""
    if refusal.code != NOT_FOUND:
        return Flawed(flaw=Flaw.REFUSED, reason=refusal.reason, code=refusal.code)
    if intake.otherwise is not None:
        return Flawed(flaw=Flaw.NOT_AN_EVENT, reason=intake.otherwise)
    return Flawed(flaw=Flaw.NOT_FOUND, reason=refusal.reason, code=refusal.code)


def _firsts(records: Sequence[Record]) -> dict[Partition, int]:
    """The first offset in each partition."""
    firsts: dict[Partition, int] = {}
    for record in records:
        firsts[record.partition] = min(record.offset, firsts.get(record.partition, record.offset))
    return firsts
