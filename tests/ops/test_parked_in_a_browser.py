"""/parked before somebody on call: a poison event appears, its cause is mended, it is tried again and gone."""

import psycopg
import pytest
from playwright.async_api import Page, expect

from tests.browser import GONE, PHONE, Visitor, axe, fits, move, texts, until_true
from tests.ops.test_parked_page import JUDGE, make_hostile, park
from tests.processes import Router
from tests.waiting import wait_for

POISON = """
    insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
    select 'instagram', 'message', 'poison' || i, 'somebody', 'Some Body', 'bad', '2026-01-01'
    from generate_series(1, %s) i
"""
STEPS = 60
"""Presses of the Tab key to get anywhere on a page."""


def until_parked(connection: psycopg.Connection, events: int) -> None:
    """Waits until so many are parked."""
    number = "select count(*) from router.parked_events"
    wait_for(lambda: connection.execute(number).fetchone() == (events,), what=f"{events} parked events")


async def tab_to(page: Page, text: str) -> None:
    """Goes on by the keyboard until something with this text has the focus, which shows."""
    for _ in range(STEPS):
        if text in await move(page, "Tab"):
            return
    pytest.fail(f"the keyboard does not come to {text!r}")


async def outcome(page: Page, text: str) -> None:
    """Waits until this is said, by an element that screen readers announce, and that has the focus."""
    told = page.get_by_role("status")
    await expect(told).to_have_text(text)
    await expect(told).to_be_focused()


async def test_a_poison_event_is_mended_and_gone(
    service: Router, connection: psycopg.Connection, visit: Visitor
) -> None:
    """It is seen, its cause is dropped, it is tried again at once, and leaves the page without being asked to."""
    connection.execute(JUDGE)
    connection.execute(POISON, [3])
    until_parked(connection, 3)
    page = await visit(service.address + "/parked")
    await expect(page.get_by_role("link", name="error (function judge())")).to_have_count(1)
    await expect(page.get_by_role("button", name="Retry selected")).to_be_disabled()
    connection.execute("drop trigger judge on public.messages")
    await page.get_by_label("Select poison2").check()
    await page.get_by_role("button", name="Retry selected").click()
    await expect(page.get_by_role("dialog")).to_contain_text("It is tried at the next sweep")
    await page.get_by_role("dialog").get_by_role("button", name="Retry 1 event").click()
    await outcome(page, "1 event is tried again at the next sweep.")
    await expect(page.get_by_label("Select poison2")).to_have_count(0, timeout=20_000)
    await expect(page.get_by_label("Select poison1")).to_have_count(1)
    routed = "select event_id from webhook_events where routed_at is not null"
    assert connection.execute(routed).fetchall() == [("poison2",)]

    await page.get_by_role("link", name="poison1", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("poison1")
    await page.get_by_role("button", name="Show what was written").click()
    await expect(page.locator("pre").first).to_have_text("bad")
    await page.get_by_role("button", name="Retry").click()
    await page.get_by_role("button", name="Retry 1 event").click()
    visit.forgive("404")
    await expect(page.get_by_role("status")).to_have_text(
        "1 event is tried again at the next sweep. It is not parked any more.", timeout=20_000
    )
    await expect(page.get_by_role("heading", name="Why it is parked")).to_have_count(0, timeout=20_000)


async def test_by_the_keyboard_alone(service: Router, connection: psycopg.Connection, visit: Visitor) -> None:
    """Two are selected and discarded, then all of a filter, with its number named; Escape changes nothing."""
    park(connection, "endless", 7)
    park(connection, "other", 2, channel="whatsapp")
    page = await visit(service.address + "/parked?channel=instagram")
    assert "7 events that have all of this" in await texts(page, "h2")
    for name in ("Select endless7", "Select endless6"):
        await tab_to(page, name)
        await page.keyboard.press("Space")
    while "Discard selected" not in await move(page, "Shift+Tab"):
        pass
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await until_true(page, "document.activeElement.textContent.includes('Discard selected')")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_contain_text("Discard 2 events?They stay")
    await axe(page)
    await tab_to(page, "Discard 2 events")
    await page.keyboard.press("Enter")
    await outcome(page, "2 events will not be tried any more.")
    await expect(page.get_by_role("heading", name="5 events that have all of this")).to_have_count(1)

    await tab_to(page, "Retry all of this filter")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_contain_text("Retry 5 events?")
    park(connection, "later", 1)
    await tab_to(page, "Retry 5 events")
    await page.keyboard.press("Enter")
    await outcome(page, "5 events are tried again at the next sweep.")
    tried = "select count(*) from router.parked_events where last_parked_at > first_parked_at"
    wait_for(lambda: connection.execute(tried).fetchone() == (5,), what="a sweep that tries them")


async def test_hostile_texts_do_nothing(service: Router, connection: psycopg.Connection, visit: Visitor) -> None:
    """No script of theirs runs, no request is theirs, and the pages fit a phone, in the dark too; axe finds nothing."""
    event = make_hostile(connection)
    visit.forgive("400")
    for path, title in {
        "parked": "Parked",
        "parked?channel=<script>&older=soon": "Parked",
        f"parked?id={event}": "Parked event",
        f"parked?id={event}&written=1": "Parked event",
    }.items():
        page = await visit(f"{service.address}/{path}", size=PHONE, scheme="dark")
        await expect(page).to_have_title(f"{title} · webhook-router")
        await fits(page)
        await axe(page)


async def test_without_scripts(service: Router, connection: psycopg.Connection, visit: Visitor) -> None:
    """All can be read; what needs a script is not offered."""
    (event,) = park(connection, "endless")
    page = await visit(service.address + "/parked", scripts=False)
    await expect(page.get_by_text("endless1").first).to_be_visible()
    await expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    await expect(page.get_by_role("checkbox")).to_have_count(0)
    await page.get_by_text("Filters").click()
    await page.get_by_label("Channel").fill("whatsapp")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("Nothing is parked that has all of this")).to_be_visible()
    await page.goto(f"{service.address}/parked?id={event}")
    await page.get_by_role("button", name="Show what was written").click()
    await expect(page.get_by_text("secret author")).to_be_visible()


async def test_what_becomes_of_it_meanwhile(service: Router, connection: psycopg.Connection, visit: Visitor) -> None:
    """Routed between a look and a press, or the service gone: the page says so."""
    (event,) = park(connection, "endless")
    page = await visit(f"{service.address}/parked?id={event}")
    connection.execute("update webhook_events set event_date = now() where event_id = 'endless1'")
    connection.execute("update webhook_events set parked_until = null")
    wait_for(
        lambda: connection.execute("select from router.parked_events").fetchone() is None, what="its way into the inbox"
    )
    visit.forgive("404")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("status")).to_contain_text("None of these is parked any more.")
    await page.goto(service.address + "/parked")
    await expect(page.get_by_text("Nothing is parked.")).to_be_visible()
    (other,) = park(connection, "other")
    await page.goto(f"{service.address}/parked?id={other}")
    visit.forgive(GONE)
    service.process.kill()
    service.process.wait(timeout=10)
    await page.get_by_role("button", name="Discard").click()
    await expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
