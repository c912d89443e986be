"""What aiokafka cannot decode holds up nothing but itself, and as little as possible of that."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

import psycopg
import pytest
from aiokafka.record.util import calc_crc32c

from consumer.domain.errors import Fatal
from consumer.domain.kafka_facts import (
    ConsumerReplaced,
    PartitionFreed,
    PartitionsAssigned,
    PartitionStuck,
    RecordsRead,
)
from consumer.domain.lag import Partition
from consumer.domain.records import Flaw, Flawed, Record
from tests.kafka.broker import Cluster
from tests.kafka.reader import Reader, ids, lag, reading
from tests.kafka.scene import Scene
from tests.kafka.topics import event, events, unique
from tests.processes import running

NAME = "a-name-that-breaks"
HEADER = 61
"""Bytes of a batch in front of its records."""


class Segment:
    """The file of a partition on the broker's disk: what no producer could write, but disks and networks do."""

    def __init__(self, cluster: Cluster, topic: str, partition: int) -> None:
        self._path = cluster.brokers[0].folder / "data" / f"{topic}-{partition}" / f"{0:020}.log"
        self._batches: dict[int, tuple[int, int]] = {}
        """Place in the file and length, by base offset."""
        data, place = self._path.read_bytes(), 0
        while place + HEADER <= len(data):
            base, length = struct.unpack_from(">qi", data, place)
            self._batches[base] = place, length + 12
            place += length + 12

    def alter(self, base: int, change: Callable[[bytearray], None], *, sealed: bool = False) -> bytes:
        """Changes the batch that begins with the offset, as the broker sends it from now on; returns it.

        Args:
            base: its first offset.
            change: gets its bytes.
            sealed: with a checksum that matches again.
        """
        place, length = self._batches[base]
        with self._path.open("r+b") as file:
            file.seek(place)
            batch = bytearray(file.read(length))
            change(batch)
            if sealed:
                struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
            file.seek(place)
            file.write(batch)
        return bytes(batch)


def rename(batch: bytearray) -> None:
    """Gives a header a name that is not UTF-8."""
    place = bytes(batch).index(NAME.encode())
    batch[place : place + 2] = b"\xff\xfe"


def damage(batch: bytearray) -> None:
    """Flips a bit of the last record."""
    batch[-2] ^= 1


def shorten(batch: bytearray) -> None:
    """Has the batch say that it has no bytes, so that nobody knows where the next one begins."""
    struct.pack_into(">i", batch, 8, 0)


def flaws(records: list[Record]) -> list[tuple[int, int, bytes | None]]:
    """Partition, offset and bytes of those that cannot be read."""
    return [
        (record.partition.partition, record.offset, record.value)
        for record in records
        if isinstance(record.meaning, Flawed) and record.meaning.flaw is Flaw.UNREADABLE
    ]


def calm(reader: Reader) -> bool:
    """Whether it has kept its consumer and its partitions."""
    return not reader.seen(ConsumerReplaced) and len(reader.seen(PartitionsAssigned)) == 1 and not reader.failures


async def send(scene: Scene, partition: int, *batches: Sequence[object]) -> None:
    """Writes batches of their own."""
    for batch in batches:
        marked = [(value, [(NAME, b"1")] if value == "bad" or value is None else [], partition) for value in batch]
        await scene.topics.send_each(scene.topic, marked)


async def test_a_header_name_that_is_not_utf_8(scene: Scene, kafka: Cluster) -> None:
    """Is the flaw of one record: those around it in its batch, and in other partitions, are processed in order."""
    await send(scene, 0, events(2), [event(2), "bad", event(3)], events(2, 4))
    for partition in range(1, 6):
        await send(scene, partition, events(10, partition * 10))
    Segment(kafka, scene.topic, 0).alter(2, rename, sealed=True)
    async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
        found: list[Record] = []
        while len(found) < 57:
            found += await reader.read(1, limit=7)
        assert flaws(found) == [(0, 3, b'"bad"')]
        assert found[0].headers is not None
        assert [r.headers for r in found if isinstance(r.meaning, Flawed)] == [((r"\xff\xfename-that-breaks", b"1"),)]
        assert ids([r for r in found if not flaws([r])]) == sorted(f"e{n}" for n in [*range(6), *range(10, 60)])
        for partition in range(6):
            offsets = [record.offset for record in found if record.partition.partition == partition]
            assert offsets == list(range(len(offsets))), "in order, none twice, none left out"
        await reader.until(lambda: lag(reader) == 0)
        assert calm(reader)


async def test_a_damaged_batch(scene: Scene, kafka: Cluster) -> None:
    """Is set aside as a whole, since its checksum says that anything in it may be wrong; the next one counts."""
    await send(scene, 0, events(3), events(3, 3), events(3, 6))
    await send(scene, 1, events(3, 9))
    altered = Segment(kafka, scene.topic, 0).alter(3, damage)
    async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
        found = await reader.read(10)
        assert flaws(found) == [(0, 3, altered)]
        assert ids([r for r in found if not flaws([r])]) == sorted(f"e{n}" for n in [0, 1, 2, 6, 7, 8, 9, 10, 11])
        await reader.until(lambda: lag(reader) == 0)
        await reader.until(lambda: reader.reached.get(Partition(scene.topic, 0)) == 9)
        assert calm(reader)


async def test_many_unreadable_records_starve_nobody(scene: Scene, kafka: Cluster) -> None:
    """A producer that writes nothing else costs the other partitions no record."""
    await send(scene, 0, *(["bad"] for _ in range(40)))
    segment = Segment(kafka, scene.topic, 0)
    for number in range(40):
        segment.alter(number, rename, sealed=True)
    await scene.topics.send(scene.topic, events(1000), partition=1)
    async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
        found = await reader.read(1040, limit=50, timeout=30)
        assert len(flaws(found)) == 40
        assert len(set(ids(found))) == 1001
        assert calm(reader)


async def test_a_partition_that_is_stuck(scene: Scene, kafka: Cluster) -> None:
    """Is named once and waits; the others go on; it goes on by itself when the record can be read, or by hand."""
    await send(scene, 0, events(2), events(2, 2), events(2, 4))
    segment, stuck = Segment(kafka, scene.topic, 0), Partition(scene.topic, 0)
    segment.alter(2, shorten)
    async with reading(scene.topics.bootstrap, scene.topic, scene.group, stall_after=4.0) as reader:
        assert ids(await reader.read(2)) == ["e0", "e1"], "what is in front of it"
        await reader.until(lambda: reader.seen(PartitionStuck), timeout=30)
        assert [(f.partition, f.offset) for f in reader.seen(PartitionStuck)] == [(stuck, 2)]
        await scene.topics.send(scene.topic, events(5, 10), partition=1)
        assert len(await reader.read(5)) == 5
        began = len(reader.facts)
        deadline = asyncio.get_running_loop().time() + 5.0  # longer than a consumer that stands still is kept
        await reader.until(lambda: asyncio.get_running_loop().time() > deadline)
        assert not [fact for fact in reader.facts[began:] if isinstance(fact, PartitionStuck | RecordsRead)]
        assert lag(reader) == 4
        segment.alter(2, lambda batch: struct.pack_into(">i", batch, 8, len(batch) - 12))
        assert ids(await reader.read(4, timeout=30)) == ["e2", "e3", "e4", "e5"]
        assert reader.seen(PartitionFreed) == [PartitionFreed(partition=stuck, offset=2, skipped=False)]
        assert calm(reader)
    segment.alter(2, shorten)
    async with reading(scene.topics.bootstrap, scene.topic, f"{scene.group}-2", stall_after=4.0) as reader:
        await reader.until(lambda: reader.seen(PartitionStuck), timeout=30)
        await scene.topics.send(scene.topic, events(3, 20), partition=0)
        reader.skipped[stuck] = 2
        await reader.until(lambda: reader.seen(PartitionFreed), timeout=30)
        (freed,) = reader.seen(PartitionFreed)
        assert freed.skipped
        assert freed.offset > 2
        assert calm(reader)


def lengthen(by: int) -> Callable[[bytearray], None]:
    """Has the batch say that it has so many bytes more."""
    return lambda batch: struct.pack_into(">i", batch, 8, len(batch) - 12 + by)


def put(place: int, layout: str, value: int) -> Callable[[bytearray], None]:
    """Writes a number into the header of the batch."""
    return lambda batch: struct.pack_into(layout, batch, place, value)


DAMAGES: dict[str, tuple[Callable[[bytearray], None], bool]] = {
    "a bit of a record": (damage, False),
    "a length of nothing": (shorten, False),
    "a negative length": (put(8, ">i", -7), False),
    "a length that is a little too long": (lengthen(5), False),
    "a length into the next batch": (lengthen(100), False),
    "a length beyond the end": (lengthen(1 << 20), False),
    "an older format": (put(16, ">b", 1), False),
    "an unknown format": (put(16, ">b", 9), False),
    "a codec that nobody knows": (put(21, ">h", 7), True),
    "a codec that it was not written with": (put(21, ">h", 1), True),
    "more records than there are": (put(57, ">i", 1000), True),
    "fewer offsets than there are": (put(23, ">i", 0), False),
    "more offsets than there are": (put(23, ">i", 1000), False),
    "a record that is longer than the batch": (put(HEADER, ">B", 0x7E), True),
    "the name of a header": (rename, True),
}


async def test_damages_of_every_kind(scene: Scene, kafka: Cluster) -> None:
    """None stops another partition or ends the consumer: each is set aside, and what follows counts, or it is stuck."""
    topic = await scene.topics.create(unique("damaged"), partitions=len(DAMAGES) + 1)
    damaged = replace(scene, topic=topic)
    for number, (change, sealed) in enumerate(DAMAGES.values()):
        await send(damaged, number, [f"before {number}"], ["bad", "bad"], *([f"after {number}"] for _ in range(3)))
        Segment(kafka, topic, number).alter(1, change, sealed=sealed)
    async with reading(scene.topics.bootstrap, topic, scene.group, stall_after=4.0) as reader:
        found: list[Record] = []

        def open_questions() -> set[str]:
            stuck = {fact.partition.partition for fact in reader.seen(PartitionStuck)}
            return {
                name
                for number, name in enumerate(DAMAGES)
                if number not in stuck and not [r for r in found if r.partition.partition == number and r.offset == 5]
            }

        async with asyncio.timeout(40):
            while open_questions():
                deadline = asyncio.get_running_loop().time() + 0.3
                found += await reader.until(lambda at=deadline: asyncio.get_running_loop().time() > at)  # type: ignore[misc]
        for number, name in enumerate(DAMAGES):
            first = next(record for record in found if record.partition.partition == number)
            assert (first.offset, first.value) == (0, f'"before {number}"'.encode()), name
        for number, name in enumerate(DAMAGES):
            as_they_were = [r.value for r in found if r.partition.partition == number and r.value == b'"bad"']
            waits = any(fact.partition.partition == number for fact in reader.seen(PartitionStuck))
            set_aside = any(place == number for place, *_ in flaws(found))
            assert waits or set_aside or len(as_they_were) == 2, f"{name}: nothing is lost in silence"
        await scene.topics.send(topic, events(5), partition=len(DAMAGES))
        assert ids(await reader.read(5)) == ["e0", "e1", "e2", "e3", "e4"]
        assert calm(reader)


async def test_a_missing_library(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is no flaw of the records: the start fails, and later their partition waits until it is installed."""
    pytest.importorskip("cramjam", reason="aiokafka reads zstd with cramjam (aiokafka[all])")
    packed = await scene.topics.create(unique("packed"), partitions=1)
    await scene.topics.send(packed, events(1), compression="zstd")
    await scene.topics.send(scene.topic, events(2), partition=0)
    async with reading(scene.topics.bootstrap, scene.topic, scene.group) as reader:
        assert ids(await reader.read(2)) == ["e0", "e1"]
        await scene.topics.send(scene.topic, events(2, 2), partition=1, compression="zstd")
        with monkeypatch.context() as without:
            without.setattr("aiokafka.codec.cramjam", None)
            async with reading(scene.topics.bootstrap, packed, f"{scene.group}-2") as another:
                with pytest.raises(Fatal, match=r"zstd.*install it"):
                    await another.until(lambda: another.seen(RecordsRead))
            await reader.until(lambda: reader.seen(PartitionStuck))
            (stuck,) = reader.seen(PartitionStuck)
            assert (stuck.partition, stuck.offset) == (Partition(scene.topic, 1), 0)
            assert "install it" in stuck.reason
            await scene.topics.send(scene.topic, events(2, 4), partition=0)
            assert ids(await reader.read(2)) == ["e4", "e5"]
        assert ids(await reader.read(2)) == ["e2", "e3"]
        assert calm(reader)


async def test_a_bad_record_ends_in_the_dead_letter_topic(
    scene: Scene, kafka: Cluster, database: str, db: psycopg.Connection
) -> None:
    """With its bytes; everything else is stored and committed, and the service stays in its group."""
    await send(scene, 0, events(3), [event(3), "bad", event(4)], events(3, 5))
    await send(scene, 1, events(3, 8))
    await send(scene, 2, [None])
    segment = Segment(kafka, scene.topic, 0)
    segment.alter(3, rename, sealed=True)
    altered = segment.alter(6, damage)
    Segment(kafka, scene.topic, 2).alter(0, rename, sealed=True)
    with running(database, env=scene.env) as router:
        await scene.until_committed(11)
        assert router.metric("webhook_router_kafka_dead_letters_total", error="unreadable") == 3
        assert router.metric("webhook_router_kafka_consumers_replaced_total") == 0
        assert router.metric("webhook_router_kafka_rebalances_total") == 1
    letters = {dict(letter.headers)["webhook-router-offset"]: letter for letter in await scene.topics.read(scene.dead)}
    assert {offset: letter.value for offset, letter in letters.items()} == {
        b"4": b'"bad"',
        b"6": altered,
        b"0": None,
    }
    headers = dict(letters[b"4"].headers)
    assert headers[r"\xff\xfename-that-breaks"] == b"1"
    assert headers["webhook-router-error-message"] == b"the name of a header is not UTF-8"
    stored = db.execute("select event_id from webhook_events order by event_id").fetchall()
    assert [row[0] for row in stored] == sorted(f"e{n}" for n in [*range(5), *range(8, 11)])
