"""What all pages have in common, in a real browser."""

from dataclasses import asdict, replace
from typing import Any

from consumer.adapters.web.ops.overview import BEHIND, because, latency, rate
from consumer.domain.routing import Backlog
from consumer.domain.text import duration, printable
from tests.browser import Visitor, axe, fits
from tests.processes import Router
from tests.unit.test_ops_overview import EMPTY


async def test_the_first_page(service: Router, visit: Visitor) -> None:
    """It says whether the service is ready."""
    page = await visit(service.address + "/")
    assert await page.title() == "Overview · webhook-router"
    await axe(page)
    await fits(page)


def waiting(seconds: float) -> Backlog:
    """Events, the oldest of which is so old."""
    return Backlog(ready=3, oldest_seconds=seconds, parked=0, dead=0, notification_queue=0.0)


def told(backlog: Backlog | None) -> dict[str, float] | None:
    """As the stream has it."""
    return None if backlog is None else asdict(backlog)


async def test_says_the_same_in_both_languages(service: Router, visit: Visitor) -> None:
    """What scripts write later reads as what the service has rendered: figures, states, and text of strangers."""
    page = await visit(service.address + "/")
    lengths = [0, 0.4, 59.4, 59.6, 60, 3599, 3600, 86_399, 86_400, 1e6]
    texts = ["plain", "\t\x00\x1b[2J\x9b\x7f", "\u202eabc\u2066\u200b", "\U000e0041", "é 👍 مرحبا", "<b>&"]
    times = [0, 0.0004, 0.00999, 0.0994, 0.0996, 0.9994, 0.9996, 59.94, 61, 90_000]
    rates = [0, 0.04, 0.11, 9.94, 10, 999.6, 1234.2, 1e6]
    states: list[dict[str, Any]] = [
        {"stalled": [], "faults": [], "is_ready": True},
        {"stalled": [], "faults": [], "is_ready": False},
        {"stalled": ["hot", "sweep"], "faults": ["a", "b"], "is_ready": True},
        {"stalled": [], "faults": [], "is_ready": True, "backlog": waiting(BEHIND)},
        {"stalled": [], "faults": [], "is_ready": True, "backlog": waiting(BEHIND + 1)},
    ]
    said = await page.evaluate(
        """async ([lengths, texts, times, rates, states]) => {
            const of = (name) => import(new URL(`static/${name}`, location.href));
            const { duration, printable } = await of("site.js");
            const { because, latency, rate } = await of("live.js");
            return [
                lengths.map(duration), texts.map(printable), times.map(latency), rates.map(rate), states.map(because),
            ];
        }""",
        [lengths, texts, times, rates, [state | {"backlog": told(state.get("backlog"))} for state in states]],
    )
    assert said == [
        [duration(length) for length in lengths],
        [printable(text) for text in texts],
        [latency(time) for time in times],
        [rate(each) for each in rates],
        [because(replace(EMPTY, **state)) for state in states],
    ]
