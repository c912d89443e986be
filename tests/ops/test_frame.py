"""What all pages have in common, in a real browser."""

from tests.browser import Visitor, axe, fits
from tests.processes import Router


async def test_the_first_page(service: Router, visit: Visitor) -> None:
    """It says whether the service is ready."""
    page = await visit(service.address + "/")
    assert await page.title() == "Overview · webhook-router"
    await axe(page)
    await fits(page)
