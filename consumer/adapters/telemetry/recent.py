"""The last warnings and errors of the log, for whoever looks at the pages."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from consumer.adapters.telemetry.runbook import runbook_of
from consumer.domain.overview import Trouble
from consumer.domain.text import one_line

KEPT: Final = 50
LONGEST: Final = 1000
"""Characters of a detail."""
TELLS_APART: Final = frozenset({"partition"})
"""Numbers without which two lines are not the same."""


class Recent:
    """A logger that passes lines on, if there is one to pass them on to, and keeps those that tell of a trouble.

    It keeps them whatever level is written. Lines that are the same but for their numbers are one, with the numbers of
    the last of them.
    """

    def __init__(
        self,
        log: Any | None,  # noqa: ANN401 - structlog's loggers have no type of their own
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` tells the Unix time."""
        self._log = log
        self._now = now
        self._kept: OrderedDict[object, Trouble] = OrderedDict()
        """In the order of their last lines."""

    def troubles(self) -> Sequence[Trouble]:
        """The latest first."""
        return list(reversed(self._kept.values()))

    def debug(self, event: str, **details: object) -> None:
        """Passes a line on."""
        if self._log is not None:
            self._log.debug(event, **details)

    def info(self, event: str, **details: object) -> None:
        """Passes a line on."""
        if self._log is not None:
            self._log.info(event, **details)

    def warning(self, event: str, **details: object) -> None:
        """Keeps a line, and passes it on."""
        self._keep("warning", event, details)
        if self._log is not None:
            self._log.warning(event, **details)

    def error(self, event: str, **details: object) -> None:
        """Keeps a line, and passes it on."""
        self._keep("error", event, details)
        if self._log is not None:
            self._log.error(event, **details)

    def _keep(self, level: str, event: str, details: dict[str, object]) -> None:
        texts = {name: one_line(f"{value}"[:LONGEST]) for name, value in details.items()}
        apart = {n: texts[n] for n, value in details.items() if n in TELLS_APART or not isinstance(value, int | float)}
        key = event, *sorted(apart.items())
        at = self._now()
        before = self._kept.pop(key, None)
        trouble = Trouble(
            at=at, first_at=at, count=1, level=level, event=event, details=texts, runbook=runbook_of(event)
        )
        if before is not None:
            trouble = replace(trouble, first_at=before.first_at, count=before.count + 1)
        self._kept[key] = trouble
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
