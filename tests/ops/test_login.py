"""The log-in: a form, a cookie, and how often a token may be tried."""

import re
from pathlib import Path

import pytest
from aiohttp import web

from consumer.adapters.web.ops import door
from consumer.adapters.web.ops.access import SESSION
from consumer.adapters.web.ops.attempts import PEERS, Attempts
from consumer.adapters.web.ops.site import Site
from consumer.config import load, table
from consumer.domain.errors import Misconfigured
from consumer.domain.facts import Fact, TokensRefused
from tests.fakes import HandClock
from tests.ops.serving import BROWSER, TOKEN, Answer, served


def page(site: Site) -> web.AbstractRouteDef:
    """One that is shown to whoever is let in."""

    async def shown(_: web.Request) -> web.Response:
        return site.render("failed.html", heading="Events", problem="none", advice="")

    return web.get("/parked", site.page(shown))


def cookie(answer: Answer) -> str:
    """As a browser sends it back."""
    return answer.headers["Set-Cookie"].partition(";")[0]


async def test_a_log_in_holds_for_twelve_hours_across_restarts() -> None:
    """The form leads back to where somebody wanted to go; the cookie is none of scripts and of other sites."""
    clock = HandClock(1_800_000_000.0)
    site = Site(title="app on db.internal", actions=True, token=TOKEN, now=clock.monotonic)
    async with served(site, page(site)) as browser:
        asked = await browser.get("/parked?state=dead&channel=a%22b")
        assert (asked.status, asked.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "db.internal" not in asked.text
        assert '<form class="filters" method="post" action="login">' in asked.text
        assert 'name="next" value="parked?state=dead&amp;channel=a%22b"' in asked.text
        done = await browser.log_in(f" {TOKEN}\n", going="parked?state=dead&channel=a%22b")
        assert (done.status, done.headers["Location"]) == (303, "./parked?state=dead&channel=a%22b")
        assert re.fullmatch(
            r"webhook_router_ops=[0-9]{10}\.[0-9a-f]{64}; Max-Age=43200; HttpOnly; SameSite=Strict",
            done.headers["Set-Cookie"],
        )
        shown = await browser.get("/parked", Cookie=cookie(done))
        assert shown.status == 200
        assert 'action="logout"' in shown.text
        left = await browser.ask("POST", "/logout", headers={"Sec-Fetch-Site": "same-origin", "Cookie": cookie(done)})
        assert (left.status, left.headers["Location"]) == (303, "login")
        assert left.headers["Set-Cookie"] == "webhook_router_ops=; Max-Age=0; HttpOnly; SameSite=Strict"
    again = Site(title="app", actions=True, token=TOKEN, now=clock.monotonic)
    other = Site(title="app", actions=True, token=f"{TOKEN}!", now=clock.monotonic)
    async with served(again, page(again)) as browser, served(other, page(other)) as changed:
        assert (await browser.get("/parked", Cookie=cookie(done))).status == 200
        assert (await changed.get("/parked", Cookie=cookie(done))).status == 401
        known = await browser.get("/login?next=parked", Cookie=cookie(done))
        assert (known.status, known.headers["Location"]) == (303, "./parked")
        clock.now += SESSION
        assert (await browser.get("/parked", Cookie=cookie(done))).status == 401


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-Proto": "https"}, {"Forwarded": 'for=10.0.0.7;proto="https"'}, {"Origin": "https://ops.example"}],
    ids=str,
)
async def test_behind_tls_the_cookie_stays_there(headers: dict[str, str]) -> None:
    """However the proxy in front says it; or the browser does."""
    site = Site(title="app", actions=True, token=TOKEN)
    async with served(site) as browser:
        assert (await browser.log_in(headers=headers)).headers["Set-Cookie"].endswith("; Secure")


async def test_a_link_from_elsewhere_does_not_ask_again() -> None:
    """A strict cookie is kept back where a page of others leads; a step of our own makes up for it."""
    site = Site(title="app", actions=True, token=TOKEN)
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with served(site, page(site)) as browser:
        asked = await browser.get("/parked?state=dead&channel=a", **followed)
        assert (asked.status, asked.headers["Refresh"]) == (401, "0; url=login?next=parked?state%3Ddead%26channel%3Da")
        known = cookie(await browser.log_in())
        step = await browser.get("/login?next=parked?state%3Ddead%26channel%3Da", Cookie=known)
        assert (step.status, step.headers["Location"]) == (303, "./parked?state=dead&channel=a")
        assert "Refresh" not in (await browser.get("/login?next=parked", **followed)).headers


async def test_forms_of_other_sites_log_nobody_in() -> None:
    """Nor out; nor does what is no form."""
    site = Site(title="app", actions=True, token=TOKEN)
    async with served(site, page(site)) as browser:
        for headers in ({"Origin": "null"}, {"Origin": "https://evil.example"}, {}):
            for path in ("/login", "/logout"):
                told = await browser.ask("POST", path, data={"token": TOKEN}, headers={**BROWSER, **headers})
                assert told.status == 403
                assert "Set-Cookie" not in told.headers
        ours = {"Sec-Fetch-Site": "same-origin"}
        for kind, body in (
            ("application/json", b'{"token": "x"}'),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="token"; filename="f"\r\n',
            ),
            ("multipart/form-data", b"--"),
            ("application/x-www-form-urlencoded; charset=none", b"token=x"),
            ("application/x-www-form-urlencoded", b"token=%ff%fe\xff"),
        ):
            told = await browser.ask("POST", "/login", data=body, headers={**ours, "Content-Type": kind})
            assert told.status == 401, kind


async def test_tokens_are_tried_in_vain() -> None:
    """After ten wrong ones nobody learns any more whether one is right, neither by the form nor as a program; who is
    logged in does not notice. The log has a line a minute about it, without what was tried."""
    facts: list[Fact] = []
    site = Site(title="app", actions=True, token=TOKEN, observer=facts.append)
    async with served(site, page(site)) as browser:
        known = cookie(await browser.log_in())
        for number in range(5):
            told = await browser.log_in(f"wrong {number}", going="parked")
            assert (told.status, "This is not the token." in told.text) == (401, True)
            assert 'value="parked"' in told.text
            assert f"wrong {number}" not in told.text
            told = await browser.ask("GET", "/parked", headers={"Authorization": f"bearer wrong-{number}"})
            assert (told.status, told.text) == (401, "this is not the token\n")
        for limited in (
            await browser.log_in(),
            await browser.log_in("wrong"),
            await browser.ask("GET", "/parked", headers={"Authorization": f"Bearer {TOKEN}"}),
        ):
            assert limited.status == 429
            assert 1 <= int(limited.headers["Retry-After"]) <= 6
            assert re.search("[Tt]oo many wrong tokens have been given: try again in [1-6] s", limited.text)
            assert "Set-Cookie" not in limited.headers
        assert (await browser.get("/parked", Cookie=known)).status == 200
        assert (await browser.get("/parked", Cookie=known, Authorization="Bearer of-the-proxy")).status == 200
    assert facts == [TokensRefused(count=1)]


def test_how_often_tokens_may_be_tried() -> None:
    """Ten and then one each six seconds by one; sixty and then one a second by all; and nothing grows."""
    clock = HandClock()
    attempts = Attempts(clock.monotonic)
    for _ in range(10):
        assert attempts.wait("a") == 0
        attempts.failed("a")
    assert attempts.wait("a") == 6
    assert attempts.wait("b") == 0
    clock.now += 5.9
    assert attempts.wait("a") == pytest.approx(0.1)
    clock.now += 0.2
    assert attempts.wait("a") == 0
    attempts.failed("a")
    assert attempts.wait("a") > 5
    clock.now += 3600
    for number in range(60):
        attempts.failed(f"c{number}")
    assert 0 < attempts.wait("new") <= 1
    clock.now += 3600
    for number in range(3 * PEERS):
        attempts.failed(f"d{number}")
    assert len(attempts._peers) == PEERS


async def test_wrong_tokens_are_told_together() -> None:
    """In the log, how many there were since the last line."""
    told: list[Fact] = []
    clock = HandClock()
    site = Site(title="app", actions=True, token=TOKEN, observer=told.append, now=clock.monotonic)
    site.door._attempts = Attempts(HandClock(step=60).monotonic)
    async with served(site) as browser:
        for _ in range(5):
            assert (await browser.log_in("wrong")).status == 401
        clock.now += door.TELL_EVERY
        await browser.log_in("wrong")
    assert told == [TokensRefused(count=1), TokensRefused(count=5)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ops_token": ""}, "WEBHOOK_ROUTER_OPS_TOKEN is empty"),
        ({"ops_token": "  "}, "WEBHOOK_ROUTER_OPS_TOKEN is empty"),
        ({"ops_token": "x" * 15}, "WEBHOOK_ROUTER_OPS_TOKEN has less than 16 characters"),
        ({"file": "x" * 15 + "\n"}, "WEBHOOK_ROUTER_OPS_TOKEN_FILE has less than 16 characters"),
        ({"file": "\n"}, "WEBHOOK_ROUTER_OPS_TOKEN_FILE: {file} is empty"),
        ({"file": f"{TOKEN}\n{TOKEN}\n"}, "WEBHOOK_ROUTER_OPS_TOKEN_FILE is more than a line"),
        ({"file": TOKEN, "ops_token": TOKEN}, "are both set; keep one of them"),
        ({"ops_token_file": Path("/nowhere/token")}, "cannot read ops token (WEBHOOK_ROUTER_OPS_TOKEN_FILE)"),
    ],
    ids=repr,
)
def test_tokens_that_are_none(given: dict[str, object], said: str, tmp_path: Path) -> None:
    """The service does not start with them, and says which setting to mend, without the token."""
    file = tmp_path / "token"
    if "file" in given:
        file.write_text(str(given.pop("file")))
        given["ops_token_file"] = file
    with pytest.raises(Misconfigured) as refused:
        load(**given).token()
    assert said.replace("{file}", str(file)) in str(refused.value)
    assert "xxxx" not in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_a_token_of_a_file_is_one(tmp_path: Path) -> None:
    """As `openssl rand -hex 24` writes it; nothing prints it."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert load(ops_token_file=file).token() == TOKEN
    settings = load(ops_token=TOKEN)
    assert settings.token() == TOKEN
    assert TOKEN not in repr(settings)
    assert {name: value for name, value, _ in table(settings)}["WEBHOOK_ROUTER_OPS_TOKEN"] == "********"
