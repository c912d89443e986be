"""What all pages have in common, in a real browser."""

from consumer.domain.text import duration, printable
from tests.browser import Visitor, axe, fits
from tests.processes import Router


async def test_the_first_page(service: Router, visit: Visitor) -> None:
    """It says whether the service is ready."""
    page = await visit(service.address + "/")
    assert await page.title() == "Overview · webhook-router"
    await axe(page)
    await fits(page)


async def test_says_the_same_in_both_languages(service: Router, visit: Visitor) -> None:
    """What scripts write later reads as what the service has rendered: durations, and text of strangers."""
    page = await visit(service.address + "/")
    lengths = [0, 0.4, 59.4, 59.6, 60, 3599, 3600, 86_399, 86_400, 1e6]
    texts = ["plain", "\t\x00\x1b[2J\x9b\x7f", "\u202eabc\u2066\u200b", "\U000e0041", "é 👍 مرحبا", "<b>&"]
    said = await page.evaluate(
        """async ([lengths, texts]) => {
            const { duration, printable } = await import(new URL("static/site.js", location.href));
            return [lengths.map(duration), texts.map(printable)];
        }""",
        [lengths, texts],
    )
    assert said == [[duration(length) for length in lengths], [printable(text) for text in texts]]
