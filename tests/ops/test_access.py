"""Who may see the pages, and who may change something by them."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from aiohttp import web
from multidict import CIMultiDict

from consumer.adapters.web.ops import access, site, stream
from consumer.adapters.web.ops.access import Asked, Seal, network, place, why_stranger
from consumer.adapters.web.ops.site import Site
from consumer.adapters.web.server import Limits
from consumer.domain.errors import Misconfigured, Rejected, Transient
from consumer.domain.facts import Fact, PageFailed
from tests.ops.serving import TOKEN, served

HOSTILE = "<script>alert(1)</script>\u202e"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def asked(
    *,
    peer: str = "127.0.0.1",
    hosts: Sequence[str] = ("localhost:9464",),
    version: tuple[int, int] = (1, 1),
    headers: Mapping[str, str] | None = None,
) -> Asked:
    """A request of this machine, but for what is given."""
    return Asked(method="GET", peer=peer, hosts=hosts, version=version, headers=CIMultiDict(headers or {}))


def routes(site: Site, *, within: float = 60.0) -> Sequence[web.AbstractRouteDef]:
    """A page, an action, and what fails."""

    async def page(_: web.Request) -> web.Response:
        return site.render("failed.html", heading="Events", problem="none", advice="")

    async def act(request: web.Request) -> web.Response:
        count = (await request.post())["count"]
        assert isinstance(count, str)
        return web.json_response({"said": f"{count} events are tried again"})

    async def fails(request: web.Request) -> web.Response:
        match request.query["how"]:
            case "transient":
                raise Transient(f"database: {HOSTILE}")
            case "fatal":
                raise Misconfigured("the role may not do this")
            case "rejected":
                raise Rejected("this is no channel")
            case "wrong":
                raise web.HTTPBadRequest(text="there is no such state")
            case "slow":
                await asyncio.Event().wait()
            case "elsewhere":
                raise web.HTTPSeeOther("parked?state=dead")
        raise KeyError("what somebody wrote")

    return [
        web.get("/", site.page(page)),
        web.get("/event", site.page(page)),
        web.get("/fails", site.page(fails, within=within)),
        web.post("/parked/retry", site.action(act)),
        web.post("/fails", site.action(fails)),
    ]


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["localhost:9464", "LOCALHOST", "localhost.:80", "127.0.0.1:9464", "127.1.2.3", "[::1]:1"]
)
def test_this_machine_is_let_in_without_a_token(peer: str, host: str) -> None:
    """By both kinds of addresses; as `ssh -L` and `kubectl port-forward` come, too."""
    assert why_stranger(asked(peer=peer, hosts=[host])) is None


@pytest.mark.parametrize(
    ("request_", "because"),
    [
        (asked(peer="10.0.0.7"), "another machine"),
        (asked(peer="::ffff:10.0.0.7"), "another machine"),
        (asked(peer="fe80::1%eth0"), "another machine"),
        (asked(peer=""), "another machine"),
        (asked(version=(1, 0)), "HTTP/1.0"),
        *[
            (asked(headers={name: "10.0.0.7"}), "a proxy")
            for name in ("forwarded", "X-Forwarded-For", "X-Forwarded-Host", "x-forwarded-proto", "X-Real-IP", "Via")
        ],
        *[
            (asked(hosts=hosts), "does not begin with localhost")
            for hosts in (
                [],
                [""],
                ["rebound.example"],
                ["rebound.example:9464"],
                ["localhost.rebound.example"],
                ["127.0.0.1.rebound.example"],
                ["localhost", "rebound.example"],
                ["localhost@rebound.example"],
                ["0.0.0.0:9464"],
                ["10.0.0.7"],
                ["127.0.0.1:9464:9464"],
                ["[::2]"],
                ["localhost:x"],
            )
        ],
    ],
    ids=str,
)
def test_without_a_token_others_are_not_let_in(request_: Asked, because: str) -> None:
    """Machines, proxies, and pages of other sites whose name has become that of this machine."""
    assert because in (why_stranger(request_) or "")


@pytest.mark.parametrize(
    ("asked_for", "sent_to"),
    [
        ("", ""),
        ("parked", "parked"),
        ("parked?state=dead&channel=a%20b", "parked?state=dead&channel=a%20b"),
        ("?x=1", "?x=1"),
        ("//evil.example", ""),
        ("/parked", ""),
        ("https://evil.example", ""),
        ("parked/../x", ""),
        ("parked#x", ""),
        ("javascript:alert(1)", ""),
        ("parked\r\nSet-Cookie: x=1", ""),
        ("parked?x=\r\nSet-Cookie: x=1", ""),
        ("parked\\evil", ""),
        ("login", ""),
        ("stream", ""),
        ("parked?" + "x" * 3000, ""),
    ],
)
def test_a_log_in_leads_to_pages_of_ours_alone(asked_for: str, sent_to: str) -> None:
    """With their query, and nowhere else."""
    assert place(asked_for) == sent_to


def test_a_cookie_holds_for_its_time_and_its_token() -> None:
    """In every process that has the token; not a second longer, not for another token, and not if it was changed."""
    value = Seal(TOKEN).cookie(2000)
    again, other = Seal(TOKEN), Seal(TOKEN + "!")
    cookies = [f"a=b; webhook_router_ops={value}"]
    assert again.until(cookies, now=1999) == 2000
    assert again.until(cookies, now=2000) is None
    assert other.until(cookies, now=1999) is None
    assert TOKEN not in value
    stale = Seal(TOKEN).cookie(1000)
    both = [f"webhook_router_ops={stale}; webhook_router_ops={value}"]  # of two prefixes
    assert again.until(both, now=1500) == 2000
    mac = value.partition(".")[2]
    for wrong in ("", "2000", "2000.", f"3000.{mac}", f"02000.{mac}", f"2000.{mac.upper()}", f"٢٠٠٠.{mac}", f".{mac}"):
        assert again.until([f"webhook_router_ops={wrong}"], now=0) is None, wrong
    assert again.until([f"other={value}", f"xwebhook_router_ops={value}"], now=0) is None


def test_attempts_of_a_machine_are_counted_together() -> None:
    """However many addresses of IPv6 it has."""
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("::ffff:10.0.0.7") == network("10.0.0.7") != network("10.0.0.8")
    assert network("") == ""


async def test_who_is_turned_away_reads_what_to_set() -> None:
    """A person gets a page, a program words; neither learns which pages or events there are, or any name."""
    closed = Site(title="app on db.internal", actions=True)
    async with served(closed, *routes(closed)) as browser:
        assert (await browser.get("/")).status == 200
        for path in ("/", "/event?channel=a&event_id=1", "/nowhere", "/login"):
            told = await browser.get(path, Host="rebound.example")
            assert (told.status, told.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
            assert "set WEBHOOK_ROUTER_OPS_TOKEN_FILE or WEBHOOK_ROUTER_OPS_TOKEN" in told.text
            assert "db.internal" not in told.text
        told = await browser.ask("GET", "/", headers={"X-Forwarded-For": "10.0.0.7"})
        assert told.headers["Content-Type"].startswith("text/plain")
        assert "come through a proxy" in told.text
        for method, path in (("POST", "/parked/retry"), ("POST", "/login"), ("POST", "/logout")):
            assert (await browser.ask(method, path, headers={"Host": "rebound.example"})).status == 403
        assert (await browser.ask("GET", "/static/site.css", headers={"Host": "rebound.example"})).status == 200
    opened = Site(title="app", actions=True, token=TOKEN)  # what they were told to do
    async with served(opened, *routes(opened)) as browser:
        assert (await browser.ask("GET", "/", headers={"Host": "ops.example", **BEARER})).status == 200


async def test_old_proxies_and_the_other_loopback() -> None:
    """HTTP/1.0, as nginx long spoke it unless told otherwise, is turned away, and so is what names another host in
    place of a path; ::1 is this machine."""
    closed = Site(title="app", actions=False)
    async with served(closed, *routes(closed)) as browser:
        port = int(browser.address.rpartition(":")[2])
        for line, status in (
            (b"GET / HTTP/1.0", b" 403 "),
            (b"GET http://rebound.example/ HTTP/1.1", b" 403 "),
            (b"GET http://localhost/ HTTP/1.1", b" 200 "),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(line + b"\r\nHost: localhost\r\n\r\n")
            assert status in await asyncio.wait_for(reader.readline(), 30), line
            writer.close()
            await writer.wait_closed()
    async with served(closed, *routes(closed), host="::1") as browser:
        assert (await browser.get("/")).status == 200


@pytest.mark.parametrize(
    ("headers", "because"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, None),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://ops.example"}, None),  # the proxy has renamed us
        ({"Origin": "http://{here}"}, None),
        ({"Origin": "https://ops.example", "X-Forwarded-Host": "ops.example"}, None),
        ({"Origin": "https://ops.example:443", "Host": "ops.example"}, None),
        ({"Origin": "HTTP://OPS.example:8080", "Host": "ops.EXAMPLE:8080"}, None),
        ({}, "does not say from which page"),
        ({"Origin": "null"}, "of another origin"),
        ({"Origin": ""}, "of another origin"),
        ({"Origin": "https://evil.example"}, "of another origin"),
        ({"Origin": "https://{here}.evil.example"}, "of another origin"),
        ({"Origin": "http://127.0.0.1:1"}, "of another origin"),
        ({"Origin": "http://ops.example", "Host": "ops.example:8080"}, "of another origin"),
        ({"Origin": "https://evil.example", "X-Forwarded-Host": "ops.example"}, "of another origin"),
        ({"Origin": "http://{here}@evil.example"}, "of another origin"),
        ({"Origin": "file://"}, "of another origin"),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://{here}"}, "other origins may not"),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://{here}"}, "other origins may not"),
        ({"Sec-Fetch-Site": "none"}, "of another origin"),
        ({"Sec-Fetch-Site": "same-origin", "X-Webhook-Router": ""}, "X-Webhook-Router: 1 is missing"),
        ({"Sec-Fetch-Site": "same-origin", "X-Webhook-Router": "0"}, "X-Webhook-Router: 1 is missing"),
        ({"Origin": "http://{here}", "X-Webhook-Router": "", "Content-Type": "text/plain"}, "is missing"),
        ({"Origin": "null", "X-Webhook-Router": "", "Content-Type": "multipart/form-data; boundary=x"}, "is missing"),
    ],
    ids=repr,
)
async def test_only_our_own_pages_change_anything(headers: dict[str, str], because: str | None) -> None:
    """The header that a form cannot send, and the same origin; each lack is said in words."""
    seal = Seal(TOKEN)
    open_ = Site(title="app", actions=True, token=TOKEN)
    async with served(open_, *routes(open_)) as browser:
        here = browser.address.removeprefix("http://")
        cookie = f"webhook_router_ops={seal.cookie(2_000_000_000)}"
        given = {"X-Webhook-Router": "1", "Cookie": cookie} | headers
        given = {name: value.replace("{here}", here) for name, value in given.items()}
        told = await browser.ask("POST", "/parked/retry", data="count=3", headers={**FORM, **given})
        if because is None:
            assert (told.status, told.text) == (200, '{"said": "3 events are tried again"}')
        else:
            assert told.status == 403
            assert because in told.text


async def test_what_else_an_action_asks_for() -> None:
    """To be let in, that anything may be changed here at all, and a POST; a program shows its token in place of a
    page that it comes from, but not for the page of somebody else."""
    site_, quiet = Site(title="app", actions=True, token=TOKEN), Site(title="app", actions=False)
    ours = {"X-Webhook-Router": "1", **FORM}
    async with served(site_, *routes(site_)) as browser:

        async def act(*, method: str = "POST", **headers: str) -> tuple[int, str]:
            told = await browser.ask(method, "/parked/retry", data="count=1", headers={**ours, **headers})
            return told.status, told.text

        assert (await act(Origin=browser.address))[0] == 401
        assert (await act(**BEARER))[0] == 200
        assert (await act(**BEARER, Origin="https://evil.example"))[0] == 403
        assert (await act(**BEARER, **{"X-Webhook-Router": "2"}))[0] == 403
        assert (await act(method="GET", **BEARER))[0] == 405
    async with served(quiet, *routes(quiet)) as browser:
        told = await browser.ask(
            "POST", "/parked/retry", data="count=1", headers={**ours, "Sec-Fetch-Site": "same-origin"}
        )
        assert (told.status, told.text) == (
            403,
            "nothing can be changed here unless WEBHOOK_ROUTER_OPS_ACTIONS is true\n",
        )
    asks_wrongly = asked(headers={"X-Webhook-Router": "1", "Sec-Fetch-Site": "same-origin"})
    assert access.why_not(asks_wrongly, actions=True, by_bearer=False) == "only a POST changes anything"


@pytest.mark.parametrize("dest", ["empty", "script", "iframe", "image"])
async def test_pages_of_others_load_nothing(dest: str) -> None:
    """Neither read nor embedded by them, though they run on this machine; a link leads here."""
    site_ = Site(title="app", actions=True)
    async with served(site_, *routes(site_)) as browser:
        for origin in ("cross-site", "same-site"):
            mode = "navigate" if dest == "iframe" else "no-cors"
            loaded = {"Sec-Fetch-Site": origin, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
            assert (await browser.get("/", **loaded)).status == 403
        followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert (await browser.get("/", **followed)).status == 200


async def test_every_answer_has_the_headers_that_keep_browsers_in_check() -> None:
    """Pages, texts, errors, redirects, files, and what there is not."""
    for token in (TOKEN, None):
        site_ = Site(title="app", actions=True, token=token)
        async with served(site_, *routes(site_)) as browser:
            for headers in ({}, BEARER):
                for method, path in (
                    ("GET", "/"),
                    ("HEAD", "/"),
                    ("OPTIONS", "/"),
                    ("POST", "/"),
                    ("GET", "/nowhere"),
                    ("GET", "/login"),
                    ("POST", "/login"),
                    ("POST", "/logout"),
                    ("GET", "/static/site.css"),
                    ("GET", "/static/none"),
                    ("GET", "/static/..%2f..%2f..%2f..%2fconfig.py"),
                    ("POST", "/parked/retry"),
                    ("GET", "/fails?how=transient"),
                    ("GET", "/fails?how=elsewhere"),
                    ("GET", "/fails?how=unforeseen"),
                ):
                    told = await browser.ask(method, path, headers=headers)
                    policy = told.headers["Content-Security-Policy"]
                    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), path
                    assert "unsafe" not in policy
                    assert "frame-ancestors 'none'" in policy
                    assert "base-uri 'none'" in policy
                    wanted = {
                        "Cache-Control": "no-store",
                        "X-Content-Type-Options": "nosniff",
                        "X-Frame-Options": "DENY",
                        "Referrer-Policy": "same-origin",
                        "Cross-Origin-Opener-Policy": "same-origin",
                        "Cross-Origin-Resource-Policy": "same-origin",
                    }
                    assert {name: told.headers.get(name) for name in wanted} == wanted, path
                    assert not any(name.startswith("Access-Control-") for name in told.headers)
                    if path.startswith("/static/."):
                        assert told.status == 404


async def test_errors_are_told_in_words() -> None:
    """What was foreseen with its reason, all else by its type and in the log alone; nothing of it is markup."""
    facts: list[Fact] = []
    site_ = Site(title="app", actions=True, observer=facts.append)
    async with served(site_, *routes(site_, within=0.2)) as browser:
        told = await browser.get("/fails?how=transient")
        assert (told.status, told.headers["Retry-After"]) == (503, "5")
        assert "database: &lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in told.text
        assert "try again" in told.text
        assert (await browser.get("/fails?how=fatal")).status == 500
        assert (await browser.get("/fails?how=rejected")).status == 400
        wrong = await browser.get("/fails?how=wrong")
        assert (wrong.status, "there is no such state" in wrong.text) == (400, True)
        missing = await browser.get("/nowhere")
        assert (missing.status, "there is no such page" in missing.text) == (404, True)
        sent = await browser.get("/fails?how=elsewhere")
        assert (sent.status, sent.headers["Location"]) == (303, "parked?state=dead")
        wrongly = await browser.ask("POST", "/")
        assert (wrongly.status, wrongly.headers["Allow"]) == (405, "GET, HEAD")
        assert facts == []
        unforeseen = await browser.get("/fails?how=unforeseen")
        assert unforeseen.status == 500
        assert "somebody wrote" not in unforeseen.text
        assert "Traceback" not in unforeseen.text
        assert facts == [PageFailed(page="/fails", reason="KeyError")]
        ours = {"X-Webhook-Router": "1", "Sec-Fetch-Site": "same-origin"}
        act = await browser.ask("POST", "/fails?how=transient", headers={**ours, "Accept": "*/*"})
        assert (act.status, act.text) == (503, "database: <script>alert(1)</script>\\u202e\n")
        assert act.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert (await browser.get("/fails?how=slow")).status == 504


async def test_pages_that_wait_leave_connections_for_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a database that does not answer, no more pages than so many wait; others are told to come again."""
    monkeypatch.setattr(site, "AT_ONCE", 3)
    site_ = Site(title="app", actions=True)
    async with served(site_, *routes(site_)) as browser:
        waiting = [asyncio.create_task(browser.get("/fails?how=slow")) for _ in range(4)]
        done, others = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert [(task.result().status, task.result().headers["Retry-After"]) for task in done] == [(503, "5")]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def test_pages_and_streams_leave_connections_for_probes() -> None:
    """By their limits: of those of the listener, a fifth is never theirs."""
    assert Limits().most * 0.8 > site.AT_ONCE + stream.MOST
