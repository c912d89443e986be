"""How the files of an archive are called, and which file a line belongs to."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from consumer.domain.archives import ArchivedLine

ENDING: Final = ".ndjson.gz"
_OURS: Final = re.compile(r"(?:.*/)?(?:events|payloads)-\d{8,}T\d\dZ(?:-[0-9a-z-]+)?\.ndjson\.gz", re.ASCII)


def name_of(kind: str, routed_at: datetime) -> str:
    """The file of an event, without its ending, from the archive's folder on."""
    hour = routed_at.astimezone(UTC)
    year = f"{hour.year:04}"
    return f"{year}/{hour:%m/%d}/{kind}-{year}{hour:%m%dT%H}Z"


def is_ours(path: str) -> bool:
    """Whether a file of this name is one of an archive."""
    return _OURS.fullmatch(path) is not None


def by_file(kind: str, lines: Iterable[ArchivedLine]) -> dict[str, list[bytes]]:
    """The lines of each file, by its name.

    Raises:
        ValueError: a line is more than one, or none.
    """
    files: dict[str, list[bytes]] = {}
    for line in lines:
        if not line.text or b"\n" in line.text:
            raise ValueError("a line of the archive must be one line")
        files.setdefault(name_of(kind, line.routed_at), []).append(line.text)
    return dict(sorted(files.items()))
