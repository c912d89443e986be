"""Who may see the pages, and who may change something through them: decisions alone, nothing waits."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

COOKIE: Final = "webhook_router_ops"
SESSION: Final = 12 * 3600
"""Seconds for which somebody stays logged in."""
PAGES: Final = ("", "parked", "event", "deliveries")
"""Where somebody may be sent after a log-in."""
CALLED: Final = "X-Webhook-Router"
"""The header of calls that change something: a form of another site cannot send it, and a script of one has to ask."""
ASKS: Final = "set WEBHOOK_ROUTER_OPS_TOKEN_FILE or WEBHOOK_ROUTER_OPS_TOKEN, and the pages ask for that token"

_ROUNDS: Final = 100_000
"""Of deriving the key of cookies, once at a start: whoever has a cookie must not find the token by trying words."""
_VALUE: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)
_IN_COOKIES: Final = re.compile(rf"(?:^|;)\s*{COOKIE}=([^;\s]*)")
_NEXT: Final = re.compile(rf"({'|'.join(PAGES)})(\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]{{0,2000}})?", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s]+)(?::([0-9]{1,5}))?", re.ASCII)
_BEARER: Final = re.compile(r"bearer +(.*)", re.IGNORECASE | re.DOTALL)
_HTTPS: Final = re.compile(r'(?:^|[;,\s])proto="?https"?(?:$|[;,\s])', re.IGNORECASE)
_FORWARDED: Final = ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")
_FORWARDED_BEGIN: Final = ("x-forwarded-", "x-original-", "x-envoy-")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a decision rests on."""

    method: str
    peer: str
    """The address at the other end of the connection; empty: unknown."""
    version: tuple[int, int]
    """Of HTTP."""
    hosts: Sequence[str]
    """What stands in Host, once for each such header."""
    headers: Mapping[str, str]
    """By names in any case."""


class Seal:
    """Makes cookies that show that somebody has known the token, and knows its own again.

    Nothing is kept: they hold across restarts and for all replicas that have the same token, until it is another one.
    """

    def __init__(self, token: str) -> None:
        self._key = hashlib.pbkdf2_hmac("sha256", token.encode(), b"webhook-router pages", _ROUNDS)

    def cookie(self, until: int) -> str:
        """The value that holds until this Unix time."""
        return f"{until}.{hmac.digest(self._key, str(until).encode(), 'sha256').hex()}"

    def until(self, cookies: Sequence[str], *, now: float) -> int | None:
        """Up to which Unix time one of the values holds; None: none does.

        Args:
            cookies: what the headers Cookie say; a browser that knows us under two prefixes sends two of ours.
        """
        values = [value for header in cookies for value in _IN_COOKIES.findall(header)]
        found = [int(match[1]) for value in values[:8] if (match := _VALUE.fullmatch(value)) and self._is_ours(match)]
        latest = max(found, default=0)
        return latest if latest > now else None

    def _is_ours(self, value: re.Match[str]) -> bool:
        return hmac.compare_digest(self.cookie(int(value[1])), value[0])


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of an Authorization header; None: there is none of this kind."""
    found = _BEARER.fullmatch(headers.get("Authorization", ""))
    return found[1].strip() if found else None


def is_https(headers: Mapping[str, str]) -> bool:
    """Whether the browser has asked by https; only a proxy in front can have it so."""
    first = headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return (
        first == "https"
        or _HTTPS.search(headers.get("Forwarded", "")) is not None
        or headers.get("Origin", "").lower().startswith("https://")
    )


def place(text: str) -> str:
    """A page of ours with its query, as somebody asks to be sent to it; the first page if it is anything else."""
    return text if _NEXT.fullmatch(text) else ""


def why_stranger(asked: Asked) -> str | None:
    """Why a request does not show that it was made on this machine, in words; None: it was.

    The name in Host keeps pages of other sites out whose name has become that of this machine (DNS rebinding). A proxy
    on this machine brings requests of others: most say so in a header, and older ones speak HTTP/1.0.
    """
    if not _is_loopback(asked.peer):
        return "the request comes from another machine"
    if asked.version < (1, 1):
        return "the request is one of HTTP/1.0, as proxies make it"
    for name in (name.lower() for name in asked.headers):
        if name in _FORWARDED or name.startswith(_FORWARDED_BEGIN):
            return "the request has come through a proxy"
    if len(asked.hosts) != 1 or not _is_local(asked.hosts[0]):
        return "the address does not begin with localhost, 127.0.0.1 or [::1]"
    return None


def is_embedded(headers: Mapping[str, str]) -> bool:
    """Whether a page of another origin loads this as a part of itself, and does not go to it."""
    if headers.get("Sec-Fetch-Site", "") not in {"cross-site", "same-site"}:
        return False
    return (headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")) != ("navigate", "document")


def why_foreign(asked: Asked) -> str | None:
    """Why a request does not show that a page of this origin has made it, in words; None: one has."""
    site, origin = asked.headers.get("Sec-Fetch-Site"), asked.headers.get("Origin")
    if site is not None:
        return None if site == "same-origin" else "the request comes from a page of another origin"
    if origin is None:
        return "the request does not say from which page it comes"
    forwarded = asked.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
    names = [*(asked.hosts if len(asked.hosts) == 1 else ()), *([forwarded] if forwarded else ())]
    if any(_is_at(origin, name) for name in names):
        return None
    return "the request comes from a page of another origin, or the proxy in front does not hand on the header Host"


def why_not(asked: Asked, *, actions: bool, by_bearer: bool) -> str | None:
    """Why somebody who may look may not have something changed by this request, in words; None: they may."""
    if not actions:
        return "nothing can be changed here unless WEBHOOK_ROUTER_OPS_ACTIONS is true"
    if asked.method != "POST":
        return "only a POST changes anything"
    if asked.headers.get(CALLED) != "1":
        return f"the header {CALLED}: 1 is missing"
    has_said = any(name in asked.headers for name in ("Sec-Fetch-Site", "Origin"))
    return None if by_bearer and not has_said else why_foreign(asked)


def network(peer: str) -> str:
    """Whose attempts are counted together: an address of IPv4, or the 64 bits that a machine has of one of IPv6."""
    address = _address(peer)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return peer if address is None else str(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _is_loopback(text: str) -> bool:
    address = _address(text)
    return address is not None and address.is_loopback


def _is_local(host: str) -> bool:
    found = _HOST.fullmatch(host)
    name = found[1].lower() if found else ""
    return name in {"localhost", "localhost."} or _is_loopback(name.strip("[]"))


def _is_at(origin: str, host: str) -> bool:
    """Whether an origin is that of this Host, with the port that its scheme has without one."""
    scheme, _, authority = origin.lower().partition("://")
    theirs, ours, default = _HOST.fullmatch(authority), _HOST.fullmatch(host.lower()), _PORTS.get(scheme)
    if theirs is None or ours is None or default is None:
        return False
    return (theirs[1], int(theirs[2] or default)) == (ours[1], int(ours[2] or default))
