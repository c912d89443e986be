"""A real browser before the pages: Debian's Chromium, driven by Playwright, and what no page may do in it."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Error, Page, Request, async_playwright

from tests.waiting import await_for

CLOSING_SECONDS = 60
DESK = (1280, 900)
PHONE = (360, 740)
FLAGS = (
    "--no-sandbox",  # which root needs
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
)
WIDEST = """() => [...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .filter((e) => !e.closest(".scroll *"))
    .map((e) => `${e.tagName.toLowerCase()}.${e.getAttribute("class") ?? ""}`)"""
SERIOUS = ("serious", "critical")
GONE = "ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)"
"""What the console has when a service ends: of requests that come later, and of those that it was answering."""


def executable() -> str:
    """Where Chromium is; skips the test where it is not, and in CI fails it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "no Chromium on this machine (Debian's package: chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """A browser without any windows.

    One that has hung holds nobody up in the end: it ends with this process, as does its driver.
    """
    path = executable()
    playwright = await async_playwright().start()
    try:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=60_000)
        try:
            yield browser
        finally:
            async with asyncio.timeout(CLOSING_SECONDS):
                await browser.close()
    finally:
        async with asyncio.timeout(CLOSING_SECONDS):
            await playwright.stop()


class Visitor:
    """Somebody before a browser. What a page must not do to them is noted, and raised at the end by `leave`:

    errors of scripts and of the console (what the Content-Security-Policy refuses is among them), dialogs that a script
    opens, and requests to another host than that of the page.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._forgiven: list[re.Pattern[str]] = []
        self._hosts: set[str] = set()
        self.problems: list[str] = []

    async def __call__(
        self,
        address: str,
        *,
        scheme: Literal["light", "dark"] = "light",
        size: tuple[int, int] = DESK,
        still: bool = False,
        zone: str = "Africa/Casablanca",
        scripts: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Page:
        """Opens a page in a window of its own, which knows no cookies.

        Args:
            address: http://host:port/page.
            scheme: what the reader's system prefers.
            size: width and height of the window; a phone's is also touched.
            still: whether the reader prefers reduced motion.
            zone: the reader's time zone.
            scripts: whether scripts run.
            headers: of each request.
        """
        self._hosts.add(urlsplit(address).netloc)
        context = await self._browser.new_context(
            color_scheme=scheme,
            viewport={"width": size[0], "height": size[1]},
            has_touch=size[0] < 500,
            is_mobile=size[0] < 500,
            reduced_motion="reduce" if still else "no-preference",
            timezone_id=zone,
            locale="en-GB",
            java_script_enabled=scripts,
            extra_http_headers=headers or {},
        )
        self._contexts.append(context)
        context.set_default_timeout(30_000)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._note(f"script: {error.error}"))
        context.on("request", self._request)
        context.on("dialog", self._dialog)
        page = await context.new_page()
        await page.goto(address)
        return page

    def forgive(self, pattern: str) -> None:
        """Problems of this kind are part of the test, e.g. r"ERR_CONNECTION_REFUSED"."""
        self._forgiven.append(re.compile(pattern))

    async def leave(self) -> None:
        """Closes all windows; AssertionError if anything was noted."""
        for context in self._contexts:
            async with asyncio.timeout(CLOSING_SECONDS):
                await context.close()
        found = [said for said in self.problems if not any(known.search(said) for known in self._forgiven)]
        assert not found, "\n".join(found)

    def _note(self, said: str) -> None:
        self.problems.append(said)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console: {message.text} ({message.location.get('url')})")

    def _request(self, request: Request) -> None:
        where = urlsplit(request.url)
        if where.scheme not in ("about", "blob", "data") and where.netloc not in self._hosts:
            self._note(f"request to {request.url}")

    async def _dialog(self, dialog: Dialog) -> None:
        self._note(f"dialog: {dialog.message}")
        with contextlib.suppress(Error):  # the page has gone meanwhile
            await dialog.dismiss()


async def axe(page: Page, *rules: str) -> None:
    """What axe-core calls serious or critical is an AssertionError that names the rule and the elements.

    With `rules` only those are looked at, which takes a fraction of the time.
    """
    done = await Axe().run(page, options={"runOnly": rules} if rules else None)
    found = [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in done.response["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
    assert not found, "\n".join(found)


async def fits(page: Page) -> None:
    """The page is no wider than the window; only what is in `.scroll` may be scrolled sideways."""
    width, window = await page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window, f"{width} px wide in a window of {window} px: {await page.evaluate(WIDEST)}"


async def focused(page: Page) -> str:
    """Text of the element that has the keyboard's focus, which must be seen to have it."""
    text, outline = await page.evaluate(
        """() => {
            const e = document.activeElement;
            const style = getComputedStyle(e);
            return [e.textContent.trim() || e.getAttribute("aria-label") || e.getAttribute("name") || e.tagName,
                    style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
        }"""
    )
    assert outline, f"{text!r} has the focus, which nothing shows"
    return str(text)


async def until_true(page: Page, expression: str) -> None:
    """Waits until this is true in the page: a busy browser acts on a key some time after it has taken it.

    Playwright's own `wait_for_function` evaluates a string in the page, which the Content-Security-Policy refuses.
    """

    async def is_true() -> bool:
        return bool(await page.evaluate(expression))

    await await_for(is_true, what=expression)


async def move(page: Page, key: str) -> str:
    """Moves the keyboard's focus; returns the text of the element that has it then, as `focused` does."""
    before = await page.evaluate_handle("document.activeElement")
    await page.keyboard.press(key)

    async def has_moved() -> bool:
        return bool(await page.evaluate("before => document.activeElement !== before", before))

    await await_for(has_moved, what=f"{key} to move the focus")
    return await focused(page)


async def texts(page: Page, selector: str) -> Sequence[str]:
    """What is read in all elements of a selector, white space apart."""
    found: list[Any] = await page.locator(selector).all_inner_texts()
    return [" ".join(str(text).split()) for text in found]


async def picture(page: Page, file: Path) -> None:
    """What the window shows, as a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=file, animations="disabled", caret="hide")
