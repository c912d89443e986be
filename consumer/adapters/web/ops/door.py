"""Lets in who may look: the log-in, its cookie, and the answers to everybody else."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from aiohttp import web

from consumer.adapters.web.ops import access
from consumer.adapters.web.ops.access import COOKIE, SESSION, Asked, Seal
from consumer.adapters.web.ops.answers import form, see, wants_page, with_headers
from consumer.adapters.web.ops.attempts import Attempts
from consumer.adapters.web.signatures import same
from consumer.domain.facts import TokensRefused
from consumer.domain.text import duration
from consumer.ports import Observer

TELL_EVERY: Final = 60.0
"""Seconds between lines of the log about wrong tokens."""
_BEARER: Final = {"WWW-Authenticate": "Bearer"}


class Render(Protocol):
    """`Site.render`."""

    def __call__(self, template: str, *, status: int = 200, **values: str) -> web.Response: ...


class Door:
    """Asks for a token, or, where there is none, whether a request comes from this machine."""

    def __init__(
        self,
        token: str | None,
        *,
        render: Render,
        observer: Observer,
        now: Callable[[], float] = time.time,
        attempts: Attempts | None = None,
    ) -> None:
        """`now` tells the Unix time."""
        self._lock = None if token is None else (token, Seal(token))
        self._render = render
        self._observer = observer
        self._now = now
        self._attempts = attempts or Attempts()
        self._wrong = 0
        """Wrong tokens that the log does not know of yet."""
        self._told_at = float("-inf")

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Log-in and log-out."""
        return [
            web.get("/login", self._show),
            web.post("/login", self._log_in),
            web.post("/logout", self._log_out),
        ]

    def session_ends(self, request: web.Request) -> float:
        """The Unix time up to which whoever asks is logged in; infinite: they have come in without a cookie."""
        return self._until(request) or math.inf

    def is_by_bearer(self, request: web.Request) -> bool:
        """Whether a program has come in, which shows the token each time and is steered by no page of others."""
        return self._lock is not None and self._until(request) is None

    def refusal(self, request: web.Request, *, as_page: bool) -> web.Response | None:
        """The answer to somebody who may not look; None: they may."""
        if access.is_embedded(request.headers):
            return self._refused(403, "pages of other origins may not load this", as_page=as_page)
        if self._lock is None:
            reason = access.why_stranger(asked(request))
            if reason is None:
                return None
            words = f"only this machine is shown this, and {reason}; to be let in from elsewhere, {access.ASKS}"
            return self._refused(403, words, as_page=as_page)
        if self._until(request) is not None:
            return None
        given = access.bearer(request.headers)
        if given is None:
            return self._asks_to_log_in(request, as_page=as_page)
        status, words, headers = self._try(request, given, self._lock[0])
        return self._refused(status, words, as_page=as_page, headers=headers) if status else None

    async def _show(self, request: web.Request) -> web.StreamResponse:
        going = access.place(request.query.get("next", ""))
        if self._lock is None or self._until(request) is not None:
            return with_headers(self.refusal(request, as_page=wants_page(request)) or see(f"./{going}"))
        return with_headers(self._form(going, status=200))

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        as_page = wants_page(request)
        if self._lock is None:
            return with_headers(self.refusal(request, as_page=as_page) or see("./"))
        if (reason := access.why_foreign(asked(request))) is not None:
            return with_headers(self._refused(403, f"log in on the page itself: {reason}", as_page=as_page))
        token, seal = self._lock
        try:
            fields: Mapping[str, object] = await form(request)
        except web.HTTPBadRequest:
            fields = {}
        given, going = fields.get("token"), fields.get("next")
        going = access.place(going) if isinstance(going, str) else ""
        status, words, headers = self._try(request, given.strip() if isinstance(given, str) else "", token)
        if status:
            return with_headers(self._form(going, status=status, problem=_sentence(words), headers=headers))
        answer = see(f"./{going}")
        answer.headers["Set-Cookie"] = _cookie(seal.cookie(int(self._now()) + SESSION), request, age=SESSION)
        return with_headers(answer)

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        as_page = wants_page(request)
        if self._lock is None:
            return with_headers(self.refusal(request, as_page=as_page) or see("./"))
        if (reason := access.why_foreign(asked(request))) is not None:
            return with_headers(self._refused(403, reason, as_page=as_page))
        answer = see("login")
        answer.headers["Set-Cookie"] = _cookie("", request, age=0)
        return with_headers(answer)

    def _try(self, request: web.Request, given: str, token: str) -> tuple[int, str, Mapping[str, str]]:
        """Status, words and headers for a token that is not taken; the status is 0 for one that is."""
        peer = access.network(request.remote or "")
        if wait := math.ceil(self._attempts.wait(peer)):
            words = f"too many wrong tokens have been given: try again in {duration(wait)}"
            return 429, words, {"Retry-After": str(wait)}
        if same(given, token):
            return 0, "", {}
        self._attempts.failed(peer)
        self._wrong += 1
        if abs(self._now() - self._told_at) >= TELL_EVERY:  # also when the clock was set back
            self._observer(TokensRefused(count=self._wrong))
            self._wrong, self._told_at = 0, self._now()
        return 401, "this is not the token", _BEARER

    def _asks_to_log_in(self, request: web.Request, *, as_page: bool) -> web.Response:
        if not as_page:
            words = "log in first, or send the token as Authorization: Bearer <token>"
            return self._refused(401, words, as_page=False, headers=_BEARER)
        going = access.place(request.rel_url.raw_path_qs.removeprefix("/"))
        answer = self._form(going, status=401, headers=_BEARER)
        if request.headers.get("Sec-Fetch-Site", "cross-site") == "cross-site":
            # They have followed a link, so the browser keeps the cookie back; it does not when our own page goes on.
            # Without TLS browsers do not say where a request comes from, unless it is for this machine.
            query = f"?{request.rel_url.with_query(next=going).raw_query_string}" if going else ""
            answer.headers["Refresh"] = f"0; url=login{query}"
        return answer

    def _form(
        self, going: str, *, status: int, problem: str = "", headers: Mapping[str, str] | None = None
    ) -> web.Response:
        answer = self._render("login.html", status=status, next=going, problem=problem)
        answer.headers.update(headers or {})
        return answer

    def _refused(
        self, status: int, reason: str, *, as_page: bool, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        if not as_page:
            return web.Response(status=status, text=f"{reason}\n", headers=headers)
        answer = self._render("refused.html", status=status, problem=_sentence(reason))
        answer.headers.update(headers or {})
        return answer

    def _until(self, request: web.Request) -> int | None:
        """Up to which Unix time whoever asks is logged in; None: they are not."""
        cookies = request.headers.getall("Cookie", [])
        return None if self._lock is None else self._lock[1].until(cookies, now=self._now())


def asked(request: web.Request) -> Asked:
    """What decisions about the request rest on."""
    return Asked(
        method=request.method,
        peer=request.remote or "",
        version=(request.version.major, request.version.minor),
        hosts=_hosts(request),
        headers=request.headers,
    )


def _hosts(request: web.Request) -> Sequence[str]:
    """What stands in Host, and the host that a whole address has in place of a path: one that differs is another."""
    named = request.headers.getall("Host", [])
    return [*named, request.host] if named and request.host not in named else named


def _cookie(value: str, request: web.Request, *, age: int) -> str:
    # Without Path it belongs to the folder of the log-in, with the prefix that a proxy has put in front.
    secure = "; Secure" if access.is_https(request.headers) else ""
    return f"{COOKIE}={value}; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
