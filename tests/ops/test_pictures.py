"""The pictures of the documentation: `make screenshots` takes them anew, and each run shows that it can."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.async_api import Page

from tests.browser import PHONE, Visitor, picture
from tests.gateway.bodies import ENVIRONMENT
from tests.ops.feeding import fed
from tests.ops.test_overview_page import SOON, drawing, live, until
from tests.processes import Router, running
from tests.servers import Server
from tests.waiting import await_for

SIZE = (1120, 800)
LARGEST = 200_000
"""Bytes of a picture."""
FOLDER = os.environ.get("PICTURES", "")
"""Where they are kept; empty: nowhere, and they show less of a life."""
SINCE = 310 if FOLDER else 5
"""Seconds for which it has lived."""
NAME = "inbox"
"""Of the database, which pictures show."""


FAULT = """
    create function public.only_known_zones() returns trigger language plpgsql as $judge$
    begin
        if new.content_text like '%Casablanca%' and pg_catalog.hashtext(new.provider_message_id) % 40 = 0 then
            raise exception 'no shipping zone is known for this city';
        end if;
        return new;
    end
    $judge$;
    create trigger only_known_zones before insert on public.messages
        for each row execute function public.only_known_zones();
"""
"""A trigger of an application, which refuses some messages."""

STORY = """
    select channel, event_id from public.webhook_events
    where routed_at is not null and channel = 'whatsapp' and event_id like 'wamid%'
    order by created_at limit 1
"""


@pytest.fixture
def inbox(postgres_server: Server, schema_template: str) -> Iterator[str]:
    """The DSN of a database whose name is what one might call it."""
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute(f"drop database if exists {NAME} with (force)")
        connection.execute(f"create database {NAME} template {schema_template}")
        yield postgres_server.dsn(NAME)
        connection.execute(f"drop database {NAME} with (force)")


@pytest.fixture
def busy(inbox: str) -> Iterator[Router]:
    """A service that has enough to do."""
    flags = ("--gateway", "--gateway-port", "0", "--sample-interval", "0.5", "--ops-actions")
    with psycopg.connect(inbox, autocommit=True) as connection:
        connection.execute(FAULT)
    with running(inbox, *flags, env=ENVIRONMENT) as router:
        router.until_listening()
        gateway = str(router.logged("webhook-router is running")[0]["gateway"])
        with fed(inbox, rate=150, swing=60, gateway=gateway):
            yield router


async def test_pictures(busy: Router, visit: Visitor, tmp_path: Path) -> None:
    """Each shows what it is of, and is small enough for a page of the documentation."""
    folder = Path(FOLDER or tmp_path)
    page = await visit(busy.address + "/", size=SIZE)
    await live(page)
    await await_for(lambda: lived(page), what="enough of a life", timeout=SINCE + SOON / 1000)
    await until(page, "#parked .value", r"^[1-9]")
    await until(page, "#replicas tbody th", "this one$")
    await until(page, "#providers tbody th", "^whatsapp$")
    await picture(page, folder / "overview.png")
    await page.emulate_media(color_scheme="dark")
    await picture(page, folder / "overview-dark.png")
    page = await visit(busy.address + "/", size=PHONE)
    await live(page)
    await drawing(page, "throughput")
    await picture(page, folder / "phone.png")
    page = await visit(busy.address + "/parked", size=SIZE)
    await until(page, "#found tbody td", "22008|P0001")
    await picture(page, folder / "parked.png")
    with psycopg.connect(busy.database, autocommit=True) as connection:
        row = connection.execute(STORY).fetchone()
    assert row is not None
    page = await visit(f"{busy.address}/event?channel={row[0]}&event_id={row[1]}", size=SIZE)
    await until(page, "main .badge", "^routed$")
    await picture(page, folder / "event.png")
    page = await visit(busy.address + "/deliveries", size=SIZE)
    await until(page, "#unknown td", "^whatsapp$")
    await picture(page, folder / "deliveries.png")
    for file in folder.glob("*.png"):
        assert file.stat().st_size < LARGEST, file


async def lived(page: Page) -> bool:
    """Whether the service has, for long enough."""
    since = "(Date.now() - Date.parse(document.querySelector('#since time').dateTime)) / 1000"
    return float(await page.evaluate(since)) >= SINCE
