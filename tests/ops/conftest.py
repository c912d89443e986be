"""The pages of a service that runs, in a real browser.

Tests with `visit` are `async def`, and share a loop with the browser: they run in the session's loop, so what an async
fixture of a test makes is of another one; ask the database with a plain `psycopg.connect`.
"""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser import Visitor, started
from tests.processes import Router, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the browser runs where the browser does."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests of a worker; each window knows nothing of the others."""
    async with started() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser) -> AsyncIterator[Visitor]:
    """Opens pages: `page = await visit(service.address + "/parked")`; see `Visitor` for what it lets no page do.

    Name it after `service`, so that it leaves before that ends.
    """
    visitor = Visitor(chromium)
    yield visitor
    await visitor.leave()


@pytest.fixture
def service(database: str) -> Iterator[Router]:
    """A service with its pages, on which everything may be done; its database is `database`."""
    with running(database, "--sample-interval", "0.5", "--ops-actions") as router:
        router.until_listening()
        yield router


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """A session of the administrator on the service's database, which commits each statement."""
    with psycopg.connect(database, autocommit=True) as session:
        yield session
