"""NDJSON, read and written as bytes, in pieces: neither a file nor a long line is held in memory as a whole."""

import base64
import io
import os
import select
import shlex
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

import orjson

from consumer.domain.errors import Fatal, Misconfigured

STANDARD_INPUT: Final = "standard input"
LONGEST_LINE: Final = 16 * 1024 * 1024
ARCHIVED: Final = b'{"webhook_router_archive": '
"""How a line begins that `prune --archive` wrote. It may be longer than others: nothing else has what it says."""
LONGEST_ARCHIVED: Final = 768 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024
_KEPT_BYTES: Final = 1000  # of a line that is too long
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FROM_ZIP: Final = (  # unzip reads no standard input, and funzip only the first file
    "python3 -c 'import io, shutil, sys, zipfile; archive = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())); "
    "[shutil.copyfileobj(archive.open(name), sys.stdout.buffer) for name in archive.namelist()]'"
)
_OTHER_FORMATS: Final = {
    b"\x1f\x8b": ("compressed (gzip)", "gunzip -c"),
    b"\x28\xb5\x2f\xfd": ("compressed (zstd)", "zstd -dc"),
    b"BZh": ("compressed (bzip2)", "bunzip2 -c"),
    b"\xfd7zXZ": ("compressed (xz)", "xz -dc"),
    b"PK\x03\x04": ("a zip archive", _FROM_ZIP),
    b"\xff\xfe": ("UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    b"PAR1": ("a Parquet file", ""),
}
"""What a file begins with: what it is, and the program that makes text of it."""
_COLUMNS: Final = frozenset({"channel", "event_id"})
"""Of which a heading of CSV has at least one."""
_FROM_CSV: Final = (
    'python3 -c \'import csv, json, sys; sys.stdin.reconfigure(encoding="utf-8-sig"); '
    "[print(json.dumps({{k: v for k, v in row.items() if v}})) for row in csv.DictReader(sys.stdin, delimiter={})]'"
)


class Source(Protocol):
    """Where bytes come from: an unbuffered file, whose `read` returns what is there."""

    def read(self, size: int, /) -> bytes | None:
        """Up to `size` bytes; none at the end."""

    def fileno(self) -> int:
        """The descriptor to ask whether something is there."""


class Line(NamedTuple):
    """A line that is not blank, without its end."""

    number: int
    """From 1; blank lines count."""
    text: bytes
    cut: int = 0
    """Its length if it is too long: then `text` is only its beginning."""


class Rejection(NamedTuple):
    """A line that was not taken."""

    line: Line
    reason: str


class LineReader:
    """The lines of a source. `bytes_read` is how far reading has come; lines of more than `longest` bytes are cut."""

    def __init__(
        self, source: Source, *, name: str, longest: int = LONGEST_LINE, command: str = "webhook-router ingest -"
    ) -> None:
        """`name` of the source, and the command that reads it from standard input, are for messages."""
        self._source = source
        self._name = name
        self._command = command
        self.longest = longest
        self._number = 0
        self.bytes_read = 0

    def blocks(self) -> Iterator[list[Line]]:
        """Lines in the order of the source, as they come; an empty block: there are no more for the moment.

        Raises:
            Misconfigured: it is not text, judging by its beginning.
            Fatal: the source cannot be read to its end.
        """
        rest = bytearray()
        too_long: Line | None = None
        while True:
            if not self._ready():
                yield []
            chunk = self._read()
            if not chunk:
                break
            if too_long is not None:
                end = chunk.find(b"\n")
                too_long = too_long._replace(cut=too_long.cut + (len(chunk) if end < 0 else end))
                if end < 0:
                    continue
                yield [too_long]
                too_long, chunk = None, chunk[end + 1 :]
            end = chunk.rfind(b"\n")
            if end >= 0:
                rest += chunk[:end]
                yield self._lines(bytes(rest))
                rest = bytearray(chunk[end + 1 :])
            else:
                rest += chunk
            if len(rest) > self._most(rest):
                self._number += 1
                too_long = Line(self._number, bytes(rest[:_KEPT_BYTES]), len(rest))
                rest.clear()
        if too_long is not None:
            yield [too_long]
        elif rest:
            yield self._lines(bytes(rest))

    def _most(self, line: bytes | bytearray) -> int:
        return max(self.longest, LONGEST_ARCHIVED) if line.startswith(ARCHIVED) else self.longest

    def _lines(self, text: bytes) -> list[Line]:
        if not self._number:
            self._check_form(text)
        lines = []
        for number, piece in enumerate(text.split(b"\n"), self._number + 1):
            if piece and not piece.isspace():
                if len(piece) > self._most(piece):
                    lines.append(Line(number, piece[:_KEPT_BYTES], len(piece)))
                else:
                    lines.append(Line(number, piece.removesuffix(b"\r")))
        self._number += text.count(b"\n") + 1
        return lines

    def _read(self) -> bytes:
        try:
            chunk = self._source.read(_READ_BYTES) or b""
        except OSError as error:
            raise Fatal(f"{self._name} cannot be read any further: {error.strerror}") from error
        if not self.bytes_read:
            for begin, (what, program) in _OTHER_FORMATS.items():
                if chunk.startswith(begin):
                    raise self._misread(what, program)
            self.bytes_read = len(chunk)
            return chunk.removeprefix(_BYTE_ORDER_MARK)
        self.bytes_read += len(chunk)
        return chunk

    def _check_form(self, text: bytes) -> None:
        """Judges by the first line whether these are lines of JSON at all.

        Raises:
            Misconfigured: it is the heading of CSV, or JSON over several lines.
        """
        first = text.lstrip().partition(b"\n")[0].strip()
        if first == b"{" or first in {b"[", b"[{"}:
            raise self._misread("JSON over several lines", "jq -c ." if first == b"{" else "jq -c '.[]'")
        if first.startswith((b"{", b"[")):
            return
        for delimiter in (",", ";", "\t"):
            heads = {head.strip().strip('"').lower() for head in first.decode(errors="replace").split(delimiter)}
            if len(heads) > 1 and heads & _COLUMNS:
                # No reader of CSV needs to be installed for it.
                raise self._misread("CSV", _FROM_CSV.format(orjson.dumps(delimiter).decode()))

    def _misread(self, what: str, program: str) -> Misconfigured:
        source = "" if self._name == STANDARD_INPUT else f" < {shlex.quote(self._name)}"
        advice = f"{program}{source} | {self._command}" if program else f"… | {self._command}"
        return Misconfigured(f"{self._name} is {what}, not one JSON object a line in UTF-8; make it so: {advice}")

    def _ready(self) -> bool:
        """Whether a read returns at once. Where that is unknown, yes: Windows only tells for sockets."""
        try:
            return bool(select.select([self._source.fileno()], [], [], 0)[0])
        except (OSError, ValueError):
            return True


class RejectedLines:
    """The file of rejected lines: {"line": n, "reason": "…", "record": "<the line>"}, made when the first one comes.

    A line that is not UTF-8 text is kept as "record_base64"; of one that is too long, only "record_start" and "bytes".
    Nobody else may read the file, since it holds what people wrote, and no link is followed to it.
    """

    def __init__(self, path: Path | None, *, elsewhere: bool = False) -> None:
        """No path: standard output. `elsewhere`: where it cannot be made, the folder of temporary files will do."""
        self.path = path
        self._elsewhere = elsewhere
        self.file = ""
        """Which file the lines are of; said in each if there is one."""
        self._file: BinaryIO | None = None

    @property
    def name(self) -> str:
        """Where the lines are."""
        return "standard output" if self.path is None else str(self.path)

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Adds lines; when it returns they are with the operating system.

        Raises:
            Fatal: they cannot be kept; going on would lose them.
        """
        if not rejections:
            return
        try:
            if self._file is None:
                self._file = self._opened()
            self._file.write(b"".join(_rejected(rejection, self.file) for rejection in rejections))
            self._file.flush()
        except OSError as error:
            raise Fatal(f"rejected lines cannot be written to {self.name}: {error.strerror}") from error

    def _opened(self) -> BinaryIO:
        try:
            return self._made()
        except OSError:
            if not self._elsewhere or self.path is None:
                raise
        number, name = tempfile.mkstemp(prefix=f"{self.path.name}.", suffix=".ndjson")
        self.path = Path(name)
        return os.fdopen(number, "wb")

    def _made(self) -> BinaryIO:
        if self.path is None:
            return os.fdopen(1, "wb", closefd=False)
        if of_the_system(self.path):
            return os.fdopen(os.open(self.path, os.O_WRONLY), "wb")
        kind = self.path.lstat().st_mode if os.path.lexists(self.path) else None
        if kind is not None and (stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)):
            return os.fdopen(os.open(self.path, os.O_WRONLY | _NO_LINK), "wb")
        if kind is not None and stat.S_ISREG(kind):
            # The older file may be the input of what feeds this run: a reader that has it open keeps it.
            self.path.unlink()
        return os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600), "wb")

    def close(self) -> None:
        """Closes the file, if there is one."""
        if self._file is not None:
            self._file.close()


def of_the_system(path: Path) -> bool:
    """Whether it is a link of the system to an open file, such as /dev/stderr."""
    return str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/self/fd/"))


def _rejected(rejection: Rejection, file: str) -> bytes:
    line, reason = rejection
    entry: dict[str, object] = {"file": file} if file else {}
    entry |= {"line": line.number, "reason": reason}
    if line.cut:
        entry |= {"record_start": line.text.decode(errors="replace"), "bytes": line.cut}
    else:
        try:
            entry["record"] = line.text.decode()
        except UnicodeDecodeError:
            entry["record_base64"] = base64.b64encode(line.text).decode()
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def open_source(name: str) -> io.FileIO:
    """The file of that name, or standard input for "-".

    Raises:
        Misconfigured: there is no such file, or it cannot be read.
    """
    try:
        return io.FileIO(0, closefd=False) if name == "-" else io.FileIO(name)
    except OSError as error:
        raise Misconfigured(f"cannot read {name}: {error.strerror}") from None
