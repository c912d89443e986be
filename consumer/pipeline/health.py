"""Whether the service is alive (its parts make progress) and ready (it can route)."""

from collections.abc import Sequence

from consumer.domain.facts import BatchRouted, BatchTooSlow, EventTooSlow, Fact, Progress, SweepFinished
from consumer.domain.held import Holding
from consumer.domain.kafka_facts import BrokersAnswer
from consumer.pipeline.parts import Part
from consumer.ports import Clock

SILENCE = 0.25
"""Of `stall_after`, without an answer of the brokers: less may be the restart of one, or a new leader."""


class Health:
    """An observer that remembers when each part last made progress, and whether its last round worked.

    Alive: no watched part has gone without progress for `stall_after` seconds more than it may rest. This never depends
    on the database: a loop that cannot reach it goes round, failing, and a restart of the process would not help.

    Ready: alive, each part that brings events worked at its last round, none that is needed failed at its own, no
    events are held for a fault of the schema, and the Kafka brokers have not been silent for long. A partition in front
    of a record that nothing can read, a topic that is missing and a replica without partitions change nothing: what can
    be routed is, and no other version or replica would do more.
    """

    def __init__(self, parts: Sequence[Part], *, clock: Clock, stall_after: float) -> None:
        self._clock = clock
        self._stall_after = stall_after
        self._loops = {part.path: part.loop for part in parts if part.path is not None}
        self._rests = {part.loop: part.longest_rest for part in parts if part.longest_rest is not None}
        self._works = {part.loop: not part.brings_events for part in parts if part.brings_events or part.needed}
        self._holding = Holding()
        self._silent_since: float | None = None
        self._progress: dict[str, float] = {}
        self.forgive()

    def forgive(self) -> None:
        """Counts the seconds from now on: no loop could go round before, since the process itself was stopped."""
        self._progress.update(dict.fromkeys(self._rests, self._clock.monotonic()))

    def __call__(self, fact: Fact) -> None:
        match fact:
            case Progress(loop=loop, ok=ok):
                self._note(loop, ok=ok)
            case BatchRouted(path=path, batch=batch):
                self._holding.called(held=batch.held, reason=batch.held_reason)
                self._note(self._loops.get(path), ok=True)  # a loop goes round only at the end of a drain, however long
            case BatchTooSlow(path=path) | EventTooSlow(path=path):
                self._note(self._loops.get(path), ok=False)  # finding the size that works may take long as well
            case SweepFinished(held=held):
                self._holding.swept(held=held)
            case BrokersAnswer(answer=answer):
                self._silent_since = None if answer else self._clock.monotonic()
            case _:
                pass

    def _note(self, loop: str | None, *, ok: bool) -> None:
        """Facts of loops and paths that belong to no part are ignored."""
        if loop in self._progress:
            self._progress[loop] = self._clock.monotonic()
        if loop in self._works:
            self._works[loop] = ok

    def stalled(self) -> list[str]:
        """Watched parts without progress for too long; empty when alive. May be called from any thread."""
        now = self._clock.monotonic()
        return [loop for loop, at in self._progress.items() if now - at > self._stall_after + self._rests[loop]]

    def ready(self) -> bool:
        """Whether events are being routed as they come."""
        now = self._clock.monotonic()
        silent = self._silent_since is not None and now - self._silent_since > SILENCE * self._stall_after
        return all(self._works.values()) and self._holding.reason is None and not silent and not self.stalled()
