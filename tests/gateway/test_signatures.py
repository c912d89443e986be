"""What shows that a delivery comes from its provider."""

from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from consumer.adapters.web.signatures import Access, Verified, signature_of, verified
from tests.gateway.bodies import signed, signed_by_tiktok

BODY = b'{"text":"caf\\u00e9 \\/ ok"}'
META = Access(app_secrets=(b"one", b"two"))
TELEGRAM = Access(bots=(("700001", b"first"), ("700002", b"second")))


def shown(provider: str, access: Access, headers: Mapping[str, str], body: bytes = BODY) -> Verified | None:
    """What is found, whatever the case in which names of headers come."""
    return verified(provider, access, CIMultiDict({name.lower(): value for name, value in headers.items()}), body)


@pytest.mark.parametrize("provider", ["whatsapp", "instagram", "messenger"])
@pytest.mark.parametrize("secret", ["one", "two"])
def test_any_of_the_secrets_may_have_signed(provider: str, secret: str) -> None:
    """So that they can be changed without losing a delivery."""
    assert shown(provider, META, signed(BODY, secret=secret)) == Verified()
    assert signed(BODY, secret=secret)["X-Hub-Signature-256"] == signature_of(secret.encode(), BODY)


def test_the_signature_is_over_the_bytes_that_came() -> None:
    """The same JSON, written in another way, has another one."""
    assert shown("whatsapp", META, signed(BODY, secret="one"), '{"text":"café / ok"}'.encode()) is None


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "sha256=zz",
        "sha256=" + "0" * 64,
        "sha256=" + "0" * 63,
        "sha1=" + "0" * 40,
        "sha256=" + "é" * 64,
        "\udcff",
        "sha256=" + " " * 64,
        "sha256=" + "٣" * 64,
    ],
)
def test_what_is_no_signature(signature: str) -> None:
    """Nothing else passes, and nothing raises."""
    assert shown("whatsapp", META, {"X-Hub-Signature-256": signature}) is None
    assert shown("tiktok", META, {"TikTok-Signature": f"t=1,s={signature}"}) is None
    assert shown("tiktok", META, {"TikTok-Signature": signature}) is None


def test_no_signature_no_secret() -> None:
    """A delivery without one, or to a provider whose secrets are not configured, is nobody's."""
    assert shown("whatsapp", META, {}) is None
    assert shown("telegram", TELEGRAM, {}) is None
    assert shown("tiktok", META, {}) is None
    assert shown("whatsapp", Access(verify_token="t"), signed(BODY, secret="")) is None
    assert shown("telegram", Access(), {"X-Telegram-Bot-Api-Secret-Token": ""}) is None


def test_a_time_is_signed_with_the_body() -> None:
    """TikTok's scheme."""
    headers = signed_by_tiktok(BODY, secret="two")
    assert shown("tiktok", META, headers) == Verified()
    changed = headers["TikTok-Signature"].replace("t=1780000000", "t=1780000001")
    assert shown("tiktok", META, {"TikTok-Signature": changed}) is None


def test_the_secret_tells_the_bot() -> None:
    """Telegram's bodies do not name it."""
    header = "X-Telegram-Bot-Api-Secret-Token"
    assert shown("telegram", TELEGRAM, {header: "second"}) == Verified(account="700002")
    assert shown("telegram", TELEGRAM, {header: "secon"}) is None
    assert shown("telegram", TELEGRAM, {header: "sécond"}) is None
