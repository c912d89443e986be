"""What providers POST, without their bodies: atoms on their way into a database, as the gateway hands them over."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from consumer.domain.providers.atoms import Atoms, Effect, Identity, Message
from consumer.domain.providers.lines import Delivery, call_of
from tests.sql.inbox import Inbox, Row

START = datetime(2026, 5, 1, tzinfo=UTC)
TAKE = "select * from router.take_deliveries(%s, %s, %s, %s)"
ANA = Identity(id="5511900000001")


def at(seconds: float) -> str:
    """A time as normalisers write it."""
    return (START + timedelta(seconds=seconds)).isoformat()


def wamid(recipient: str, token: str) -> str:
    """An id as WhatsApp makes it: it encodes the other party."""
    return (
        "wamid."
        + base64.b64encode(b"\x1d\x0c" + recipient.encode() + b"\x15\x02\x00\x12\x18" + token.encode()).decode()
    )


def message(id_: str = "m1", text: str | None = "first", *, second: float = 1, **more: Any) -> Message:
    """A message of Ana's, on WhatsApp, to one of our numbers."""
    fields: dict[str, Any] = {
        "kind": "message", "channel": "whatsapp", "account": "900100", "people": (ANA,), "sent_at": at(second),
    }  # fmt: skip
    return Message(id=id_, text=text, **(fields | more))


def effect(kind: str, id_: str, target: str | None = "m1", *, second: float | None = 2, **more: Any) -> Effect:
    """An effect on a message of Ana's, or on Ana."""
    fields: dict[str, Any] = {
        "channel": "whatsapp", "account": "900100", "person": ANA, "at": None if second is None else at(second),
    }  # fmt: skip
    return Effect(kind=kind, id=id_, target=target, **(fields | more))


def edit(text: str | None, *, second: float, id_: str | None = None, target: str = "m1", **values: Any) -> Effect:
    """An edit at that second."""
    atom_id = id_ or f"edit {second}"
    return effect(
        "edit", atom_id, target, second=second, ord=f"{at(second)} {atom_id}", values={"text": text, **values}
    )


def delete(*, second: float = 9, target: str = "m1") -> Effect:
    """A deletion at that second."""
    return effect("delete", f"del:{target}:{second}", target, second=second)


def take(inbox: Inbox, *atoms: Message | Effect, body: bytes | None = b"{}") -> Row:
    """One delivery with these atoms."""
    return take_all(inbox, [(atoms, body)])


def take_all(inbox: Inbox, deliveries: Sequence[tuple[Sequence[Message | Effect], bytes | None]]) -> Row:
    """Several deliveries in one call; all of their lines are accepted."""
    call = call_of(
        [
            Delivery(
                provider="whatsapp",
                body=body,
                atoms=Atoms(
                    messages=tuple(atom for atom in atoms if isinstance(atom, Message)),
                    effects=tuple(atom for atom in atoms if isinstance(atom, Effect)),
                ),
            )
            for atoms, body in deliveries
        ],
        lambda value: json.dumps(value).encode(),
    )
    answer = inbox.row(TAKE, call.deliveries, call.bodies, call.lines, call.effects)
    assert answer["refused"] == [], answer
    return answer


def message_of(inbox: Inbox, id_: str = "m1") -> Row:
    """The row of a message."""
    return inbox.row("select * from public.messages where provider_message_id = %s", id_)


def revisions(inbox: Inbox, id_: str = "m1") -> list[str | None]:
    """The earlier texts of a message, oldest first."""
    return inbox.column(
        """
        select r.content_text from public.message_revisions r join public.messages m on m.id = r.message_id
        where m.provider_message_id = %s order by r.ord
        """,
        id_,
    )


def waiting(inbox: Inbox) -> list[str]:
    """The atoms that wait."""
    return inbox.column("select atom_id from router.waiting order by atom_id")


def open_conversation(inbox: Inbox, author: str, account: str | None) -> UUID:
    """A conversation that the application opens with somebody."""
    found: UUID = inbox.value(
        """
        insert into public.conversations (contact_id, channel, account_id)
        select contact_id, channel, %s from public.contact_channels where external_id = %s returning id
        """,
        account,
        author,
    )
    return found


def insert_own(inbox: Inbox, id_: str, conversation: UUID, **metadata: Any) -> None:
    """A message that the application sends and stores by itself."""
    inbox.run(
        """
        insert into public.messages (conversation_id, channel, direction, content_text, provider_message_id, metadata)
        values (%s, 'whatsapp', 'outbound', 'own', %s, %s)
        """,
        conversation,
        id_,
        Jsonb(metadata),
    )
