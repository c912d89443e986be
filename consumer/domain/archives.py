"""What goes into an archive of pruned events."""

from datetime import datetime
from typing import NamedTuple


class ArchivedLine(NamedTuple):
    """An event on its way into an archive."""

    routed_at: datetime
    text: bytes
    """JSON on one line, without its end."""
