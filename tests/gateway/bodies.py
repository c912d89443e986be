"""Bodies that providers POST, and how they sign them."""

import hmac
import json
from typing import Any

SECRET = "app-secret-one"
TOKEN = "tok"
BOTS = {"700001": "bot-secret", "700002": "bot-secret-2"}
ENVIRONMENT = {
    "WEBHOOK_ROUTER_WHATSAPP_APP_SECRETS": f"another-secret,{SECRET}",
    "WEBHOOK_ROUTER_WHATSAPP_VERIFY_TOKEN": TOKEN,
    "WEBHOOK_ROUTER_TIKTOK_APP_SECRETS": SECRET,
    "WEBHOOK_ROUTER_TELEGRAM_BOTS": ",".join(f"{bot}:{secret}" for bot, secret in BOTS.items()),
}
"""Three providers are configured, and Instagram and Messenger are not."""


def whatsapp(*messages: str, person: str = "15550100002", text: str = "hello") -> bytes:
    """Messages of one person, by their ids."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100001", "phone_number_id": "900100"},
        "contacts": [{"wa_id": person, "profile": {"name": "Ana"}}],
        "messages": [
            {"from": person, "id": name, "timestamp": "1780000000", "type": "text", "text": {"body": text}}
            for name in messages
        ],
    }
    return body(value)


def body(value: dict[str, Any]) -> bytes:
    """Of WhatsApp."""
    entry = {"id": "800100", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def signed(what: bytes, *, secret: str = SECRET) -> dict[str, str]:
    """The headers of Meta."""
    return {"X-Hub-Signature-256": f"sha256={hmac.digest(secret.encode(), what, 'sha256').hex()}"}


def signed_by_tiktok(what: bytes, *, time: str = "1780000000", secret: str = SECRET) -> dict[str, str]:
    """The headers of TikTok."""
    signature = hmac.digest(secret.encode(), f"{time}.".encode() + what, "sha256").hex()
    return {"TikTok-Signature": f"t={time},s={signature}"}
