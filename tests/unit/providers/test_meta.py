"""Bodies of Instagram and Messenger, taken apart."""

from typing import Any

import pytest

from consumer.domain.providers import instagram, messenger
from consumer.domain.providers.atoms import Atoms, Context, Effect, Identity, Message

US, ANA = "17841400000000900", "990000000000001"
AT, ISO = 1780000002000, "2026-05-28T20:26:42Z"
OWN = Context(own_app_ids=frozenset({"555001"}))


def _event(*, sender: str | None = ANA, recipient: str | None = US, **told: Any) -> dict[str, Any]:
    sides = {key: {"id": side} for key, side in (("sender", sender), ("recipient", recipient)) if side}
    return {**sides, "timestamp": AT, **told}


def _body(*events: Any, named: str = "instagram", time: Any = 1780000000000, key: str = "messaging") -> dict[str, Any]:
    return {"object": named, "entry": [{"id": US, "time": time, key: list(events)}]}


def _read(*events: Any, context: Context = Context(), **envelope: Any) -> Atoms:  # noqa: B008 - frozen
    return instagram.atoms(_body(*events, **envelope), context)


def _comment(value: dict[str, Any], field: str = "feed", *, named: str = "page", time: Any = 1780000006) -> Atoms:
    body = {"object": named, "entry": [{"id": US, "time": time, "changes": [{"field": field, "value": value}]}]}
    return messenger.atoms(body, Context())


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


def test_a_message_is_of_the_side_that_is_not_ours() -> None:
    message = _message(_read(_event(message={"mid": "m1", "text": "hi"})))
    assert (message.channel, message.account, message.people) == ("instagram", US, (Identity(id=ANA),))
    assert (message.id, message.text, message.sent_at, message.outbound) == ("m1", "hi", ISO, False)
    assert message.metadata == {}


def test_the_object_decides_the_channel() -> None:
    """An application with one address for both gets bodies of pages at the route of Instagram."""
    body = _body(_event(message={"mid": "m1", "text": "hi"}), named="page")
    assert _message(instagram.atoms(body, Context())).channel == "facebook"
    assert _message(messenger.atoms([body, body], Context())).id == "m1"


def test_an_echo_is_outbound_to_the_other_party() -> None:
    """Whichever side it names the sender, and though its application has an id."""
    for sender, recipient in ((US, ANA), (ANA, US)):
        told = {"mid": "e1", "text": "hi", "is_echo": True, "app_id": 7}
        message = _message(_read(_event(sender=sender, recipient=recipient, message=told), context=OWN))
        assert (message.kind, message.outbound, message.people) == ("echo", True, (Identity(id=ANA),))
        assert message.metadata == {"echo": True}


def test_what_we_send_without_saying_that_it_is_an_echo_is_outbound_as_well() -> None:
    assert _message(_read(_event(sender=US, recipient=ANA, message={"mid": "e1", "text": "hi"}))).outbound


def test_an_echo_of_our_own_application_is_recorded() -> None:
    """Its text is in the body: it goes with the message's deletion."""
    told = {"mid": "e2", "text": "hi", "is_echo": True, "app_id": 555001}
    atoms = _read(_event(sender=US, recipient=ANA, message=told), context=OWN)
    assert _kinds(atoms) == ["echo"]
    assert atoms.mentions == (("instagram", "e2"),)


def test_echoes_of_applications_are_counted_while_none_is_known_to_be_ours() -> None:
    told = {"mid": "e2", "text": "hi", "is_echo": True, "app_id": 555001}
    assert _message(_read(_event(sender=US, recipient=ANA, message=told))).kind == "echo_of_app"


def test_a_note_to_oneself_makes_no_contact_of_us() -> None:
    assert _kinds(_read(_event(sender=US, recipient=US, message={"mid": "s1", "text": "hi", "is_echo": True}))) == [
        "self"
    ]


def test_a_message_in_both_lists_is_one_and_in_standby() -> None:
    event = _event(message={"mid": "m1", "text": "hi"})
    for first, second in (("messaging", "standby"), ("standby", "messaging")):
        body = {"object": "page", "entry": [{"id": US, first: [event]}, {"id": US, second: [event]}]}
        assert _message(messenger.atoms(body, Context())).metadata == {"standby": True}


def test_several_attachments_are_one_message() -> None:
    attachments = [
        {"type": "image", "payload": {"url": "https://cdn.example/1"}},
        {"type": "like_heart"},
        {"type": "ig_reel", "payload": {"reel_video_id": 12, "title": "Reel", "url": "https://cdn.example/2"}},
        {"type": "location", "title": "Padaria", "payload": {"coordinates": {"lat": -23.5, "long": -46.6}}},
    ]
    message = _message(_read(_event(message={"mid": "m1", "attachments": attachments})))
    assert message.metadata["attachments"] == [
        {"type": "image", "link": "https://cdn.example/1"},
        {"type": "like_heart"},
        {"type": "ig_reel", "id": "12", "name": "Reel", "link": "https://cdn.example/2"},
        {"type": "location", "name": "Padaria", "latitude": -23.5, "longitude": -46.6},
    ]
    assert (message.message_type, message.text) == ("image", "Padaria")


@pytest.mark.parametrize(
    ("attachment", "text"),
    [
        ({"type": "fallback", "title": "A page", "url": "https://a.example", "payload": "BLOB"}, "A page"),
        ({"type": "template", "payload": {"template_type": "button", "text": "Choose"}}, "Choose"),
        ({"type": "template", "payload": {"elements": [{"title": "One"}, {"title": "Two"}]}}, "One\nTwo"),
        ({"type": "template", "payload": {"product": {"elements": [{"title": "Cake"}]}}}, "Cake"),
    ],
)
def test_a_message_without_a_text_is_told_in_words(attachment: dict[str, Any], text: str) -> None:
    message = _message(_read(_event(message={"mid": "m1", "attachments": [attachment]})))
    assert (message.message_type, message.text) == ("text", text)


def test_a_reply_names_a_message_or_a_story() -> None:
    assert _message(_read(_event(message={"mid": "m2", "text": "yes", "reply_to": {"mid": "m1"}}))).reply_to == "m1"
    story = {"story": {"id": "st1", "url": "https://cdn.example/s"}}
    message = _message(_read(_event(message={"mid": "m2", "text": "nice", "reply_to": story})))
    assert message.reply_to is None
    assert message.metadata == {"story": {"id": "st1", "link": "https://cdn.example/s"}}


@pytest.mark.parametrize("told", [{"is_unsupported": True}, {}])
def test_what_the_provider_cannot_show_is_a_placeholder(told: dict[str, Any]) -> None:
    message = _message(_read(_event(message={"mid": "m1", **told})))
    assert (message.message_type, message.text, message.metadata) == ("event", None, {"placeholder": True})


def test_a_message_without_a_time_arrives_now() -> None:
    event = _event(message={"mid": "m1", "text": "hi"})
    del event["timestamp"]
    assert _message(_read(event)).sent_at is None


def test_a_message_without_a_sender_is_of_nobody() -> None:
    message = _message(_read(_event(sender=None, message={"mid": "m1", "text": "hi"})))
    assert (message.people, message.account) == ((), US)


def test_the_button_of_the_dashboard_writes_to_the_recipient() -> None:
    value = {"sender": {"id": "12"}, "recipient": {"id": "23"}, "timestamp": "1780000002", "message": {"mid": "r"}}
    for entry in ({"changes": [{"field": "messages", "value": value}]}, {"field": "messages", "value": value}):
        message = _message(instagram.atoms({"object": "instagram", "entry": [{"id": "0", **entry}]}, Context()))
        assert (message.account, message.people, message.sent_at) == ("23", (Identity(id="12"),), ISO)


def test_a_postback_is_its_title_with_the_payload() -> None:
    told = {"mid": "p1", "title": "Hours?", "payload": "HOURS", "referral": {"ref": "x", "ad_id": None}}
    message = _message(_read(_event(postback=told)))
    assert (message.kind, message.id, message.text) == ("postback", "p1", "Hours?")
    assert message.metadata == {"payload": "HOURS", "referral": {"ref": "x"}}
    assert _message(_read(_event(postback={"payload": "HOURS"}))).text == "HOURS"


def test_a_postback_without_an_id_is_known_by_its_own_time() -> None:
    """Not by that of the delivery, which is another one when it is delivered again."""
    told = {"title": "Hours?", "payload": "HOURS"}
    once, again = (_message(_read(_event(postback=told), time=time)).id for time in (1, 2))
    later = _message(_read({**_event(postback=told), "timestamp": AT + 1})).id
    assert once == again != later


def test_a_quick_reply_keeps_its_payload() -> None:
    told = {"mid": "m1", "text": "Red", "quick_reply": {"payload": {"pick": "é"}}}
    assert _message(_read(_event(message=told))).metadata == {"payload": '{"pick": "é"}'}


def test_a_deletion_is_no_duplicate_of_the_message() -> None:
    effect = _effect(_read(_event(message={"mid": "m1", "is_deleted": True})))
    assert (effect.kind, effect.id, effect.target, effect.at) == ("delete", "del:m1", "m1", ISO)


def test_edits_are_ordered_by_their_number() -> None:
    """Which may come as text."""
    two, ten = (_effect(_read(_event(message_edit={"mid": "m", "text": "b", "num_edit": n}))) for n in (2, "10"))
    assert (two.id, two.values, ten.id) == ("edit:m:2", {"text": "b"}, "edit:m:10")
    assert two.ord < ten.ord


@pytest.mark.parametrize("edit", [{"mid": "m", "num_edit": 0}, {"mid": "m", "num_edit": 1}, {"text": "b"}])
def test_an_edit_that_says_nothing_is_recorded(edit: dict[str, Any]) -> None:
    assert _kinds(_read({"timestamp": AT, "message_edit": edit})) == ["edit"]


def test_a_reaction_is_of_who_sends_it() -> None:
    told = {"mid": "m1", "action": "react", "reaction": "love", "emoji": "❤"}
    effect = _effect(_read(_event(reaction=told)))
    assert effect.id == effect.ord == f"react:m1:{ANA}:react:❤:{AT}"
    assert (effect.target, effect.at, effect.values) == ("m1", ISO, {"actor": ANA, "emoji": ["❤"]})
    named = _effect(_read(_event(reaction={"mid": "m1", "action": "react", "reaction": "love"})))
    assert named.values["emoji"] == ["❤"]
    taken = _effect(_read(_event(reaction={"mid": "m1", "action": "unreact", "emoji": "❤"})))
    assert taken.values["emoji"] == []


def test_seen_names_a_message_or_a_watermark() -> None:
    """In some events of a person the page is the sender."""
    effect = _effect(_read(_event(read={"mid": "m1"})))
    assert (effect.kind, effect.id, effect.target, effect.at) == ("read", f"read:m1:{ANA}", "m1", ISO)
    for sender, recipient in ((US, ANA), (ANA, US)):
        event = _event(sender=sender, recipient=recipient, read={"watermark": "1780000005000"})
        effect = _effect(_read(event))
        assert (effect.kind, effect.id) == ("read_until", f"read:1780000005000:{US}:{ANA}")
        assert (effect.target, effect.person, effect.at) == (None, Identity(id=ANA), ISO)
        assert effect.values == {"until": "2026-05-28T20:26:45Z"}


def test_deliveries_have_the_time_of_the_watermark() -> None:
    atoms = _read(_event(delivery={"mids": ["m1", "m2"], "watermark": 1780000001000}))
    assert [(effect.kind, effect.id, effect.at) for effect in atoms.effects] == [
        ("delivery", f"dlv:{mid}:{ANA}", "2026-05-28T20:26:41Z") for mid in ("m1", "m2")
    ]
    effect = _effect(_read(_event(delivery={"watermark": 1780000001000})))
    assert (effect.kind, effect.at, effect.values) == (
        "delivered_until", "2026-05-28T20:26:41Z", {"until": "2026-05-28T20:26:41Z"},
    )  # fmt: skip


def test_a_referral_alone_waits_for_the_message() -> None:
    effect = _effect(_read(_event(referral={"ref": "r", "source": "ADS"})))
    assert (effect.kind, effect.target, effect.person) == ("referral", None, Identity(id=ANA))
    assert effect.values == {"referral": {"ref": "r", "source": "ADS"}}
    message = _message(_read(_event(message={"mid": "m1", "text": "hi", "referral": {"ref": "r"}})))
    assert message.metadata == {"referral": {"ref": "r"}}


def test_a_handover_names_who_has_the_conversation_now() -> None:
    effect = _effect(_read(_event(sender=US, recipient=ANA, pass_thread_control={"new_owner_app_id": 7})))
    assert (effect.kind, effect.person, effect.at, effect.values) == ("handover", Identity(id=ANA), ISO, {"owner": "7"})
    assert effect.id == effect.ord
    told = {"previous_owner_app_id": "7"}
    for name in ("pass_thread_control", "take_thread_control", "request_thread_control", "app_roles"):
        assert _kinds(_read({**_event(), name: told})) == ["handover"]


def test_other_events_are_recorded_by_their_name() -> None:
    names = ("optin", "account_linking", "policy-enforcement", "something_new")
    assert _kinds(_read(*({**_event(), name: {"x": 1}} for name in names))) == [
        "optin", "account_linking", "policy_enforcement", "unknown",
    ]  # fmt: skip


def test_a_comment_has_its_post_and_author() -> None:
    value = {"id": "c2", "from": {"id": ANA, "username": "ana"}, "text": "price?", "media": {"id": "p"}}
    message = _message(_comment({**value, "parent_id": "c1"}, "comments", named="instagram"))
    assert (message.comment, message.post_id, message.reply_to, message.sent_at) == (
        True, "p", "c1", "2026-05-28T20:26:46Z",
    )  # fmt: skip
    assert (message.people, message.name) == ((Identity(id=ANA, username="ana"),), "ana")
    assert (message.kind, message.channel, message.account, message.outbound) == ("comment", "instagram", US, False)


def test_our_own_comment_is_outbound_and_of_nobody() -> None:
    value = {"id": "c2", "from": {"id": US, "username": "shop"}, "text": "10", "media": {"id": "p"}, "parent_id": "c1"}
    message = _message(_comment(value, "comments", named="instagram"))
    assert (message.outbound, message.people, message.name, message.reply_to) == (True, (), None, "c1")
    assert message.metadata == {"echo": True}


def test_a_page_comment_answers_another_one_only_if_that_is_not_the_post() -> None:
    value = {"item": "comment", "verb": "add", "comment_id": "p_1", "post_id": "9_p", "parent_id": "9_p"}
    told = {"message": "hi", "sender_id": 77, "sender_name": "Ana", "created_time": 1780000002}
    message = _message(_comment({**value, **told, "photo": "https://cdn.example/1"}))
    assert (message.reply_to, message.post_id, message.sent_at) == (None, "9_p", ISO)
    assert (message.people, message.name, message.message_type) == ((Identity(id="77"),), "Ana", "image")
    assert message.metadata == {"attachments": [{"type": "image", "link": "https://cdn.example/1"}]}
    assert _message(_comment({**value, **told, "parent_id": "p_0"})).reply_to == "p_0"


def test_a_text_that_comes_back_is_another_edit() -> None:
    value = {"item": "comment", "verb": "edited", "comment_id": "p_1", "message": "b", "created_time": 1}
    once, again = (_effect(_comment({**value, "verb": verb})) for verb in ("edited", "edit"))
    later = _effect(_comment(value, time=1780000007))
    assert once.id == again.id != later.id
    assert once.ord < later.ord
    assert (once.target, once.at, once.values) == ("p_1", "2026-05-28T20:26:46Z", {"text": "b"})


def test_a_removed_comment_is_deleted_when_that_is_told() -> None:
    value = {"item": "comment", "verb": "remove", "comment_id": "p_1", "created_time": 1780000002}
    effect = _effect(_comment(value))
    assert (effect.kind, effect.id, effect.at) == ("delete", "del:p_1", "2026-05-28T20:26:46Z")


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("feed", {"item": "comment", "verb": "hide", "comment_id": "p_1", "message": "x"}, "comment"),
        ("feed", {"item": "reaction", "verb": "add"}, "feed"),
        ("mention", {"item": "post", "verb": "add", "post_id": "p"}, "mention"),
        ("something_new", {"x": 1}, "unknown"),
        ("feed", None, "unknown"),
    ],
)
def test_other_changes_are_recorded_by_their_field(field: str, value: Any, kind: str) -> None:
    assert _kinds(_comment(value, field)) == [kind]


def test_a_mention_with_a_text_is_a_comment() -> None:
    value = {"item": "comment", "verb": "add", "post_id": "p", "comment_id": "c", "message": "ask @shop"}
    assert _message(_comment(value, "mention")).id == "c"
    assert _kinds(_comment({"media_id": "p", "comment_id": "c"}, "mentions", named="instagram")) == ["mentions"]


@pytest.mark.parametrize("body", [None, 1, "x", [], {}, {"object": "page"}, {"object": "user", "entry": [{}]}, [[]]])
def test_what_is_not_understood_is_recorded(body: Any) -> None:
    assert _kinds(messenger.atoms(body, Context())) == ["unknown"]


def test_an_id_that_is_too_long_for_a_key_is_hashed() -> None:
    effect = _effect(_read(_event(sender="a" * 512, reaction={"mid": "m" * 512, "emoji": "x" * 9000})))
    assert len(effect.id) < 100
    assert effect.id.startswith("react:")
