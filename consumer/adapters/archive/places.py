"""Archives by their place, and what is in them."""

import io
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from consumer.adapters.archive.bucket import SCHEME, Bucket, Download
from consumer.adapters.archive.folder import Folder
from consumer.adapters.archive.members import Unpacking
from consumer.adapters.archive.names import ENDING
from consumer.adapters.ndjson import STANDARD_INPUT, LineReader, open_source
from consumer.domain.errors import Misconfigured

Archive = Folder | Bucket


def archive_at(place: str) -> Archive:
    """The archive in a folder, or at s3://bucket/prefix; nothing is made and nobody is asked.

    Raises:
        Misconfigured: it cannot be one. A variable of a script that is empty would be the folder one happens to be in.
    """
    if not place.strip():
        raise Misconfigured("the archive has no name; name a folder, or s3://bucket/prefix")
    return Bucket(place) if place.startswith(SCHEME) else Folder(Path(place))


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Lines to read: a file, standard input, or a file of an archive."""

    name: str
    """For messages."""
    rejected_beside: str
    """The path beside which rejected lines go; - for none."""
    open: Callable[[], io.FileIO | Download]

    def opened(self) -> AbstractContextManager[io.FileIO | Download]:
        """The source, for the length of a block.

        Raises:
            Misconfigured, Transient: it cannot be opened.
        """
        return closing(self.open())


def inputs_of(given: str) -> list[Input]:
    """What a user named: - for standard input, a file, a folder that is an archive or a part of one, or the same in a
    bucket.

    Raises:
        Misconfigured: there is no such place, or no archive there.
        Transient: a bucket cannot be asked.
    """
    if given == "-":
        return [Input(name=STANDARD_INPUT, rejected_beside="-", open=partial(open_source, given))]
    if given.startswith(SCHEME):
        place, _, file = given.rpartition("/")
        if file.endswith(ENDING) and place != SCHEME.rstrip("/"):
            return [_part(Bucket(place), place, file)]
    elif not Path(given).is_dir():
        return [Input(name=given, rejected_beside=given, open=partial(open_source, given))]
    archive = archive_at(given)
    found = [_part(archive, archive.name, file) for file in archive.files()]
    if not found:
        raise Misconfigured(f"{archive.name} has no files of an archive; name the files themselves")
    return found


def _part(archive: Archive, place: str, file: str) -> Input:
    beside = Path(file).name if isinstance(archive, Bucket) else str(archive.path / file)
    return Input(name=f"{place}/{file}", rejected_beside=beside, open=partial(archive.open, file))


def size_of(source: io.FileIO | Download) -> int | None:
    """Its bytes; None for a pipe."""
    if isinstance(source, Download):
        return source.size
    about = os.fstat(source.fileno())
    return about.st_size if stat.S_ISREG(about.st_mode) else None


class Holding(NamedTuple):
    """A file of an archive with lines of somebody."""

    file: str
    lines: int
    damaged: bool
    """Some of the file cannot be read, and may have more."""


def find(archive: Archive, ids: Collection[str]) -> Iterator[Holding]:
    """The files with events in which one of these ids stands as a whole string: as author, in what the provider sent,
    or anywhere else. Files that are damaged are among them, and an id of another channel may be the same one.

    Raises:
        Misconfigured, Transient, Fatal: the archive cannot be read.
    """
    wanted = [orjson.dumps(each) for each in ids]  # as Postgres writes them too
    for name in archive.files():
        source = archive.open(name)
        try:
            file = Unpacking(source, name=name)
            reader = LineReader(file, name=name)
            lines = sum(any(each in line.text for each in wanted) for block in reader.blocks() for line in block)
        finally:
            source.close()
        if lines or file.damaged:
            yield Holding(name, lines, damaged=bool(file.damaged))
