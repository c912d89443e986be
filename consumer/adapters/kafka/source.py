"""A group's share of some topics, read with aiokafka, whatever the brokers and the group do meanwhile."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition, errors

from consumer.adapters.kafka.batches import Raw
from consumer.adapters.kafka.client import make_consumer, started, stopped, translation
from consumer.adapters.kafka.decoding import codec
from consumer.adapters.kafka.fetching import Fetch, Fetching
from consumer.adapters.kafka.membership import Membership
from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.adapters.kafka.placing import NOTED_MARK, Placements, ReadNoted, Unanswered
from consumer.adapters.kafka.raw import asking
from consumer.adapters.kafka.unreadable import Unreadable
from consumer.adapters.kafka.watching import Behind, Watch, look_behind
from consumer.adapters.kafka.writer import TopicWriter, as_message
from consumer.domain.errors import ConsumerError, Fatal, Transient
from consumer.domain.forms import interpret
from consumer.domain.kafka_facts import (
    BrokersAnswer,
    CommitFailed,
    CommitFailure,
    ConsumerReplaced,
    GroupJoined,
    OffsetsCommitted,
    PartitionsAssigned,
    PartitionsRevoked,
    RecordsExpired,
    RecordsRead,
    TopicsMissing,
)
from consumer.domain.lag import Partition
from consumer.domain.positions import Positions
from consumer.domain.records import DeadLetter, Flaw, Flawed, Meaning, Record
from consumer.ports import Clock, Observer

LOOK_FOR_TOPICS_EVERY = 2.0
"""Seconds, while one is missing."""
JOIN_AGAIN_AFTER = 0.5
"""Seconds between two consumers of which the first has brought nothing; twice as long after each that follows."""
JOIN_AGAIN_WITHIN = 15.0
ASK_APART_EVERY = 15.0
"""Seconds of silence, after which the brokers are asked over connections that are not the consumer's."""


class KafkaSource:
    """The `Source` over one aiokafka consumer, which is replaced by a new one when it no longer works.

    Its methods are called by one task, one after the other.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        options: KafkaOptions,
        *,
        positions: Positions,
        noted: ReadNoted,
        observer: Observer,
        clock: Clock,
    ) -> None:
        """`positions` are shared with whoever has the database note them."""
        self._connection = connection
        self._options = options
        self._observer = observer
        self._clock = clock
        self._dead_letters = TopicWriter(connection, options.dead_letter_topic, timeout=options.dead_letter_timeout)
        self._membership = Membership(options)
        self._consumer: AIOKafkaConsumer | None = None
        self._has_worked = False
        self._in_vain = 0
        """Consumers that were replaced one after the other without having brought anything."""
        self._join_due = 0.0
        self._fetching = Fetching(clock)
        self._positions = positions
        self._placing = Placements(options, positions=positions, noted=noted, observer=observer)
        self._unreadable = Unreadable(
            connection, noted=noted, timeout=options.answer_timeout, observer=observer, clock=clock
        )
        self._subscribed: frozenset[str] = frozenset()
        self._missing: tuple[str, ...] = ()
        self._topics_due = 0.0
        self._commit_due = 0.0
        self._in_hand: dict[Partition, float] = {}
        self._unfinished: set[Partition] = set()
        """Those of which records were handed over that were neither committed nor given back."""
        self._watch = Watch(stall_after=options.stall_after, observer=observer)
        self._looking: asyncio.Task[Behind] | None = None
        self._look_due = 0.0
        self._unanswered_since: float | None = None
        self._silence_told = False
        self._asked_apart = 0.0

    async def poll(self, *, limit: int, timeout: float) -> Sequence[Record]:
        """See `Source.poll`."""
        self._membership.check()
        if self._consumer is None and (wait := self._join_due - self._clock.monotonic()) > 0:
            await asyncio.sleep(min(wait, timeout))
            return ()
        consumer = self._consumer or await self._join()
        await self._follow_topics(consumer)
        if not self._subscribed:
            await asyncio.sleep(timeout)
            return ()
        if self._placing.due:
            self._watch.busy()  # nothing of them is asked for, however long the database is away
        await self._look(consumer)
        if self._placing.due:
            await self._place(consumer)
            return ()  # where the group begins is noted before its first record
        if self._positions.committable():
            await self.commit({})
        await self._free(consumer)
        fetch = await self._fetch(consumer, limit, timeout)
        fetch = fetch.without(self._placing.due)  # they came to this member while it was waiting
        self._positions.done({p: offset for p, offset in fetch.reached.items() if p not in self._unfinished})
        records = await self._with_unreadable(consumer, fetch, limit)
        return self._records(records, limit) if records else ()

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """See `Source.dead_letter`."""
        try:
            await self._dead_letters.write([as_message(letter) for letter in letters])
        except Fatal as error:
            raise Transient(str(error)) from error  # it may be fixed while we wait: the offset stays where it is

    async def close(self) -> None:
        """See `Source.close`."""
        if self._positions.committable():
            await self.commit({})
        await self._discard()
        await self._dead_letters.close()

    # ── Joining and leaving ──────────────────────────────────────────────────────────────────────────────────────────

    async def _join(self) -> AIOKafkaConsumer:
        try:
            consumer = make_consumer(self._connection, self._options)
            await started(consumer, self._connection)
        except Fatal as error:
            if self._has_worked:
                raise Transient(str(error)) from error
            raise
        self._consumer = consumer
        try:
            async with asking(self._connection, timeout=self._options.answer_timeout) as brokers:
                cluster = await brokers.cluster()
        except ConsumerError:  # whatever it is, the consumer has been let in
            cluster = ""
        self._observer(
            GroupJoined(
                cluster=cluster,
                group=self._options.group_id,
                topics=self._options.topics or (str(self._options.topics_pattern),),
            )
        )
        return consumer

    async def _follow_topics(self, consumer: AIOKafkaConsumer) -> None:
        """Subscribes to the topics that exist, and looks again until all do.

        aiokafka would ask for a missing one by its name, and brokers create what is asked for unless told otherwise.
        """
        now, options = self._clock.monotonic(), self._options
        by_pattern = options.topics_pattern is not None
        complete = not by_pattern and len(self._subscribed) == len(options.topics)
        if complete or now < self._topics_due:
            return
        try:
            there = await self._answer(consumer.topics(), "which topics there are")
        except Transient as error:
            await self._unanswered(error)
            raise
        self._answered()
        missing, wanted = options.missing(there), options.wanted(there)
        self._topics_due = now + (options.metadata_age if by_pattern and wanted else LOOK_FOR_TOPICS_EVERY)
        if missing != self._missing:
            self._missing = missing
            self._observer(TopicsMissing(topics=missing))
        if not wanted and self._subscribed:
            self.revoked(consumer)
            consumer.unsubscribe()
        elif wanted != self._subscribed:
            consumer.subscribe(topics=tuple(wanted), listener=_Rebalances(self, consumer))
        self._subscribed = wanted

    async def _replace(self, reason: str) -> None:
        """Abandons the consumer; the next poll makes a new one."""
        self._observer(ConsumerReplaced(reason=reason))
        if self._in_vain:
            pause = min(JOIN_AGAIN_AFTER * 2.0 ** min(self._in_vain - 1, 60), JOIN_AGAIN_WITHIN)
            self._join_due = self._clock.monotonic() + pause
        self._in_vain += 1
        await self._discard()

    async def _discard(self) -> None:
        if self._consumer is not None:
            self.revoked(self._consumer)
        consumer, self._consumer = self._consumer, None
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self._fetching.cancel()
        self._subscribed = frozenset()
        self._topics_due = 0.0
        self._unanswered_since = None
        self._membership.left()
        if consumer is not None:
            await stopped(consumer, self._connection)

    def assigned(self, consumer: AIOKafkaConsumer, partitions: frozenset[Partition]) -> None:
        """A rebalance has ended, and these are ours."""
        if consumer is self._consumer:
            self._look_due = 0.0  # their lag is not known until then
            self._membership.joined(consumer, now=self._clock.monotonic())
            self._placing.again(partitions)
            self._observer(PartitionsAssigned(partitions=partitions))

    def revoked(self, consumer: AIOKafkaConsumer | None) -> None:
        """A rebalance has begun, or the consumer is abandoned."""
        if consumer is self._consumer:
            self._positions.forget()
            self._placing.forget()
            self._in_hand.clear()
            self._unfinished.clear()
            self._watch.forget()
            self._fetching.forget()
            self._unreadable.forget()
            self._observer(PartitionsRevoked())

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _fetch(self, consumer: AIOKafkaConsumer, limit: int, timeout: float) -> Fetch:
        try:
            return await self._fetching.fetch(consumer, limit, timeout, patience=self._options.stall_after)
        except errors.NoOffsetForPartitionError as error:
            self._nowhere(Partition(*error.args[0]))
            return Fetch()
        except errors.OffsetOutOfRangeError as error:
            for partition, offset in error.args[0].items():
                await self._go_on(consumer, Partition(*partition), offset)
            return Fetch()
        except Exception as error:  # whatever it is, this consumer would raise it again and again
            translated = translation(error)
            await self._replace(str(translated))
            if self._has_worked:  # rights are revoked and granted; only at the start is it the configuration
                raise Transient(str(translated)) from error
            raise translated from error

    async def _with_unreadable(
        self, consumer: AIOKafkaConsumer, fetch: Fetch, limit: int
    ) -> Mapping[TopicPartition, Sequence[Any]]:
        """What a poll has brought, and what was read byte by byte of partitions that aiokafka cannot decode."""
        silent, self._watch.silent = self._watch.silent, frozenset()
        failed = self._places(consumer, fetch.failed)
        suspects = self._places(consumer, silent - fetch.failed - {Partition(*place) for place in fetch.records})
        left = limit - sum(map(len, fetch.records.values()))
        if not (failed or suspects) or left <= 0:
            return fetch.records
        try:
            found = await self._unreadable.read(failed, suspects, limit=left, worked=self._has_worked)
        except Transient:
            if failed and not fetch.records:
                raise
            return fetch.records
        except Fatal as error:
            await self._replace(str(error))
            raise
        records = dict(fetch.records)
        for place in consumer.assignment():
            partition = Partition(*place)
            if partition in found:
                self._fetching.seek(consumer, partition, found[partition].behind)
                if found[partition].records:
                    records[place] = found[partition].records
            if partition in self._unreadable.stuck:
                consumer.pause(place)
                self._fetching.seek(consumer, partition, self._unreadable.stuck[partition])
        return records

    def _places(self, consumer: AIOKafkaConsumer, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Where the next hand-over begins, in partitions that are still assigned and are not stuck."""
        places = {}
        for partition in consumer.assignment() & set(partitions):
            where = self._fetching.where(Partition(*partition))
            if where is not None and partition not in self._unreadable.stuck:
                places[Partition(*partition)] = where
        return places

    async def _free(self, consumer: AIOKafkaConsumer) -> None:
        """Has partitions that were stuck be read again, where they can."""
        for partition, offset in (await self._unreadable.look_again()).items():
            place = TopicPartition(*partition)
            if place in consumer.assignment():
                consumer.resume(place)
                self._fetching.seek(consumer, partition, offset)

    def _records(self, fetched: Mapping[TopicPartition, Sequence[Any]], limit: int) -> Sequence[Record]:
        records: list[Record] = []
        counts = {}
        for topic_partition, messages in fetched.items():
            partition = Partition(*topic_partition)
            counts[partition] = len(messages)
            records += (self._record(partition, message) for message in messages)
            if self._watch.lag.read(partition, records[-len(messages)].timestamp):
                self._look_due = 0.0  # its lag, if it was reported at all, was an estimate
            self._in_hand[partition] = records[-1].timestamp
            self._unfinished.add(partition)
        if sum(counts.values()) >= limit:
            self._watch.busy()
        else:
            self._watch.moved(counts)
        self._observer(RecordsRead(counts=counts))
        self._has_worked = True
        self._in_vain = 0
        return records

    def _record(self, partition: Partition, message: Any) -> Record:  # noqa: ANN401 - aiokafka has no types
        """Of a record of aiokafka, or one that was read byte by byte."""
        if isinstance(message, Raw) and message.flaw is not None:
            meaning: Meaning = Flawed(flaw=Flaw.UNREADABLE, reason=message.flaw)
            trace = None
        else:
            meaning, trace = interpret(
                message.value,
                message.headers,
                codec(),
                largest=self._options.largest_record,
                unavailable=self._options.unavailable_value,
            )
        return Record(
            partition=partition,
            offset=message.offset,
            timestamp=message.timestamp / 1000 if message.timestamp > 0 else time.time(),
            key=message.key,
            value=message.value,
            headers=message.headers,
            meaning=meaning,
            trace=trace,
        )

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Looks now and then how far behind this member is, and whether it moves; no poll waits for the answer."""
        now = self._clock.monotonic()
        if self._looking is None and now >= self._look_due:
            self._looking = asyncio.create_task(look_behind(consumer, self._answer))
        if self._looking is None or not self._looking.done():
            return
        looking, self._looking = self._looking, None
        try:
            behind = looking.result()
        except Transient as error:
            await self._unanswered(error)
            return
        self._answered()
        self._look_due = now + self._options.sample_interval
        self._watch.look(consumer, behind, self._unreadable.stuck, now=now)
        if behind.at_the_end:
            self._in_vain = 0  # there was nothing to bring
        if stalled := self._watch.stalled:
            first = min(stalled)
            where = f"{first.topic} {first.partition}"
            if (offset := self._fetching.where(first)) is not None:
                where += f" at offset {offset}"
            reason = f"nothing comes from {len(stalled)} partitions although there is something, as from {where}"
            await self._replace(reason)
            raise Transient(f"kafka: {reason}")

    async def _answer(self, question: Any, about: str) -> Any:  # noqa: ANN401 - as aiokafka has it
        """The answer to a question to the brokers.

        Raises:
            Unanswered: there was none.
        """
        try:
            async with asyncio.timeout(self._options.answer_timeout):
                return await question
        except (errors.KafkaError, TimeoutError) as error:
            raise Unanswered(f"kafka: the brokers do not answer, asked {about}") from error

    async def _unanswered(self, error: Transient) -> None:
        """Notes that the brokers do not answer. After too long the consumer is replaced: it may be what is broken."""
        now = self._clock.monotonic()
        if self._unanswered_since is None:
            self._unanswered_since = now
            if not self._silence_told:  # a consumer that has been replaced may have met the same silence
                self._silence_told = True
                self._observer(BrokersAnswer(answer=False))
        elif now - self._unanswered_since >= self._options.stall_after or await self._is_alone(now):
            await self._replace(str(error))
            raise error

    async def _is_alone(self, now: float) -> bool:
        """Whether others are answered what the consumer is not: after a broker's restart its metadata may hang."""
        assert self._unanswered_since is not None
        if self._consumer is None or now - max(self._unanswered_since, self._asked_apart) < ASK_APART_EVERY:
            return False
        self._asked_apart = now
        try:
            async with asking(self._connection, timeout=self._options.answer_timeout) as brokers:
                for place in self._consumer.assignment():
                    await brokers.end(Partition(*place))
        except ConsumerError:
            return False
        return True

    def _answered(self) -> None:
        self._unanswered_since = None
        if self._silence_told:
            self._silence_told = False
            self._observer(BrokersAnswer(answer=True))

    # ── Positions ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        """Has partitions that are new to this member go on where they should."""
        try:
            placed = await self._placing.place(consumer, self._answer)
        except Unanswered as error:
            await self._unanswered(error)
            raise
        self._answered()
        self.rewind(placed)

    def _nowhere(self, partition: Partition) -> None:
        """The consumer does not know where to go on there: it has asked the group before we have."""
        if (done := self._positions.at(partition)) is None:
            self._placing.again([partition])
        else:
            self.rewind({partition: done})

    def place_again(self, partitions: Iterable[Partition]) -> None:
        """See `Source.place_again`."""
        self._placing.again(partitions)

    async def _go_on(self, consumer: AIOKafkaConsumer, partition: Partition, offset: int) -> None:
        """Moves the group to the first record that is left, since its position no longer exists."""
        if partition in self._placing.due or not await self._is_at(consumer, partition, offset):
            return  # asked for before it was known where to go on
        begins = await self._answer(consumer.beginning_offsets([TopicPartition(*partition)]), "where a topic begins")
        for beginning in begins.values():
            self._observer(RecordsExpired(partition=partition, records=max(beginning - offset, 0)))
            self.rewind({partition: beginning})
            self._positions.moved(partition, beginning)

    async def _is_at(self, consumer: AIOKafkaConsumer, partition: Partition, offset: int) -> bool:
        try:
            async with asyncio.timeout(0.01):  # where the position is not known yet, aiokafka waits until it is
                return bool(await consumer.position(TopicPartition(*partition)) == offset)
        except (errors.KafkaError, TimeoutError):
            return False

    def rewind(self, positions: Mapping[Partition, int]) -> None:
        """See `Source.rewind`."""
        self._unfinished.difference_update(positions)
        consumer = self._consumer
        if consumer is not None:
            for partition in consumer.assignment() & positions.keys():
                self._fetching.seek(consumer, Partition(*partition), positions[partition])
                if self._unreadable.moved(Partition(*partition), positions[partition]):
                    consumer.resume(partition)

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """See `Source.commit`."""
        self._unfinished.difference_update(positions)
        consumer = self._consumer
        if consumer is None:
            return
        held = consumer.assignment()
        for partition in held & positions.keys():
            end = consumer.last_stable_offset(partition)
            if (timestamp := self._in_hand.pop(partition, None)) is not None:
                self._watch.lag.done(partition, timestamp, more=end is not None and end > positions[partition])
        self._positions.done(positions)
        owed = {p: offset for p, offset in self._positions.committable().items() if p in held}
        began = self._clock.monotonic()
        if not owed or began < self._commit_due:
            return
        try:
            async with asyncio.timeout(self._options.commit_timeout):
                await consumer.commit({TopicPartition(*p): (offset, NOTED_MARK) for p, offset in owed.items()})
        except (errors.CommitFailedError, errors.IllegalStateError):
            # Another member has the partitions now, or soon will; reading a record twice does no harm.
            self._positions.told(owed)
            self._observer(CommitFailed(failure=CommitFailure.REBALANCED, reason="the group rebalances"))
        except TimeoutError:
            self._commit_due = self._clock.monotonic() + self._options.commit_again_after
            reason = f"no answer within {self._options.commit_timeout:g} s"
            self._observer(CommitFailed(failure=CommitFailure.NO_ANSWER, reason=reason))
        except errors.KafkaError as error:
            self._commit_due = self._clock.monotonic() + self._options.commit_again_after
            self._observer(CommitFailed(failure=CommitFailure.REFUSED, reason=str(translation(error))))
        else:
            self._positions.told(owed)
            self._observer(OffsetsCommitted(seconds=self._clock.monotonic() - began))


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """What aiokafka calls when partitions come and go."""

    def __init__(self, source: KafkaSource, consumer: AIOKafkaConsumer) -> None:
        self._source = source
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: object) -> None:
        """Must be quick: another member may have the partitions already."""
        del revoked
        self._source.revoked(self._consumer)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """All that this member has from now on."""
        self._source.assigned(self._consumer, frozenset(Partition(*partition) for partition in assigned))
