"""The overview in a real browser: what it shows, and that it goes on showing it."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession, web
from playwright.async_api import Page, Request, expect

from consumer.domain.overview import Second
from consumer.domain.text import printable
from tests.browser import GONE, PHONE, Visitor, axe, fits, move, until_true
from tests.ops.feeding import fed
from tests.ports import free_port
from tests.processes import Router, clean_environment, running
from tests.unit.test_ops_overview import HOSTILE, STRANGE
from tests.waiting import PATIENCE, await_for

PAGES = ("", "parked", "event", "deliveries")
SOON = PATIENCE * 1000
"""Milliseconds."""
HIDDEN = """(state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""What a browser tells a page when another tab is chosen; one without windows never does."""


async def live(page: Page) -> None:
    """Waits until it hears of the service."""
    await expect(page.locator("#connection")).to_have_text("live", timeout=SOON)


async def until(page: Page, selector: str, text: str) -> None:
    """Waits until the first such element reads like this, which is a regular expression."""
    await expect(page.locator(selector).first).to_have_text(re.compile(text), timeout=SOON)


async def drawing(page: Page, chart: str) -> str:
    """The lines of a chart, when there are some."""
    line = page.locator(f"#{chart} path.line").first
    await expect(line).to_have_attribute("d", re.compile(r"L"), timeout=SOON)
    return str(await line.get_attribute("d"))


@contextlib.contextmanager
def at(port: int, dsn: str) -> Iterator[Router]:
    """A service at the same address each time."""
    with running(dsn, "--sample-interval", "0.5", "--http-port", str(port)) as router:
        router.until_listening()
        yield router


async def test_charts_move_and_outlive_the_service(visit: Visitor, database: str) -> None:
    """The page draws what comes, second by second; it finds a service again that was killed and begins anew."""
    visit.forgive(GONE)
    port = free_port()
    with fed(database):
        with at(port, database) as router:
            page = await visit(f"http://127.0.0.1:{port}/")
            await live(page)
            before = [await drawing(page, chart) for chart in ("throughput", "latency")]
            await await_for(lambda: moved(page, before), what="charts that move")
            await until(page, "#rate .value", r"^[1-9]\d")
            await until(page, "#p99 .value", r"^[\d.]+ m?s$")
            await until(page, "#throughput .legend", r"hot [1-9]\d")
            await until(page, "#throughput svg title", r"^Throughput in events a second, by path, the last \d+ min$")
            await until(page, "#throughput svg desc", r"^hot: \d+ at last, between")
            await until(page, "#listener", "^up$")
            await until(page, "#doorbell-words", "^inserts ring it$")
            await until(page, "#ready", "^ready$")
            replica = await page.locator("#replica").inner_text()
            await until(page, "#replicas tbody th", f"^{re.escape(replica)} this one$")
            router.signal(signal.SIGKILL)
            router.stopped()
            await expect(page.locator("#connection")).to_have_text("not connected, trying again", timeout=SOON)
            await until(page, "#ready", "^not known$")
        with at(port, database):
            await live(page)
            await until(page, "#ready", "^ready$")
            before = [await drawing(page, chart) for chart in ("throughput", "latency")]
            await await_for(lambda: moved(page, before), what="charts that move again")
            assert await page.locator("#replica").inner_text() != replica
            await until(page, "#replicas tbody th", "this one$")


async def moved(page: Page, before: list[str]) -> bool:
    """Whether both charts are others than before."""
    now = [await drawing(page, chart) for chart in ("throughput", "latency")]
    return all(lines != earlier for lines, earlier in zip(now, before, strict=True))


async def test_a_hidden_page_and_a_silent_service(service: Router, visit: Visitor) -> None:
    """A hidden page has no connection, and has one again when it is shown; a service that is silent is told of."""
    page = await visit(service.address + "/")
    await live(page)
    begun, ended = list[Request](), list[Request]()
    page.on("request", lambda request: begun.append(request) if request.url.endswith("/stream") else None)
    page.on("requestfailed", lambda request: ended.append(request) if request.url.endswith("/stream") else None)
    await page.evaluate(HIDDEN, "hidden")
    await await_for(lambda: length(ended), what="the end of the stream")
    assert not begun
    await page.evaluate(HIDDEN, "visible")
    await await_for(lambda: length(begun), what="another stream")
    await live(page)
    service.signal(signal.SIGSTOP)
    try:
        await expect(page.locator("#connection")).to_have_text("not connected, trying again", timeout=SOON)
    finally:
        service.signal(signal.SIGCONT)
    await live(page)


async def length(found: list[Request]) -> int:
    """Of them."""
    return len(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_can_be_read(scheme: str, service: Router, visit: Visitor) -> None:
    """By whom axe-core speaks for, and on a phone, where no page is wider than the window; times are the reader's."""
    assert scheme in ("light", "dark")
    with fed(service.database):
        for name in PAGES:
            page = await visit(f"{service.address}/{name}", scheme=scheme, zone="Asia/Kolkata")  # type: ignore[arg-type]
            if name == "":
                await live(page)
                await drawing(page, "throughput")
                counted = page.locator("#counted time")
                await expect(counted).to_have_attribute("title", re.compile(r"^20\d\d-.* UTC$"), timeout=SOON)
                utc, local = str(await counted.get_attribute("title")), await counted.inner_text()
                assert (int(local[-5:-3]) - int(utc[14:16])) % 60 == 30  # minutes
            await axe(page)
            background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (int(re.findall(r"\d+", background)[0]) < 100) is (scheme == "dark")
            await page.set_viewport_size({"width": 360, "height": 740})
            await fits(page)
        page = await visit(service.address + "/", scheme=scheme, size=PHONE)  # type: ignore[arg-type]
        await live(page)
        await drawing(page, "throughput")
        await fits(page)
        await axe(page)


async def test_keyboard_and_motion(service: Router, visit: Visitor) -> None:
    """Everything can be reached and chosen by keys, and is seen to be; nothing moves for whom that is too much."""
    page = await visit(service.address + "/", still=True)
    await live(page)
    assert await move(page, "Tab") == "To the content"
    await page.keyboard.press("Enter")
    await until_true(page, "document.activeElement.id === 'main'")
    found = [await move(page, "Shift+Tab")]
    while found[-1] != "webhook-router":
        found.append(await move(page, "Shift+Tab"))
    assert found == ["Deliveries", "Event", "Parked", "Overview", "webhook-router"]
    await page.get_by_text("15 min", exact=True).wait_for()  # what is not shown yet takes no focus
    await page.locator("input[name=minutes]:checked").focus()
    await page.keyboard.press("ArrowRight")
    await until_true(page, "document.querySelector('input[name=minutes]:checked').value === '15'")
    breath = "getComputedStyle(document.getElementById('connection'), '::before').animationName"
    assert await page.evaluate(breath) == "none"
    await page.emulate_media(reduced_motion="no-preference")
    assert await page.evaluate(breath) != "none"
    parked = page.get_by_role("link", name="Parked", exact=True).first
    await parked.focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/parked")


async def test_without_scripts(service: Router, visit: Visitor) -> None:
    """Everything but the charts is there, and is shown anew by itself."""
    page = await visit(service.address + "/", scripts=False)
    await until(page, "#ready", "^ready$")
    await until(page, "#listener", "^up$")
    await until(page, "#waiting .value", r"^(0|–)$")
    await until(page, "#connection", "^$")
    assert await page.locator("meta[http-equiv=refresh]").count() == 1
    await fits(page)


@contextlib.asynccontextmanager
async def proxied(address: str, prefix: str) -> AsyncIterator[str]:
    """The same service under a prefix, which a proxy takes away."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path_qs.removeprefix(prefix)
        async with session.get(address + path, headers={"Accept": request.headers.get("Accept", "*/*")}) as answer:
            passed = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            passed.headers["Content-Security-Policy"] = answer.headers["Content-Security-Policy"]
            await passed.prepare(request)
            with contextlib.suppress(ConnectionError):  # the browser has closed its page
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
            return passed

    app = web.Application()
    app.add_routes([web.get(prefix + "/{path:.*}", pass_on)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    async with ClientSession(auto_decompress=False) as session:
        site = web.TCPSite(runner, "127.0.0.1", port := free_port())
        await site.start()
        try:
            yield f"http://127.0.0.1:{port}{prefix}"
        finally:
            await runner.cleanup()


async def test_below_a_prefix(service: Router, visit: Visitor) -> None:
    """All addresses are relative: style, scripts, the stream and the other pages are found there as well."""
    async with proxied(service.address, "/tools/router") as address:
        page = await visit(address + "/")
        await live(page)
        for name in PAGES[1:]:
            await page.locator(f"header a[href={name}]").click()
            await page.wait_for_url(f"{address}/{name}")
        await page.locator("a.brand").click()
        await page.wait_for_url(f"{address}/")
        await live(page)
        await page.close()  # before the proxy ends


async def test_text_of_strangers(service: Router, visit: Visitor) -> None:
    """What the stream tells is shown as it is written, with what is not to be seen as an escape; none of it is run."""
    visit.forgive("favicon.ico")  # of the picture, which says nothing of its own
    page = await visit(service.address + "/static/icon.svg")
    told = {"overview": replace(STRANGE, source="postgres"), "seconds": [Second(at=1_700_000_000, routed={HOSTILE: 1})]}
    message = b"event: now\ndata: " + orjson.dumps(told, default=list) + b"\n\n"
    await page.route("**/stream", lambda route: route.fulfill(body=message, content_type="text/event-stream"))
    await page.goto(service.address + "/")
    shown = re.escape(printable(HOSTILE))
    await until(page, "#channels tbody th", f"^{shown}$")
    await until(page, "#providers tbody th", f"^{shown}$")
    await until(page, "#replicas tbody th", f"^{shown} this one$")
    await until(page, "#troubles .what", f"^{shown}$")
    await until(page, "#troubles .details", f" · {shown}: {shown}$")
    await until(page, "#because", shown)
    await until(page, "#seen-by", shown)
    assert await page.locator("main script").count() == 0


async def test_demo(visit: Visitor, tmp_path: Path) -> None:
    """It says where the page is, which shows the two events that its feed has for it; they can be tried again there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "demo"],
        env={**clean_environment(), "TMPDIR": str(tmp_path), "WEBHOOK_ROUTER_OPS_TOKEN": "of-somebody-else-altogether"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = next(line.strip() for line in process.stdout if re.fullmatch(r"  http://[0-9.:]+/\n", line))
        page = await visit(address)
        await live(page)
        await until(page, "#parked .value", r"^[2-9]$")
        await page.close()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
