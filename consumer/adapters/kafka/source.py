"""A group's share of some topics, read with aiokafka, whatever the brokers and the group do meanwhile."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition, errors

from consumer.adapters.kafka.client import make_consumer, started, stopped, translation
from consumer.adapters.kafka.decoding import codec
from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.adapters.kafka.placing import NOTED_MARK, Placements, ReadNoted, Unanswered
from consumer.adapters.kafka.writer import TopicWriter, as_message
from consumer.domain.errors import Fatal, Transient
from consumer.domain.forms import interpret
from consumer.domain.kafka_facts import (
    BrokersAnswer,
    CommitFailed,
    CommitFailure,
    ConsumerReplaced,
    LagSampled,
    OffsetsCommitted,
    PartitionsAssigned,
    PartitionsRevoked,
    RecordsExpired,
    RecordsRead,
    TopicsMissing,
)
from consumer.domain.lag import Lag, Partition, Standstill
from consumer.domain.positions import Positions
from consumer.domain.records import DeadLetter, Record
from consumer.ports import Clock, Observer

Fetched = Mapping[TopicPartition, Sequence[Any]]

LOOK_FOR_TOPICS_EVERY = 2.0
"""Seconds, while one is missing."""
OVERTIME = 0.5
"""Seconds that a poll may take beyond its timeout: aiokafka waits for the end of a rebalance, however long it takes."""


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
        self._consumer: AIOKafkaConsumer | None = None
        self._has_worked = False
        self._fetching: asyncio.Task[Fetched] | None = None
        self._fetching_since = 0.0
        self._overtaken: frozenset[Partition] = frozenset()
        """Placed while a poll was under way, which may bring what lies elsewhere."""
        self._subscribed: frozenset[str] = frozenset()
        self._missing: tuple[str, ...] = ()
        self._topics_due = 0.0
        self._positions = positions
        self._placing = Placements(options, positions=positions, noted=noted, observer=observer)
        self._commit_due = 0.0
        self._in_hand: dict[Partition, float] = {}
        self._lag = Lag()
        self._standstill = Standstill(patience=options.stall_after)
        self._looking: asyncio.Task[tuple[dict[Partition, int], list[Partition]]] | None = None
        self._look_due = 0.0
        self._unanswered_since: float | None = None
        self._silence_told = False

    async def poll(self, *, limit: int, timeout: float) -> Sequence[Record]:
        """See `Source.poll`."""
        consumer = self._consumer or await self._join()
        await self._follow_topics(consumer)
        if not self._subscribed:
            await asyncio.sleep(timeout)
            return ()
        await self._watch(consumer)
        if self._placing.due:
            await self._place(consumer)
            return ()  # where the group begins is noted before its first record
        if self._positions.committable():
            await self.commit({})
        try:
            fetched = await self._fetch(consumer, limit, timeout)
        except errors.NoOffsetForPartitionError as error:
            self._nowhere(Partition(*error.args[0]))
            return ()
        except errors.OffsetOutOfRangeError as error:
            for partition, offset in error.args[0].items():
                await self._go_on(consumer, Partition(*partition), offset)
            return ()
        except Exception as error:  # whatever it is, this consumer would raise it again and again
            translated = translation(error)
            await self._replace(str(translated))
            if self._has_worked:  # rights are revoked and granted; only at the start is it the configuration
                raise Transient(str(translated)) from error
            raise translated from error
        if not fetched:
            return ()
        self._has_worked = True
        return self._records(fetched, limit)

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
        consumer = make_consumer(self._connection, self._options)
        try:
            await started(consumer, self._connection)
        except Fatal as error:
            if self._has_worked:
                raise Transient(str(error)) from error
            raise
        self._consumer = consumer
        return consumer

    async def _follow_topics(self, consumer: AIOKafkaConsumer) -> None:
        """Subscribes to the topics that exist, and looks again until all do.

        aiokafka would ask for a missing one by its name, and brokers create what is asked for unless told otherwise.
        """
        now = self._clock.monotonic()
        if len(self._subscribed) == len(self._options.topics) or now < self._topics_due:
            return
        try:
            there = await self._answer(consumer.topics(), "which topics there are")
        except Transient as error:
            await self._unanswered(error)
            raise
        self._answered()
        self._topics_due = now + LOOK_FOR_TOPICS_EVERY
        missing = tuple(sorted(set(self._options.topics) - there))
        if missing != self._missing:
            self._missing = missing
            self._observer(TopicsMissing(topics=missing))
        wanted = frozenset(self._options.topics) & there
        if wanted != self._subscribed:
            consumer.subscribe(topics=tuple(wanted), listener=_Rebalances(self, consumer))
            self._subscribed = wanted

    async def _replace(self, reason: str) -> None:
        """Abandons the consumer; the next poll makes a new one."""
        self._observer(ConsumerReplaced(reason=reason))
        await self._discard()

    async def _discard(self) -> None:
        if self._consumer is not None:
            self.revoked(self._consumer)
        consumer, self._consumer = self._consumer, None
        under_way = {task for task in (self._fetching, self._looking) if task is not None}
        self._fetching = self._looking = None
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._subscribed = frozenset()
        self._topics_due = 0.0
        self._unanswered_since = None
        if consumer is not None:
            await stopped(consumer, self._connection)

    def assigned(self, consumer: AIOKafkaConsumer, partitions: frozenset[Partition]) -> None:
        """A rebalance has ended, and these are ours."""
        if consumer is self._consumer:
            self._look_due = 0.0  # their lag is not known until then
            self._placing.again(partitions)
            self._observer(PartitionsAssigned(partitions=partitions))

    def revoked(self, consumer: AIOKafkaConsumer | None) -> None:
        """A rebalance has begun, or the consumer is abandoned."""
        if consumer is self._consumer:
            self._positions.forget()
            self._placing.forget()
            self._in_hand.clear()
            self._standstill.busy()
            self._observer(PartitionsRevoked())

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _fetch(self, consumer: AIOKafkaConsumer, limit: int, timeout: float) -> Fetched:
        """Records, or none in time, as in a rebalance: the request then goes on, and the next call waits for it."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(consumer.getmany(timeout_ms=int(timeout * 1000), max_records=limit))
            self._fetching_since = self._clock.monotonic()
        done, _ = await asyncio.wait({self._fetching}, timeout=timeout + OVERTIME)
        if not done:
            if self._clock.monotonic() - self._fetching_since > self._options.stall_after:
                raise errors.KafkaError("a rebalance does not end")
            return {}
        fetching, self._fetching = self._fetching, None
        return self._in_place(fetching.result())

    def _records(self, fetched: Fetched, limit: int) -> Sequence[Record]:
        largest, unavailable, now = self._options.largest_record, self._options.unavailable_value, time.time()
        records = []
        counts = {}
        for topic_partition, messages in fetched.items():
            partition = Partition(*topic_partition)
            counts[partition] = len(messages)
            for message in messages:
                meaning, trace = interpret(
                    message.value, message.headers, codec(), largest=largest, unavailable=unavailable
                )
                records.append(
                    Record(
                        partition=partition,
                        offset=message.offset,
                        timestamp=message.timestamp / 1000 if message.timestamp > 0 else now,
                        key=message.key,
                        value=message.value,
                        headers=message.headers,
                        meaning=meaning,
                        trace=trace,
                    )
                )
            if self._lag.read(partition, records[-len(messages)].timestamp):
                self._look_due = 0.0  # its lag, if it was reported at all, was an estimate
            self._in_hand[partition] = records[-1].timestamp
        if len(records) >= limit:
            self._standstill.busy()  # there may be more, in any partition
        else:
            self._standstill.moved(counts)
        self._observer(RecordsRead(counts=counts))
        return records

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Looks now and then how far behind this member is, and whether it moves; no poll waits for the answer."""
        now = self._clock.monotonic()
        if self._looking is None and now >= self._look_due:
            self._looking = asyncio.create_task(self._behind(consumer))
        if self._looking is None or not self._looking.done():
            return
        looking, self._looking = self._looking, None
        try:
            behind, nowhere = looking.result()
        except Transient as error:
            await self._unanswered(error)
            return
        self._answered()
        self._look_due = now + self._options.sample_interval
        self._observer(LagSampled(lags=self._lag.sample(behind, now=time.time())))
        if stuck := self._standstill.look(behind | dict.fromkeys(nowhere, 1), now=now):
            reason = f"nothing comes from {len(stuck)} partitions although there is something"
            await self._replace(reason)
            raise Transient(f"kafka: {reason}")

    async def _behind(self, consumer: AIOKafkaConsumer) -> tuple[dict[Partition, int], list[Partition]]:
        """How many records each partition has behind the consumer's position, and where it has none yet."""
        ends = await self._answer(consumer.end_offsets(list(consumer.assignment())), "where the topics end")
        behind, nowhere = {}, []
        for topic_partition, end in ends.items():
            try:
                async with asyncio.timeout(0.01):  # where the position is not known yet, aiokafka waits until it is
                    behind[Partition(*topic_partition)] = end - await consumer.position(topic_partition)
            except (errors.KafkaError, TimeoutError):
                nowhere.append(Partition(*topic_partition))
        return behind, nowhere

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
        elif now - self._unanswered_since >= self._options.stall_after:
            await self._replace(str(error))
            raise error

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
        self._overtaken = frozenset(placed) if self._fetching is not None else frozenset()

    def _in_place(self, fetched: Fetched) -> Fetched:
        """Without what was asked for before it was known where to go on; the next poll reads from there."""
        overtaken, self._overtaken = self._overtaken, frozenset()
        self.rewind({p: done for p in overtaken if (done := self._positions.at(p)) is not None})
        return {place: records for place, records in fetched.items() if place not in self._placing.due | overtaken}

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
            async with asyncio.timeout(0.01):  # see _behind
                return bool(await consumer.position(TopicPartition(*partition)) == offset)
        except (errors.KafkaError, TimeoutError):
            return False

    def rewind(self, positions: Mapping[Partition, int]) -> None:
        """See `Source.rewind`."""
        consumer = self._consumer
        if consumer is not None:
            for partition in consumer.assignment() & positions.keys():
                consumer.seek(partition, positions[partition])

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """See `Source.commit`."""
        consumer = self._consumer
        if consumer is None:
            return
        held = consumer.assignment()
        for partition in held & positions.keys():
            end = consumer.last_stable_offset(partition)
            if (timestamp := self._in_hand.pop(partition, None)) is not None:
                self._lag.done(partition, timestamp, more=end is not None and end > positions[partition])
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
