"""Record batches as a broker sends them, taken apart byte by byte where aiokafka cannot decode what they hold.

The format: https://kafka.apache.org/documentation/#recordbatch. Batches of the formats before it (magic 0 and 1) are
not taken apart: no broker since 4.0 has any.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.util import calc_crc32c, decode_varint

# Base offset, length, leader epoch, magic, checksum, attributes, last offset delta, first and last timestamp, id and
# epoch of the producer, base sequence, number of records.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH, _BEFORE_CHECKSUM, _BEFORE_ATTRIBUTES = 12, 17, 21
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_DECOMPRESS = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}
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


class Unreadable(Exception):
    """Not even where the next batch begins can be told."""


def records(data: bytes, begin: int, aborted: Iterable[tuple[int, int]]) -> Iterator[Raw]:
    """The records of a fetch, from an offset on, without those of aborted transactions.

    Args:
        data: batches; the last one may have been cut off.
        begin: offsets before it are left out, since batches are sent as a whole.
        aborted: producer and first offset of each aborted transaction that the fetch has records of.

    Raises:
        Unreadable: in the course of the iteration.
    """
    waiting = sorted(aborted, key=lambda transaction: transaction[1])
    aborting: set[int] = set()
    position = 0
    while position + _HEADER.size <= len(data):
        base, length, _, magic, *_ = header = _HEADER.unpack_from(data, position)
        batch = data[position : position + _BEFORE_LENGTH + length]
        if length < _HEADER.size - _BEFORE_LENGTH or magic != 2:
            raise Unreadable(f"a batch at offset {base} of format {magic} and {length} bytes")
        if len(batch) < _BEFORE_LENGTH + length:
            break
        position += len(batch)
        attributes, last, producer = header[5], base + header[6], header[9]
        while waiting and waiting[0][1] <= last:
            aborting.add(waiting.pop(0)[0])
        if attributes & _CONTROL:
            # The key of the marker is its version and its type: 0 aborts, 1 commits.
            if any(raw.key == _ABORT for raw in _taken_apart(batch, header)):
                aborting.discard(producer)
            continue
        if last < begin or (attributes & _TRANSACTIONAL and producer in aborting):
            continue
        yield from (raw for raw in _taken_apart(batch, header) if raw.last_offset >= begin)


def _taken_apart(batch: bytes, header: Sequence[int]) -> Sequence[Raw]:
    """The records of a batch; the batch itself as one that has a flaw, where it has no such records."""
    if calc_crc32c(batch[_BEFORE_ATTRIBUTES:]) != header[4]:
        return [_whole(batch, header, "the batch is damaged: its checksum does not match")]
    attributes = header[5]
    content = batch[_HEADER.size :]
    try:
        if codec := attributes & _CODEC:
            if codec not in _DECOMPRESS:
                return [_whole(batch, header, f"the batch is compressed by an unknown codec, {codec}")]
            content = bytes(_DECOMPRESS[codec](content))
        return list(_records(bytearray(content), header))
    except Exception as error:  # noqa: BLE001 - decompressors have errors of their own, and varints may lead anywhere
        return [_whole(batch, header, f"the batch cannot be taken apart: {type(error).__name__}")]


def _whole(batch: bytes, header: Sequence[int], flaw: str) -> Raw:
    return Raw(
        offset=header[0],
        last_offset=header[0] + header[6],
        timestamp=header[8],
        key=None,
        value=batch,
        headers=(),
        flaw=flaw,
    )


def _records(content: bytearray, header: Sequence[int]) -> Iterator[Raw]:
    """The records of a batch that is decompressed."""
    base, attributes, first_time, last_time, count = header[0], header[5], header[7], header[8], header[12]
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

    for _ in range(count):
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
        offset = base + offset_delta
        yield Raw(
            offset=offset,
            last_offset=offset,
            timestamp=last_time if attributes & _LOG_APPEND_TIME else first_time + time_delta,
            key=key,
            value=value,
            headers=tuple(headers),
            flaw=f"the name of {'a header' if unnamed == 1 else f'{unnamed} headers'} is not UTF-8"
            if unnamed
            else None,
        )
    if position != len(content):
        raise ValueError("bytes behind the last record")
