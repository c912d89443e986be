"""Record batches as a broker sends them, taken apart byte by byte where aiokafka cannot decode what they hold.

The format: https://kafka.apache.org/documentation/#recordbatch. Batches of the formats before it (magic 0 and 1), which
no broker since 4.0 has, are left to aiokafka, one by one.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import codec, errors
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c, decode_varint


class _Header(NamedTuple):
    base: int
    length: int
    epoch: int
    magic: int
    checksum: int
    attributes: int
    last_delta: int
    first_time: int
    last_time: int
    producer: int
    producer_epoch: int
    sequence: int
    records: int


_HEADER = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH, _BEFORE_MAGIC, _BEFORE_ATTRIBUTES = 12, 16, 21
_SHORTEST = 14
"""Of what follows the length, in any format."""
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_CODECS: dict[int, tuple[str, Callable[[], bool], Callable[[bytes], bytes]]] = {
    1: ("gzip", codec.has_gzip, codec.gzip_decode),
    2: ("snappy", codec.has_snappy, codec.snappy_decode),
    3: ("lz4", codec.has_lz4, codec.lz4_decode),
    4: ("zstd", codec.has_zstd, codec.zstd_decode),
}
_ABORT = b"\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A record, or a batch that could not be taken apart: then what it has as bytes."""

    offset: int
    last_offset: int
    """The same for a record; of a batch that of its last one."""
    timestamp: int
    """Milliseconds since 1970; below 0: unknown."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    flaw: str | None
    """Why aiokafka does not read it; None: it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """What a fetch has."""

    records: Sequence[Raw]
    reached: int
    """The first offset behind the batches that could be told apart."""
    broken: str | None
    """Why it cannot be told where the batch at `reached` ends; None: nothing is wrong with it."""


def parted(data: bytes, begin: int, aborted: Iterable[tuple[int, int]], *, end: int) -> Parted:
    """The records of a fetch, from an offset on, without those of aborted transactions.

    Args:
        data: batches; the last one may have been cut off.
        begin: offsets before it are left out, since batches are sent as a whole.
        aborted: producer and first offset of each aborted transaction that the fetch has records of.
        end: where the partition ends; what says that it lies behind it is damaged.

    Raises:
        UnsupportedCodecError: a library is missing here.
    """
    transactions = _Transactions(aborted)
    found: list[Raw] = []
    reached = begin
    batches, following, broken = _told_apart(data)
    for (base, batch), next_base in zip(batches, [*(base for base, _ in batches[1:]), following], strict=False):
        header = _Header(*_HEADER.unpack_from(batch)) if len(batch) >= _HEADER.size else None
        matches = header is not None and calc_crc32c(batch[_BEFORE_ATTRIBUTES:]) == header.checksum
        if header is None or (header.magic != 2 and not matches):
            # Its checksum does not cover the number of the format, so that alone may be what is wrong.
            raws, last = _as_before(batch, base), base
        else:
            last = base + header.last_delta
            if matches:
                raws = [] if last < begin else transactions.records(batch, header)
            else:
                # Anything may be wrong in the header as well, so what follows says where the batch has ended.
                if next_base is not None:
                    last = next_base - 1
                last = max(last if last < end else base, base, begin)
                raws = [_whole(batch, base, last, "the batch is damaged: its checksum does not match")]
        found += (raw for raw in raws if raw.last_offset >= begin)
        reached = max(reached, last + 1, *(raw.last_offset + 1 for raw in raws))
    return Parted(records=found, reached=reached, broken=broken)


def _told_apart(data: bytes) -> tuple[list[tuple[int, bytes]], int | None, str | None]:
    """The batches with their base offsets, that of what follows, and why it cannot be told where that ends."""
    batches: list[tuple[int, bytes]] = []
    position = 0
    while position + _BEFORE_LENGTH <= len(data):
        base, length = struct.unpack_from(">qi", data, position)
        behind = position + _BEFORE_LENGTH + length
        if length < _SHORTEST:
            return batches, None, f"a batch there says that it has {length} bytes"
        if behind > len(data):  # nothing unusual, unless it is the first one: that would have been sent as a whole
            had = f"a batch there says that it has {length} bytes, of which only {len(data)} can be had"
            return batches, base, None if batches else had
        batches.append((base, data[position:behind]))
        position = behind
    return batches, None, None


class _Transactions:
    """Which of them are being aborted at a place in the partition."""

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        self._waiting = sorted(aborted, key=lambda transaction: transaction[1])
        self._aborting: set[int] = set()

    def records(self, batch: bytes, header: _Header) -> Sequence[Raw]:
        """The records of the next batch, unless it is of one of them, or a marker."""
        while self._waiting and self._waiting[0][1] <= header.base:
            self._aborting.add(self._waiting.pop(0)[0])
        if header.attributes & _CONTROL:
            # The key of the marker is its version and its type: 0 aborts, 1 commits.
            if any(raw.key == _ABORT for raw in _taken_apart(batch, header)):
                self._aborting.discard(header.producer)
            return []
        if header.attributes & _TRANSACTIONAL and header.producer in self._aborting:
            return []
        return _taken_apart(batch, header)


def _as_before(batch: bytes, offset: int) -> Sequence[Raw]:
    """The records of a batch of the old formats, whose offset is that of its last record."""
    if batch[_BEFORE_MAGIC] > 1:
        return [_whole(batch, offset, offset, f"a batch of an unknown format, {batch[_BEFORE_MAGIC]}")]
    try:
        old = MemoryRecords(batch).next_batch()
        if not old.validate_crc():
            return [_whole(batch, offset, offset, "the batch is damaged: its checksum does not match")]
        return [
            Raw(
                offset=record.offset,
                last_offset=record.offset,
                timestamp=-1 if record.timestamp is None else record.timestamp,
                key=record.key,
                value=record.value,
                headers=(),
                flaw=None,
            )
            for record in old
        ]
    except errors.UnsupportedCodecError:
        raise
    except Exception as error:  # noqa: BLE001 - see _taken_apart
        return [_whole(batch, offset, offset, f"the batch cannot be taken apart: {type(error).__name__}")]


def _taken_apart(batch: bytes, header: _Header) -> Sequence[Raw]:
    """The records of a batch; the batch itself as one that has a flaw, where it has no such records."""
    last = header.base + header.last_delta
    content = batch[_HEADER.size :]
    if number := header.attributes & _CODEC:
        if number not in _CODECS:
            return [_whole(batch, header.base, last, f"the batch is compressed by an unknown codec, {number}")]
        name, is_there, decompress = _CODECS[number]
        if not is_there():
            raise errors.UnsupportedCodecError(f"Libraries for {name} compression codec not found")
    try:
        if number:
            content = bytes(decompress(content))
        return list(_records(bytearray(content), header))
    except Exception as error:  # noqa: BLE001 - decompressors have errors of their own, and varints may lead anywhere
        return [_whole(batch, header.base, last, f"the batch cannot be taken apart: {type(error).__name__}")]


def _whole(batch: bytes, offset: int, last_offset: int, flaw: str) -> Raw:
    return Raw(
        offset=offset, last_offset=max(last_offset, offset), timestamp=-1, key=None, value=batch, headers=(), flaw=flaw
    )


def _records(content: bytearray, header: _Header) -> Iterator[Raw]:
    """The records of a batch that is decompressed."""
    position = 0

    def varint() -> int:
        nonlocal position
        value, position = decode_varint(content, position)
        return int(value)

    def text() -> bytes | None:
        nonlocal position
        length = varint()
        if length < 0:
            return None
        if position + length > len(content):
            raise ValueError("a length beyond the end")
        position += length
        return bytes(content[position - length : position])

    for _ in range(header.records):
        length = varint()
        end = position + length
        position += 1  # attributes of a record, none of which is in use
        time_delta, offset_delta = varint(), varint()
        key, value = text(), text()
        named = [(text() or b"", text()) for _ in range(varint())]
        if position != end:
            raise ValueError("a record of another length than it says")
        headers, unnamed = [], 0
        for name, content_of in named:
            try:
                headers.append((name.decode(), content_of))
            except UnicodeDecodeError:
                unnamed += 1
                headers.append((name.decode(errors="backslashreplace"), content_of))
        offset = header.base + offset_delta
        yield Raw(
            offset=offset,
            last_offset=offset,
            timestamp=header.last_time if header.attributes & _LOG_APPEND_TIME else header.first_time + time_delta,
            key=key,
            value=value,
            headers=tuple(headers),
            flaw=f"the name of {'a header' if unnamed == 1 else f'{unnamed} headers'} is not UTF-8"
            if unnamed
            else None,
        )
    if position != len(content):
        raise ValueError("bytes behind the last record")
