"""status --watch: one look after the other, on a terminal, as lines, or as JSON."""

import asyncio
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from consumer.adapters.postgres.operating import status as operating
from consumer.adapters.postgres.operating.session import Connection, session
from consumer.adapters.postgres.operating.status import Status
from consumer.cli.tables import json_text
from consumer.domain.doorbell import RINGS, meaning
from consumer.domain.errors import Transient
from consumer.domain.text import duration, one_line, printable
from consumer.pipeline.sampler import LATE, REST

PATIENCE: Final = 30.0
"""Seconds after which a look has failed."""
_BARS: Final = "▁▂▃▄▅▆▇█"
_KEPT: Final = 120
_INDENT: Final = 10
_CHANNELS: Final = 6
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is shown."""

    at: float
    """Unix time."""
    status: Status | None
    """Of the last look that had an answer; None: there was none."""
    status_at: float
    per_second_now: float | None
    """Events routed a second since the look before."""
    error: str
    """Why this look has no answer; empty: it has."""


class Watch:
    """Looks at the database, never more often than its cost allows, and hands each look over.

    A look counts what waits, and what was routed since the one before; all else is looked at again when that has rested
    for long enough as well.
    """

    def __init__(self, conninfo: str, *, every: float, show: Callable[[Look], None], tick: Callable[[], None]) -> None:
        """`show` gets each look, `tick` is called each second between them."""
        self._conninfo = conninfo
        self._every = every
        self._show = show
        self._tick = tick
        self._status: Status | None = None
        self._status_at = 0.0
        self._looked: float | None = None
        """When the last look began, by the monotonic clock; None: none yet in this session."""
        self._oldest = 0.0
        self._all_again = float("-inf")

    async def run(self) -> None:
        """Looks until cancelled.

        Raises:
            Fatal: nothing will get better by itself.
        """
        while True:
            try:
                async with session(self._conninfo, name="status --watch") as connection:
                    self._looked, self._all_again = None, float("-inf")
                    while True:
                        await self._rest(await self._look(connection))
            except Transient as error:
                self._show(self._seen(None, one_line(str(error))))
            await self._rest(max(self._every, 1.0))

    async def _look(self, connection: Connection) -> float:
        """One look; returns for how long to rest."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                now = await self._routed(connection, began)
                status = self._status if began < self._all_again else None
                if status is not None:
                    within = began - self._oldest + LATE
                    status = await operating.counted_again(connection, status, within=within)
                cost = time.monotonic() - began
                if status is None:
                    status = await operating.status(connection)
                    ended = time.monotonic()
                    self._all_again = ended + REST * (ended - began)
        except TimeoutError:
            raise Transient(f"the database has not answered within {PATIENCE:g} s") from None
        self._looked, self._oldest = began, began - status.oldest_seconds
        self._status, self._status_at = status, time.time()
        self._show(self._seen(now, ""))
        return max(self._every, REST * cost)

    async def _routed(self, connection: Connection, began: float) -> float | None:
        if self._looked is None:
            return None
        seconds = began - self._looked
        events = await operating.routed_within(connection, seconds=seconds)
        return None if events is None else events / seconds

    def _seen(self, now: float | None, error: str) -> Look:
        return Look(at=time.time(), status=self._status, status_at=self._status_at, per_second_now=now, error=error)

    async def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(1.0, left))
            self._tick()


def line_of(look: Look) -> str:
    """A look in one line."""
    return printable(f"{_clock(look.at)} {' '.join(_compact(look))}")


def json_of(look: Look) -> str:
    """A look as JSON, in one line."""
    told: dict[str, Any] = {
        "at": look.at,
        "error": look.error or None,
        "age": None if look.status is None else round(look.at - look.status_at, 3),
        "per_second_now": look.per_second_now,
    }
    return json_text(told | ({} if look.status is None else asdict(look.status)), indent=False)


def write(line: str) -> None:
    """A line for whoever reads standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Screen:
    """Shows the last look on a terminal, as large as that is just now."""

    def __init__(self, live: Live, *, place: str) -> None:
        self._live = live
        self._place = place
        self._last: Look | None = None
        self._ready: deque[float] = deque(maxlen=_KEPT)
        self._rates: deque[float] = deque(maxlen=_KEPT)

    def show(self, look: Look) -> None:
        """Takes a look."""
        self._last = look
        if look.status is not None and not look.error:
            self._ready.append(look.status.ready)
            if look.per_second_now is not None:
                self._rates.append(look.per_second_now)
        self.draw()

    def draw(self) -> None:
        """Draws the last one again: ages grow, and terminals change their size."""
        width, height = self._live.console.size
        if self._last is None:
            text = Text("asking the database …")
        else:
            drawn = Drawing(self._last, width=width, ready=self._ready, rates=self._rates)
            text = drawn.text(self._place, height=height - 1, now=time.time())
        self._live.update(text, refresh=True)


def screen(terminal: Console) -> Live:
    """What `Screen` draws on."""
    return Live(console=terminal, auto_refresh=False, vertical_overflow="crop")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    value: str
    name: str = ""
    style: str = ""
    is_state: bool = False
    """Whether it stands in the column of values, with or without a name."""


class Drawing:
    """The lines of a look, none wider than the terminal."""

    def __init__(self, look: Look, *, width: int, ready: Sequence[float], rates: Sequence[float]) -> None:
        self._look = look
        self._width = max(width, 20)
        self._ready = ready
        self._rates = rates

    def text(self, place: str, *, height: int, now: float) -> Text:
        """All lines that have room."""
        look = self._look
        rows: list[_Row] = [_Row(value=f"{_clock(now)} {place}", style="bold")]
        if look.error:
            rows.append(_Row(value="no answer, trying again", style="bold red"))
            rows += [_Row(value=part, style="red") for part in self._wrapped(look.error)]
        if look.error and look.status is not None:
            age = duration(max(now - look.status_at, 0))
            rows.append(_Row(value=f"these figures are {age} old", style="bold red"))
        if look.status is not None:
            rows += self._state(look.status)
            rows += self._tables(look.status)
        room = max(height - 1, 1)
        if len(rows) > room:
            rows[room - 1 :] = [_Row(value=f"… {len(rows) - room + 1} more lines, in a higher window")]
        rows.append(_Row(value="Ctrl-C ends", style="dim"))
        return Text("\n").join(Text(self._cut(row), style=row.style, no_wrap=True) for row in rows)

    def _state(self, now: Status) -> Iterator[_Row]:
        late = f", oldest {duration(now.oldest_seconds)}" if now.ready else ""
        yield _state_row(name="backlog", value=f"{now.ready:,}{late}", style="yellow" if now.ready else "")
        yield _state_row(value=_spark(self._ready, self._width - _INDENT))
        yield _state_row(
            name="parked",
            value=f"{now.parked:,}, dead {now.dead:,}, discarded {now.discarded:,}",
            style="red" if now.dead else "",
        )
        rate = self._look.per_second_now
        yield _state_row(name="routed/s", value=f"now {_rate(rate)}, minute {_rate(now.per_second_in_minute)}")
        yield _state_row(value=_spark(self._rates, self._width - _INDENT))
        over = now.counted_seconds
        period = "hour" if over is None or over >= _HOUR else duration(over)
        ago = now.last_routed_seconds_ago
        last = "" if ago is None else f", last {duration(ago)} ago"
        yield _state_row(value=f"{period} {_rate(now.per_second_in_hour)}{last}")
        rings = now.doorbell == RINGS
        said = "rings" if rings else f"does not ring: {meaning(now.doorbell)}"
        for number, part in enumerate(self._wrapped(said, indent=_INDENT)):
            yield _state_row(name="" if number else "doorbell", value=part, style="" if rings else "yellow")
        yield _state_row(
            name="services",
            value=f"{now.replicas} replica{'s' * (now.replicas != 1)}, {now.sessions} session"
            f"{'s' * (now.sessions != 1)}{', draining' if now.awake else ''}",
            style="" if now.sessions else "yellow",
        )

    def _tables(self, now: Status) -> Iterator[_Row]:
        if now.by_channel:
            yield _Row(value="waiting by channel" + (", of the oldest" * now.by_channel_is_partial), style="bold")
        for channel in now.by_channel[:_CHANNELS]:
            figures = f"{channel.ready:>9,} {duration(channel.oldest_seconds):>11}"
            room = max(min(self._width, 80) - len(figures), 4)
            yield _Row(value=f"{set_cell_size(printable(channel.channel), room)}{figures}")
        if (more := len(now.by_channel) - _CHANNELS) > 0:
            yield _Row(value=f"and {more} more")
        for one in now.services:
            up = "" if one.seconds is None else f", for {duration(one.seconds)}"
            yield _Row(value=f"{one.version or 'earlier'} {one.name}{up}")

    def _cut(self, row: _Row) -> str:
        whole = printable(f"{row.name:<{_INDENT}}{row.value}" if row.is_state else row.value)
        return whole.rstrip() if cell_len(whole) <= self._width else set_cell_size(whole, self._width)

    def _wrapped(self, text: str, indent: int = 0) -> Sequence[str]:
        return textwrap.wrap(printable(text), self._width - indent)[:3]


def _state_row(value: str, name: str = "", style: str = "") -> _Row:
    return _Row(value=value, name=name, style=style, is_state=True)


def _compact(look: Look) -> Iterator[str]:
    now = look.status
    if look.error:
        since = "" if now is None else f" (figures {duration(max(look.at - look.status_at, 0))} old)"
        yield f"no answer, trying again{since}: {look.error}{'' if now is None else ';'}"
    if now is None:
        return
    yield f"backlog {now.ready:,}" + (f" (oldest {duration(now.oldest_seconds)})" if now.ready else "")
    yield f"parked {now.parked:,} dead {now.dead:,}"
    yield f"routed/s {_rate(look.per_second_now)} minute {_rate(now.per_second_in_minute)}"
    yield f"hour {_rate(now.per_second_in_hour)}"
    yield f"replicas {now.replicas} doorbell {now.doorbell}"


def _rate(per_second: float | None) -> str:
    return "-" if per_second is None else f"{per_second:,.1f}"


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%SZ}"


def _spark(values: Sequence[float], width: int) -> str:
    """The last values as bars, with the highest one at the end."""
    if not values:
        return ""
    top = max(values)
    label = f" most {top:,.0f}"
    shown = list(values)[-max(width - len(label), 1) :]
    return "".join(_BARS[min(int(value / top * 8), 7)] if top > 0 else _BARS[0] for value in shown) + label
