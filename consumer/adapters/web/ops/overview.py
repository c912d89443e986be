"""/: what the service does at this moment. static/live.js keeps it up to date, by what /stream sends."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from aiohttp import web

from consumer.adapters.web.ops.site import Site
from consumer.domain.doorbell import MEANING
from consumer.domain.intake_facts import Outcome
from consumer.domain.overview import Overview, Second
from consumer.domain.routing import Backlog, Path
from consumer.domain.text import duration
from consumer.ports import Watched

RECENT: Final = 10
"""Seconds over which the figures at the top are taken."""
WATCHES: Final = 30.0
"""Seconds for which a page that was shown counts as somebody who watches: it may be one without scripts, which is shown
again meanwhile."""
LISTENER: Final[Mapping[str, str]] = {
    "up": "notifications arrive",
    "polling": "notifications do not arrive; the service looks for itself",
    "none": "not needed: events do not come through the table",
}
TURNED_DOWN: Final[Mapping[str, str]] = {
    Outcome.SIGNATURE: "wrong signature",
    Outcome.TOO_LARGE: "too large",
    Outcome.BAD_REQUEST: "bad request",
    Outcome.BUSY: "busy",
    Outcome.DATABASE: "database away",
    Outcome.REFUSED: "channel refused",
}
MOST_PARTITIONS: Final = 12
"""Rows of the table of partitions."""
MOST_TROUBLES: Final = 8
"""As many of the last warnings and errors."""
BEHIND: Final = 60
"""Seconds for which the oldest event has to be ready so that the service is called behind, as by the alert."""


def overview(site: Site, *, watched: Watched) -> Sequence[web.AbstractRouteDef]:
    """The routes."""

    async def page(_: web.Request) -> web.Response:
        watched.enter()
        asyncio.get_running_loop().call_later(WATCHES, watched.leave)
        now = watched.overview()
        recent = watched.seconds(after=int(now.at) - RECENT - 1)
        return site.render("overview.html", **shown(now, recent))

    return [web.get("/", site.page(page))]


def shown(now: Overview, recent: Sequence[Second]) -> Mapping[str, Any]:
    """The values of the template."""
    return {
        "now": now,
        "seconds": figures(recent),
        "lags": sorted(now.lags, key=lambda lag: (-lag.records, lag.partition))[:MOST_PARTITIONS],
        "because": because(now),
        "waits": waits,
        "moment": moment,
        "known": {
            "paths": [path.value for path in Path],
            "listener": LISTENER,
            "doorbell": MEANING,
            "turned_down": [*TURNED_DOWN.items()],
            "most_partitions": MOST_PARTITIONS,
            "most_troubles": MOST_TROUBLES,
            "behind": BEHIND,
        },
    }


def because(now: Overview) -> str:
    """What the state of the service means, in words; `because` of static/live.js."""
    reasons = [f"no progress of {', '.join(now.stalled)}"] if now.stalled else []
    reasons += now.faults
    if reasons:
        return "; ".join(reasons)
    if not now.is_ready:
        return "it is starting: its loops have not all gone round once"
    if now.backlog and now.backlog.ready and now.backlog.oldest_seconds > BEHIND:
        return f"events are routed, and it is behind: the oldest waits for {duration(now.backlog.oldest_seconds)}"
    return "events are routed as they come"


def waits(backlog: Backlog, now: Overview) -> str:
    """What is below the backlog: its age, and that of the count, if it is old; `waits` of static/live.js."""
    age = now.at - (now.backlog_at or now.at)
    ago = f"{duration(age)} ago" if age > BEHIND else ""
    if backlog.ready:
        return f"oldest {duration(backlog.oldest_seconds)}" + (f", counted {ago}" if ago else "")
    return f"nothing waited {ago}" if ago else "nothing waits"


def figures(seconds: Sequence[Second]) -> Mapping[str, str]:
    """Those at the top, of the last seconds; `figures` of static/live.js."""
    recent = seconds[-RECENT:]
    routed = sum(sum(second.routed.values()) for second in recent)
    halves = [second.p50 for second in recent if second.p50 is not None]
    worst = [second.p99 for second in recent if second.p99 is not None]
    return {
        "rate": rate(routed / len(recent)) if recent else "–",
        "p50": latency(median(halves)) if halves else "–",
        "p99": latency(max(worst)) if worst else "–",
    }


def rate(each_second: float) -> str:
    """Of events."""
    return f"{each_second:,.0f}" if each_second >= 10 or each_second == 0 else f"{each_second:.1f}"


def latency(seconds: float) -> str:
    """A time that is mostly short."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def moment(at: float) -> str:
    """A Unix time, as the macro `time` takes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
