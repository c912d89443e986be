"""Effects as normalisers tell them, applied without their deliveries, and messages for them to change."""

import base64
from typing import Any

from psycopg.types.json import Jsonb

from tests.sql.inbox import Inbox, Row

Line = dict[str, Any]
Counts = dict[str, dict[str, int]]

START = "2026-01-01T12:00:{:02}+00:00"


def at(second: int) -> str:
    """A time of the day of the tests, as JSON has it."""
    return START.format(second)


def effect(kind: str, atom_id: str, target: str | None = None, second: int | None = 0, **fields: Any) -> Line:
    """An effect on a message, or on a person where there is no target; other fields of the line, or of its content."""
    usual: Line = {
        "delivery": 0,
        "kind": kind,
        "id": atom_id,
        "channel": "facebook",
        "target": target,
        "token": None,
        "account": "page",
        "person": "ana",
        "canonical": "ana",
        "forms": [],
        "at": None if second is None else at(second),
        "ord": atom_id,
        "subject": None,
    }
    content = {key: value for key, value in fields.items() if key not in usual}
    return usual | {key: value for key, value in fields.items() if key in usual} | {"content": content}


def status(name: str, target: str, second: int | None = 0, **fields: Any) -> Line:
    """How far a message has come."""
    return effect("status", f"status:{target}:{name}", target, second, status=name, **fields)


def reaction(atom_id: str, target: str, second: int, *emoji: str, actor: str = "ana", **fields: Any) -> Line:
    """What somebody reacts with; without an emoji it is taken back."""
    return effect("reaction", atom_id, target, second, actor=actor, emoji=list(emoji), **fields)


def read_until(second: int, told: int | None = None, **fields: Any) -> Line:
    """Somebody has read everything up to a second, and tells so then, or later."""
    when = second if told is None else told
    return effect("read_until", f"read:{second}:{when}:{fields}", None, when, until=at(second), **fields)


def apply(inbox: Inbox, *effects: Line) -> Counts:
    """One call for these effects; what became of them, by kind."""
    answer: Counts = inbox.value(
        """
        select router.apply_effects(array_agg(router.effect_of(e.line, e.place::integer, now()) order by e.place))
        from jsonb_array_elements(%s) with ordinality e (line, place)
        """,
        Jsonb(list(effects)),
    )
    return answer


def person(inbox: Inbox, external_id: str = "ana", *, channel: str = "facebook") -> Any:
    """The contact of somebody, made unless there is one."""
    found = inbox.column(
        "select contact_id from contact_channels where channel = %s and external_id = %s", channel, external_id
    )
    if found:
        return found[0]
    contact = inbox.value("insert into contacts default values returning id")
    inbox.run(
        "insert into contact_channels (contact_id, channel, external_id) values (%s, %s, %s)",
        contact,
        channel,
        external_id,
    )
    return contact


def write(
    inbox: Inbox,
    message_id: str,
    second: int = 0,
    *,
    channel: str = "facebook",
    of: str = "ana",
    account: str | None = "page",
    direction: str = "outbound",
) -> None:
    """A message that the application inserts by itself, into the conversation of that account."""
    contact = person(inbox, of, channel=channel)
    found = inbox.column(
        "select id from conversations where contact_id = %s and account_id is not distinct from %s", contact, account
    )
    conversation = (
        found[0]
        if found
        else inbox.value(
            "insert into conversations (contact_id, channel, account_id) values (%s, %s, %s) returning id",
            contact,
            channel,
            account,
        )
    )
    inbox.run(
        """
        insert into messages (conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                              sent_at)
        values (%s, %s, %s, %s, 'hello', %s, %s)
        """,
        conversation,
        contact,
        channel,
        direction,
        message_id,
        at(second),
    )


def make(inbox: Inbox, message_id: str, second: int = 0, *, direction: str = "outbound", **fields: Any) -> None:
    """A message that a normalised event makes; settles what has waited for it."""
    channel, of, account = (
        fields.pop(key, usual) for key, usual in (("channel", "facebook"), ("of", "ana"), ("account", "page"))
    )
    write(inbox, message_id, second, channel=channel, of=of, account=account, direction=direction)
    inbox.insert(
        message_id,
        channel=channel,
        author_id=of,
        event_date=at(second),
        normalized=Jsonb({"account": account, "direction": direction} | fields),
    )
    inbox.run(
        """
        select router.settle(array[router.as_event(w)], null)
        from webhook_events w
        where channel = %s and event_id = %s
        """,
        channel,
        message_id,
    )


def sweep(inbox: Inbox, limit: int = 200) -> Row:
    """A round of the sweep; how many effects it has applied, and how many have expired."""
    total: Row = {"applied": 0, "expired": 0, "steps": 0}
    place: Any = None
    while True:
        step = inbox.row("select * from router.sweep_waiting(%s, %s)", limit, None if place is None else Jsonb(place))
        total = {
            "applied": total["applied"] + step["applied"],
            "expired": total["expired"] + step["expired"],
            "steps": total["steps"] + 1,
        }
        place = step["place"]
        if place is None:
            return total


def wamid(party: str, token: str) -> str:
    """An id of a message of WhatsApp as one party knows it."""
    return "wamid." + base64.b64encode(b"\x1d\x0b" + party.encode() + b"\x15\x02\x00" + token.encode() + b"\0").decode()


def delivery(inbox: Inbox, message_id: str) -> Row | None:
    """How far a message has come; None where nothing is known."""
    found = inbox.rows(
        "select d.* from message_delivery d join messages m on m.id = d.message_id where m.provider_message_id = %s",
        message_id,
    )
    return found[0] if found else None


def times(inbox: Inbox, message_id: str) -> dict[str, Any]:
    """The status of a message, and the seconds at which it came there."""
    row = delivery(inbox, message_id)
    if row is None:
        return {}
    return {
        key.removesuffix("_at"): value.second if key.endswith("_at") else value
        for key, value in row.items()
        if value is not None and key != "message_id"
    }


def waiting(inbox: Inbox) -> list[str]:
    """The ids of the atoms that wait."""
    return inbox.column("select atom_id from router.waiting order by atom_id")
