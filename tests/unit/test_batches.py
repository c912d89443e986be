"""Batches as a broker sends them: what can be had of them when something in them is broken."""

from collections.abc import Sequence

import aiokafka.codec
import pytest
from aiokafka import errors
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from consumer.adapters.kafka.batches import Raw, parted


def batch(
    base: int,
    values: list[bytes],
    *,
    codec: int = 0,
    producer: int = -1,
    headers: object = None,
    keys: Sequence[bytes] = (b"k0", b"k1", b"k2"),
) -> bytes:
    """A batch as producers make it; the broker sets the base offset."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=int(producer >= 0),
        producer_id=producer,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1_000_000,
    )
    for place, (key, value) in enumerate(zip(keys, values, strict=False)):
        assert builder.append(place, 1000 + place, key, value, headers or [("a", b"1"), ("b", None)])
    return at(base, bytes(builder.build()))


def at(base: int, made: bytes) -> bytes:
    """With another base offset, which the checksum does not cover."""
    return base.to_bytes(8, "big") + made[8:]


def resealed(made: bytes) -> bytes:
    """With a checksum that matches."""
    checksum: int = calc_crc32c(made[21:])
    return made[:17] + checksum.to_bytes(4, "big") + made[21:]


def found(data: bytes, begin: int = 0, aborted: tuple[tuple[int, int], ...] = ()) -> list[Raw]:
    """All of it."""
    return list(parted(data, begin, aborted, end=2**40).records)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_records_are_as_they_were_written(codec: int) -> None:
    """Whatever they were compressed with."""
    made = found(batch(40, [b"one", b"two"], codec=codec))
    assert [(raw.offset, raw.timestamp, raw.key, raw.value, raw.flaw) for raw in made] == [
        (40, 1000, b"k0", b"one", None),
        (41, 1001, b"k1", b"two", None),
    ]
    assert made[0].headers == (("a", b"1"), ("b", None))


def test_a_fetch_begins_in_the_middle_of_a_batch() -> None:
    """Brokers send whole batches, and cut the last one off."""
    data = batch(0, [b"a", b"b", b"c"]) + batch(3, [b"d"]) + batch(4, [b"e"])[:70]
    assert [raw.offset for raw in found(data, 2)] == [2, 3]


def test_a_header_name_that_is_not_utf_8() -> None:
    """Is one record's flaw; its neighbours have none, and nothing of it is lost."""
    made = batch(7, [b"good", b"bad", b"good"], headers=[("zz", b"1")])
    place = made.rindex(b"zz", 0, made.rindex(b"zz"))
    broken = found(resealed(made[:place] + b"\xff\xfe" + made[place + 2 :]))
    assert [raw.flaw for raw in broken] == [None, "the name of a header is not UTF-8", None]
    assert (broken[1].offset, broken[1].value, broken[1].headers) == (8, b"bad", (("\\xff\\xfe", b"1"),))


def test_a_checksum_that_does_not_match() -> None:
    """Makes one flaw of the whole batch, with all of its bytes; the next batch is not concerned."""
    made = batch(7, [b"one", b"two"])
    damaged = made[:-1] + bytes([made[-1] ^ 1])
    first, second = found(damaged + batch(9, [b"three"]))
    assert (first.offset, first.last_offset, first.value) == (7, 8, damaged)
    assert "checksum" in (first.flaw or "")
    assert (second.offset, second.value, second.flaw) == (9, b"three", None)


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 6])
def test_what_cannot_be_decompressed(codec: int) -> None:
    """Is a flaw of the batch as well, as is a codec that nobody knows."""
    made = batch(7, [b"one", b"two"])
    (only,) = found(resealed(made[:22] + bytes([codec]) + made[23:]))
    assert (only.offset, only.last_offset) == (7, 8)
    assert "batch" in (only.flaw or "")


def test_records_that_are_cut_short() -> None:
    """Lengths that lead nowhere raise nothing."""
    made = batch(7, [b"one", b"two"])
    for place in range(61, len(made)):
        for raw in found(resealed(made[:place] + b"\x7f" + made[place + 1 :])):
            assert 7 <= raw.offset <= 7 + 2**21


def marker(base: int, producer: int, *, commits: bool) -> bytes:
    """What a broker writes behind a transaction."""
    made = batch(base, [b"\0\0\0\0\0\0"], producer=producer, keys=[b"\0\0\0" + bytes([commits])])
    return resealed(made[:22] + bytes([made[22] | 0x20]) + made[23:])


def test_records_of_an_aborted_transaction_are_left_out() -> None:
    """Those of the same producer after the marker are not, nor those of other producers."""
    data = batch(0, [b"a"], producer=5) + batch(1, [b"b"], producer=6) + marker(2, 5, commits=False)
    data += batch(3, [b"c"], producer=5) + marker(4, 5, commits=True) + marker(5, 6, commits=True)
    assert [raw.value for raw in found(data, 0, ((5, 0),))] == [b"b", b"c"]


def test_what_is_no_batch() -> None:
    """There is no way on from there."""
    good = batch(7, [b"one"])
    broken = parted(good + b"\0" * 7 + b"\x08" + b"\0" * 40, 7, (), end=20)
    assert [raw.value for raw in broken.records] == [b"one"], "what comes before it counts"
    assert (broken.reached, broken.broken) == (8, "a batch there says that it has 0 bytes")
    said = f"a batch there says that it has {len(good) - 12} bytes, of which only 20 can be had"
    assert parted(good[:20], 7, (), end=20).broken == said


def test_how_far_a_damaged_header_is_believed() -> None:
    """Only the next batch, or where the partition ends, says which offsets a batch has whose checksum is wrong."""
    made = batch(7, [b"one", b"two"])
    for delta in (-5, 0, 900):
        damaged = made[:23] + delta.to_bytes(4, "big", signed=True) + made[27:]
        another = batch(9, [b"three"])
        for behind in (another, another[:20]):
            before_another = found(damaged + behind)[0]
            assert (before_another.offset, before_another.last_offset) == (7, 8)
        alone = parted(damaged, 8, (), end=9)
        assert [raw.last_offset for raw in alone.records] == [8], "not behind the end, and never in one place"
        assert alone.reached == 9


def test_what_is_left_out_counts_as_reached() -> None:
    """Markers and aborted records are behind us as well, even a batch that was emptied."""
    data = batch(0, [b"a"], producer=5) + marker(1, 5, commits=False)
    assert (parted(data, 0, ((5, 0),), end=2).records, parted(data, 0, ((5, 0),), end=2).reached) == ([], 2)


def test_a_batch_of_the_formats_before() -> None:
    """aiokafka reads it; if it does not, it is a flaw."""
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=10_000)
    builder.append(0, timestamp=1000, key=b"k", value=b"old")
    made = at(7, bytes(builder.build()))
    assert [(raw.offset, raw.value, raw.flaw) for raw in found(made)] == [(7, b"old", None)]
    (damaged,) = found(made[:-1] + b"?")
    assert (damaged.value, damaged.offset) == (made[:-1] + b"?", 7)
    (unknown,) = found(made[:16] + b"\x07" + made[17:])
    assert "format, 7" in (unknown.flaw or "")
    mistaken = batch(7, [b"new"])
    assert [(raw.value, raw.flaw) for raw in found(mistaken[:16] + b"\x07" + mistaken[17:])] == [(b"new", None)]


def test_a_missing_library_is_no_flaw(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be installed, so nothing may be set aside."""
    made = batch(7, [b"one"], codec=4)
    monkeypatch.setattr(aiokafka.codec, "cramjam", None)
    with pytest.raises(errors.UnsupportedCodecError, match="zstd"):
        found(made)
