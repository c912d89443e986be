"""Facts about deliveries as log lines: a line for each change and each fault, and a summary of what was taken.

Nothing of a body, a header or a token is in any of them.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, assert_never

from consumer.domain.intake_facts import (
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

TELL_EVERY: Final = 60.0
"""Seconds between lines about the same fault of the same provider: anybody may POST what they like."""
_MEANS: Final = {
    Outcome.SIGNATURE: "deliveries whose signature is wrong or missing were turned down; if they are the provider's, "
    "the secret in the settings is not that of its app",
    Outcome.TOO_LARGE: "deliveries that are too large were turned down, see WEBHOOK_ROUTER_GATEWAY_MAX_BODY_BYTES",
    Outcome.BAD_REQUEST: "requests that are no deliveries were turned down: half a body, or a challenge whose verify "
    "token is not the one in the settings",
    Outcome.BUSY: "deliveries were turned away, too many are in flight; the provider sends them again",
    Outcome.DATABASE: "deliveries were turned away, the database is away; the provider sends them again",
    Outcome.REFUSED: "deliveries were turned away, the tables refuse their channel; see `webhook-router audit`",
}


class IntakeLog:
    """Writes the lines of the gateway to a structlog logger."""

    def __init__(
        self,
        log: Any,  # noqa: ANN401 - structlog's loggers have no type of their own
        *,
        summary_every: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._now = now
        self._summary_every = summary_every
        self._since = now()
        self._tally: Counter[str] = Counter()
        self._slowest = 0.0
        self._untold: Counter[tuple[str, str]] = Counter()
        self._told: dict[tuple[str, str], float] = {}

    def __call__(self, fact: IntakeFact) -> None:
        match fact:
            case DeliveriesTaken():
                self._taken(fact)
            case DeliveryTurnedDown(provider=provider, outcome=outcome):
                self._tell(_MEANS[outcome], provider, 1)
            case ProviderRefused(provider=provider, reason=""):
                self._log.info("a provider is let in again", provider=provider)
            case ProviderRefused(provider=provider, reason=reason):
                self._log.error("deliveries of a provider are turned away", provider=provider, reason=reason)
            case IntakeSampled():
                self._tell_rest()
                self._summarise()
            case WaitingSwept() | InFlight():
                pass
            case _:
                assert_never(fact)

    def _taken(self, fact: DeliveriesTaken) -> None:
        for (_, outcome), count in fact.answered.items():
            self._tally[outcome] += count
        for (provider, kind), count in fact.atoms.items():
            if kind == UNKNOWN:
                self._tell("not understood; see `webhook-router deliveries list`", provider, count)
        for provider, count in fact.failed.items():
            self._tell("deliveries are stored and not in effect, they are tried again", provider, count)
        self._slowest = max(self._slowest, *(max(seconds, default=0.0) for seconds in fact.committed.values()), 0.0)
        self._summarise()

    def _tell(self, what: str, provider: str, count: int) -> None:
        """The first one at once, those that follow together."""
        about = what, provider
        self._untold[about] += count
        if self._now() - self._told.get(about, float("-inf")) >= TELL_EVERY:
            self._tell_now(about)

    def _tell_rest(self, *, now: bool = False) -> None:
        due = self._now() - TELL_EVERY
        for about in [about for about in self._untold if now or self._told[about] <= due]:
            self._tell_now(about)

    def _tell_now(self, about: tuple[str, str]) -> None:
        what, provider = about
        self._told[about] = self._now()
        self._log.warning(what, provider=provider, count=self._untold.pop(about))

    def end(self) -> None:
        """Tells what is left to tell."""
        self._tell_rest(now=True)
        self._summarise(now=True)

    def _summarise(self, *, now: bool = False) -> None:
        elapsed = self._now() - self._since
        if not self._tally or not (now or elapsed >= self._summary_every):
            return
        self._log.info(
            "deliveries taken",
            taken=self._tally[Outcome.TAKEN],
            deferred=self._tally[Outcome.DEFERRED],
            seconds=round(elapsed, 1),
            slowest_seconds=round(self._slowest, 3),
        )
        self._tally.clear()
        self._slowest = 0.0
        self._since = self._now()
