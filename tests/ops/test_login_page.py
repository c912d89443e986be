"""The log-in as a real browser does it: over plain HTTP and on this machine, and with pages of another site."""

import os
import shutil

import pytest
from aiohttp import web
from playwright.async_api import Browser, async_playwright, expect

from consumer.adapters.web.ops.site import Site
from tests.ops.serving import TOKEN, served

HOSTS = "--host-resolver-rules=MAP *.example 127.0.0.1"


def chromium() -> str:
    """Where it is."""
    found = shutil.which("chromium")
    if found is None:
        assert os.environ.get("CI") != "true", "no Chromium on this machine"
        pytest.skip("no Chromium on this machine (Debian's package: chromium)")
    return found


async def other_site(request: web.Request) -> web.Response:
    """A page of somebody else, with a link and a form that lead to us."""
    to = request.query["to"]
    text = f"""<a href="{to}/parked?state=dead">a link</a>
        <form method="post" action="{to}/login"><input name="token" value="{TOKEN}"><button>a form</button></form>"""
    return web.Response(text=text, content_type="text/html")


async def goes_in_and_out(browser: Browser, address: str, other: str) -> None:
    """All that somebody does with it."""
    context = await browser.new_context(java_script_enabled=False)
    context.set_default_timeout(30_000)
    page = await context.new_page()
    await page.goto(f"{address}/parked?state=dead")
    await page.get_by_label("Token").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    await page.get_by_label("Token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await expect(page).to_have_title("Parked · webhook-router")
    assert page.url == f"{address}/parked?state=dead"
    (cookie,) = await context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("webhook_router_ops", True, "Strict")
    await page.goto(other)
    await page.get_by_text("a link").click()
    await expect(page).to_have_title("Parked · webhook-router")
    assert page.url == f"{address}/parked?state=dead"
    await page.get_by_role("button", name="Log out").click()
    await expect(page).to_have_title("Log in · webhook-router")
    assert await context.cookies() == []
    await page.goto(other)
    await page.get_by_role("button", name="a form").click()
    await expect(page.get_by_role("alert")).to_contain_text("from a page of another origin")
    assert await context.cookies() == []
    await page.goto(other)
    await page.get_by_text("a link").click()
    await page.wait_for_url("**/login?next=**")
    await page.get_by_label("Token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await expect(page).to_have_title("Parked · webhook-router")
    await context.close()


async def test_a_log_in_by_a_browser() -> None:
    """Without scripts. A link from another site leads in without a second log-in; a form of one does not.

    Over plain HTTP browsers do not say `Sec-Fetch-Site`, so that the origin of the form has to be told.
    """
    site = Site(title="app", actions=True, token=TOKEN)

    async def parked(_: web.Request) -> web.Response:
        return site.render("failed.html", heading="Parked", problem="none", advice="")

    routes = [web.get("/parked", site.page(parked)), web.get("/other", other_site)]
    async with served(site, *routes) as here, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage", HOSTS], timeout=60_000
        )
        port = here.address.rpartition(":")[2]
        for host in ("ops.example", "localhost"):
            address = f"http://{host}:{port}"
            await goes_in_and_out(browser, address, f"http://evil.example:{port}/other?to={address}")
        await browser.close()
