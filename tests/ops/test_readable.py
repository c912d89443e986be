"""Pages, dialogs and messages in both schemes: axe-core finds nothing serious, and contrast enough everywhere."""

import psycopg
from playwright.async_api import Page, expect

from tests.browser import GONE, Visitor, axe
from tests.gateway.bodies import ENVIRONMENT
from tests.ops.feeding import fed
from tests.ops.serving import TOKEN
from tests.ops.test_overview_page import SOON, drawing, live, until
from tests.ops.test_parked_page import park
from tests.processes import running
from tests.waiting import wait_for


async def readable(page: Page, *rules: str) -> None:
    """In both schemes, of which the second one has other colours only."""
    await page.emulate_media(color_scheme="light")
    await axe(page, *rules)
    await page.emulate_media(color_scheme="dark")
    await axe(page, "color-contrast")


async def test_whatever_may_be_shown(visit: Visitor, database: str) -> None:
    """What no other test looks at: log-in, refusals, badges, both dialogs, outcomes, a full overview."""
    visit.forgive("status of (401|403|404)")
    visit.forgive(GONE)
    flags = ("--gateway", "--gateway-port", "0", "--sample-interval", "0.5", "--ops-actions")
    with running(database, *flags, env={**ENVIRONMENT, "WEBHOOK_ROUTER_OPS_TOKEN": TOKEN}) as router:
        router.until_listening()
        with psycopg.connect(database, autocommit=True) as connection:
            park(connection, "endless", 3)
            (dead, discarded) = park(connection, "other", 2, channel="whatsapp")
            connection.execute("update webhook_events set parked_until = 'infinity' where id = %s", [dead])
            connection.execute("update router.parked_events set discarded_at = now() where event_id = %s", [discarded])
        gateway = str(router.logged("webhook-router is running")[0]["gateway"])
        page = await visit(router.address + "/parked")
        await expect(page).to_have_title("Log in · webhook-router")
        await readable(page)
        await page.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("This is not the token.")
        await readable(page)
        await page.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page).to_have_title("Parked · webhook-router")
        await expect(page.locator("#found .badge.dead").first).to_be_visible()
        await readable(page, "color-contrast")
        for decision in ("Retry", "Discard"):
            await page.locator("#every").check()
            await page.get_by_role("button", name=f"{decision} selected").click()
            await expect(page.get_by_role("dialog")).to_be_visible()
            await readable(page, "color-contrast")
            await page.get_by_role("dialog").get_by_role("button", name=f"{decision} ").click()
            await expect(page.get_by_role("status")).to_be_focused()
        await readable(page, "color-contrast")
        with fed(database, gateway=gateway):
            await page.goto(f"{router.address}/nowhere")
            await expect(page.get_by_role("alert")).to_be_visible()
            await readable(page)
            unknown = "select from router.deliveries where has_unknown"
            with psycopg.connect(database, autocommit=True) as connection:
                wait_for(lambda: connection.execute(unknown).fetchone() is not None, what="one not understood")
            await page.goto(f"{router.address}/deliveries")
            await expect(page.locator("pre").first).to_be_visible()
            await readable(page, "color-contrast")
            await page.goto(router.address + "/")
            await live(page)
            await drawing(page, "throughput")
            await until(page, "#providers tbody th", "^whatsapp$")
            await readable(page, "color-contrast")
        router.process.kill()
        router.stopped()
        await expect(page.locator("#connection")).to_have_text("not connected, trying again", timeout=SOON)
        await readable(page, "color-contrast")
    with running(database) as router:
        router.until_ready()
        page = await visit(router.address + "/", headers={"Via": "1.1 somebody"})
        await expect(page).to_have_title("Not shown · webhook-router")
        await readable(page)
