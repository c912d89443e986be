"""What is remembered of a service for whoever is on call: seconds, the latest state, and at what cost."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from consumer.domain.facts import (
    LISTENER,
    BacklogSampled,
    BatchRouted,
    BatchTooSlow,
    ByChannelSampled,
    DoorbellChecked,
    EventTooSlow,
    ListenerLost,
    ListenerUnavailable,
    ListenerUp,
    LoopFailed,
    LoopRecovered,
    Notified,
    Progress,
    SweepFinished,
)
from consumer.domain.intake_facts import DeliveriesTaken, DeliveryTurnedDown, IntakeSampled, Outcome
from consumer.domain.kafka_facts import BrokersAnswer, LagSampled
from consumer.domain.lag import Partition, PartitionLag
from consumer.domain.overview import BacklogByChannel, ChannelBacklog, ProviderDeliveries, Second
from consumer.domain.routing import Backlog, Path
from consumer.pipeline.overview import KEPT, OUTDATED, Live
from tests.fakes import HandClock, batch

START = 1_700_000_000


class Scene:
    """A `Live` and its clock."""

    def __init__(self, *, source: str = "postgres") -> None:
        self.clock = HandClock(START)
        self.live = Live(
            replica="host:1",
            version="1.2.3",
            source=source,
            database="app",
            host="db:5432",
            ready=lambda: True,
            stalled=list,
            troubles=tuple,
            now=self.clock.monotonic,
        )

    def routed(self, ages: Sequence[float], *, path: Path = Path.HOT, parked: int = 0) -> None:
        self.live(BatchRouted(path=path, batch=replace(batch(len(ages) + parked, parked=parked), ages=tuple(ages))))

    def told(self, *, after: int = 0) -> list[Second]:
        """Seconds since the start, as numbers from 0."""
        return [replace(second, at=second.at - START) for second in self.live.seconds(after=after)]


def test_a_second_has_what_it_brought() -> None:
    """By path, what was parked, and deliveries; a second without anything is told, one that is not over is not."""
    scene = Scene()
    scene.routed([0.1, 0.1], path=Path.HOT)
    scene.clock.now += 0.9
    scene.routed([0.1], path=Path.HOT, parked=2)
    scene.routed([0.1] * 3, path=Path.GATEWAY)
    scene.live(DeliveriesTaken(answered={("whatsapp", Outcome.TAKEN): 3, ("telegram", Outcome.DEFERRED): 1}))
    scene.live(DeliveryTurnedDown(provider="whatsapp", outcome=Outcome.SIGNATURE))
    assert scene.told() == []
    scene.clock.now = START + 3.5
    scene.routed([], path=Path.SWEEP, parked=1)
    first, *empty = scene.told()
    assert first.at == 0
    assert first.routed == {"hot": 3, "gateway": 3}
    assert {type(path) for path in first.routed} == {str}, "a stream writes them as JSON"
    assert (first.parked, first.taken, first.turned_down) == (2, 4, 1)
    assert first.p50 == pytest.approx(0.1, rel=0.026)
    assert empty == [Second(at=1), Second(at=2)]
    scene.clock.now += 1
    assert scene.told(after=START + 1) == [Second(at=2), Second(at=3, parked=1)]
    assert scene.told(after=START + 3) == []


def test_quantiles_weigh_batches_by_their_events() -> None:
    """Few ages are drawn of a large batch, and each of them stands for many."""
    scene = Scene()
    for _ in range(10):
        scene.routed([10.0])
    scene.routed([index / 1000 for index in range(1000)])
    scene.routed([0.0])
    scene.clock.now += 1
    (second,) = scene.told()
    assert second.p50 == pytest.approx(0.5, rel=0.1)
    assert second.p99 == pytest.approx(1, rel=0.1)
    scene.routed([1e6])
    scene.routed([1e12], path=Path.SWEEP)  # a time long past
    scene.clock.now += 1
    assert scene.told()[-1].p50 == pytest.approx(1e6, rel=0.026)


def test_what_is_remembered_is_bounded() -> None:
    """A quarter of an hour, whatever it brings, and however far the clock goes on."""
    scene = Scene()
    for second in range(2 * KEPT):
        scene.clock.now = START + second
        scene.routed([0.1] * 30)
    scene.clock.now += 1
    told = scene.told()
    assert [second.at for second in told] == list(range(KEPT, 2 * KEPT))
    assert {second.routed["hot"] for second in told} == {30}
    scene.clock.now += 1e6  # a laptop that was closed for days
    told = scene.told()
    assert len(told) == KEPT
    assert not any(second.routed for second in told)


@pytest.mark.parametrize("back", [1, 2, 30, 3600])
def test_a_clock_that_is_set_back_stops_nothing(back: int) -> None:
    """The seconds go on at the new time, for those as well who ask for what came after the last one they know."""
    scene = Scene()
    for _ in range(10):
        scene.routed([0.1])
        scene.clock.now += 1
    last = scene.live.seconds()[-1].at
    scene.clock.now -= back
    scene.routed([0.1])
    for _ in range(4):
        scene.clock.now += 1
        scene.routed([0.1])
    scene.clock.now += 1
    new = scene.live.seconds(after=last)
    assert sum(second.routed["hot"] for second in new if second.routed) >= 3
    whole = [second.at for second in scene.live.seconds()]
    assert whole == list(range(whole[0], int(scene.clock.now)))


def test_the_latest_state_is_told() -> None:
    """Samples with their times, deliveries since the start, and what does not work, in words."""
    scene = Scene()
    live = scene.live
    before = live.overview()
    assert (before.backlog, before.by_channel, before.intake, before.lags) == (None, None, None, ())
    assert (before.listener, before.doorbell, before.faults) == ("polling", "", [])
    assert (before.replica, before.version, before.started_at, before.is_ready) == ("host:1", "1.2.3", START, True)
    backlog = Backlog(ready=3, oldest_seconds=2.0, parked=1, dead=0, notification_queue=0.0)
    waiting = IntakeSampled(waiting={"status": 2}, waiting_seconds=3.0, deferred=1, deferred_seconds=4.0)
    lags = (PartitionLag(partition=Partition("t", 0), records=7, seconds=1.0),)
    scene.clock.now += 5
    for fact in (
        BacklogSampled(backlog=backlog),
        ListenerUp(),
        DoorbellChecked(state="rings"),
        waiting,
        LagSampled(lags=lags),
        DeliveriesTaken(answered={("whatsapp", Outcome.TAKEN): 2}, atoms={("whatsapp", "unknown"): 4}),
        DeliveriesTaken(atoms={("whatsapp", "message"): 5, ("telegram", "unknown"): 1}),
        DeliveryTurnedDown(provider="whatsapp", outcome=Outcome.BUSY),
        Notified(),
        Progress(loop="hot", ok=True),
    ):
        live(fact)
    now = live.overview()
    assert (now.backlog, now.backlog_at, now.listener, now.doorbell) == (backlog, START + 5, "up", "rings")
    assert (now.intake, now.lags) == (waiting, lags)
    assert now.deliveries == [
        ProviderDeliveries(provider="telegram", outcomes={}, unknown=1),
        ProviderDeliveries(provider="whatsapp", outcomes={"taken": 2, "busy": 1}, unknown=4),
    ]
    assert Scene(source="kafka").live.overview().listener == "none"


def test_what_does_not_work_is_told_until_it_does() -> None:
    """The reason why a service is not ready, as the loops report it."""
    live = Scene().live
    live(LoopFailed(loop="sweep", reason="database: gone.", attempt=1, delay=1.0))
    live(LoopFailed(loop=LISTENER, reason="database: gone", attempt=1, delay=1.0))
    live(BatchRouted(path=Path.HOT, batch=batch(2, held=1)))
    live(BrokersAnswer(answer=False))
    live(ListenerLost(reason="gone"))
    assert live.overview().listener == "polling"
    assert live.overview().faults == [
        "the loop sweep cannot go on: database: gone",
        "the loop listener cannot go on: database: gone",
        "events are held, the schema is at fault: 42P01: broken",
        "the Kafka brokers do not answer",
    ]
    live(LoopRecovered(loop="sweep", attempts=1))
    live(ListenerUp())
    for _ in range(2):  # the first one need not have seen what was held last
        live(SweepFinished(found=0, due=0, held=0, seconds=0.1))
    live(BrokersAnswer(answer=True))
    assert live.overview().faults == []
    live(LoopFailed(loop=LISTENER, reason="database: gone", attempt=1, delay=1.0))
    live(LoopFailed(loop="gateway", reason="a delivery could not be taken: KeyError", attempt=1, delay=0.0))
    live(Progress(loop="gateway", ok=False))
    live(ListenerUnavailable())
    assert live.overview().listener == "polling"
    assert live.overview().faults == ["the loop gateway cannot go on: a delivery could not be taken: KeyError"]
    live(Progress(loop="gateway", ok=True))
    assert live.overview().faults == []
    live(BatchTooSlow(path=Path.HOT, limit=31, holder="it waits for process 7, which holds a lock on public.messages"))
    live(EventTooSlow(path=Path.SWEEP))
    assert live.overview().faults == [
        "the calls of hot take too long: it waits for process 7, which holds a lock on public.messages",
        "the calls of sweep take too long",
    ]
    live(BatchRouted(path=Path.HOT, batch=batch(2)))
    live(Progress(loop="sweep", ok=True))
    assert live.overview().faults == []


def test_a_look_for_people_is_forgotten_once_nobody_watches() -> None:
    """A page that is opened again at once has it; one that is opened later does not show what was then."""
    scene = Scene()
    found = BacklogByChannel(
        channels=[ChannelBacklog(channel="x", ready=1, oldest_seconds=1.0)], is_partial=False, replicas=()
    )
    assert not scene.live.is_watched()
    scene.live.enter()
    scene.live.enter()
    scene.live(ByChannelSampled(found=found))
    scene.live.leave()
    assert scene.live.is_watched()
    scene.live.leave()
    assert not scene.live.is_watched()
    scene.clock.now += OUTDATED
    scene.live.enter()
    assert (scene.live.overview().by_channel, scene.live.overview().by_channel_at) == (found, START)
    scene.live.leave()
    scene.clock.now += 1
    scene.live.enter()
    assert (scene.live.overview().by_channel, scene.live.overview().by_channel_at) == (None, None)


def test_a_look_for_people_that_fails_is_told() -> None:
    """What was counted before is not shown any more; once it works, or nobody watches, nothing is said."""
    scene = Scene()
    found = BacklogByChannel(channels=(), is_partial=False, replicas=())
    failed = ByChannelSampled(found=None, reason="no right")
    scene.live.enter()
    scene.live(ByChannelSampled(found=found))
    scene.live(failed)
    assert scene.live.overview().by_channel is None
    assert scene.live.overview().faults == ["what is ready cannot be counted by its channel: no right"]
    scene.live(ByChannelSampled(found=found))
    assert scene.live.overview().faults == []
    scene.live(failed)
    scene.live.leave()
    scene.clock.now += OUTDATED + 1
    scene.live.enter()
    assert scene.live.overview().faults == []
