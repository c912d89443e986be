"""What whoever is on call sees of this process: an observer that remembers the last minutes, second by second."""

from bisect import bisect
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Final

from consumer.domain.facts import (
    LISTENER,
    BacklogSampled,
    BatchRouted,
    BatchTooSlow,
    ByChannelSampled,
    DoorbellChecked,
    EventTooSlow,
    Fact,
    ListenerLost,
    ListenerUnavailable,
    ListenerUp,
    LoopFailed,
    LoopRecovered,
    Progress,
    SweepFinished,
)
from consumer.domain.held import Holding
from consumer.domain.intake_facts import UNKNOWN, DeliveriesTaken, DeliveryTurnedDown, IntakeSampled, Outcome
from consumer.domain.kafka_facts import BrokersAnswer, LagSampled
from consumer.domain.lag import PartitionLag
from consumer.domain.overview import BacklogByChannel, Overview, ProviderDeliveries, Second, Trouble
from consumer.domain.routing import Backlog, Batch, Path

KEPT: Final = 15 * 60
"""Seconds that are remembered."""
DRAWN: Final = 20
"""Ages that are drawn of a batch, at most."""
SHORTEST: Final = 1e-4
STEP: Final = 1.05
STEPS: Final = tuple(SHORTEST * STEP**place for place in range(500))
"""Seconds, up to a month: a quantile is right within half of such a step, 2.5 %."""
OUTDATED: Final = 60.0
"""Seconds after which a look for people is forgotten when somebody comes: nobody has watched meanwhile."""
STAGGER: Final = 2
"""Seconds by which a clock is set back without notice: what happens belongs to the second that it was before."""


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
        self._first = int(self._started_at)
        """The second with which the charts begin."""
        self._current = _Filling(self._first)
        self._finished: deque[Second] = deque(maxlen=KEPT)
        """Those that have brought something, in order, each of them over."""
        self._backlog: Backlog | None = None
        self._backlog_at: float | None = None
        self._by_channel: BacklogByChannel | None = None
        self._by_channel_at: float | None = None
        self._uncounted = ""
        """Why what is ready cannot be counted by channel."""
        self._listener = "polling" if source == "postgres" else "none"
        self._doorbell = ""
        self._lags: tuple[PartitionLag, ...] = ()
        self._outcomes: defaultdict[str, Counter[Outcome]] = defaultdict(Counter)
        self._unknown: Counter[str] = Counter()
        self._intake: IntakeSampled | None = None
        self._failing: dict[str, str] = {}
        self._slow: dict[str, str] = {}
        """By path, since its last call took too long: the lock that it was waiting for, in words."""
        self._holding = Holding()
        self._brokers_answer = True

    def __call__(self, fact: Fact) -> None:  # noqa: C901, PLR0912 - one arm per fact is the point
        """Notes what has happened."""
        match fact:
            case BatchRouted(path=path, batch=batch):
                self._holding.called(held=batch.held, reason=batch.held_reason)
                self._filling().add(path, batch)
                self._slow.pop(path, None)
            case BatchTooSlow(path=path, holder=holder) | EventTooSlow(path=path, holder=holder):
                self._slow[path] = holder
            case SweepFinished(held=held):
                self._holding.swept(held=held)
            case BacklogSampled(backlog=backlog):
                self._backlog, self._backlog_at = backlog, self._now()
            case ByChannelSampled(found=found, reason=reason):
                self._by_channel, self._by_channel_at = found, self._now()
                self._uncounted = reason
            case DeliveriesTaken(answered=answered, atoms=atoms):
                if answered:
                    self._filling().taken += sum(answered.values())
                for (provider, outcome), count in answered.items():
                    self._outcomes[provider][outcome] += count
                for (provider, kind), count in atoms.items():
                    if kind == UNKNOWN:
                        self._unknown[provider] += count
            case DeliveryTurnedDown(provider=provider, outcome=outcome):
                self._filling().turned_down += 1
                self._outcomes[provider][outcome] += 1
            case IntakeSampled():
                self._intake = fact
            case LagSampled(lags=lags):
                self._lags = lags
            case BrokersAnswer(answer=answer):
                self._brokers_answer = answer
            case ListenerUp():
                self._listener = "up"
                self._failing.pop(LISTENER, None)
            case ListenerLost():
                self._listener = "polling"
            case ListenerUnavailable():
                self._listener = "polling"
                self._failing.pop(LISTENER, None)  # it has reached the database
            case DoorbellChecked(state=state):
                self._doorbell = state
            case LoopFailed(loop=loop, reason=reason):
                self._failing[loop] = reason
            case LoopRecovered(loop=loop) | Progress(loop=loop, ok=True):
                self._failing.pop(loop, None)
                self._slow.pop(loop, None)
            case _:
                pass

    def enter(self) -> None:
        """See `Watched.enter`."""
        if not self._watchers and self._by_channel_at is not None and self._now() - self._by_channel_at > OUTDATED:
            self._by_channel, self._by_channel_at, self._uncounted = None, None, ""
        self._watchers += 1

    def leave(self) -> None:
        """See `Watched.leave`."""
        self._watchers -= 1

    def is_watched(self) -> bool:
        """Whether somebody watches."""
        return self._watchers > 0

    def seconds(self, *, after: int = 0) -> Sequence[Second]:
        """See `Watched.seconds`."""
        over = self._filling().at
        if after > over + STAGGER:  # the clock was set back since
            after = 0
        first = max(after + 1, self._first, over - KEPT)
        brought: dict[int, Second] = {}
        for second in reversed(self._finished):
            if second.at < first:
                break
            brought[second.at] = second
        return [brought.get(at) or Second(at=at) for at in range(first, over)]

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
            faults=self._faults(),
            backlog=self._backlog,
            backlog_at=self._backlog_at,
            by_channel=self._by_channel,
            by_channel_at=self._by_channel_at,
            listener=self._listener,
            doorbell=self._doorbell,
            lags=self._lags,
            deliveries=self._deliveries(),
            intake=self._intake,
            troubles=self._troubles(),
        )

    def _faults(self) -> Sequence[str]:
        faults = [f"the loop {loop} cannot go on: {reason.rstrip('.')}" for loop, reason in self._failing.items()]
        for path, holder in self._slow.items():
            faults.append(f"the calls of {path} take too long{holder and f': {holder}'}")
        if self._holding.reason is not None:
            faults.append(f"events are held, the schema is at fault: {self._holding.reason}")
        if not self._brokers_answer:
            faults.append("the Kafka brokers do not answer")
        if self._uncounted:
            faults.append(f"what is ready cannot be counted by its channel: {self._uncounted}")
        return faults

    def _deliveries(self) -> Sequence[ProviderDeliveries]:
        return [
            ProviderDeliveries(
                provider=provider,
                outcomes={outcome.value: count for outcome, count in self._outcomes[provider].items()},
                unknown=self._unknown[provider],
            )
            for provider in sorted({*self._outcomes, *self._unknown})
        ]

    def _filling(self) -> "_Filling":
        """The second that is now."""
        at, current = int(self._now()), self._current
        if current.at - STAGGER <= at <= current.at:
            return current
        if at < current.at:
            self._set_back(at)
        elif current.brings_something:
            self._finished.append(current.second())
        self._current = _Filling(at)
        return self._current

    def _set_back(self, at: int) -> None:
        """The clock was: what has been noted of times that are still to come is not theirs."""
        while self._finished and self._finished[-1].at >= at:
            self._finished.pop()
        self._first = min(self._first, at)


class _Filling:
    """A second that is not over."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.taken = 0
        self.turned_down = 0
        self._routed: dict[Path, int] = {}
        self._parked = 0
        self._ages: defaultdict[int, float] = defaultdict(float)
        """How many events there are, by the number of steps that they are not below."""

    def add(self, path: Path, batch: Batch) -> None:
        """A batch has been routed in it."""
        routed, ages = batch.routed, batch.ages
        if routed:
            self._routed[path] = self._routed.get(path, 0) + routed
        self._parked += batch.parked
        if ages:
            every = -(-len(ages) // DRAWN)
            drawn = ages[every // 2 :: every]
            weight = len(ages) / len(drawn)
            counts = self._ages
            for age in drawn:
                counts[bisect(STEPS, age)] += weight

    @property
    def brings_something(self) -> bool:
        """Whether it is told from a second without anything."""
        return bool(self._routed or self._parked or self.taken or self.turned_down)

    def second(self) -> Second:
        """What it has brought."""
        ages = sorted(self._ages.items())
        return Second(
            at=self.at,
            routed={path.value: count for path, count in self._routed.items()},
            parked=self._parked,
            p50=_quantile(ages, 0.5),
            p99=_quantile(ages, 0.99),
            taken=self.taken,
            turned_down=self.turned_down,
        )


def _quantile(ages: Sequence[tuple[int, float]], share: float) -> float | None:
    """The age that so many are not above, in the middle of its step; None without any."""
    below, wanted = 0.0, share * sum(weight for _, weight in ages)
    for step, weight in ages:
        below += weight
        if below >= wanted:
            return float(SHORTEST * STEP ** (step - 0.5))
    return None
