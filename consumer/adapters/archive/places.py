"""Archives by their place, and what is in them."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from consumer.adapters.archive.bucket import SCHEME, Bucket
from consumer.adapters.archive.folder import Folder
from consumer.adapters.archive.members import Unpacking
from consumer.adapters.ndjson import LineReader

Archive = Folder | Bucket


def archive_at(place: str) -> Archive:
    """The archive in a folder, or at s3://bucket/prefix; nothing is made and nobody is asked.

    Raises:
        Misconfigured: it cannot be one.
    """
    return Bucket(place) if place.startswith(SCHEME) else Folder(Path(place))


class Holding(NamedTuple):
    """A file of an archive with lines of somebody."""

    file: str
    lines: int
    damaged: bool
    """Some of the file cannot be read, and may have more."""


def find(archive: Archive, channel: str, ids: Collection[str]) -> Iterator[Holding]:
    """The files with events of a channel in which one of these ids stands as a whole string: as author, in what the
    provider sent, or anywhere else. Files that are damaged are among them.

    Raises:
        Misconfigured, Transient, Fatal: the archive cannot be read.
    """
    wanted = [orjson.dumps(each) for each in ids]  # as Postgres writes them too
    for name in archive.files():
        source = archive.open(name)
        try:
            file = Unpacking(source, name=name)
            reader = LineReader(file, name=name)
            lines = sum(
                any(each in line.text for each in wanted) and _channel_of(line.text) in {channel, None}
                for block in reader.blocks()
                for line in block
            )
        finally:
            source.close()
        if lines or file.damaged:
            yield Holding(name, lines, damaged=bool(file.damaged))


def _channel_of(line: bytes) -> str | None:
    """None if the line does not say."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    found = record.get("channel") if isinstance(record, dict) else None
    return found if isinstance(found, str) else None
