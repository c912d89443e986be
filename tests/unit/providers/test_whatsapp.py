"""WhatsApp's bodies."""

from typing import Any

import pytest

from consumer.domain.providers.atoms import Atoms, Context, Effect, Identity, Message
from consumer.domain.providers.shapes import ord_of_edit
from consumer.domain.providers.whatsapp import atoms

ANA = "5511990000001"
BUSINESS = "15550100001"
AT = "2026-05-28T20:26:40Z"
ECHOES = "smb_message_echoes"


def value(**more: Any) -> dict[str, Any]:
    """What a change tells of our number."""
    return {"metadata": {"display_phone_number": "+1 555-010-0001", "phone_number_id": "900100"}} | more


def body(*changes: tuple[str, object]) -> dict[str, Any]:
    """A body of (field, value) pairs."""
    told = [{"field": field, "value": said} for field, said in changes]
    return {"object": "whatsapp_business_account", "entry": [{"id": "800100", "changes": told}]}


def text(**more: Any) -> dict[str, Any]:
    """A text of Ana."""
    return {"from": ANA, "id": "wamid.1", "timestamp": "1780000000", "type": "text", "text": {"body": "hi"}} | more


def echo(**more: Any) -> dict[str, Any]:
    """A text to Ana, written in the app on the phone."""
    return text(**({"from": BUSINESS, "to": ANA} | more))


def read(*changes: tuple[str, object]) -> Atoms:
    """What a body is taken apart into."""
    return atoms(body(*changes), Context())


def message_of(message: object, field: str = "messages", **more: Any) -> Message:
    """The one message that comes of one."""
    key = "message_echoes" if field == ECHOES else "messages"
    (found,) = read((field, value(**({key: [message]} | more)))).messages
    return found


def effects_of(message: object, field: str = "messages", **more: Any) -> tuple[Effect, ...]:
    """The effects that come of a message."""
    key = "message_echoes" if field == ECHOES else "messages"
    return read((field, value(**({key: [message]} | more)))).effects


def kinds_of(*changes: tuple[str, object]) -> list[str]:
    """What is only recorded, where nothing else comes of a body."""
    found = read(*changes)
    assert not found.messages
    assert not found.effects
    return [atom.kind for atom in found.recorded]


def test_everything_of_a_batch_is_read() -> None:
    """All entries, changes, messages and statuses, in their order; repetitions count once."""
    batch = body(
        (
            "messages",
            value(messages=[text(id="a"), text(id="b"), text(id="a")], statuses=[{"id": "x", "status": "sent"}]),
        ),
        ("messages", value(messages=[text(id="c")], errors=[{"code": 1}, {"code": 2}])),
    )
    batch["entry"] += body(("messages", value(messages=[text(id="d")])))["entry"]
    found = atoms(batch, Context())
    assert [message.id for message in found.messages] == ["a", "b", "c", "d"]
    assert [effect.target for effect in found.effects] == ["x"]
    assert [atom.kind for atom in found.recorded] == ["errors", "errors"]


def test_a_person_has_a_number_and_a_user_id() -> None:
    """contacts[] tells what the message does not; the number comes first."""
    contacts = [
        {"wa_id": "4915000000", "user_id": "DE.9", "profile": {"name": "Uli"}},
        {"wa_id": ANA, "user_id": "BR.1", "profile": {"name": "Ana", "username": "ana.doces"}},
    ]
    both = (Identity(id=ANA, kind="phone"), Identity(id="BR.1", kind="user_id", username="ana.doces"))
    for message in (text(), text(**{"from": None, "from_user_id": "BR.1"}), text(from_user_id="BR.1")):
        found = message_of(message, contacts=contacts)
        assert (found.people, found.name) == (both, "Ana")
    # The same number in its other spelling is hers too, and is kept as it came.
    assert message_of(text(**{"from": "551190000001"}), contacts=contacts).people[0].id == "551190000001"
    # A number in `from` that is a user id.
    assert message_of(text(**{"from": "BR.1"})).people == (Identity(id="BR.1", kind="user_id"),)


def test_nobody_elses_name_is_taken() -> None:
    """contacts[] that name somebody else say nothing of the author; one alone names who is not named otherwise."""
    contacts = [{"wa_id": "4915000000", "profile": {"name": "Uli"}}]
    assert message_of(text(), contacts=contacts).name is None
    assert message_of(text(**{"from": None}), contacts=contacts).people == (Identity(id="4915000000", kind="phone"),)
    assert message_of(text(**{"from": None})).people == ()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (echo(), ECHOES),
        (echo(), "messages"),
        (echo(**{"from": ANA, "to": BUSINESS}), ECHOES),
        (echo(**{"from": "900100"}), "messages"),
    ],
    ids=["echo", "in messages", "sides swapped", "our id"],
)
def test_the_business_is_never_the_contact(message: dict[str, Any], field: str) -> None:
    """What was sent in its name is outbound, in the conversation with the other party."""
    found = message_of(message, field)
    assert (found.kind, found.outbound, found.people) == ("echo", True, (Identity(id=ANA, kind="phone"),))
    assert found.metadata == {"echo": True}


def test_echoes_of_our_own_app_are_only_recorded() -> None:
    """The sender stores its own row."""
    said = body((ECHOES, value(message_echoes=[echo(app_id=77)])))
    found = atoms(said, Context(own_app_ids=frozenset({"77"})))
    assert [atom.kind for atom in found.recorded] == ["echo"]
    assert not found.messages


def test_echoes_of_applications_are_counted_while_none_is_known_to_be_ours() -> None:
    """The operator is told that an id may be missing in the configuration; the message is made nevertheless."""
    said = body((ECHOES, value(message_echoes=[echo(app_id=78)])))
    for own, kind in ((frozenset[str](), "echo_of_app"), (frozenset({"77"}), "echo")):
        (found,) = atoms(said, Context(own_app_ids=own)).messages
        assert (found.kind, found.outbound, found.metadata) == (kind, True, {"echo": True})
    assert message_of(echo(), ECHOES).kind == "echo"


@pytest.mark.parametrize(
    ("field", "key", "message", "mentioned"),
    [
        (ECHOES, "message_echoes", echo(app_id=77), ["wamid.1"]),
        ("messages", "messages", text(group_id="g"), ["wamid.1"]),
        ("history", "messages", text(), ["wamid.1"]),
        (
            "messages",
            "messages",
            text(type="edit", edit={"original_message_id": "wamid.0", "message": {"type": "new", "new": "hi"}}),
            ["wamid.1", "wamid.0"],
        ),
    ],
    ids=["echo of ours", "group", "history without media", "edit"],
)
def test_what_is_only_recorded_names_whose_text_it_holds(
    field: str, key: str, message: dict[str, Any], mentioned: list[str]
) -> None:
    """A body that holds a text goes when the message is deleted, also when nothing else came of it."""
    found = atoms(body((field, value(**{key: [message]}))), Context(own_app_ids=frozenset({"77"})))
    assert (found.messages, found.effects) == ((), ())
    assert found.mentions == tuple(("whatsapp", message_id) for message_id in mentioned)


@pytest.mark.parametrize(
    ("kind", "content", "message_type", "said", "attachments"),
    [
        (
            "image",
            {"id": 5, "caption": "look", "mime_type": "image/jpeg"},
            "image",
            "look",
            [{"type": "image", "id": "5", "mime": "image/jpeg"}],
        ),
        ("video", {"id": "5", "url": "https://v"}, "video", None, [{"type": "video", "id": "5", "link": "https://v"}]),
        ("audio", {"id": "5", "voice": True}, "audio", None, [{"type": "audio", "id": "5", "voice": True}]),
        (
            "document",
            {"id": "5", "filename": "café.pdf"},
            "file",
            None,
            [{"type": "file", "id": "5", "name": "café.pdf"}],
        ),
        ("sticker", {"id": "5", "animated": False}, "image", None, [{"type": "sticker", "id": "5"}]),
        ("image", {}, "image", None, []),
        (
            "location",
            {"latitude": -23.5, "longitude": 1},
            "text",
            "-23.5, 1",
            [{"type": "location", "latitude": -23.5, "longitude": 1}],
        ),
        (
            "contacts",
            [
                {"name": {"first_name": "Hugo", "last_name": "Lima"}, "phones": [{"wa_id": "55"}, {"phone": "+55 2"}]},
                {"name": {"formatted_name": "Bia"}, "emails": [{"email": "b@example.org"}]},
                "odd",
            ],
            "text",
            "Hugo Lima, 55, +55 2\nBia, b@example.org",
            [
                {"type": "contact", "name": "Hugo Lima", "phone": "55", "phones": ["55", "+55 2"], "wa_id": "55"},
                {"type": "contact", "name": "Bia", "email": "b@example.org"},
            ],
        ),
    ],
)
def test_kinds_of_content(
    kind: str, content: object, message_type: str, said: str | None, attachments: list[object]
) -> None:
    """Text that an inbox without special code can show; ids and links are kept."""
    found = message_of(text(type=kind, **{kind: content}))
    assert (found.message_type, found.text) == (message_type, said)
    assert found.metadata.get("attachments", []) == attachments


@pytest.mark.parametrize(
    ("kind", "content", "said", "payload"),
    [
        ("button", {"text": "Yes", "payload": "YES"}, "Yes", "YES"),
        ("interactive", {"type": "button_reply", "button_reply": {"id": "b1", "title": "Buy"}}, "Buy", "b1"),
        ("interactive", {"type": "list_reply", "list_reply": {"id": "l1", "title": "Cake"}}, "Cake", "l1"),
        (
            "interactive",
            {"type": "nfm_reply", "nfm_reply": {"body": "Sent", "response_json": '{"a":1}'}},
            "Sent",
            '{"a":1}',
        ),
        ("interactive", {"type": "nfm_reply", "nfm_reply": {"response_json": {"a": "é"}}}, None, '{"a": "é"}'),
        (
            "order",
            {"product_items": [{"product_retailer_id": "sku-1", "quantity": 2}, {"product_retailer_id": 7}]},
            "2 × sku-1, 1 × 7",
            '{"product_items": [{"product_retailer_id": "sku-1", "quantity": 2}, {"product_retailer_id": 7}]}',
        ),
    ],
)
def test_a_choice_is_its_title_and_a_payload(kind: str, content: object, said: str | None, payload: str) -> None:
    """Whatever was chosen or filled in: text for people, the payload as text for programs."""
    found = message_of(text(type=kind, **{kind: content}))
    assert (found.message_type, found.text, found.metadata) == ("text", said, {"payload": payload})


@pytest.mark.parametrize("kind", ["unsupported", "unknown", "ephemeral", "poll_creation"])
def test_what_cannot_be_shown_is_a_placeholder(kind: str) -> None:
    """Somebody has to look at the phone; kinds that are newer than the router are no different."""
    found = message_of(text(type=kind))
    assert (found.message_type, found.text, found.metadata) == ("event", None, {"placeholder": True})


def test_standby_messages_are_marked() -> None:
    """Another app answers them; they are told one level deeper, with what it answers and how far that has come."""
    said = {
        "messages": [text()],
        "message_echoes": [echo(id="wamid.2")],
        "statuses": [{"id": "wamid.2", "status": "read"}],
    }
    found = read(("standby", value(standby=said)))
    assert [message.metadata for message in found.messages] == [{"standby": True}, {"echo": True, "standby": True}]
    assert [effect.target for effect in found.effects] == ["wamid.2"]
    assert message_of(text(), "standby").metadata == {"standby": True}


def test_reactions_are_ordered_by_their_own_ids() -> None:
    """Empty or missing, the emoji takes the reaction back; one that names no message is only recorded."""
    reaction = text(type="reaction", reaction={"message_id": "wamid.0", "emoji": "👍"})
    (found,) = effects_of(reaction)
    assert (found.kind, found.id, found.target, found.at, found.ord) == (
        "reaction",
        "wamid.1",
        "wamid.0",
        AT,
        "wamid.1",
    )
    assert found.values == {"actor": ANA, "emoji": ["👍"]}
    for gone in (
        {"message_id": "wamid.0"},
        {"message_id": "wamid.0", "emoji": ""},
        {"message_id": "wamid.0", "emoji": None},
    ):
        assert effects_of(text(type="reaction", reaction=gone))[0].values["emoji"] == []
    assert kinds_of(("messages", value(messages=[text(type="reaction", reaction={"emoji": "👍"})]))) == ["reaction"]
    (ours,) = effects_of(echo(type="reaction", reaction={"message_id": "wamid.0", "emoji": "👍"}), ECHOES)
    assert (ours.values["actor"], ours.person) == (BUSINESS, Identity(id=ANA, kind="phone"))


def test_edits_name_what_they_change() -> None:
    """With the new text, and the new media where it has some."""
    edit = {"original_message_id": "wamid.0", "message": {"type": "image", "image": {"id": "5", "caption": "new"}}}
    (found,) = effects_of(text(type="edit", edit=edit))
    assert (found.kind, found.id, found.target, found.ord) == ("edit", "wamid.1", "wamid.0", ord_of_edit(AT, "wamid.1"))
    assert found.values == {"text": "new", "attachments": [{"type": "image", "id": "5"}]}
    (found,) = effects_of(text(type="edit", edit=edit | {"message": {"type": "text", "text": {"body": "b"}}}))
    assert found.values == {"text": "b"}
    for odd in ({}, edit | {"message": {}}, edit | {"message": {"type": "unsupported"}}):
        assert kinds_of(("messages", value(messages=[text(type="edit", edit=odd)]))) == ["edit"]


@pytest.mark.parametrize(("message", "field"), [(text(), "messages"), (echo(), ECHOES)])
def test_revokes_delete(message: dict[str, Any], field: str) -> None:
    """Of either side; the revoke has a wamid of its own."""
    (found,) = effects_of(message | {"type": "revoke", "revoke": {"original_message_id": "wamid.0"}}, field)
    assert (found.kind, found.id, found.target) == ("delete", "wamid.1", "wamid.0")
    assert found.person == Identity(id=ANA, kind="phone")


def test_statuses_of_a_group_are_of_its_members() -> None:
    """The recipient is the group for everybody, so that the member has to tell them apart."""
    status = {"id": "wamid.1", "status": "read", "timestamp": "1780000000", "recipient_id": "group"}
    one, other = ({"recipient_participant_id": number} for number in (ANA, "4915000000"))
    effects = read(("messages", value(statuses=[status | one, status | other, status | one]))).effects
    assert [effect.id for effect in effects] == [f"status:wamid.1:read:{ANA}", "status:wamid.1:read:4915000000"]
    assert effects[0].person == Identity(id=ANA, kind="phone")


def test_a_status_keeps_its_errors() -> None:
    """As they came; states that no message is in are only recorded."""
    errors = [{"code": 131026, "title": "Message undeliverable"}]
    status = {"id": "wamid.1", "status": "failed", "recipient_user_id": "BR.1", "errors": errors}
    (found,) = read(("messages", value(statuses=[status]))).effects
    assert (found.id, found.person, found.at) == (
        "status:wamid.1:failed:BR.1",
        Identity(id="BR.1", kind="user_id"),
        None,
    )
    assert found.values == {"status": "failed", "errors": errors}
    assert kinds_of(("messages", value(statuses=[status | {"status": "warning"}]))) == ["status"]
    assert kinds_of(("messages", value(statuses=[{"status": "read"}, 5]))) == ["unknown", "unknown"]


@pytest.mark.parametrize(
    ("system", "author", "old", "new"),
    [
        ({"type": "user_changed_number", "wa_id": "551"}, ANA, ANA, [("551", None)]),
        ({"type": "user_changed_number", "new_wa_id": "5511990000009"}, ANA, ANA, [("5511990000009", "phone")]),
        (
            {"type": "user_changed_number", "wa_id": "5511990000009", "user_id": "BR.2", "previous_user_id": "BR.1"},
            ANA,
            ANA,
            [("5511990000009", "phone"), ("BR.2", "user_id")],
        ),
        (
            {"type": "user_changed_user_id", "user_id": "BR.2", "previous_user_id": "BR.1"},
            None,
            "BR.1",
            [("BR.2", "user_id")],
        ),
    ],
)
def test_other_identities_of_a_person(
    system: dict[str, Any], author: str | None, old: str, new: list[tuple[str, str | None]]
) -> None:
    """A changed number, user id, or both: what the person is known by, and what it is known by now as well."""
    effects = effects_of(text(**{"from": author, "type": "system", "system": system}))
    assert {effect.person.id for effect in effects if effect.person} == {old}
    assert [(effect.values["id"], effect.values["identity_kind"]) for effect in effects] == new
    assert len({effect.id for effect in effects}) == len(effects)


@pytest.mark.parametrize(
    "system",
    [
        {"type": "user_changed_number"},
        {"type": "user_changed_number", "wa_id": ANA},
        {"type": "user_identity_changed", "user_id": "BR.2"},
        {},
        None,
    ],
)
def test_changes_that_do_not_say_what_is_new_are_recorded(system: object) -> None:
    """So are other notes of the system."""
    assert kinds_of(("messages", value(messages=[text(type="system", system=system)]))) == ["system"]


def test_user_ids_change_in_a_field_of_their_own_too() -> None:
    """With both ids; the same one delivered again is the same atom."""
    update = {"wa_id": ANA, "user_id": {"previous": "BR.1", "current": "BR.2"}, "timestamp": 1780000000}
    (found,) = read(("user_id_update", value(user_id_update=[update, dict(update)]))).effects
    assert (found.kind, found.person, found.at) == ("system", Identity(id="BR.1", kind="user_id"), AT)
    assert found.values == {"id": "BR.2", "identity_kind": "user_id"}


def test_marketing_is_stopped_and_resumed() -> None:
    """By number or user id; anything else of the kind is recorded."""
    stop = {"wa_id": ANA, "category": "marketing_messages", "value": "stop", "timestamp": 1780000000}
    (found,) = read(("user_preferences", value(user_preferences=[stop]))).effects
    assert (found.kind, found.person, found.at, found.values) == (
        "marketing",
        Identity(id=ANA, kind="phone"),
        AT,
        {"value": "stop"},
    )
    other = [stop | {"value": "signup"}, stop | {"category": "else"}, stop | {"wa_id": None}]
    assert kinds_of(("user_preferences", value(user_preferences=other))) == ["user_preferences"] * 3


def history(*messages: dict[str, Any], **more: Any) -> tuple[str, object]:
    """A change with one thread of a history, with Ana."""
    return "history", value(history=[{"threads": [{"id": ANA, "messages": list(messages)} | more]}])


def test_history_keeps_how_far_our_messages_had_come() -> None:
    """What the person had done with them is no status of theirs."""
    context = {"history_context": {"status": "READ"}}
    theirs, ours, failed = read(
        history(text(id="a", **context), echo(id="b", **context), echo(id="c", history_context={"status": "ERROR"}))
    ).messages
    assert (theirs.kind, theirs.outbound, theirs.status) == ("history", False, None)
    assert (ours.outbound, ours.status, failed.status) == (True, "read", "failed")
    for message in (theirs, ours):
        assert message.people == (Identity(id=ANA, kind="phone"),)
        assert message.metadata == {"history": True}


def test_a_thread_tells_more_of_its_person() -> None:
    """The user id and the user name, beside the number."""
    (found,) = read(history(text(), context={"user_id": "BR.1", "username": "ana", "wa_id": ANA})).messages
    assert found.people == (Identity(id=ANA, kind="phone"), Identity(id="BR.1", kind="user_id", username="ana"))


def test_edits_and_reactions_of_a_history_are_no_messages() -> None:
    """They change what is there, as live ones do."""
    found = read(history(text(type="reaction", reaction={"message_id": "a", "emoji": "👍"})))
    assert [effect.kind for effect in found.effects] == ["reaction"]
    assert not found.messages


def test_media_of_a_history_come_later() -> None:
    """Under the id of their message, which is there already: they change it."""
    (first,) = read(history(text(type="media_placeholder"))).messages
    assert (first.message_type, first.text, first.metadata) == ("event", None, {"history": True})
    image = {"type": "image", "image": {"id": "5", "caption": "look"}}
    for message in (text(**image), echo(**image)):
        (found,) = effects_of(message, "history")
        assert (found.kind, found.id, found.target) == ("media", "media:wamid.1", "wamid.1")
        assert found.person == Identity(id=ANA, kind="phone")
        assert found.values == {"message_type": "image", "attachments": [{"type": "image", "id": "5"}], "text": "look"}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (("account_update", {"event": "ACCOUNT_VIOLATION"}), ["account_update"]),
        (("calls", value(calls=[{}])), ["calls"]),
        (("messages", value(messages=[text(group_id="g")])), ["group"]),
        (("messages", value(messages=[text(type="request_welcome", text=None)])), ["request_welcome"]),
        (
            ("messages", value(messages=[text(type="interactive", interactive={"type": "call_permission_reply"})])),
            ["call_permission_reply"],
        ),
        (("history", value(history=[{"errors": [{}]}])), ["history"]),
        (("messages", value()), ["unknown"]),
        (("messages", value(messages={"id": "wamid.1"})), ["unknown"]),
        (("messages", value(messages=[{}, None])), ["unknown", "unknown"]),
        (("something_new", {"a": 1}), ["unknown"]),
        (("messages", []), ["unknown"]),
    ],
)
def test_the_rest_is_recorded(change: tuple[str, object], kinds: list[str]) -> None:
    """By a name of Meta's, or as unknown; nothing else comes of it."""
    assert kinds_of(change) == kinds


@pytest.mark.parametrize("odd", [None, 5, "x", [], {}, {"entry": {}}, {"entry": [5, {"changes": [None]}]}])
def test_what_is_no_body_is_unknown(odd: object) -> None:
    """Any JSON value is taken."""
    assert [atom.kind for atom in atoms(odd, Context()).recorded] == ["unknown"]
