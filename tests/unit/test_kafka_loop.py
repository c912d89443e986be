"""The Kafka loop by itself: what it commits, gives back and sets aside, in which order, whatever its parts do."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from consumer.domain.backoff import Backoff
from consumer.domain.deliveries import Taken
from consumer.domain.errors import ConsumerError, Fatal, Rejected, Renewed, TooSlow, Transient
from consumer.domain.facts import BatchTooSlow, EventTooSlow
from consumer.domain.intake_facts import DeliveriesTaken, Outcome
from consumer.domain.kafka_facts import RecordDeadLettered, RecordsDone
from consumer.domain.lag import Partition
from consumer.domain.positions import NOTHING, Noted, Noting, Positions
from consumer.domain.providers.atoms import Atoms, Message
from consumer.domain.providers.lines import Delivery
from consumer.domain.records import DeadLetter, Flaw, Flawed, IntakeOutcome, Meaning, Record, Refusal, Skip
from consumer.domain.webhook import Body, Intake
from consumer.pipeline.bodies import Bodies
from consumer.pipeline.kafka_loop import NOTE_EVERY, KafkaLoop, KafkaLoopSettings
from tests.fakes import Facts, HandClock, batch

A, B = Partition("events", 0), Partition("events", 1)
BAD = Flawed(flaw=Flaw.NOT_JSON, reason="not JSON")


def record(partition: Partition, offset: int, meaning: Meaning | None = None) -> Record:
    """A record with an event, unless it means something else."""
    event_id = f"{partition.partition}-{offset}"
    return Record(
        partition=partition,
        offset=offset,
        timestamp=0.0,
        key=event_id.encode(),
        value=b"",
        headers=(),
        meaning=meaning or Intake(channel="x", event_id=event_id, line="{}"),
        trace=None,
    )


def read(provider: str, account: str | None, body: bytes) -> Delivery:
    """A delivery with as many messages as the body has letters m."""
    made = tuple(
        Message(kind="message", id=str(n), channel="x", account=None, people=()) for n in range(body.count(b"m"))
    )
    return Delivery(provider=provider, account=account, body=body, atoms=Atoms(messages=made))


def posted(offset: int, content: bytes) -> Record:
    """A record with the body of a webhook."""
    return record(A, offset, Body(provider="whatsapp", account=None, content=content))


class Parts:
    """Source and store in one, which write down what they are told. `fails` decides what a store call does."""

    def __init__(self, *polls: Sequence[Record], lanes: int = 1) -> None:
        self.polls = list(polls)
        self.told: list[tuple[str, object]] = []
        self.limits: list[int] = []
        self.facts = Facts()
        self.positions = Positions()
        self.notes: list[Mapping[Partition, int | None]] = []
        self.renewed = False
        self.gone_back: dict[Partition, int | None] = {}
        self.committed: dict[Partition, int] = {}
        self.stops: asyncio.Event | None = None
        self.clock = HandClock()
        self.fails: Callable[[Sequence[Intake]], Iterable[Refusal]] = lambda intakes: ()
        self.takes: Callable[[Sequence[Delivery], bool], Iterable[Refusal]] = lambda deliveries, store_only: ()
        self.keeps = True
        self.parking_fails = False
        self.dead_letter_fails = False
        self.kafka_loop = KafkaLoop(
            source=self,
            stores=[self] * lanes,
            positions=self.positions,
            bodies=Bodies(
                store=self, read=read, deferred=lambda: self.told.append(("deferred", None)), observer=self.facts
            ),
            observer=self.facts,
            clock=self.clock,
            settings=KafkaLoopSettings(batch_size=1000),
        )

    def place(self, offsets: Mapping[Partition, int]) -> None:
        """As if these partitions had been read up to there."""
        for partition, offset in offsets.items():
            self.positions.placed(partition, offset, noted=offset, told=offset)

    async def poll(self, *, limit: int, timeout: float) -> Sequence[Record]:
        """The next batch of the script, what was given back included; with the last one, a stop that is wanted."""
        self.limits.append(limit)
        if self.stops is not None and len(self.polls) == 1:
            self.stops.set()
        return self.polls.pop(0) if self.polls else ()

    async def ingest_and_route(self, intakes: Sequence[Intake], noting: Noting = NOTHING) -> IntakeOutcome:
        """All new, unless `fails` says otherwise."""
        ids = [intake.event_id for intake in intakes]
        self.told.append(("store", ids))
        refusals = tuple(self.fails(intakes))
        behind = await self._note(noting)
        return IntakeOutcome(batch=batch(len(ids) - len(refusals)), refusals=refusals, behind=behind)

    async def ingest_and_park(self, intakes: Sequence[Intake], noting: Noting = NOTHING) -> IntakeOutcome:
        """Works, unless `parking_fails`."""
        self.told.append(("park", [intake.event_id for intake in intakes]))
        if self.parking_fails:
            raise TooSlow("no answer")
        return IntakeOutcome(batch=batch(len(intakes), parked=len(intakes)))

    async def note(self, noting: Noting) -> Mapping[Partition, int | None]:
        """By itself."""
        self.told.append(("note", dict(noting.offsets)))
        self.fails(())
        return await self._note(noting)

    async def _note(self, noting: Noting) -> Mapping[Partition, int | None]:
        if self.renewed and noting.unsure:
            raise Renewed("another session")
        behind = {p: offset for p, offset in self.gone_back.items() if p in noting.offsets}
        self.notes.append({p: offset for p, offset in noting.offsets.items() if p not in behind})
        return behind

    async def noted(self, partitions: Iterable[Partition]) -> Mapping[Partition, Noted]:
        """Nothing."""
        return {}

    async def take(self, deliveries: Sequence[Delivery], *, store_only: bool = False) -> Taken:
        """All taken, unless `takes` says otherwise."""
        self.told.append(("keep" if store_only else "take", [delivery.body for delivery in deliveries]))
        refusals = tuple(self.takes(deliveries, store_only))
        return Taken(batch=batch(0 if store_only else len(deliveries)), effects={}, refusals=refusals)

    async def refused(self) -> Mapping[str, str]:
        """None."""
        return {}

    def rewind(self, positions: Mapping[Partition, int]) -> None:
        """Notes it."""
        self.told.append(("rewind", dict(positions)))

    def place_again(self, partitions: Iterable[Partition]) -> None:
        """Notes it."""
        self.told.append(("place again", set(partitions)))

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Notes it."""
        self.told.append(("commit", dict(positions)))
        self.positions.done(positions)
        self.committed |= self.positions.committable()
        self.positions.told(self.positions.committable())

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Notes it."""
        self.told.append(("dead", [(letter.record.partition, letter.record.offset) for letter in letters]))
        if self.dead_letter_fails:
            raise Transient("the topic cannot be written")

    async def close(self) -> None:
        """Nothing."""


async def test_effects_come_before_offsets() -> None:
    """Store, dead letters, commit; in this order, and one offset a partition."""
    parts = Parts([record(A, 7), record(B, 1), record(A, 8, BAD), record(A, 9, Skip.TOMBSTONE)])
    await parts.kafka_loop.step()
    assert parts.told == [
        ("store", ["0-7", "1-1"]),
        ("dead", [(A, 8)]),
        ("commit", {A: 10, B: 2}),
    ]
    assert len(parts.facts.of(RecordDeadLettered)) == 1


async def test_nothing_read_is_nothing_done() -> None:
    """A quiet topic costs the database nothing, once it has shown that it is there."""
    parts = Parts([record(A, 1)], [])
    await parts.kafka_loop.step()
    parts.told.clear()
    await parts.kafka_loop.step()
    assert parts.told == []


@pytest.mark.parametrize("error", [Transient("away"), Fatal("no rights")])
async def test_whatever_fails_nothing_of_the_poll_is_passed_over(error: ConsumerError) -> None:
    """A right that is missing for a while, say: the records are read again, and no later offset is committed before."""
    parts = Parts([record(A, 7), record(B, 1)])

    def fails(intakes: Sequence[Intake]) -> Iterable[Refusal]:
        raise error

    parts.fails = fails
    with pytest.raises(type(error)):
        await parts.kafka_loop.step()
    assert parts.told == [("store", ["0-7", "1-1"]), ("rewind", {A: 7, B: 1})]


async def test_nothing_read_proves_nothing() -> None:
    """Before the first call, and after one that has failed, a poll without records asks the database itself."""
    parts = Parts([], [], [record(A, 1)], [], [], [])

    def away(intakes: Sequence[Intake]) -> Iterable[Refusal]:
        raise Transient("the database is away")

    parts.fails = away
    for _ in range(4):
        with pytest.raises(Transient):
            await parts.kafka_loop.step()
    parts.fails = lambda intakes: ()
    for _ in range(2):
        await parts.kafka_loop.step()
    assert [what for what, _ in parts.told].count("commit") == 0
    assert parts.told.count(("store", [])) == 4


async def test_what_is_passed_over_is_committed() -> None:
    """Without a call to the database."""
    parts = Parts([record(A, 1, Skip.DELETE)])
    await parts.kafka_loop.step()
    assert parts.told == [("commit", {A: 2})]
    assert len(parts.facts.of(RecordsDone)) == 1


async def test_a_failure_gives_everything_back() -> None:
    """Nothing is committed and nothing is set aside; the next poll begins where this one did."""
    parts = Parts([record(B, 5), record(A, 3, BAD), record(B, 6)])

    def away(intakes: Sequence[Intake]) -> Iterable[Refusal]:
        raise Transient("the database is away")

    parts.fails = away
    with pytest.raises(Transient):
        await parts.kafka_loop.step()
    assert parts.told == [("store", ["1-5", "1-6"]), ("rewind", {A: 3, B: 5})]


async def test_dead_letters_that_are_not_safe_stop_their_offset() -> None:
    """What stands before the first of them is committed, the other partitions as a whole."""
    parts = Parts([record(A, 1), record(A, 2, BAD), record(A, 3), record(A, 4, BAD), record(B, 9)])
    parts.dead_letter_fails = True
    with pytest.raises(Transient):
        await parts.kafka_loop.step()
    assert parts.told[-2:] == [("rewind", {A: 2}), ("commit", {A: 2, B: 10})]
    assert len(parts.facts.of(RecordDeadLettered)) == 0


async def test_what_the_database_refuses_is_set_aside() -> None:
    """With its SQLSTATE; the name of an event that does not exist has a flaw of its own."""
    parts = Parts([record(A, 1), record(A, 2), record(A, 3)])
    parts.fails = lambda intakes: [
        Refusal(place=0, code="23514", reason="check"),
        Refusal(place=2, code="P0002", reason="event not found"),
    ]
    await parts.kafka_loop.step()
    assert parts.told[1:] == [("dead", [(A, 1), (A, 3)]), ("commit", {A: 4})]
    flaws = [(fact.flawed.flaw, fact.flawed.code) for fact in parts.facts.of(RecordDeadLettered)]
    assert flaws == [(Flaw.REFUSED, "23514"), (Flaw.NOT_FOUND, "P0002")]


async def test_what_cannot_even_be_sent_is_found_by_halving() -> None:
    """The driver refuses the call as a whole; the culprit alone is set aside."""
    parts = Parts([record(A, number) for number in range(8)])

    def unsendable(intakes: Sequence[Intake]) -> Iterable[Refusal]:
        if any(intake.event_id == "0-5" for intake in intakes):
            raise Rejected("a character that cannot be sent")
        return ()

    parts.fails = unsendable
    await parts.kafka_loop.step()
    assert parts.told[-2:] == [("dead", [(A, 5)]), ("commit", {A: 8})]
    (done,) = parts.facts.of(RecordsDone)
    assert done.repeated == 0


class TestTooSlow:
    async def test_batches_shrink_and_grow_again(self) -> None:
        """Few at a time until all those are done that were too many together; then twice as many each time."""
        hundred = [record(A, number) for number in range(100)]
        parts = Parts(hundred, hundred[:25], hundred[25:75], hundred[75:], [record(A, 100)], [record(A, 101)])

        def slow(intakes: Sequence[Intake]) -> Iterable[Refusal]:
            if len(intakes) > 60:
                raise TooSlow("no answer")
            return ()

        parts.fails = slow
        for _ in range(6):
            await parts.kafka_loop.step()
        assert parts.limits == [1000, 3, 3, 3, 6, 12]
        assert ("rewind", {A: 0}) in parts.told
        assert len(parts.facts.of(BatchTooSlow)) == 1

    async def test_one_that_takes_too_long_alone_is_parked(self) -> None:
        """Stored without being tried a third time; its partition goes on."""
        parts = Parts([record(A, 3)])

        def slow(intakes: Sequence[Intake]) -> Iterable[Refusal]:
            raise TooSlow("no answer")

        parts.fails = slow
        await parts.kafka_loop.step()
        assert parts.told == [("store", ["0-3"]), ("store", ["0-3"]), ("park", ["0-3"]), ("commit", {A: 4})]
        assert len(parts.facts.of(EventTooSlow)) == 1

    async def test_a_database_that_was_busy_parks_nothing(self) -> None:
        """Once is no proof against the event."""
        parts = Parts([record(A, 3)])
        calls = iter([True, False])

        def slow(intakes: Sequence[Intake]) -> Iterable[Refusal]:
            if next(calls):
                raise TooSlow("no answer")
            return ()

        parts.fails = slow
        await parts.kafka_loop.step()
        assert parts.told == [("store", ["0-3"]), ("store", ["0-3"]), ("commit", {A: 4})]
        assert len(parts.facts.of(EventTooSlow)) == 0

    async def test_a_database_that_hangs_parks_nothing(self) -> None:
        """Parking fails as well, so it is the database's fault, and the loop waits for it."""
        parts = Parts([record(A, 3)])

        def hangs(intakes: Sequence[Intake]) -> Iterable[Refusal]:
            raise TooSlow("no answer")

        parts.fails = hangs
        parts.parking_fails = True
        with pytest.raises(Transient):
            await parts.kafka_loop.step()
        assert parts.told[-1] == ("rewind", {A: 3})
        assert len(parts.facts.of(EventTooSlow)) == 0


class TestLanes:
    async def test_many_records_are_shared_by_key(self) -> None:
        """Two calls side by side, and each key in one of them."""
        records = [record(A, number) for number in range(200)]
        parts = Parts(records, lanes=2)
        await parts.kafka_loop.step()
        shares = [set(ids) for what, ids in parts.told if what == "store" and isinstance(ids, list)]
        assert len(shares) == 2
        assert not shares[0] & shares[1]
        assert len(shares[0] | shares[1]) == 200
        assert min(len(share) for share in shares) > 50

    async def test_a_lane_that_fails_lets_the_other_finish_and_the_next_attempt_uses_one(self) -> None:
        """Two lanes may have worked on one event, which came under two keys; one lane cannot block itself."""
        records = [record(A, number) for number in range(200)]
        parts = Parts(records, records, records, lanes=2)
        ended: list[int] = []

        def first_fails(intakes: Sequence[Intake]) -> Iterable[Refusal]:
            ended.append(len(intakes))
            if len(ended) == 1:
                raise Transient("deadlock detected")
            return ()

        parts.fails = first_fails
        with pytest.raises(Transient):
            await parts.kafka_loop.step()
        assert len(ended) == 2
        await parts.kafka_loop.step()
        assert ended[2:] == [200]
        await parts.kafka_loop.step()
        assert len(ended[3:]) == 2


async def test_it_ends_between_two_polls() -> None:
    """Told to stop in the middle of a batch, it finishes and commits it, and takes no other."""
    parts = Parts([record(A, 1)], [record(A, 2)])
    stop = asyncio.Event()

    def told(intakes: Sequence[Intake]) -> Iterable[Refusal]:
        stop.set()
        return ()

    parts.fails = told
    await parts.kafka_loop.run(stop, Backoff())
    assert parts.told == [("store", ["0-1"]), ("commit", {A: 2})]


class TestBodies:
    async def test_they_are_taken_in_their_order(self) -> None:
        """Beside events, before the offsets; what was taken is told as deliveries are."""
        parts = Parts([posted(1, b"m1"), record(A, 2), posted(3, b"m3")])
        await parts.kafka_loop.step()
        assert parts.told == [("store", ["0-2"]), ("take", [b"m1", b"m3"]), ("commit", {A: 4})]
        (taken,) = parts.facts.of(DeliveriesTaken)
        assert taken.answered == {("whatsapp", Outcome.TAKEN): 2}
        assert taken.atoms == {("whatsapp", "message"): 2}

    async def test_a_large_one_is_only_stored(self) -> None:
        """It takes effect after the offset is committed, and holds up no other record."""
        parts = Parts([posted(1, b"m"), posted(2, b"m" * 600), posted(3, b"m")])
        await parts.kafka_loop.step()
        called = [(what, len(told)) for what, told in parts.told if isinstance(told, list)]
        assert called == [("take", 1), ("keep", 1), ("take", 1)]
        assert ("deferred", None) in parts.told

    async def test_one_that_cannot_be_taken_is_found(self) -> None:
        """The others are taken; it is stored with the error, or set aside if even that is refused."""
        parts = Parts([posted(offset, text) for offset, text in enumerate((b"m", b"bad", b"m", b"m"))])

        def refuses(deliveries: Sequence[Delivery], store_only: bool) -> Iterable[Refusal]:
            if any(delivery.body == b"bad" for delivery in deliveries) and not (store_only and parts.keeps):
                raise Rejected("no")
            return ()

        parts.takes = refuses
        parts.keeps = True
        await parts.kafka_loop.step()
        assert ("keep", [b"bad"]) in parts.told
        assert ("commit", {A: 4}) in parts.told
        parts.told.clear()
        parts.keeps = False
        parts.polls.append([posted(4, b"m"), posted(5, b"bad")])
        await parts.kafka_loop.step()
        assert ("dead", [(A, 5)]) in parts.told

    async def test_a_database_that_is_away_gives_them_back(self) -> None:
        """None is lost, and no offset is committed."""
        parts = Parts([posted(1, b"m")])

        def away(deliveries: Sequence[Delivery], store_only: bool) -> Iterable[Refusal]:
            raise Transient("away")

        parts.takes = away
        with pytest.raises(Transient):
            await parts.kafka_loop.step()
        assert parts.told[-1] == ("rewind", {A: 1})


async def test_a_call_notes_what_it_does_itself() -> None:
    """And the group is told, but not at each of many calls; others are looked at that were not touched for a second."""
    parts = Parts([record(A, 7), record(A, 8, Skip.DELETE), record(B, 1)], *([record(A, 9 + n)] for n in range(3)))
    parts.place({A: 7, B: 0})
    await parts.kafka_loop.step()
    assert (parts.notes, parts.committed) == ([{A: 9, B: 2}], {A: 9, B: 2})
    await parts.kafka_loop.step()
    assert parts.notes[1:] == [{}], "too soon"
    parts.clock.now += NOTE_EVERY
    await parts.kafka_loop.step()
    parts.clock.now += 1
    await parts.kafka_loop.step()
    assert parts.notes[2:] == [{A: 11}, {A: 12, B: None}]


async def test_one_of_two_calls_notes_what_was_done_before() -> None:
    """Each may fail alone. A poll without records notes the rest, and tells the group."""
    many = [record(A, offset) for offset in range(200)]
    parts = Parts(many, [record(A, 200 + offset) for offset in range(200)], [], [], lanes=2)
    parts.place({A: 0})
    await parts.kafka_loop.step()
    assert (parts.notes, parts.committed) == ([{A: None}, {}], {})
    await parts.kafka_loop.step()
    assert (parts.notes[2:], parts.committed) == ([{A: 200}, {}], {A: 200})
    await parts.kafka_loop.step()
    assert (parts.notes[4:], parts.committed) == ([{A: 400}], {A: 400})
    await parts.kafka_loop.step()
    assert parts.notes[5:] == []


async def test_nothing_is_noted_before_it_is_safe() -> None:
    """Bodies and dead letters come after the call; what came without a call is noted by one of its own."""
    parts = Parts([record(A, 1), posted(2, b"m")], [record(A, 3), record(A, 4, BAD)], [posted(5, b"m")], [])
    parts.place({A: 1})
    for noted in (None, 3, 6):
        parts.clock.now += NOTE_EVERY
        await parts.kafka_loop.step()
        assert parts.notes.pop() == {A: noted}
    assert (parts.notes, parts.committed) == ([], {A: 6})


async def test_what_comes_before_a_dead_letter_that_cannot_be_written_is_noted() -> None:
    """And told to the group, although no poll without records comes while it is tried again and again."""
    parts = Parts([record(A, 1), record(A, 2, BAD), record(B, 5)])
    parts.place({A: 1, B: 5})
    parts.dead_letter_fails = True
    with pytest.raises(Transient):
        await parts.kafka_loop.step()
    assert parts.committed == {A: 2, B: 6}


async def test_of_a_call_that_is_halved_the_last_part_notes() -> None:
    """The others are not all of it."""
    parts = Parts([record(A, offset) for offset in range(4)])
    parts.place({A: 0})

    def fails(intakes: Sequence[Intake]) -> Iterable[Refusal]:
        if any(intake.event_id == "0-1" for intake in intakes):
            raise Rejected("cannot be sent")
        return ()

    parts.fails = fails
    await parts.kafka_loop.step()
    assert (parts.notes, parts.committed) == ([{}, {A: 4}], {A: 4})


async def test_where_the_database_has_gone_back_nothing_is_done() -> None:
    """The partition is placed anew before anything else of it; the others go on."""
    parts = Parts([record(A, 7), record(B, 1), record(A, 8, BAD)], [], [record(A, 2)])
    parts.place({A: 7, B: 1})
    parts.clock.now = 5.0
    await parts.kafka_loop.step()
    parts.gone_back = {A: 2}
    parts.polls[:0] = [[record(A, 9), record(B, 2)]]
    parts.clock.now += NOTE_EVERY
    await parts.kafka_loop.step()
    assert ("place again", {A}) in parts.told
    assert (parts.told[-1], parts.committed[B]) == (("commit", {B: 3}), 3)
    parts.gone_back = {B: None}
    parts.clock.now += 1
    await parts.kafka_loop.step()
    assert ("place again", {B}) in parts.told


@pytest.mark.parametrize("more", [[], [record(A, offset) for offset in range(200, 400)], [record(B, 5)]])
async def test_what_was_done_in_a_session_that_has_ended_is_done_again_unless_it_was_noted(more: list[Record]) -> None:
    """It may have been with another server, which was told of everything up to there, and not of what came then."""
    parts = Parts([record(A, offset) for offset in range(200)], more, [record(A, 0)], [], lanes=2)
    parts.place({A: 0, B: 5})
    await parts.kafka_loop.step()
    parts.renewed = True
    await parts.kafka_loop.step()
    assert parts.told[-1] == ("rewind", {A: 0} | ({B: 5} if len(more) == 1 else {}))
    assert (parts.committed, parts.positions.at(A)) == ({}, 0)
    await parts.kafka_loop.step()
    assert parts.committed == {A: 1}


async def test_what_is_left_is_noted_at_the_end() -> None:
    """A stop in order leaves nothing to be read again, unless the database is away."""
    stop = asyncio.Event()
    parts = Parts([record(A, offset) for offset in range(200)], lanes=2)
    parts.place({A: 0})
    parts.stops = stop
    await parts.kafka_loop.run(stop, Backoff())
    assert (parts.notes[-1], parts.committed) == ({A: 200}, {A: 200})
