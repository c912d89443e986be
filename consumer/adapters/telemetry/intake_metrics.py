"""Facts about deliveries as Prometheus series."""

from collections.abc import Callable
from typing import Final, assert_never

from prometheus_client import Counter, Gauge

from consumer.adapters.telemetry.kafka_metrics import ManyAtOnce
from consumer.domain.intake_facts import (
    EDIT_ZERO,
    UNKNOWN,
    DeliveriesTaken,
    DeliveryTurnedDown,
    InFlight,
    IntakeFact,
    IntakeSampled,
    Outcome,
    ProviderRefused,
    WaitingSwept,
)

PROVIDERS: Final = ("whatsapp", "instagram", "messenger", "telegram", "tiktok")


class IntakeMetrics:
    """The series of the gateway; `counter`, `gauge` and `histogram` register one, given name, text and labels."""

    def __init__(
        self,
        *,
        counter: Callable[..., Counter],
        gauge: Callable[..., Gauge],
        histogram: Callable[[str, str, str], ManyAtOnce],
    ) -> None:
        self._deliveries = counter(
            "deliveries_total", "Deliveries of providers, by what became of them.", "provider", "outcome"
        )
        self._failed = counter(
            "deliveries_failed_total", "Stored deliveries whose effects failed, each attempt counted.", "provider"
        )
        self._atoms = counter("atoms_total", "What deliveries were taken apart into, by kind.", "provider", "kind")
        self._unknown = counter("unknown_atoms_total", "Those of them that were not understood.", "provider")
        self._edits_zero = counter(
            "undelivered_edits_total",
            "Edits numbered 0: messages that the provider could not deliver, and nobody can read.",
            "provider",
        )
        self._effects = counter(
            "effects_total", "Changes of messages, by kind and what became of them.", "kind", "effect"
        )
        self._swept = counter("waiting_effects_swept_total", "Effects that waited and no longer do.", "effect")
        self._committed = histogram(
            "delivery_commit_seconds", "Time from a POST to the commit of its body.", "provider"
        )
        self._routed = histogram("delivery_route_seconds", "Time from a POST to the commit of its effects.", "provider")
        self._in_flight = gauge("deliveries_in_flight", "POSTs that are not answered yet.")
        self._in_flight_bytes = gauge("deliveries_in_flight_bytes", "Bytes of their bodies.")
        self._waiting = gauge("waiting_effects", "Effects that wait for what they change, at the last sample.", "kind")
        self._waiting_age = gauge("waiting_effects_oldest_age_seconds", "Age of the oldest of them; 0 without any.")
        self._deferred = gauge("deferred_deliveries", "Stored deliveries not in effect yet, at the last sample.")
        self._deferred_age = gauge("deferred_deliveries_oldest_age_seconds", "Age of the oldest; 0 without any.")
        self._refused = gauge("provider_refused", "1 while a check of the tables refuses the channel.", "provider")
        # Series that exist from the start can be alerted on before the first event of their kind.
        for provider in PROVIDERS:
            self._unknown.labels(provider)
            self._edits_zero.labels(provider)
            self._failed.labels(provider)
            for outcome in Outcome:
                self._deliveries.labels(provider, outcome)

    def __call__(self, fact: IntakeFact) -> None:
        match fact:
            case DeliveriesTaken():
                self._taken(fact)
            case DeliveryTurnedDown(provider=provider, outcome=outcome):
                self._deliveries.labels(provider, outcome).inc()
            case InFlight(deliveries=deliveries, size=size):
                self._in_flight.set(deliveries)
                self._in_flight_bytes.set(size)
            case WaitingSwept(applied=applied, expired=expired):
                self._swept.labels("applied").inc(applied)
                self._swept.labels("expired").inc(expired)
            case IntakeSampled():
                self._waiting.clear()  # kinds that no longer wait
                for kind, count in fact.waiting.items():
                    self._waiting.labels(kind).set(count)
                self._waiting_age.set(fact.waiting_seconds)
                self._deferred.set(fact.deferred)
                self._deferred_age.set(fact.deferred_seconds)
            case ProviderRefused(provider=provider, reason=reason):
                self._refused.labels(provider).set(bool(reason))
            case _:
                assert_never(fact)

    def _taken(self, fact: DeliveriesTaken) -> None:
        for (provider, outcome), count in fact.answered.items():
            self._deliveries.labels(provider, outcome).inc(count)
        for (provider, kind), count in fact.atoms.items():
            self._atoms.labels(provider, kind).inc(count)
            if kind == UNKNOWN:
                self._unknown.labels(provider).inc(count)
            elif kind == EDIT_ZERO:
                self._edits_zero.labels(provider).inc(count)
        for (kind, effect), count in fact.effects.items():
            self._effects.labels(kind, effect).inc(count)
        for provider, count in fact.failed.items():
            self._failed.labels(provider).inc(count)
        for provider, seconds in fact.committed.items():
            self._committed.observe(provider, seconds)
        for provider, seconds in fact.routed.items():
            self._routed.observe(provider, seconds)
