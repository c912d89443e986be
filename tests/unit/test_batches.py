"""Batches as a broker sends them: what can be had of them when something in them is broken."""

import zlib
from collections.abc import Sequence

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from consumer.adapters.kafka.batches import Raw, Unreadable, records


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
    return list(records(data, begin, aborted))


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
    with pytest.raises(Unreadable, match="format"):
        found(zlib.compress(b"x" * 10) * 10)
