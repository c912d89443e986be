"""Random histories of what providers send, as bodies: every kind of atom, about few people, so that all of it meets.

Left out is what may depend on the order by design: two identities that become known as one person's after both have
written (same_as), and another number or id of somebody that has written by itself before; and what has no time but that
of its arrival: taps on Telegram's buttons.
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

START = 1_780_000_000
PHONES = ("5511900000001", "541100000018")
OTHER_SPELLINGS = {"541100000018": "5491100000018"}
USER_ID = "BR.20000000000000001"
NUMBERS = {"900100": "15550100001", "900200": "15550100002"}
PEOPLE = ("990000000000001", "990000000000002")
PAGES = ("17841400000000900", "17841400000000901")
BOT = "700001"
TEXTS = ("one", "two", "two", "three?")
EMOJI = ("\U0001f44d", "\u2764\ufe0f", "")


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a history."""

    number: int
    person: int
    account: int
    time: int
    text: str
    outbound: bool = False
    reply_to: int | None = None
    flavour: str = "plain"
    """plain; comment (Meta); history and photo, one of a history (WhatsApp); standby (Messenger); chat, with the
    bot itself (Telegram)."""


@dataclass(frozen=True, slots=True)
class Done:
    """Something that happens to a message, or to a person."""

    kind: str
    about: int
    """The number of a message; for a person, that of one of theirs."""
    time: int
    variant: int


@dataclass(frozen=True, slots=True)
class Post:
    """A body and the provider that sends it."""

    provider: str
    body: bytes


MESSAGE_KINDS = ("reaction", "edit", "edit", "delete", "status", "status", "read_until")
PERSON_KINDS = {
    "whatsapp": ("marketing", "identity", "media"),
    "instagram": ("handover", "referral"),
    "messenger": ("handover", "referral", "delivered_until"),
    "telegram": (),
    "tiktok": ("referral",),
}
FLAVOURS = {
    "whatsapp": ("plain", "plain", "history", "photo"),
    "instagram": ("plain", "plain", "comment"),
    "messenger": ("plain", "comment", "standby"),
    "telegram": ("plain", "plain", "chat"),
    "tiktok": ("plain",),
}


@st.composite
def histories(draw: st.DrawFn, provider: str) -> list[Post]:
    """The bodies of one history, in the order of their making."""
    count = draw(st.integers(1, 5))
    said: list[Said] = []
    for number in range(count):
        flavour = draw(st.sampled_from(FLAVOURS[provider]))
        reply = draw(st.none() | st.integers(0, count - 1))
        person = draw(st.integers(0, 1))
        said.append(
            Said(
                number=number,
                person=person,
                account=draw(st.integers(0, 1)),
                time=START + draw(st.integers(0, 6)),
                text=draw(st.sampled_from(TEXTS)),
                outbound=draw(st.booleans()),
                reply_to=None if reply == number else reply,
                flavour=flavour,
            )
        )
    things = []
    for _ in range(draw(st.integers(0, 7))):
        kind = draw(st.sampled_from(MESSAGE_KINDS + PERSON_KINDS[provider]))
        done = Done(
            kind=kind,
            about=draw(st.integers(0, count - 1)),
            time=START + draw(st.integers(0, 9)),
            variant=draw(st.integers(0, 2)),
        )
        things.append(done)
    world = WORLDS[provider](said)
    bodies = [body for message in said if (body := world.said(message)) is not None]
    bodies += [body for number, thing in enumerate(things) if (body := world.done(thing, number)) is not None]
    return [Post(provider, json.dumps(body, separators=(",", ":")).encode()) for body in bodies]


class WhatsApp:
    """Bodies of WhatsApp's Cloud API."""

    def __init__(self, said: list[Said]) -> None:
        self._said = said

    def said(self, message: Said) -> Any:
        """Live messages, echoes of the phone app, and history."""
        person = self._person(message.person)
        item: dict[str, Any] = {
            "id": self._id(message.number),
            "timestamp": str(message.time),
            "type": "text",
            "text": {"body": message.text},
        }
        if message.reply_to is not None:
            item["context"] = {"id": self._id(message.reply_to)}
        if message.flavour in ("history", "photo"):
            if message.flavour == "photo":  # the media come in a body of their own
                item = {key: told for key, told in item.items() if key != "text"} | {"type": "media_placeholder"}
            item["from"] = self._number(message) if message.outbound else person
            item["history_context"] = {"status": "READ"}
            thread = {"id": person, "messages": [item]}
            return self._body(message, "history", {"history": [{"metadata": {"phase": 0}, "threads": [thread]}]})
        if message.outbound:
            to = OTHER_SPELLINGS.get(person, person) if message.number % 2 else person
            echo = {"from": self._number(message), "to": to, **item}
            return self._body(message, "smb_message_echoes", {"message_echoes": [echo]})
        contact: dict[str, Any] = {"profile": {"name": f"Person {message.person}"}}
        if message.person == 0 and message.number % 2:  # a user id beside the phone
            contact |= {"wa_id": person, "user_id": USER_ID}
            item |= {"from": person, "from_user_id": USER_ID}
        else:
            spelt = OTHER_SPELLINGS.get(person, person) if message.number % 2 else person
            contact |= {"wa_id": spelt}
            item |= {"from": spelt}
        return self._body(message, "messages", {"contacts": [contact], "messages": [item]})

    def done(self, thing: Done, number: int) -> Any:
        """Statuses, reactions, edits, revocations, marketing preferences."""
        message = self._said[thing.about]
        person = self._person(message.person)
        # A message has several ids, and may be named by another one than it came with.
        target = self._id(message.number, of="1" if thing.variant == 1 else None)
        item: dict[str, Any] = {"from": person, "id": f"wamid.E{number}", "timestamp": str(thing.time)}
        match thing.kind:
            case "status":
                status: dict[str, Any] = {
                    "id": target,
                    "status": ("sent", "delivered", "failed", "read", "played")[(thing.variant + number) % 5],
                    "timestamp": str(thing.time),
                    "recipient_id": person,
                }
                if status["status"] == "failed":
                    status["errors"] = [{"code": 1, "title": "no"}]
                return self._body(message, "messages", {"statuses": [status]})
            case "reaction":
                item |= {"type": "reaction", "reaction": {"message_id": target, "emoji": EMOJI[thing.variant]}}
            case "edit":
                inner = {"type": "text", "text": {"body": TEXTS[thing.variant + 1]}}
                item |= {"type": "edit", "edit": {"original_message_id": target, "message": inner}}
            case "delete":
                item |= {"type": "revoke", "revoke": {"original_message_id": target}}
            case "marketing":
                preference = {
                    "wa_id": person,
                    "category": "marketing_messages",
                    "value": ("stop", "resume", "stop")[thing.variant],
                    "timestamp": thing.time,
                }
                return self._body(message, "user_preferences", {"user_preferences": [preference]})
            case "identity":
                system = {"type": "user_changed_number", "wa_id": f"55119000001{message.person}{thing.variant}"}
                item |= {"type": "system", "system": system}
            case "media" if message.flavour == "photo":
                author, own_id = self._number(message) if message.outbound else person, self._id(message.number)
                image = {"id": "image", "mime_type": "image/jpeg", "url": f"https://media.example/{own_id}"}
                item |= {"from": author, "to": person, "id": own_id, "timestamp": str(message.time), "type": "image"}
                return self._body(message, "history", {"messages": [item | {"image": image}]})
            case _:
                return None
        return self._body(message, "messages", {"messages": [item]})

    def _body(self, message: Said, field: str, value: dict[str, Any]) -> Any:
        account, number = list(NUMBERS.items())[message.account]
        metadata = {"display_phone_number": number, "phone_number_id": account}
        change = {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
        return {"object": "whatsapp_business_account", "entry": [{"id": "800100", "changes": [change]}]}

    def _number(self, message: Said) -> str:
        return list(NUMBERS.values())[message.account]

    def _person(self, person: int) -> str:
        return PHONES[person]

    def _id(self, number: int, of: str | None = None) -> str:
        party = of or PHONES[self._said[number].person]
        token = f"3EB0{number:016X}"
        return "wamid." + b64encode(f"\x1d\x0b{party}\x15\x02\x00{token}\0".encode()).decode()


class Meta:
    """Bodies of Instagram and Messenger."""

    def __init__(self, said: list[Said], *, page: bool) -> None:
        self._said = said
        self._page = page

    def said(self, message: Said) -> Any:
        """Messages, echoes, standby; comments, our own ones among them."""
        if message.flavour == "comment":
            return self._comment(message)
        inner: dict[str, Any] = {"mid": f"m{message.number}", "text": message.text}
        if message.reply_to is not None:
            inner["reply_to"] = {"mid": f"m{message.reply_to}"}
        if message.outbound:
            inner["is_echo"] = True
        return self._messaging(message, message.time, {"message": inner}, outbound=message.outbound)

    def done(self, thing: Done, number: int) -> Any:
        """Reactions, edits, unsends, reads and deliveries by mid and by watermark, handovers, referrals."""
        message = self._said[thing.about]
        mid = f"m{message.number}"
        if thing.kind in ("edit", "delete"):
            return self._changed(message, thing)
        event: dict[str, Any]
        match thing.kind:
            case "reaction":
                action = "react" if EMOJI[thing.variant] else "unreact"
                event = {"reaction": {"mid": mid, "action": action, "emoji": EMOJI[thing.variant]}}
            case "status" if self._page:
                event = {"delivery": {"mids": [mid], "watermark": thing.time * 1000}}
            case "status":
                event = {"read": {"mid": mid}}
            case "read_until" if self._page:
                event = {"read": {"watermark": thing.time * 1000}}
            case "delivered_until":
                event = {"delivery": {"watermark": thing.time * 1000}}
            case "handover":
                event = {"pass_thread_control": {"new_owner_app_id": f"app{thing.variant}"}}
            case "referral":
                event = {"referral": {"ref": f"ref{number}", "source": "SHORTLINK", "type": "OPEN_THREAD"}}
            case _:
                return None
        return self._messaging(message, thing.time, event, outbound=False)

    def _changed(self, message: Said, thing: Done) -> Any:
        mid = f"m{message.number}"
        if message.flavour == "comment":
            return self._changed_comment(message, thing)
        if thing.kind == "delete":
            event: dict[str, Any] = {"message": {"mid": mid, "is_deleted": True}}
            return self._messaging(message, thing.time, event, outbound=message.outbound)
        event = {"message_edit": {"mid": mid, "text": TEXTS[thing.variant + 1], "num_edit": thing.variant + 1}}
        return self._messaging(message, START + 20 + thing.variant, event, outbound=message.outbound)

    def _messaging(self, message: Said, time: int, event: dict[str, Any], *, outbound: bool) -> Any:
        person, page = PEOPLE[message.person], PAGES[message.account]
        sender, recipient = (page, person) if outbound else (person, page)
        item = {"sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": time * 1000, **event}
        where = "standby" if message.flavour == "standby" else "messaging"
        return self._entry(page, {"time": time * 1000, where: [item]})

    def _comment(self, message: Said) -> Any:
        page = PAGES[message.account]
        value: dict[str, Any] = {}
        parent = None
        if message.reply_to is not None and self._said[message.reply_to].flavour == "comment":
            answered = self._said[message.reply_to]
            # Only what another person has written at the top, on the same account, is answered.
            if not answered.outbound and answered.reply_to is None and answered.account == message.account:
                parent = f"m{message.reply_to}"
        sender = page if message.outbound else PEOPLE[message.person]
        if message.outbound and parent is None:
            return None  # into the thread of the post at once, or after a while: another test
        if self._page:
            value = {
                "item": "comment",
                "verb": "add",
                "comment_id": f"m{message.number}",
                "post_id": f"{page}_1",
                "parent_id": parent or f"{page}_1",
                "created_time": message.time,
                "message": message.text,
                "from": {"id": sender, "name": f"Person {message.person}"},
            }
            return self._entry(page, {"time": message.time, "changes": [{"field": "feed", "value": value}]})
        value = {
            "id": f"m{message.number}",
            "from": {"id": sender, "username": f"person.{message.person}"},
            "text": message.text,
            "media": {"id": "media1"},
        }
        if parent:
            value["parent_id"] = parent
        return self._entry(page, {"time": message.time, "changes": [{"field": "comments", "value": value}]})

    def _changed_comment(self, message: Said, thing: Done) -> Any:
        if not self._page:
            return None
        page = PAGES[message.account]
        value = {
            "item": "comment",
            "verb": "remove" if thing.kind == "delete" else "edited",
            "comment_id": f"m{message.number}",
            "post_id": f"{page}_1",
            "from": {"id": PEOPLE[message.person]},
        }
        if thing.kind == "edit":
            value["message"] = TEXTS[thing.variant + 1]
        time = START + 10 + thing.variant
        return self._entry(page, {"time": time, "changes": [{"field": "feed", "value": value}]})

    def _entry(self, page: str, content: dict[str, Any]) -> Any:
        return {"object": "page" if self._page else "instagram", "entry": [{"id": page, **content}]}


class Telegram:
    """Updates of a bot: business messages, which are echoed and deleted, and messages to it, which have reactions."""

    def __init__(self, said: list[Said]) -> None:
        self._said = said

    def said(self, message: Said) -> Any:
        """Business messages of both sides, and what a person and the bot write to each other."""
        if message.flavour == "chat":
            return {"update_id": 500 + message.number, "message": self._message(message)}
        return {"update_id": 500 + message.number, "business_message": self._message(message)}

    def done(self, thing: Done, number: int) -> Any:
        """Edits, deletions, reactions."""
        message = self._said[thing.about]
        update: dict[str, Any] = {"update_id": 600 + number}
        match thing.kind:
            case "edit":
                changed = self._message(message) | {"edit_date": thing.time + 10, "text": TEXTS[thing.variant + 1]}
                if message.flavour != "plain":
                    return update | {"edited_message": changed}
                return update | {"edited_business_message": changed}
            case "reaction" if message.flavour != "plain":
                emoji = {"type": "emoji", "emoji": EMOJI[thing.variant]} if thing.variant < 2 else None
                custom = {"type": "custom_emoji", "custom_emoji_id": f"c{thing.about}"}
                told = {"chat": self._chat(message), "message_id": 10 + message.number, "user": self._chat(message)}
                now = [emoji, custom] if emoji else []
                return update | {"message_reaction": told | {"date": thing.time, "new_reaction": now}}
            case "delete" if message.flavour == "plain":
                return update | {
                    "deleted_business_messages": {
                        "business_connection_id": self._account(message),
                        "chat": self._chat(message),
                        "message_ids": [10 + message.number],
                    }
                }
            case _:
                return None

    def _message(self, message: Said, *, nested: bool = False) -> dict[str, Any]:
        owner = {"id": 9001 if message.flavour == "plain" else int(BOT), "first_name": "Shop"}
        writer = owner if message.outbound else self._chat(message)
        item = {
            "message_id": 10 + message.number,
            "from": {"is_bot": False, **{k: v for k, v in writer.items() if k != "type"}},
            "chat": self._chat(message),
            "date": message.time,
            "text": message.text,
        }
        if message.flavour == "plain":
            item["business_connection_id"] = self._account(message)
        if message.reply_to is not None and not nested:
            answered = self._said[message.reply_to]
            if self._conversation(answered) == self._conversation(message):
                item["reply_to_message"] = self._message(answered, nested=True)
        return item

    def _conversation(self, message: Said) -> tuple[int, str]:
        return message.person, self._account(message)

    def _account(self, message: Said) -> str:
        return ("bizA", "bizB")[message.account] if message.flavour == "plain" else BOT

    def _chat(self, message: Said) -> dict[str, Any]:
        return {"id": 3001 + message.person, "first_name": f"Person {message.person}", "type": "private"}


class TikTok:
    """Events of TikTok's business messaging."""

    def __init__(self, said: list[Said]) -> None:
        self._said = said

    def said(self, message: Said) -> Any:
        """What a person writes, and what the business writes in the app."""
        person, business = f"user-{message.person}", f"biz-{message.account}"
        content = {
            "type": "text",
            "message_id": f"tt{message.number}",
            "conversation_id": f"conv-{message.person}-{message.account}",
            "timestamp": message.time * 1000,
            "from": "Shop" if message.outbound else f"Person {message.person}",
            "from_user": {"id": business if message.outbound else person},
            "to_user": {"id": person if message.outbound else business},
            "text": {"body": message.text},
        }
        return self._body("im_send_msg" if message.outbound else "im_receive_msg", message, content)

    def done(self, thing: Done, number: int) -> Any:
        """Reads, and what people came by."""
        message = self._said[thing.about]
        if thing.kind == "referral":
            content = {
                "conversation_id": f"conv-{message.person}-{message.account}",
                "timestamp": thing.time * 1000,
                "from_user": {"id": f"user-{message.person}"},
                "to_user": {"id": f"biz-{message.account}"},
                "referral": {"ad": {"ad_id": f"ad{number}"}},
            }
            return self._body("im_referral_msg", message, content)
        if thing.kind != "read_until":
            return None
        content = {
            "conversation_id": f"conv-{message.person}-{message.account}",
            "timestamp": thing.time * 1000,
            "from_user": {"id": f"user-{message.person}"},
            "to_user": {"id": f"biz-{message.account}"},
            "read": {"last_read_timestamp": thing.time * 1000},
        }
        return self._body("im_mark_read_msg", message, content)

    def _body(self, event: str, message: Said, content: dict[str, Any]) -> Any:
        return {
            "client_key": "ck",
            "event": event,
            "create_time": message.time,
            "user_openid": f"biz-{message.account}",
            "content": json.dumps(content),
        }


WORLDS: dict[str, Any] = {
    "whatsapp": WhatsApp,
    "instagram": lambda said: Meta(said, page=False),
    "messenger": lambda said: Meta(said, page=True),
    "telegram": Telegram,
    "tiktok": TikTok,
}
