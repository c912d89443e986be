"""Whether the service is alive (its loops make progress) and ready (it can route)."""

from collections.abc import Mapping

from consumer.domain.facts import BatchRouted, BatchTooSlow, EventTooSlow, Fact, Loop, Progress
from consumer.domain.routing import Path
from consumer.ports import Clock

LOOP_OF_PATH = {Path.HOT: Loop.HOT, Path.SWEEP: Loop.SWEEP, Path.KAFKA: Loop.KAFKA}


class Health:
    """An observer that remembers when each loop last went round, and how.

    Alive never depends on the database: a loop that cannot reach it goes round, failing, and restarting the process
    would help nobody.
    """

    def __init__(self, *, clock: Clock, stall_after: float) -> None:
        self._clock = clock
        self._stall_after = stall_after
        self._rests: dict[Loop, float] = {}
        self._progress: dict[Loop, float] = {}
        self._works: dict[Loop, bool] = {}

    def expect(self, rests: Mapping[Loop, float]) -> None:
        """Starts to watch these loops; the service is ready when the first one works.

        Args:
            rests: how many seconds each sleeps at most on purpose between two rounds.
        """
        self._rests.update(rests)
        self._works.update(dict.fromkeys(rests, False))
        self.forgive()

    def forgive(self) -> None:
        """Counts the seconds from now on: the process itself was stopped meanwhile, and no loop could go round."""
        self._progress.update(dict.fromkeys(self._rests, self._clock.monotonic()))

    def __call__(self, fact: Fact) -> None:
        match fact:
            case Progress(loop=loop, ok=ok):
                self._note(loop, ok=ok)
            case BatchRouted(path=path):
                self._note(LOOP_OF_PATH[path], ok=True)  # a long drain is progress: the loop goes round at its end only
            case BatchTooSlow(path=path) | EventTooSlow(path=path):
                self._note(LOOP_OF_PATH[path], ok=False)  # the way down to the size that works can be long as well
            case _:
                pass

    def _note(self, loop: Loop, *, ok: bool) -> None:
        if loop in self._progress:
            self._progress[loop] = self._clock.monotonic()
            self._works[loop] = ok

    def stalled(self) -> list[str]:
        """Loops without progress for longer than they rest and `stall_after` seconds more; empty when alive."""
        now = self._clock.monotonic()
        return [loop for loop, at in self._progress.items() if now - at > self._stall_after + self._rests[loop]]

    def ready(self) -> bool:
        """Whether events are being routed as they come."""
        return next(iter(self._works.values()), False) and not self.stalled()
