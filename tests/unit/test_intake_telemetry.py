"""What log and metrics make of facts about deliveries."""

import re
from typing import Any

from consumer.adapters.telemetry.intake_log import TELL_EVERY, IntakeLog
from consumer.adapters.telemetry.metrics import Metrics
from consumer.domain.intake_facts import (
    DeliveriesTaken,
    DeliveryTurnedDown,
    InFlight,
    IntakeSampled,
    Outcome,
    ProviderRefused,
    WaitingSwept,
    counted,
)
from consumer.domain.providers import normaliser_of
from consumer.domain.providers.atoms import Atoms, Context, Effect, Recorded

TAKEN = DeliveriesTaken(
    answered={("whatsapp", Outcome.TAKEN): 2, ("telegram", Outcome.DEFERRED): 1},
    atoms={("whatsapp", "status"): 3, ("whatsapp", "unknown"): 2, ("instagram", "edit_zero"): 1},
    effects={("status", "applied"): 2, ("status", "waiting"): 1},
    failed={"whatsapp": 1},
    committed={"whatsapp": (0.004, 0.02), "telegram": (0.003,)},
    routed={"whatsapp": (0.004, 0.02)},
)


class Log:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def _line(self, event: str, **values: Any) -> None:
        self.lines.append({"event": event} | values)

    info = warning = error = _line


class Clock:
    """Stands still until it is told the time."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def series(metrics: Metrics) -> dict[str, float]:
    """The samples about deliveries, each by its name and labels."""
    lines = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


class TestMetrics:
    def test_deliveries_are_counted_by_provider_and_outcome(self) -> None:
        """Those that are taken as well as those that are turned down."""
        metrics = Metrics()
        metrics(TAKEN)
        metrics(DeliveryTurnedDown(provider="whatsapp", outcome=Outcome.SIGNATURE))
        found = series(metrics)
        assert found['webhook_router_deliveries_total{outcome="taken",provider="whatsapp"}'] == 2
        assert found['webhook_router_deliveries_total{outcome="deferred",provider="telegram"}'] == 1
        assert found['webhook_router_deliveries_total{outcome="signature",provider="whatsapp"}'] == 1
        assert found['webhook_router_deliveries_failed_total{provider="whatsapp"}'] == 1

    def test_series_that_alerts_read_are_there_from_the_start(self) -> None:
        """An increase from nothing cannot be seen."""
        found = series(Metrics())
        assert found['webhook_router_deliveries_total{outcome="signature",provider="tiktok"}'] == 0
        assert found['webhook_router_unknown_atoms_total{provider="messenger"}'] == 0
        assert found['webhook_router_undelivered_edits_total{provider="instagram"}'] == 0

    def test_atoms_and_effects_are_counted_by_kind(self) -> None:
        """Unknown ones and edits numbered 0 have series of their own as well."""
        metrics = Metrics()
        metrics(TAKEN)
        found = series(metrics)
        assert found['webhook_router_atoms_total{kind="status",provider="whatsapp"}'] == 3
        assert found['webhook_router_unknown_atoms_total{provider="whatsapp"}'] == 2
        assert found['webhook_router_undelivered_edits_total{provider="instagram"}'] == 1
        assert found['webhook_router_effects_total{effect="waiting",kind="status"}'] == 1

    def test_times_are_histograms_by_provider(self) -> None:
        """To the commit of the body, and to the commit of what it says."""
        metrics = Metrics()
        metrics(TAKEN)
        found = series(metrics)
        assert found['webhook_router_delivery_commit_seconds_bucket{le="0.005",provider="whatsapp"}'] == 1
        assert found['webhook_router_delivery_commit_seconds_count{provider="telegram"}'] == 1
        assert 'webhook_router_delivery_route_seconds_count{provider="telegram"}' not in found

    def test_what_waits_is_a_gauge_by_kind(self) -> None:
        """A kind of which nothing waits any more is gone at the next sample."""
        metrics = Metrics()
        metrics(InFlight(deliveries=7, size=900))
        metrics(WaitingSwept(applied=3, expired=1))
        metrics(IntakeSampled(waiting={"status": 5}, waiting_seconds=60, deferred=2, deferred_seconds=3))
        metrics(IntakeSampled(waiting={"edit": 1}, waiting_seconds=9, deferred=0, deferred_seconds=0))
        metrics(ProviderRefused(provider="telegram", reason="a check"))
        found = series(metrics)
        assert found['webhook_router_waiting_effects{kind="edit"}'] == 1
        assert not [name for name in found if re.search(r'waiting_effects\{kind="status"', name)]
        assert found["webhook_router_waiting_effects_oldest_age_seconds"] == 9
        assert found["webhook_router_deliveries_in_flight"] == 7
        assert found['webhook_router_waiting_effects_swept_total{effect="expired"}'] == 1
        assert found['webhook_router_provider_refused{provider="telegram"}'] == 1


class TestLog:
    def test_a_flood_is_a_line_now_and_then(self) -> None:
        """The first fault at once, those that follow with their number, at the next sample that is late enough."""
        log, clock = Log(), Clock()
        telling = IntakeLog(log, summary_every=60, now=clock)
        for _ in range(1000):
            telling(DeliveryTurnedDown(provider="whatsapp", outcome=Outcome.SIGNATURE))
        assert [line["count"] for line in log.lines] == [1]
        clock.time += TELL_EVERY
        telling(IntakeSampled(waiting={}, waiting_seconds=0, deferred=0, deferred_seconds=0))
        assert [line["count"] for line in log.lines] == [1, 999]
        assert {line["provider"] for line in log.lines} == {"whatsapp"}

    def test_what_was_taken_is_summed_up(self) -> None:
        """One line for many deliveries, and the last one at the end."""
        log, clock = Log(), Clock()
        telling = IntakeLog(log, summary_every=60, now=clock)
        taken = DeliveriesTaken(answered={("tiktok", Outcome.TAKEN): 4}, committed={"tiktok": (0.25, 0.5)})
        telling(taken)
        clock.time += 10
        telling(taken)
        assert log.lines == []
        telling.end()
        (line,) = log.lines
        assert line["event"] == "deliveries taken"
        assert (line["taken"], line["seconds"], line["slowest_seconds"]) == (8, 10, 0.5)

    def test_unknown_and_failed_ones_are_told_with_what_shows_them(self) -> None:
        """By provider and number, never by anything that a body says."""
        log = Log()
        IntakeLog(log, summary_every=60)(TAKEN)
        told = {line["event"]: line for line in log.lines}
        assert told["not understood; see `webhook-router deliveries list`"]["count"] == 2
        assert told["deliveries are stored and not in effect, they are tried again"]["provider"] == "whatsapp"


def test_a_message_that_nobody_can_read_is_no_edit() -> None:
    """It is counted by a name of its own; another edit that is only recorded, of Telegram say, is not."""
    edit = Effect(kind="edit", id="edit:m1:1", channel="instagram", target="m1")

    assert counted(Atoms(effects=(edit,))) == {"edit": 1}
    assert counted(Atoms(effects=(edit,), recorded=(Recorded(kind="edit"),))) == {"edit": 2}
    lost = Recorded(kind="edit", is_unreadable=True)
    assert counted(Atoms(effects=(edit,), recorded=(lost, lost))) == {"edit": 1, "edit_zero": 2}
    zero = {"timestamp": 1780000003000, "message_edit": {"mid": "g2", "num_edit": 0}}
    body = {"object": "instagram", "entry": [{"id": "1784", "time": 1780000003000, "messaging": [zero]}]}
    assert counted(normaliser_of("instagram")(body, Context())) == {"edit_zero": 1}
