"""A delivery of WhatsApp, as it would be POSTed, to try the gateway with."""

import json
import secrets
import shlex
from dataclasses import dataclass

from consumer.adapters.web.signatures import META_HEADER, signature_of

TEXT = "Hello from curl"
NAME = "Ana from a terminal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One message, and the app secret that signs it."""

    secret: str
    message_id: str
    body: str

    @classmethod
    def new(cls) -> "Sample":
        """With a secret, and the id of a message, that nobody has had before."""
        message_id = f"wamid.demo-{secrets.token_hex(8)}"
        message = {"from": "15550100002", "id": message_id, "type": "text", "text": {"body": TEXT}}
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"phone_number_id": "900100"},
            "contacts": [{"wa_id": message["from"], "profile": {"name": NAME}}],
            "messages": [message],
        }
        body = {
            "object": "whatsapp_business_account",
            "entry": [{"id": "800100", "changes": [{"field": "messages", "value": value}]}],
        }
        return cls(secret=secrets.token_hex(16), message_id=message_id, body=json.dumps(body, separators=(",", ":")))

    def curl(self, address: str) -> str:
        """A line for a shell that POSTs it."""
        signature = signature_of(self.secret.encode(), self.body.encode())
        return (
            f"curl -sS -i {address}/webhooks/whatsapp -H {shlex.quote(f'{META_HEADER}: {signature}')} "
            f"--data-binary {shlex.quote(self.body)}"
        )
