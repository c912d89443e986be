"""The rows of an inbox, as cases name them, and whether they are those that a case expects."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]

CONTACTS = """
    select c.id, c.full_name as name, c.whatsapp_phone,
           array(select k.channel || ':' || k.external_id from contact_channels k where k.contact_id = c.id order by 1)
               as channels
    from contacts c
"""
CHANNELS = "select channel || ':' || external_id as name, coalesce(metadata, '{}') as metadata from contact_channels"
CONVERSATIONS = """
    select v.id, v.contact_id, v.channel, v.account_id as account, v.last_message_at, v.status,
           v.channel_conversation_id as thread, coalesce(v.metadata, '{}') as metadata
    from conversations v
"""
MESSAGES = """
    select m.id, m.conversation_id, m.contact_id, m.channel, m.provider_message_id, m.direction, m.message_type as type,
           m.content_text as text, m.media_url, m.sent_at, coalesce(m.metadata, '{}') as metadata,
           (select to_jsonb(d) from message_delivery d where d.message_id = m.id) as delivery,
           (select jsonb_agg(to_jsonb(r) order by r.actor collate "C")
            from message_reactions r where r.message_id = m.id) as reactions,
           (select jsonb_agg(v.content_text order by v.ord collate "C")
            from message_revisions v where v.message_id = m.id) as edits
    from messages m
"""
FLAGS = ("history", "echo", "standby", "placeholder")
TIMES = ("sent_at", "delivered_at", "read_at", "played_at", "failed_at")


class Inbox:
    """All rows of one database, read at once."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            self.contacts: list[Row] = cursor.execute(CONTACTS).fetchall()
            self.channels: list[Row] = cursor.execute(CHANNELS).fetchall()
            self.conversations: list[Row] = cursor.execute(CONVERSATIONS).fetchall()
            self.messages: list[Row] = cursor.execute(MESSAGES).fetchall()

    def differences(self, expect: Mapping[str, Any]) -> list[str]:
        """What is not as a case expects it, in words; empty: all of it is."""
        found: list[str] = []
        if "contacts" in expect:
            found += _different(
                "contacts",
                [(sorted(c["channels"]), c["name"]) for c in self.contacts],
                [(sorted(c["channels"]), c["name"]) for c in expect["contacts"]],
            )
        if "conversations" in expect:
            found += self._other_conversations(expect["conversations"])
        if "messages" in expect:
            found += self._other_messages(expect["messages"])
        for wanted in expect.get("preferences", []):
            found += self._preference(wanted)
        for kind, number in expect.get("counts", {}).items():
            if len(getattr(self, kind)) != number:
                found.append(f"{len(getattr(self, kind))} {kind} instead of {number}")
        return found

    def _other_conversations(self, expected: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        left = list(self.conversations)
        for wanted in expected:
            match = next((v for v in left if self._is(v, wanted)), None)
            if match is None:
                yield f"no conversation is {wanted}"
            else:
                left.remove(match)
        yield from (f"a conversation that is not expected: {v}" for v in left)

    def _other_messages(self, expected: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        left = list(self.messages)
        for wanted in sorted(expected, key=lambda m: m["id"] is None):
            candidates = [m for m in left if wanted["id"] in (None, m["provider_message_id"])]
            problems = sorted(((list(self._problems(m, wanted)), m) for m in candidates), key=lambda p: len(p[0]))
            if not problems:
                yield f"no message {wanted['id']}"
                continue
            yield from (f"message {wanted['id']}: {problem}" for problem in problems[0][0])
            left.remove(problems[0][1])
        yield from (f"a message that is not expected: {m}" for m in left)

    def same(self) -> object:
        """What must be equal whatever the order in which bodies came: rows by their names, without keys."""
        contact_of = {c["id"]: tuple(c["channels"]) for c in self.contacts}
        name_of = {m["id"]: m["provider_message_id"] for m in self.messages}

        def flat(message: Row) -> Row:
            named = dict(message["metadata"])
            reply = named.get("reply")
            if "deleted_at" in named and message["channel"] == "telegram":
                named["deleted_at"] = "the arrival, which is another one each time"
            if reply:
                named["reply"] = {"ref": reply["ref"], "message": name_of.get(_uuid(reply.get("message_id")))}
            return named

        return {
            "contacts": sorted(map(repr, ((c["channels"], c["name"]) for c in self.contacts))),
            "channels": sorted(map(repr, ((k["name"], k["metadata"]) for k in self.channels))),
            "conversations": sorted(
                repr(
                    (
                        contact_of.get(v["contact_id"]), v["channel"], v["account"], v["thread"], v["status"],
                        v["last_message_at"], sorted(v["metadata"].items(), key=repr),
                    )
                )
                for v in self.conversations
            ),
            "messages": sorted(
                repr(
                    (
                        m["provider_message_id"], m["channel"], contact_of.get(m["contact_id"]), m["direction"],
                        m["type"], m["text"], m["media_url"], m["sent_at"],
                        sorted(flat(m).items(), key=repr),
                        _without(m["delivery"], "message_id"),
                        [_without(r, "message_id") for r in m["reactions"] or []], m["edits"],
                    )
                )
                for m in self.messages
            ),
        }  # fmt: skip

    def _channels(self, contact: object) -> list[str]:
        return next((c["channels"] for c in self.contacts if c["id"] == contact), [])

    def _is(self, row: Row, wanted: Mapping[str, Any]) -> bool:
        return (
            self._is_of(row["contact_id"], wanted["contact"])
            and row["account"] == wanted["account"]
            and ("status" not in wanted or row["status"] == wanted["status"])
            and ("thread" not in wanted or row["thread"] == wanted["thread"])
            and ("owner" not in wanted or row["metadata"].get("owner") == wanted["owner"])
            and (wanted["last_message_at"] is None or row["last_message_at"] == _time(wanted["last_message_at"]))
        )

    def _is_of(self, contact: object, wanted: str | None) -> bool:
        return contact is None if wanted is None else wanted in self._channels(contact)

    def _problems(self, row: Row, wanted: Mapping[str, Any]) -> Iterator[str]:
        conversation = next(v for v in self.conversations if v["id"] == row["conversation_id"])
        if row["contact_id"] != conversation["contact_id"]:
            yield "its contact is not that of its conversation"
        if not self._is_of(row["contact_id"], wanted["contact"]):
            yield f"contact is {self._channels(row['contact_id'])} instead of {wanted['contact']}"
        types = wanted["type"] if isinstance(wanted["type"], list) else [wanted["type"]]
        if row["type"] not in types:
            yield f"type is {row['type']} instead of {types}"
        metadata = row["metadata"]
        links = [a["link"] for a in metadata.get("attachments") or [] if a.get("link")]
        pairs = {
            "account": (conversation["account"], wanted["account"]),
            "direction": (row["direction"], wanted["direction"]),
            "text": (row["text"], wanted["text"]),
            "comment": (metadata.get("type") == "comment", bool(wanted.get("comment"))),
            "post": (metadata.get("post_id"), wanted.get("post")),
            "media_url": (row["media_url"], links[0] if links else None),
            "edits": (row["edits"] or [], wanted.get("edits") or []),
            "reactions": (
                {r["actor"]: r["emoji"] for r in row["reactions"] or [] if r["emoji"]},
                {r["by"]: r["emoji"] for r in wanted.get("reactions", [])},
            ),
            **{flag: (metadata.get(flag), True if wanted.get(flag) else None) for flag in FLAGS},
            **{name: (metadata.get(name), wanted.get(name)) for name in ("payload", "album")},
        }
        if wanted["at"] is not None:
            pairs["at"] = (row["sent_at"], _time(wanted["at"]))
        for name in ("edited_at", "deleted_at"):
            is_any = wanted.get(name) == "any" and metadata.get(name)
            pairs[name] = (None, None) if is_any else (metadata.get(name) and _time(metadata[name]), wanted.get(name))
            if pairs[name][1] not in (None, "any"):
                pairs[name] = (pairs[name][0], _time(wanted[name]))
        for what, (is_there, expected) in pairs.items():
            if is_there != expected:
                yield f"{what} is {is_there!r} instead of {expected!r}"
        yield from self._reply(metadata.get("reply"), wanted)
        yield from _parts(metadata, wanted)
        yield from _delivery(row["delivery"], wanted.get("delivery"))

    def _reply(self, reply: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Iterator[str]:
        name_of = {str(m["id"]): m["provider_message_id"] for m in self.messages}
        if "reply_to" in wanted:
            target = name_of.get(str((reply or {}).get("message_id")))
            if target != wanted["reply_to"]:
                yield f"it replies to {target} ({reply}) instead of {wanted['reply_to']}"
        elif "reply_to_ref" in wanted:
            if (reply or {}).get("ref") != wanted["reply_to_ref"] or (reply or {}).get("message_id"):
                yield f"reply is {reply} instead of one to {wanted['reply_to_ref']}"
        elif reply:
            yield f"it is a reply: {reply}"

    def _preference(self, wanted: Mapping[str, Any]) -> Sequence[str]:
        name = wanted.get("channel")
        row = next((k for k in self.channels if k["name"] == name), None)
        if row is None:
            return [f"no channel {name}"]
        value = wanted.get("marketing")
        return [] if row["metadata"].get("marketing") == value else [f"{name}: {row['metadata']} instead of {wanted}"]


def _parts(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in ("referral", "story"):
        if not _subset(wanted.get(name), metadata.get(name)):
            yield f"{name} is {metadata.get(name)} instead of {wanted.get(name)}"
    attachments = metadata.get("attachments") or []
    expected = wanted.get("attachments") or []
    if len(attachments) != len(expected) or not all(map(_subset, expected, attachments)):
        yield f"attachments are {attachments} instead of {expected}"


def _delivery(row: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> Iterator[str]:
    if wanted is None:
        if row is not None:
            yield f"it has a delivery: {row}"
        return
    if row is None:
        yield f"it has no delivery instead of {wanted}"
        return
    if row["status"] != wanted["status"]:
        yield f"status is {row['status']} instead of {wanted['status']}"
    for name in TIMES:
        if name in wanted and _time(row[name]) != _time(wanted[name]):
            yield f"{name} is {row[name]} instead of {wanted[name]}"
    if "errors" in wanted and not (row["errors"] and all(map(_subset, wanted["errors"], row["errors"]))):
        yield f"errors are {row['errors']} instead of {wanted['errors']}"


def _different(what: str, is_there: Sequence[object], expected: Sequence[object]) -> Iterator[str]:
    more, less = Counter(map(repr, is_there)), Counter(map(repr, expected))
    yield from (f"{what}: not expected: {row}" for row in (more - less))
    yield from (f"{what}: missing: {row}" for row in (less - more))


def _subset(wanted: object, there: object) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(_subset(value, there.get(name)) for name, value in wanted.items())
    return wanted == there


def _without(row: Mapping[str, Any] | None, name: str) -> object:
    return None if row is None else sorted((k, repr(v)) for k, v in row.items() if k != name)


def _time(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value).astimezone(UTC)


def _uuid(value: Any) -> Any:
    return UUID(value) if value else None
