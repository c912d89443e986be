"""Facts as log lines: one per fault, one per change of state, and a summary now and then instead of a line per event.

Never a payload, a name or an id: what is logged about events are numbers.
"""

import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, assert_never

import structlog

from consumer.adapters.telemetry.intake_log import IntakeLog
from consumer.adapters.telemetry.kafka_log import KafkaLog
from consumer.adapters.telemetry.recent import Recent
from consumer.domain.doorbell import OFF, RINGS, meaning
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
    Notified,
    PageFailed,
    ParkedDecided,
    Progress,
    Pruned,
    Started,
    Stopped,
    Stopping,
    SweepFinished,
    TokensRefused,
)
from consumer.domain.held import Holding
from consumer.domain.intake_facts import IntakeFact
from consumer.domain.kafka_facts import KafkaFact
from consumer.domain.overview import Trouble
from consumer.domain.retention import Kind, PruneStep
from consumer.domain.routing import Batch
from consumer.domain.text import one_line, printable_json

DRIVERS = ("aiokafka", "psycopg")
_OTHER_LINES = {"json": False}


def configure(
    *,
    format: Literal["auto", "json", "text"],  # noqa: A002 - the setting's name
    level: str,
    everything: bool = False,
) -> None:
    """Sets structlog up: lines on stderr, readable on a terminal and JSON elsewhere unless told.

    Text has colours on a terminal, unless NO_COLOR is set (no-color.org). `everything`: what else the process has to
    say has the same form, see `line_of`; errors that nobody has foreseen have it too.
    """
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    rendering: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, _when_and_what_first, structlog.processors.JSONRenderer(_json)]
        if as_json
        else [_printable, structlog.dev.ConsoleRenderer(colors=colors)]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Facts tell what matters of the drivers' own lines, which would come beside ours, one per retry.
    for name in DRIVERS:
        driver = logging.getLogger(name)
        driver.propagate = False
        driver.handlers = [_Passed()]
        driver.setLevel(logging.INFO if level.lower() == "debug" else logging.CRITICAL + 1)
    # Whatever else is said, by a library that nobody expects to speak or by an error that nobody has foreseen.
    others = logging.getLogger()
    others.handlers = [handler for handler in others.handlers if not isinstance(handler, _Passed)] + [_Passed()]
    logging.captureWarnings(capture=True)
    _OTHER_LINES["json"] = as_json and everything
    if as_json and everything:
        sys.excepthook = _crashed
        threading.excepthook = lambda about: _crashed(about.exc_type, about.exc_value, about.exc_traceback)


def quiet_drivers() -> None:
    """Until `configure` says otherwise nothing is written for them: what they mean is in the errors that they raise."""
    for name in DRIVERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False


def line_of(message: str) -> str:
    """A line about the end of the process, or its beginning, in the form that the log has, if it has begun."""
    if not _OTHER_LINES["json"]:
        return message
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return _json({"timestamp": now, "level": "error", "event": message})


def _json(line: object, **how: Any) -> str:  # noqa: ANN401 - as json.dumps
    return printable_json(json.dumps(line, **how))


def _printable(_: object, __: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    """What strangers wrote, table names and the like, moves no cursor and begins no line."""
    return {name: one_line(value) if isinstance(value, str) else value for name, value in line.items()}


def _when_and_what_first(_: object, __: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    """A line is read from the left: the time, the level, what has happened, and then the rest."""
    return {name: line.pop(name) for name in ("timestamp", "level", "event")} | dict(line)


def _crashed(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """An error that nobody has foreseen, on one line."""
    if error is None or issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), trace)
        return
    structlog.get_logger().critical("crashed", exc_info=(kind, error, trace))


class _Passed(logging.Handler):
    """Writes another library's lines among ours."""

    def emit(self, record: logging.LogRecord) -> None:
        ours = structlog.get_logger()
        if record.name.partition(".")[0] in DRIVERS:  # only when all lines are asked for
            ours.debug(record.getMessage(), logger=record.name)
        elif record.levelno >= logging.WARNING:
            ours.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


PARKED_EVERY = 10.0
"""Seconds between lines about parked events, at least: a provider that sends only nonsense is one fault."""


class _Outages:
    """One fault stops several loops. The first that reports a reason speaks for all that fail for the same one."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._speakers: dict[str, str] = {}

    def speaker(self, loop: str, reason: str) -> str:
        """The loop whose failures for this reason are logged, now that this one has failed for it."""
        if self._reasons.get(loop) != reason:
            self.left(loop)
            self._reasons[loop] = reason
        return self._speakers.setdefault(reason, loop)

    def ended(self, loop: str) -> bool:
        """The loop works again; returns whether the end of its fault has not been logged yet."""
        return self._speakers.pop(self._reasons.pop(loop, ""), None) is not None

    def left(self, loop: str) -> None:
        """The loop no longer fails for its reason; others may, and one of them goes on speaking for all."""
        reason = self._reasons.pop(loop, None)
        if reason is None or self._speakers.get(reason) != loop:
            return
        others = [other for other, theirs in self._reasons.items() if theirs == reason]
        if others:
            self._speakers[reason] = others[0]
        else:
            del self._speakers[reason]


class Log:
    """An observer that writes lines; at work, a summary of what was routed every `summary_every` seconds.

    Summaries are due at each batch, and at each sample of the backlog for what came before it. Samples alone would not
    do: with a large backlog a count takes long, and is made rarely.
    """

    def __init__(self, *, summary_every: float, writes: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        """Without `writes` it writes nothing, and only remembers what it would have warned of."""
        self._log = Recent(structlog.get_logger() if writes else None)
        self._now = now
        self._kafka = KafkaLog(self._log, now=now)
        self._intake = IntakeLog(self._log, summary_every=summary_every, now=now)
        self._summary_every = summary_every
        self._since = now()
        self._tally: Counter[str] = Counter()
        self._backlog: dict[str, float] = {}
        """The last sample, until a summary has told it."""
        self._slowest = 0.0
        self._parked_told = float("-inf")
        self._parked: Counter[str] = Counter()
        self._pruned: Counter[str] = Counter()
        self._refusals: dict[str, str | None] = {}
        self._outages = _Outages()
        self._holding = Holding()
        self._doorbell = RINGS

    def troubles(self) -> Sequence[Trouble]:
        """The last warnings and errors, whether they were written or not, the latest first."""
        return self._log.troubles()

    def __call__(self, fact: Fact) -> None:  # noqa: C901, PLR0912, PLR0915 - one arm per fact is the point
        if isinstance(fact, KafkaFact):
            self._kafka(fact)
            return
        if isinstance(fact, IntakeFact):
            self._intake(fact)
            return
        log = self._log
        match fact:
            case BatchRouted(batch=batch):
                self._tally.update(routed=batch.routed, already=batch.already, parked=batch.parked, dead=batch.dead)
                self._tell_held(batch)
                self._slowest = max(self._slowest, *batch.ages, 0.0)
                self._parked.update(parked=batch.parked, dead=batch.dead)
                self._tell_parked()
                self._summarise()
            case SweepFinished(found=found, due=due, seconds=seconds, held=held):
                if self._holding.swept(held=held):
                    log.info("no events are held any more")
                if found or due:
                    log.info("sweep found events", missed=found, due=due, seconds=round(seconds, 3))
            case BacklogSampled(backlog=backlog):
                self._tell_parked()
                self._backlog = {"backlog_events": backlog.ready, "oldest_seconds": round(backlog.oldest_seconds, 1)}
                self._summarise()
            case LoopFailed(loop=loop, reason=reason, attempt=attempt, delay=delay):
                # Every failure of a long outage would drown the first; powers of two tell the story.
                if self._outages.speaker(loop, reason) == loop and attempt & (attempt - 1) == 0:
                    log.warning(
                        "cannot go on, will try again",
                        loop=loop,
                        reason=reason,
                        attempt=attempt,
                        delay_seconds=round(delay, 2),
                    )
            case LoopRecovered(loop=loop, attempts=attempts):
                if self._outages.ended(loop):
                    log.info("works again", loop=loop, failed_attempts=attempts)
            case BatchTooSlow(limit=limit, holder=holder):
                why = {"reason": holder} if holder else {}
                log.warning("a batch took too long, going on with smaller ones", batch_size=limit, **why)
            case EventTooSlow(holder=holder):
                why = {"reason": holder} if holder else {}
                log.warning("an event took too long all alone and was parked", **why)
            case Pruned(kind=kind, step=step):
                self._tell_pruned(kind, step)
            case ListenerUp():
                self._outages.left(LISTENER)  # it has a line of its own
                log.info("listening for notifications")
            case ListenerLost(reason=reason):
                log.warning("listener lost, polling until it is back", reason=reason)
            case ListenerUnavailable():
                log.warning(
                    "notifications do not get through this connection (a transaction pooler?), polling instead; "
                    "a direct connection or a session pool makes routing immediate"
                )
            case DoorbellChecked(state=state):
                self._tell_doorbell(state)
            case Started():
                log.info(
                    "webhook-router is running",
                    version=fact.version,
                    database=fact.database,
                    host=fact.host,
                    source=fact.source,
                    address=fact.address,
                    **({"gateway": fact.gateway, "providers": ", ".join(fact.providers)} if fact.gateway else {}),
                )
                if fact.gateway and not fact.providers:
                    log.warning(
                        "the gateway takes no deliveries, since no provider has a secret; "
                        "set WEBHOOK_ROUTER_WHATSAPP_APP_SECRETS_FILE or its like"
                    )
                for provider in fact.refusing:
                    log.warning(
                        "challenges are answered and deliveries refused, since there is a verify token and no secret",
                        provider=provider,
                        missing=f"WEBHOOK_ROUTER_{provider.upper()}_APP_SECRETS_FILE",
                    )
            case PageFailed(page=page, reason=reason):
                log.error("a page has failed", page=page, reason=reason)
            case ParkedDecided(decision=decision, events=events):
                log.info("somebody has decided about parked events on their page", decision=decision, events=events)
            case TokensRefused(count=count):
                log.warning("wrong tokens were given for the pages", times=count)
            case Stopping(reason=reason):
                log.info("stopping", reason=reason)
            case Stopped():
                self._tell_parked(now=True)
                self._summarise(now=True)
                self._intake.end()
                log.info("stopped")
            case Progress() | Notified() | ByChannelSampled():
                pass
            case _:
                assert_never(fact)

    def _tell_held(self, batch: Batch) -> None:
        """Once for each reason: what is held is tried again and again."""
        if self._holding.called(held=batch.held, reason=batch.held_reason):
            self._log.warning(
                "events are held: the schema is at fault, not they; they are tried again until it is mended",
                events=batch.held,
                reason=self._holding.reason,
            )

    def _tell_pruned(self, kind: Kind, step: PruneStep) -> None:
        """Once a round; and what the application keeps once for each reason, since it is tried again and again."""
        self._pruned.update({f"{kind} gone": step.gone, f"{kind} bytes": step.bytes})
        if step.refused and self._refusals.get(kind) != step.reason:
            self._refusals[kind] = step.reason
            self._log.warning("the application keeps events that are due to go", kind=kind, reason=step.reason)
        if step.place is None and not step.busy:
            gone, size = self._pruned.pop(f"{kind} gone", 0), self._pruned.pop(f"{kind} bytes", 0)
            if gone:
                self._log.info("pruned", kind=kind, gone=gone, bytes=size)

    def _tell_doorbell(self, state: str) -> None:
        before, self._doorbell = self._doorbell, state
        if state == RINGS:
            if before != RINGS:
                self._log.info("the doorbell rings again")
        elif state == OFF:
            self._log.info("polling: the doorbell is off", reason=meaning(state))
        else:
            self._log.warning("polling: the doorbell does not ring", state=state, reason=meaning(state))

    def _tell_parked(self, *, now: bool = False) -> None:
        """The first one at once, those that follow together."""
        moment = self._now()
        if not self._parked["parked"] or not (now or moment - self._parked_told >= PARKED_EVERY):
            return
        self._log.warning("events parked; see `webhook-router parked list`", **self._parked)
        self._parked.clear()
        self._parked_told = moment

    def _summarise(self, *, now: bool = False) -> None:
        elapsed = self._now() - self._since
        if not self._tally["routed"] + self._tally["parked"] or not (now or elapsed >= self._summary_every):
            return
        self._log.info(
            "routed",
            **{
                "events": self._tally["routed"],
                "already": self._tally["already"],
                "parked": self._tally["parked"],
                "seconds": round(elapsed, 1),
                "slowest_seconds": round(self._slowest, 3),
                **self._backlog,
            },
        )
        self._tally.clear()
        self._backlog = {}
        self._slowest = 0.0
        self._since = self._now()
