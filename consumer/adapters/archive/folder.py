"""An archive in a folder: steps are appended to the file of their hour as members of their own."""

import contextlib
import errno
import fcntl
import io
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from consumer.adapters.archive.members import GZIP, HEADER, SIGNATURE, header_of, packed, unpacked
from consumer.adapters.archive.names import ENDING, by_file, is_ours
from consumer.adapters.ndjson import open_source
from consumer.domain.archives import ArchivedLine
from consumer.domain.errors import Fatal, Misconfigured, Transient

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_NOT_FOR_FOLDERS: Final = {errno.EINVAL, errno.ENOTSUP}
_NO_CHANCE: Final = 512  # so many zeros in a row are in no member


class Folder:
    """Nobody else may read what is written: it holds what people wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: dict[Path, tuple[int, int, int]] = {}
        """Device, inode and length of files whose end is known to be whole, and whose names are on the disk."""

    @property
    def name(self) -> str:
        return str(self.path)

    def check(self) -> None:
        """Makes the folder, so that what forbids writing shows before anything is pruned.

        Raises:
            Misconfigured: it cannot be made or written to.
        """
        try:
            self._make(self.path)
        except OSError as error:
            raise Misconfigured(f"cannot make the archive {self.path}: {error.strerror}; name another folder") from None
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise Misconfigured(f"the archive {self.path} cannot be written to; name another folder")

    def write(self, kind: str, lines: Sequence[ArchivedLine]) -> int:
        """Appends lines to their files; when it returns they are on the disk, were read back and counted.

        Raises:
            Transient: the disk is full.
            Fatal: they cannot be written. In either case some of them may be there.
        """
        return sum(self._append(self.path / (name + ENDING), texts) for name, texts in by_file(kind, lines).items())

    def files(self) -> Iterator[str]:
        """The names of all files of an archive, in the order of the hours; of other files nothing is said."""
        yield from sorted(
            str(path.relative_to(self.path)) for path in self.path.rglob("*" + ENDING) if is_ours(path.name)
        )

    def open(self, name: str) -> io.FileIO:
        """A file of the archive, to read.

        Raises:
            Misconfigured: it cannot be read.
        """
        return open_source(str(self.path / name))

    def _append(self, path: Path, texts: Sequence[bytes]) -> int:
        data = b"\n".join(texts) + b"\n"
        member = packed(data, len(texts))
        try:
            self._make(path.parent)
            with self._locked(path) as file:
                end = self._end_of(path, file)
                try:
                    _write(file, member, end)
                    os.fsync(file)
                except OSError:
                    # What was not written whole is taken back, and if that fails too, by whoever comes next.
                    with contextlib.suppress(OSError):
                        os.ftruncate(file, end)
                    raise
                if unpacked(_read(file, end, len(member))) != data:
                    raise Fatal(f"{path} does not have what was written into it; nothing was deleted: check the disk")
                about = os.fstat(file)
                self._ends[path] = about.st_dev, about.st_ino, end + len(member)
        except OSError as error:
            self._ends.pop(path, None)
            said = f"the archive cannot be written to {path}: {error.strerror}; nothing of this step was deleted"
            raise (Transient if error.errno in _FULL else Fatal)(said) from error
        return len(texts)

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[int]:
        """The file, which no other process of ours writes to meanwhile, under the name that it was opened by."""
        while True:
            file = os.open(path, _FLAGS, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                mine = os.fstat(file)
                if not stat.S_ISREG(mine.st_mode):
                    raise Fatal(f"{path} is not a regular file")
                with contextlib.suppress(FileNotFoundError):
                    there = path.lstat()
                    if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                        yield file
                        return
                # It was moved away before it was locked: it is another one's now.
            finally:
                os.close(file)

    def _end_of(self, path: Path, file: int) -> int:
        """Where to append: after all that is whole. What a crash has left of a step that was never counted is cut off.

        Raises:
            Fatal: it is not a file of gzip.
        """
        about = os.fstat(file)
        if self._ends.get(path) == (about.st_dev, about.st_ino, about.st_size):
            return about.st_size
        end = whole_end(file, about.st_size, name=str(path))
        if end < about.st_size:
            os.ftruncate(file, end)
        # Whoever made it may have died before its name was on the disk.
        for folder in (path.parent, *path.parent.parents):
            _sync(folder)
            if folder == self.path:
                break
        return end

    def _make(self, folder: Path) -> None:
        """Makes the folder and those above it, and has their names on the disk."""
        if folder.is_dir():
            return
        if folder.parent != folder:
            self._make(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _sync(folder.parent)


def whole_end(file: int, size: int, *, name: str) -> int:
    """Where the last whole member ends; `size` if what comes after it must stay.

    Cut off is only what one torn write leaves: a member of ours that is not whole and has none after it. All else stays
    as it is: the reader finds what comes after.

    Raises:
        Fatal: it is not a file of gzip.
    """
    place = last = 0
    while place < size:
        member = header_of(os.pread(file, HEADER, place))
        if member is None:
            rest = _read(file, place, size - place).rstrip(b"\0")
            if place == 0 and rest and not rest.startswith(GZIP) and rest != GZIP[:1]:
                raise Fatal(f"{name} is not a file of gzip; move it away")
            if len(rest) >= HEADER or not SIGNATURE.startswith(rest[: len(SIGNATURE)]):
                return size
            break  # a header that is not whole, or nothing but zeros
        if place + member.length > size:
            return size if SIGNATURE in _read(file, place + 1, size - place - 1) else place
        last, place = place, place + member.length
    # A machine that lost its power may know the length of a file and have zeros for what was in it.
    content = _read(file, last, place - last)
    has_zeros = place < size or content.endswith(bytes(8)) or bytes(_NO_CHANCE) in content
    return last if content and has_zeros and unpacked(content) is None else place


def _write(file: int, data: bytes, place: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, place)
        rest, place = rest[written:], place + written


def _read(file: int, place: int, length: int) -> bytes:
    pieces = []
    while length:
        piece = os.pread(file, length, place)
        if not piece:
            break
        pieces.append(piece)
        place, length = place + len(piece), length - len(piece)
    return b"".join(pieces)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:  # some file systems have nothing to do there
            raise
    finally:
        os.close(number)
