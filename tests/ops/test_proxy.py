"""A service with a token, behind a proxy that puts all of it under a prefix, as docs/near-real-time.md says."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.docs.pages import DOCS, read
from tests.ops.serving import BROWSER, TOKEN
from tests.ports import free_port
from tests.processes import command, running
from tests.waiting import PATIENCE, await_for, wait_for

PREFIX = "/webhook-router"
AWAY = "postgresql://nobody@127.0.0.1:1/app"
"""A database that is not there: the first page, the stream and the log-in need none."""


@asynccontextmanager
async def plain_proxy(address: str) -> AsyncIterator[str]:
    """What the configuration in the documentation says, by hand."""

    async def hand_on(request: web.Request) -> web.StreamResponse:
        headers = dict(request.headers) | {"X-Forwarded-Proto": "http", "X-Forwarded-For": request.remote or ""}
        url = URL(address + request.raw_path.removeprefix(PREFIX), encoded=True)
        async with session.request(
            request.method, url, headers=headers, data=await request.read(), allow_redirects=False
        ) as answer:
            hop = {"Transfer-Encoding", "Content-Length", "Content-Encoding", "Connection"}
            response = web.StreamResponse(status=answer.status)
            response.headers.extend((name, value) for name, value in answer.headers.items() if name not in hop)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
        return response

    app = web.Application()
    app.router.add_route("*", PREFIX + "/{path:.*}", hand_on)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}{PREFIX}"
        finally:
            await runner.cleanup()


@asynccontextmanager
async def nginx(address: str, folder: Path) -> AsyncIterator[str]:
    """The server block of the documentation itself, without what is of TLS."""
    block = next(found for found in re.findall(r"```nginx\n(.*?)```", read(DOCS / "near-real-time.md"), re.DOTALL))
    port = free_port()
    block = re.sub(r"^ +ssl_.*\n", "", block, flags=re.MULTILINE).replace(
        "listen 443 ssl;", f"listen 127.0.0.1:{port};"
    )
    block = block.replace("http://127.0.0.1:9464", address)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; "
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n{block}\n}}\n"
    )
    process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
    try:

        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await await_for(answers, what=f"nginx, {(folder / 'nginx.conf').read_text()}")
        yield f"http://127.0.0.1:{port}{PREFIX}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("kind", ["plain", "nginx"])
async def test_behind_a_prefix(kind: str, tmp_path: Path) -> None:
    """Log-in, pages, files, stream and log-out keep to the prefix; what the service says by itself does not matter."""
    if kind == "nginx" and shutil.which("nginx") is None:
        pytest.skip("nginx is not on this machine")
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    environment = {"WEBHOOK_ROUTER_OPS_TOKEN_FILE": str(token), "WEBHOOK_ROUTER_OPS_ACTIONS": "true"}
    with running(AWAY, env=environment) as router:
        proxy = plain_proxy(router.address) if kind == "plain" else nginx(router.address, tmp_path)
        jar = aiohttp.CookieJar(unsafe=True)  # with addresses in place of names
        async with proxy as address, aiohttp.ClientSession(cookie_jar=jar, headers=BROWSER) as session:
            origin = address.removesuffix(PREFIX)
            async with session.get(f"{address}/?x=1") as asked:
                assert asked.status == 401
                text = await asked.text()
            assert not re.findall(r'(?:href|src|action)="/', text), "an address that is not relative"
            async with session.post(f"{address}/login", data={"token": "guess"}, headers={"Origin": origin}) as wrong:
                assert wrong.status == 401
            form = {"token": TOKEN, "next": "?x=1"}
            async with session.post(f"{address}/login", data=form, headers={"Origin": origin}) as shown:
                assert (shown.status, str(shown.url)) == (200, f"{address}/?x=1")
                text = await shown.text()
            assert [(cookie.key, cookie["path"]) for cookie in jar] == [("webhook_router_ops", PREFIX)]
            links = re.findall(r'(?:href|src|action)="([^"#]+)"', text)
            assert {"./", "static/site.css", "static/site.js", "logout"} <= set(links)
            for link in set(links) - {"logout", "parked", "event", "deliveries"}:
                async with session.get(URL(f"{address}/").join(URL(link))) as found:
                    assert found.status == 200, link
            async with session.get(f"{address}/stream") as stream, asyncio.timeout(PATIENCE):
                assert stream.status == 200
                lines = [await stream.content.readline() for _ in range(12)]
                assert [line for line in lines if line.startswith(b"event:")][:2] == [
                    b"event: history\n",
                    b"event: now\n",
                ]
            async with session.post(f"{address}/logout", headers={"Origin": origin}) as left:
                assert (left.status, str(left.url)) == (200, f"{address}/login")
            async with session.get(f"{address}/") as asked:
                assert asked.status == 401
        assert router.get("/livez")[0] == 200
        (line,) = wait_for(lambda: router.logged("wrong tokens were given for the pages"), what="a line")
        assert line["times"] == 1
        assert not any("guess" in str(line) or TOKEN in str(line) for line in router.lines)
        assert router.logged("a page has failed") == []
        router.process.terminate()
        assert router.stopped() == 0


async def test_each_page_without_the_database() -> None:
    """The overview needs none; the others say that it is away, and what is wrong in an address is told all the same."""
    with running(AWAY) as router:
        async with aiohttp.ClientSession(router.address, headers={"Accept": "text/html"}) as browser:

            async def shown(path: str) -> tuple[int, str]:
                async with browser.get(path) as answer:
                    return answer.status, unescape(await answer.text())

            status, text = await shown("/")
            assert (status, "not ready" in text) == (200, True)
            for path in ("/parked", "/event?text=x", "/event?channel=a&event_id=b", "/deliveries"):
                status, text = await shown(path)
                assert status == 503, path
                assert re.search(r'role="alert">database: connection failed: [^<]*Connection refused', text), text
            status, text = await shown("/parked-count?do=drop")
            assert (status, "'drop' is none of retry, discard</p>" in text) == (400, True)


def test_a_service_does_not_start_with_a_token_that_is_none() -> None:
    """It ends as with each wrong setting, and `config` shows that there is one and not which."""
    short = command("run", dsn=AWAY, env={"WEBHOOK_ROUTER_OPS_TOKEN": "tooshort-xyz"})
    assert short.returncode == 2
    assert "WEBHOOK_ROUTER_OPS_TOKEN has less than 16 characters" in short.stderr
    assert "tooshort" not in short.stderr
    shown = command("config", dsn=AWAY, env={"WEBHOOK_ROUTER_OPS_TOKEN": TOKEN})
    assert TOKEN not in shown.stdout + shown.stderr
    assert re.search(r"WEBHOOK_ROUTER_OPS_TOKEN[\s|]+\*{8} ", shown.stdout)
