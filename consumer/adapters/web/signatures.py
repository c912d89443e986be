"""Whether a delivery comes from the provider that it says: what each of them shows, checked in constant time.

A signature is over the bytes as they came: the same JSON, written again, is other bytes. How old one is does not
matter, since providers send the same delivery for days, and one that comes again changes nothing.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

META_HEADER: Final = "X-Hub-Signature-256"
TELEGRAM_HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"
TIKTOK_HEADER: Final = "TikTok-Signature"
_META: Final = re.compile(r"sha256=([0-9a-fA-F]{64})", re.ASCII)
_TIKTOK_TIME: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_TIKTOK_SIGNATURE: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a provider is known by."""

    app_secrets: tuple[bytes, ...] = ()
    """Any of them may have signed: they are changed one after the other, and an app of Instagram has two."""
    verify_token: str | None = None
    bots: tuple[tuple[str, bytes], ...] = ()
    """Telegram: the id of each bot, and the secret that its deliveries carry."""

    @property
    def has_secret(self) -> bool:
        """Whether any delivery can show what it must."""
        return bool(self.app_secrets or self.bots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A delivery comes from where it says."""

    account: str | None = None
    """That its secret belongs to: the bot of Telegram."""


Headers = Mapping[str, str]


def verified(provider: str, access: Access, headers: Headers, body: bytes) -> Verified | None:
    """None: a signature or secret is wrong or missing.

    Args:
        headers: by names in any case.
    """
    return _CHECKS.get(provider, _meta)(access, headers, body)


def signature_of(secret: bytes, body: bytes) -> str:
    """What Meta puts into `META_HEADER`."""
    return f"sha256={hmac.digest(secret, body, 'sha256').hex()}"


def same(given: str, known: str) -> bool:
    """Whether two texts are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), known.encode())


def _meta(access: Access, headers: Headers, body: bytes) -> Verified | None:
    found = _META.fullmatch(headers.get(META_HEADER, ""))
    return _signed(access, found[1] if found else "", body)


def _tiktok(access: Access, headers: Headers, body: bytes) -> Verified | None:
    fields = dict(part.strip().partition("=")[::2] for part in headers.get(TIKTOK_HEADER, "").split(","))
    time, signature = fields.get("t", ""), fields.get("s", "")
    if not _TIKTOK_TIME.fullmatch(time) or not _TIKTOK_SIGNATURE.fullmatch(signature):
        return None
    return _signed(access, signature, b"%s.%s" % (time.encode(), body))


def _telegram(access: Access, headers: Headers, body: bytes) -> Verified | None:
    del body  # a bot's secret is all that its deliveries show
    given = headers.get(TELEGRAM_HEADER, "").encode("utf-8", "surrogateescape")
    found = [bot for bot, secret in access.bots if hmac.compare_digest(given, secret)]
    return Verified(account=found[0]) if found else None


def _signed(access: Access, signature: str, signed: bytes) -> Verified | None:
    given = bytes.fromhex(signature)
    # Each secret is tried, so that the time does not tell which one it was.
    found = [hmac.compare_digest(given, hmac.digest(secret, signed, "sha256")) for secret in access.app_secrets]
    return Verified() if any(found) else None


_CHECKS: Final[Mapping[str, Callable[[Access, Headers, bytes], Verified | None]]] = {
    "telegram": _telegram,
    "tiktok": _tiktok,
}
