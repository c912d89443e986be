"""Members of gzip files, each of which says how long it is.

A file of several members is one file to any gzip program. Ours have a field in their header, which others skip, with
the length of the member and its number of lines: so the end of a file that a crash has torn is found without unpacking
the whole file, and what is damaged in the middle takes nothing with it but its own member.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from consumer.adapters.ndjson import Source
from consumer.domain.errors import Fatal

GZIP: Final = b"\x1f\x8b"
# Deflate, "has an extra field", no time, no hint, no system; the length of the field, its name, the length of its data.
SIGNATURE: Final = GZIP + b"\x08\x04\0\0\0\0\0\xff" + struct.pack("<H2sH", 20, b"WR", 16)
_LENGTHS: Final = struct.Struct("<QI")
HEADER: Final = len(SIGNATURE) + _LENGTHS.size + 4  # and a checksum of the lengths
_TRAILER: Final = struct.Struct("<II")
_LEVEL: Final = 6
_READ_BYTES: Final = 1024 * 1024
_OF_ANY_GZIP: Final = 31  # as zlib counts: a window of 32 KiB, with gzip's header and trailer


class Member(NamedTuple):
    """What the header of one of our members says."""

    length: int
    """In bytes, header and trailer included."""
    lines: int


def packed(data: bytes, lines: int) -> bytes:
    """A member of these lines."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    length = HEADER + len(body) + _TRAILER.size
    lengths = _LENGTHS.pack(length, lines)
    trailer = _TRAILER.pack(zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"".join((SIGNATURE, lengths, zlib.crc32(lengths).to_bytes(4, "little"), body, trailer))


def header_of(begin: bytes | bytearray) -> Member | None:
    """What the header says that these bytes begin with; None if it is not one of ours, or not whole, or damaged."""
    if len(begin) < HEADER or not begin.startswith(SIGNATURE):
        return None
    lengths = begin[len(SIGNATURE) : HEADER - 4]
    if zlib.crc32(lengths).to_bytes(4, "little") != begin[HEADER - 4 : HEADER]:
        return None
    return Member(*_LENGTHS.unpack(lengths))


def unpacked(member: bytes) -> bytes | None:
    """What is in one whole member of ours; None if it is damaged: not all of it is there, or its checksum or its number
    of lines is another one."""
    said = header_of(member)
    if said is None or said.length != len(member):
        return None
    try:
        data = zlib.decompress(member, _OF_ANY_GZIP)
    except zlib.error:
        return None
    return data if data.count(b"\n") == said.lines else None


def _differs(begin: bytes | bytearray) -> bool:
    """Whether these bytes are the header of another program, and not a damaged one of ours."""
    return sum(a == b for a, b in zip(begin, SIGNATURE, strict=False)) < len(SIGNATURE) - 4


class Unpacking:
    """What is in a file that may be compressed by gzip, as an unbuffered file: members of any gzip and ours in any
    order, or no gzip at all.

    Our members come whole or not at all. What cannot be read is left out, up to the next member of ours.
    """

    def __init__(self, source: Source, *, name: str) -> None:
        """`name` of the source, for messages."""
        self._source = source
        self._name = name
        self._rest = bytearray()
        self._out: Iterator[bytes] | None = None
        self._plain = False
        self._ended = False
        self._has_ours = False
        self.position = 0
        """How many bytes of the source were read."""
        self.torn = False
        """The source ends within a member: a crash tore it, or a copy is not whole."""
        self.damaged = 0
        """How often something in the middle could not be read."""

    def read(self, size: int, /) -> bytes:
        """The next piece, of any size; none at the end.

        Raises:
            Fatal: it was not packed by us, and is damaged: what comes after is not found.
        """
        if self._out is None:
            self._fill(len(GZIP))
            self._plain = not self._rest.startswith(GZIP)
            self._out = self._pieces()
        if self._plain:
            if self._rest:
                piece, self._rest = bytes(self._rest), bytearray()
                return piece
            return self._more(size)
        return next(self._out, b"")

    def fileno(self) -> int:
        """The descriptor to ask whether something is there; of what is packed, there may be more in hand.

        Raises:
            OSError: it says nothing.
        """
        if self.is_packed:
            raise OSError
        return self._source.fileno()

    @property
    def is_packed(self) -> bool:
        """Whether what was read so far was found to be gzip."""
        return self._out is not None and not self._plain

    def _more(self, size: int) -> bytes:
        chunk = self._source.read(size) or b""
        self.position += len(chunk)
        self._ended = not chunk
        return chunk

    def _fill(self, size: int) -> bool:
        """Has `size` bytes in hand, or all that there are; whether they are that many."""
        while len(self._rest) < size and not self._ended:
            self._rest += self._more(max(_READ_BYTES, size - len(self._rest)))
        return len(self._rest) >= size

    def _pieces(self) -> Iterator[bytes]:
        while self._fill(1):
            self._fill(HEADER)
            if (member := header_of(self._rest)) is not None:
                self._has_ours = True
                whole = self._fill(member.length)
                data = unpacked(bytes(self._rest[: member.length])) if whole else None
                if data is None:
                    self._skip(torn=not whole)
                else:
                    del self._rest[: member.length]
                    if data:
                        yield data
            elif SIGNATURE.startswith(self._rest[: len(SIGNATURE)]):
                self._skip(torn=len(self._rest.rstrip(b"\0")) < HEADER)  # a header of ours that is not whole
            elif self._rest.startswith(GZIP) and _differs(self._rest):
                yield from self._other_member()
            else:
                self._skip(torn=False)

    def _skip(self, *, torn: bool) -> None:
        """Goes on to the next member of ours, past what cannot be read. Without one, what cannot be read is the end of
        the file: a crash tore it if it is not whole, or zeros.
        """
        zeros, past = True, 1
        while True:
            found = self._rest.find(SIGNATURE, past)
            if found >= 0:
                del self._rest[:found]
                self.damaged += 1
                return
            zeros = zeros and not self._rest.strip(b"\0")
            del self._rest[: max(len(self._rest) - len(SIGNATURE) + 1, 1)]
            past = 0
            if not self._fill(len(self._rest) + 1):
                break
        zeros = zeros and not self._rest.strip(b"\0")
        if torn or zeros:
            self.torn = True
        else:
            self.damaged += 1
        self._rest.clear()

    def _other_member(self) -> Iterator[bytes]:
        inflate = zlib.decompressobj(_OF_ANY_GZIP)
        waiting = bytes(self._rest)
        self._rest.clear()
        while True:
            try:
                data = inflate.decompress(waiting, _READ_BYTES)
            except zlib.error as error:
                if self._has_ours:
                    self._rest[:0] = waiting
                    self._skip(torn=False)
                    yield b"\n"  # so that no line is glued to what came of this one
                    return
                raise Fatal(f"{self._name} cannot be read any further: it is damaged ({error})") from None
            if data:
                yield data
            if inflate.eof:
                self._rest += inflate.unused_data
                return
            waiting = inflate.unconsumed_tail or self._more(_READ_BYTES)
            if not waiting and not data:
                self.torn = True
                return
