"""Atoms as lines for the database."""

import base64
import json
import zlib
from typing import Any

import orjson
import pytest

from consumer.domain.providers import lines
from consumer.domain.providers.atoms import Atoms, Effect, Identity, Message, Recorded

ANA = Identity(id="551190000001", kind="phone")
TOKEN = "3EB0C767D26A3D1B7B2F"


def wamid(other_party: str, token: str = TOKEN, end: bytes = b"\0") -> str:
    """An id as WhatsApp makes it: whom the message is with, then what tells it from others."""
    parts = (b"\x1c\x15", bytes([len(other_party)]), other_party.encode(), b"\x15\x02\x00\x12\x18\x14", token.encode())
    return "wamid." + base64.b64encode(b"".join(parts) + end).decode()


def message(**more: Any) -> Message:
    """A text of Ana."""
    given: dict[str, Any] = {
        "kind": "message",
        "id": "m1",
        "channel": "whatsapp",
        "account": "900100",
        "people": (ANA,),
    }
    return Message(**(given | more))


def test_a_plain_message_says_little() -> None:
    """Columns hold what they always held; what is usual has no key in `normalized`."""
    plain = message(
        people=(Identity(id="15550100009", kind="phone"),), text="hi", sent_at="2026-05-28T20:26:40Z", name="Ana"
    )
    assert lines.line_of(plain, 3) == {
        "delivery": 3,
        "channel": "whatsapp",
        "type": "message",
        "event_id": "m1",
        "author_id": "15550100009",
        "author_name": "Ana",
        "content": "hi",
        "event_date": "2026-05-28T20:26:40Z",
        "post_id": None,
        "normalized": {"account": "900100"},
    }


def test_a_long_name_is_cut() -> None:
    """A message is not refused for it."""
    assert lines.line_of(message(name="n" * 5000))["author_name"] == "n" * 1024


def test_all_identities_and_spellings_are_told() -> None:
    """Those that came, the other spellings of the number, and the canonical forms."""
    found = lines.normalized_of(message(people=(ANA, Identity(id="BR.1", kind="user_id", username="ana"))))
    assert found["people"] == [
        {"id": "551190000001", "kind": "phone"},
        {"id": "BR.1", "kind": "user_id", "username": "ana"},
    ]
    assert found["forms"] == ["5511990000001"]
    assert found["persons"] == ["5511990000001", "BR.1"]


def test_numbers_have_spellings_on_whatsapp_only() -> None:
    """An id of another channel, or a user id, is itself, even if it looks like a number."""
    for other in (message(channel="instagram"), message(people=(Identity(id=ANA.id, kind="user_id"),))):
        assert "forms" not in lines.normalized_of(other)
        assert "persons" not in lines.normalized_of(other)


def test_what_a_message_has_beside_its_text() -> None:
    """The first link is the media_url; a comment of ours that answers one is marked."""
    attachments = [{"type": "contact"}, {"type": "image", "link": "https://a"}, {"type": "image", "link": "https://b"}]
    found = lines.normalized_of(
        message(
            id=wamid("1"),
            comment=True,
            outbound=True,
            reply_to=wamid("2"),
            message_type="image",
            metadata={"attachments": attachments, "history": True},
            thread="t",
            status="read",
        )
    )
    assert found == {
        "account": "900100",
        "direction": "outbound",
        "message_type": "image",
        "media_url": "https://a",
        "thread": "t",
        "reply": wamid("2"),
        "reply_token": TOKEN,
        "token": TOKEN,
        "status": "read",
        "own_comment": True,
        "history": True,
        "metadata": {"attachments": attachments, "history": True},
        "forms": ["5511990000001"],
        "persons": ["5511990000001"],
    }


def test_a_wamid_has_a_token_in_common_with_the_others_of_its_message() -> None:
    """It is at the end of what the id encodes; everything else has none."""
    assert lines.token_of(wamid("5511990000001")) == lines.token_of(wamid("551190000001", end=b"")) == TOKEN
    assert lines.token_of(wamid("5511990000001").rstrip("=")) == TOKEN
    for other in (
        None,
        "",
        "m1",
        "wamid.",
        "wamid.ac1",
        "wamid.é",
        "wamid.A",
        wamid("1", token="ABC"),
        wamid("1", end=b"\n"),
    ):
        assert lines.token_of(other) is None


def test_subjects_are_the_same_for_all_wamids_of_a_message() -> None:
    """64 bits with a sign; the channel is part of it."""
    assert lines.subject_of("whatsapp", wamid("1")) == lines.subject_of("whatsapp", wamid("2"))
    assert lines.subject_of("whatsapp", "m1") != lines.subject_of("instagram", "m1")
    assert all(-(2**63) <= lines.subject_of("whatsapp", str(n)) < 2**63 for n in range(100))
    assert any(lines.subject_of("whatsapp", str(n)) < 0 for n in range(100))


def test_an_effect_names_its_target_and_person_in_all_ways() -> None:
    """As the body names them, and in the forms that they are found by."""
    effect = Effect(kind="status", id="s", channel="whatsapp", target=wamid("1"), person=ANA, values={"status": "read"})
    assert lines.effect_line_of(effect, 1) == {
        "delivery": 1,
        "kind": "status",
        "id": "s",
        "channel": "whatsapp",
        "target": wamid("1"),
        "token": TOKEN,
        "account": None,
        "person": "551190000001",
        "canonical": "5511990000001",
        "forms": ["5511990000001"],
        "at": None,
        "ord": "",
        "subject": lines.subject_of("whatsapp", wamid("1")),
        "content": {"status": "read"},
    }


def test_a_call_keeps_bodies_as_they_came() -> None:
    """Compressed where that is shorter, with the digest of the bytes, and what must be scrubbed with which message."""
    long, short = b'{"a": "' + b"x" * 1000 + b'"}', b"{}"
    atoms = Atoms(
        messages=(message(text="a\nb"), message(id="m2")),
        effects=(
            Effect(kind="edit", id="e", channel="whatsapp", target="m0"),
            Effect(kind="delete", id="d", channel="whatsapp", target="m9"),
        ),
        recorded=(Recorded(kind="errors"), Recorded(kind="unknown")),
        mentions=(("whatsapp", "m3"),),
    )
    call = lines.call_of(
        [
            lines.Delivery(provider="whatsapp", body=long, atoms=atoms),
            lines.Delivery(provider="telegram", body=short, atoms=None, account="7", error="too large"),
            lines.Delivery(provider="tiktok", body=None, id=9, atoms=Atoms(), received_at="2026-05-28T20:26:40Z"),
        ],
        orjson.dumps,
    )
    first, second, third = json.loads(call.deliveries)
    assert first["compressed"] is True
    assert call.bodies[0] is not None
    assert zlib.decompress(call.bodies[0]) == long
    assert first["kinds"] == {"message": 2, "edit": 1, "delete": 1, "errors": 1, "unknown": 1}
    assert first["unknown"] is True
    assert first["subjects"] == sorted(lines.subject_of("whatsapp", mid) for mid in ("m0", "m1", "m2", "m3"))
    assert second == {
        "provider": "telegram",
        "account": "7",
        "error": "too large",
        "compressed": False,
        "digest": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    }
    assert call.bodies[1:] == [short, None]
    assert (third["id"], third["kinds"], third["subjects"], third["unknown"]) == (9, {}, None, False)
    assert [json.loads(line)["event_id"] for line in call.lines.split("\n")] == ["m1", "m2"]
    assert [json.loads(line)["delivery"] for line in call.effects.split("\n")] == [0, 0]


@pytest.mark.parametrize("value", [10**400, "\ud800", float("nan"), [[[[]]]]])
def test_a_line_is_written_whatever_it_holds(value: object) -> None:
    """What JSON cannot say is left out, and nothing else of the line."""
    call = lines.call_of(
        [lines.Delivery(provider="whatsapp", body=b"", atoms=Atoms(messages=(message(metadata={"odd": value}),)))],
        orjson.dumps,
    )
    assert json.loads(call.lines)["event_id"] == "m1"
