"""Updates of Telegram, taken apart."""

from typing import Any

import pytest

from consumer.domain.providers import telegram
from consumer.domain.providers.atoms import Atoms, Context, Effect, Identity, Message

BOT = Context(bot="700001")
ANA = {"id": 3001, "is_bot": False, "first_name": "Ana", "last_name": "Lopes", "username": "ana"}
CHAT = {"id": 3001, "first_name": "Ana", "last_name": "Lopes", "type": "private"}
GROUP = {"id": -5, "title": "us", "type": "group"}


def _message_of(**told: Any) -> dict[str, Any]:
    return {"message_id": 7, "from": ANA, "chat": CHAT, "date": 1780000002, **told}


def _read(context: Context = BOT, **update: Any) -> Atoms:
    return telegram.atoms({"update_id": 516, **update}, context)


def _message(atoms: Atoms) -> Message:
    [message] = atoms.messages
    assert not atoms.effects
    assert not atoms.recorded
    return message


def _effect(atoms: Atoms) -> Effect:
    [effect] = atoms.effects
    assert not atoms.messages
    assert not atoms.recorded
    return effect


def _kinds(atoms: Atoms) -> list[str]:
    assert not atoms.messages
    assert not atoms.effects
    return [atom.kind for atom in atoms.recorded]


def test_a_message_is_known_by_bot_chat_and_number() -> None:
    message = _message(_read(message=_message_of(text="hi")))
    assert (message.id, message.account, message.text) == ("700001:3001:7", "700001", "hi")
    assert (message.people, message.name) == ((Identity(id="3001", username="ana"),), "Ana Lopes")
    assert (message.sent_at, message.outbound, message.metadata) == ("2026-05-28T20:26:42Z", False, {})
    assert _message(_read(Context(bot="2"), message=_message_of(text="hi"))).id == "2:3001:7"


def test_a_message_to_a_business_account_is_that_connections() -> None:
    message = _message(_read(business_message=_message_of(text="hi", business_connection_id="bizA")))
    assert (message.id, message.account, message.outbound) == ("bizA:3001:7", "bizA", False)


def test_what_the_owner_writes_is_an_echo_to_the_customer() -> None:
    told = _message_of(text="hi", business_connection_id="bizA", **{"from": {"id": 42, "first_name": "Bo"}})
    message = _message(_read(business_message=told))
    assert (message.kind, message.outbound, message.metadata) == ("echo", True, {"echo": True})
    assert (message.people, message.name) == ((Identity(id="3001"),), "Ana Lopes")


def test_what_our_own_bot_has_sent_is_recorded() -> None:
    told = _message_of(text="hi", business_connection_id="bizA", **{"from": {"id": 42}})
    atoms = _read(business_message={**told, "sender_business_bot": {"id": 700001}})
    assert _kinds(atoms) == ["echo"]
    assert atoms.mentions == (("telegram", "bizA:3001:7"),)


@pytest.mark.parametrize("chat", [GROUP, {"id": 23, "type": "group"}, {"id": -100, "type": "channel"}, {"id": -5}])
def test_groups_are_recorded(chat: dict[str, Any]) -> None:
    told = _message_of(chat=chat, text="hi")
    assert _kinds(_read(message=told)) == ["group"]
    assert _kinds(_read(edited_message=told)) == ["group"]
    assert _kinds(_read(callback_query={"id": "q", "from": ANA, "data": "x", "message": told})) == ["group"]


@pytest.mark.parametrize(
    ("told", "message_type", "text", "attachment"),
    [
        (
            {"photo": [{"file_id": "l", "width": 9, "height": 9}, {"file_id": "s", "width": 1, "height": 1}]},
            "image", None, {"type": "image", "id": "l"},
        ),
        (
            {"document": {"file_id": "d", "file_name": "a.pdf", "mime_type": "application/pdf"}, "caption": "read"},
            "file", "read", {"type": "file", "id": "d", "mime": "application/pdf", "name": "a.pdf"},
        ),
        (
            {"animation": {"file_id": "a"}, "document": {"file_id": "a"}},
            "video", None, {"type": "video", "id": "a", "animation": True},
        ),
        (
            {"voice": {"file_id": "v", "duration": 2}},
            "audio", None, {"type": "audio", "id": "v", "duration": 2, "voice": True},
        ),
        ({"sticker": {"file_id": "s", "emoji": "👍"}}, "image", None, {"type": "sticker", "id": "s", "emoji": "👍"}),
        (
            {"location": {"latitude": 1.5, "longitude": 2}, "venue": {"title": "Padaria", "address": "Rua A, 1"}},
            "text", "Padaria, Rua A, 1",
            {"type": "location", "name": "Padaria", "address": "Rua A, 1", "latitude": 1.5, "longitude": 2},
        ),
        (
            {"location": {"latitude": 1, "longitude": 2}},
            "event", None, {"type": "location", "latitude": 1, "longitude": 2},
        ),
        (
            {"contact": {"phone_number": "+55 11", "first_name": "Hugo", "last_name": "Lima"}},
            "text", "Hugo Lima, +55 11", {"type": "contact", "name": "Hugo Lima", "phone": "+55 11"},
        ),
    ],
)  # fmt: skip
def test_each_type_has_its_attachment(
    told: dict[str, Any], message_type: str, text: str | None, attachment: dict[str, Any]
) -> None:
    message = _message(_read(message=_message_of(**told)))
    assert (message.message_type, message.text) == (message_type, text)
    assert message.metadata == {"attachments": [attachment]}


def test_pictures_of_an_album_have_its_key() -> None:
    told = _message_of(photo=[{"file_id": "l"}], media_group_id="g9", caption="us")
    message = _message(_read(message=told))
    assert (message.metadata["album"], message.text) == ("g9", "us")


def test_the_start_of_a_bot_has_what_the_link_carried() -> None:
    message = _message(_read(message=_message_of(text="/start promo42")))
    assert (message.text, message.metadata) == ("/start promo42", {"payload": "promo42"})
    assert _message(_read(message=_message_of(text="/start"))).metadata == {}


def test_an_answer_of_a_web_app_is_its_button_with_the_payload() -> None:
    message = _message(_read(message=_message_of(web_app_data={"button_text": "Order", "data": "{}"})))
    assert (message.text, message.metadata) == ("Order", {"payload": "{}"})


@pytest.mark.parametrize(
    ("told", "kind"),
    [({"pinned_message": _message_of(text="x")}, "pinned_message"), ({"poll": {"id": "1"}}, "poll"), ({}, "unknown")],
)
def test_news_of_a_chat_is_recorded(told: dict[str, Any], kind: str) -> None:
    assert _kinds(_read(message=_message_of(**told))) == [kind]


def test_what_a_quoted_message_quotes_is_mentioned() -> None:
    """Its text is in the body as well, and has to go with it; however deep the body is, this comes to an end."""
    quoted = _message_of(message_id=1, text="cake?")
    for number in range(2, 100):
        quoted = _message_of(message_id=number, text="yes", reply_to_message=quoted)
    atoms = _read(message=_message_of(message_id=100, text="yes", reply_to_message=quoted))
    assert [mentioned for _, mentioned in atoms.mentions[:3]] == [f"700001:3001:{n}" for n in (100, 99, 98)]


def test_a_reply_points_to_a_message_of_the_same_chat() -> None:
    """The nested one makes no message, but its text is in the body."""
    quoted = _message_of(message_id=6, text="cake?")
    atoms = _read(message=_message_of(text="yes", reply_to_message=quoted))
    assert _message(atoms).reply_to == "700001:3001:6"
    assert ("telegram", "700001:3001:6") in atoms.mentions
    elsewhere = {**quoted, "chat": GROUP}
    assert _message(_read(message=_message_of(text="yes", reply_to_message=elsewhere))).reply_to is None


def test_an_edit_is_known_by_its_time_and_text() -> None:
    told = _message_of(text="b", edit_date=1780000004)
    once, again, later = (
        _effect(_read(edited_message=edit))
        for edit in (told, {**told, "update_id": 9}, {**told, "edit_date": 1780000005})
    )
    assert once.id == again.id != later.id
    assert once.id.startswith("700001:3001:7:edit:1780000004:")
    assert once.ord == f"2026-05-28T20:26:44.000000Z {once.id}"
    assert once.ord < later.ord
    assert (once.target, once.at, once.values) == ("700001:3001:7", "2026-05-28T20:26:44Z", {"text": "b"})


def test_an_edit_of_a_caption_tells_the_attachments() -> None:
    effect = _effect(_read(edited_message=_message_of(photo=[{"file_id": "l"}], edit_date=1780000004)))
    assert effect.values == {"text": None, "attachments": [{"type": "image", "id": "l"}]}
    assert _kinds(_read(edited_message=_message_of(poll={}))) == ["edit"]


def test_deletions_are_one_a_message_and_have_no_time() -> None:
    told = {"business_connection_id": "bizA", "chat": CHAT, "message_ids": [80, 81, None]}
    atoms = _read(deleted_business_messages=told)
    assert [(e.kind, e.id, e.target, e.at) for e in atoms.effects] == [
        ("delete", f"del:bizA:3001:{n}", f"bizA:3001:{n}", None) for n in (80, 81)
    ]
    assert [atom.kind for atom in atoms.recorded] == ["delete"]


def test_a_callback_is_a_message_with_the_title_of_its_button() -> None:
    keys = {"inline_keyboard": [[{"text": "No", "callback_data": "NO"}], [{"text": "Yes", "callback_data": "YES"}]]}
    old = {"chat": CHAT, "message_id": 9, "date": 0}
    query = {"id": "q1", "from": ANA, "data": "YES", "message": old}
    message = _message(_read(callback_query=query))
    assert (message.kind, message.id, message.account) == ("callback", "700001:cb:q1", "700001")
    assert (message.text, message.metadata, message.sent_at) == ("YES", {"payload": "YES"}, None)
    assert message.people == (Identity(id="3001", username="ana"),)
    assert _message(_read(callback_query={**query, "message": {**old, "reply_markup": keys}})).text == "Yes"
    # Buttons of a message that somebody has sent by way of the bot: where, it does not say.
    assert _message(_read(callback_query={"id": "q1", "from": ANA, "data": "YES"})).id == "700001:cb:q1"


def test_reactions_are_all_that_a_person_has_left() -> None:
    told = {
        "chat": CHAT, "message_id": 7, "date": 1780000004, "user": ANA, "old_reaction": [],
        "new_reaction": [{"type": "emoji", "emoji": "👍"}, {"type": "custom_emoji", "custom_emoji_id": "99"}],
    }  # fmt: skip
    effect = _effect(_read(message_reaction=told))
    assert (effect.target, effect.at) == ("700001:3001:7", "2026-05-28T20:26:44Z")
    assert effect.values == {"actor": "3001", "emoji": ["👍", "custom:99"]}
    assert effect.id == effect.ord
    assert effect.id.startswith("700001:u516:")
    assert _effect(_read(message_reaction={**told, "new_reaction": []})).values["emoji"] == []
    assert _kinds(_read(message_reaction={**told, "chat": GROUP})) == ["reaction"]


@pytest.mark.parametrize("kind", ["channel_post", "poll", "my_chat_member", "inline_query", "business_connection"])
def test_other_updates_are_recorded_by_their_name(kind: str) -> None:
    assert _kinds(telegram.atoms({"update_id": 1, kind: {"id": 1}}, BOT)) == [kind]


@pytest.mark.parametrize("body", [None, 1, "x", [], {}, {"message": 1}, {"message": {}}, {"something_new": {}}])
def test_what_is_not_understood_is_recorded(body: Any) -> None:
    assert _kinds(telegram.atoms(body, BOT)) == ["unknown"]


def test_without_a_bot_ids_have_another_beginning() -> None:
    message = _message(_read(Context(), message=_message_of(text="hi")))
    assert (message.id, message.account) == ("bot:3001:7", None)
