"""TikTok's events."""

import json
from typing import Any

import pytest

from consumer.domain.providers.atoms import Atoms, Context, Effect, Identity, Message
from consumer.domain.providers.tiktok import atoms

ANA, SHOP = {"id": "user-1", "role": "personal_account"}, {"id": "biz-900", "role": "business_account"}


def body(event: str = "im_receive_msg", *, author: Any = ANA, receiver: Any = SHOP, **content: Any) -> dict[str, Any]:
    """An event between Ana and the shop."""
    said = {
        "message_id": "tt1",
        "conversation_id": "conv-1",
        "timestamp": 1780000000000,
        "from": "ana",
        "from_user": author,
        "to": "shop",
        "to_user": receiver,
        "type": "text",
    }
    return {"event": event, "create_time": 1780000009, "user_openid": "biz-900", "content": json.dumps(said | content)}


def read(value: object) -> Atoms:
    """What a body is taken apart into."""
    return atoms(value, Context())


def message_of(value: object) -> Message:
    """The one message of a body."""
    (message,) = read(value).messages
    return message


def effect_of(value: object) -> Effect:
    """The one effect of a body."""
    (effect,) = read(value).effects
    return effect


def test_a_message_is_in_the_conversation_that_tiktok_names() -> None:
    """With its time, who it is from, and what it answers."""
    message = message_of(body(text={"body": "hi"}, referenced_message_info={"referenced_message_id": "tt0"}))
    assert (message.thread, message.account, message.name) == ("conv-1", "biz-900", "ana")
    assert (message.text, message.reply_to, message.outbound) == ("hi", "tt0", False)
    assert (message.people, message.sent_at) == ((Identity(id="user-1"),), "2026-05-28T20:26:40Z")


def test_the_business_is_never_the_contact() -> None:
    """Whichever event tells of its message, and if only the roles tell the two apart."""
    sent = message_of(body("im_send_msg", author=SHOP, receiver=ANA, text={"body": "hello"}))
    odd = message_of(body("im_receive_msg", author=SHOP, receiver=ANA))
    by_role = message_of(body(author=SHOP, receiver=ANA) | {"user_openid": None})
    for message in (sent, odd, by_role):
        assert message.outbound
        assert message.people == (Identity(id="user-1"),)
        assert message.name is None
        assert message.metadata["echo"] is True


@pytest.mark.parametrize(
    ("content", "message_type", "metadata"),
    [
        ({"type": "image", "image": {"media_id": "i1"}}, "image", {"attachments": [{"type": "image", "id": "i1"}]}),
        ({"type": "sticker", "sticker": {"url": "https://s"}}, "image", {"attachments": [{"type": "sticker", "link": "https://s"}]}),
        (
            {"type": "share_post", "share_post": {"video_id": "v", "embed_url": "https://v"}},
            "event",
            {"attachments": [{"type": "share_post", "id": "v", "link": "https://v"}]},
        ),
        ({"type": "hologram"}, "event", {"placeholder": True}),
        ({"referral": {"ad": {"ad_id": "5"}}}, "text", {"referral": {"ad": {"ad_id": "5"}}}),
    ],
)  # fmt: skip
def test_kinds_of_messages(content: dict[str, Any], message_type: str, metadata: dict[str, Any]) -> None:
    """Media keep id and link, shared posts their link; what cannot be shown is a placeholder."""
    message = message_of(body(**content))
    assert (message.message_type, message.text, message.metadata) == (message_type, None, metadata)


def test_a_message_without_an_id_is_told_by_what_it_says() -> None:
    """Delivered again it is the same one, whatever the order of keys; a second one is another."""
    one, again = body(message_id=None), body(message_id=None)
    again["content"] = json.dumps(dict(reversed(json.loads(again["content"]).items())))
    assert message_of(one).id == message_of(again).id
    assert message_of(one).id != message_of(body(message_id=None, timestamp=1780000001000)).id


def test_read_by_the_person_is_a_watermark() -> None:
    """It holds for all that was sent up to then; that we have read something says nothing."""
    until = 1780000005000
    effect = effect_of(body("im_mark_read_msg", type=None, read={"last_read_timestamp": until}))
    assert (effect.kind, effect.target, effect.person) == ("read_until", None, Identity(id="user-1"))
    assert effect.values == {"until": "2026-05-28T20:26:45Z"}
    assert effect.id == f"read:{until}:biz-900:user-1"
    by_us = read(body("im_mark_read_msg", author=SHOP, receiver=ANA, read={"last_read_timestamp": until}))
    assert [atom.kind for atom in by_us.recorded] == ["im_mark_read_msg"]
    assert not by_us.effects


def test_a_referral_comes_alone() -> None:
    """It is kept for the message that follows."""
    effect = effect_of(body("im_referral_msg", message_id=None, type=None, referral={"ad": {"ad_id": "5"}}))
    assert (effect.kind, effect.person, effect.at) == ("referral", Identity(id="user-1"), "2026-05-28T20:26:40Z")
    assert effect.values == {"referral": {"ad": {"ad_id": "5"}}}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (body("comment.update"), "comment.update"),
        (body("something.new"), "unknown"),
        (body("im_receive_msg", type=None), "unknown"),
        ({"event": "im_receive_msg", "content": "["}, "unknown"),
        ({"event": "im_receive_msg", "content": {"type": 5}}, "unknown"),
        ({"event": ["im_receive_msg"]}, "unknown"),
        (body("im_mark_read_msg", read={"last_read_timestamp": "x"}), "unknown"),
        ([], "unknown"),
    ],
)
def test_the_rest_is_recorded(value: object, kind: str) -> None:
    """Nothing else comes of it, and no error."""
    found = read(value)
    assert [atom.kind for atom in found.recorded] == [kind]
    assert not found.messages
    assert not found.effects
