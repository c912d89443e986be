"""What a normaliser tells of an event shows in its message: direction, type, media, metadata, and what it answers."""

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.inbox import Inbox
from tests.sql.taking import line, take

PICTURE: dict[str, Any] = {
    "message_type": "image",
    "media_url": "https://cdn.example/1",
    "metadata": {"attachments": [{"type": "image", "link": "https://cdn.example/1"}], "standby": True},
}


def message(inbox: Inbox, event_id: str) -> dict[str, Any]:
    """The message of an event."""
    return inbox.row("select * from messages where provider_message_id = %s", event_id)


def test_message_has_what_is_told(any_inbox: Inbox) -> None:
    """Direction, type, first link and metadata come from the normaliser; the text and the rest as ever."""
    assert take(any_inbox, line("m1", 1, normalized=PICTURE), line("m2", 2, normalized={"direction": "outbound"})) == []
    first, second = message(any_inbox, "m1"), message(any_inbox, "m2")
    assert (first["direction"], first["message_type"]) == ("inbound", "image")
    assert first["media_url"] == "https://cdn.example/1"
    assert first["content_text"] == "text of m1"
    assert first["metadata"] == PICTURE["metadata"]
    assert (second["direction"], second["message_type"]) == ("outbound", "text")
    assert second["media_url"] is None
    assert second["metadata"] == {}
    assert first["conversation_id"] == second["conversation_id"]
    assert any_inbox.count("contacts") == 1


def test_message_alone_is_as_one_of_many(inbox: Inbox) -> None:
    """A batch of one goes another way, to the same message."""
    take(inbox, line("m1", 1, normalized=PICTURE))
    take(inbox, line("m2", 1, normalized=PICTURE), line("m3", 2))
    columns = ("conversation_id", "contact_id", "direction", "message_type", "media_url", "sent_at", "metadata")
    assert [message(inbox, "m1")[c] for c in columns] == [message(inbox, "m2")[c] for c in columns]


def test_plain_events_beside_them(inbox: Inbox) -> None:
    """Events of applications in the same batch stay inbound, and may leave the type to the table."""
    inbox.insert("e1", channel="whatsapp", author_id="p1")
    inbox.insert(
        "m1", channel="whatsapp", author_id="p1", normalized=Jsonb({"account": "acc", "direction": "outbound"})
    )
    assert inbox.batch().inserted == 2
    assert [message(inbox, event)["direction"] for event in ("e1", "m1")] == ["inbound", "outbound"]


def test_comment_keeps_its_post(inbox: Inbox) -> None:
    """A comment's metadata has its type and post, and what the normaliser adds."""
    take(inbox, line("c1", channel="instagram", type="comment", post_id="post", normalized={"metadata": {"a": 1}}))
    assert message(inbox, "c1")["metadata"] == {"type": "comment", "post_id": "post", "a": 1}


def test_event_of_a_message_that_the_application_stored(inbox: Inbox) -> None:
    """The echo of a send that the application has stored itself makes nothing, and the send stays as it is."""
    inbox.run("insert into contacts (full_name) values ('Ana')")
    inbox.run("insert into conversations (channel) values ('whatsapp')")
    inbox.run(
        "insert into messages (conversation_id, channel, direction, content_text, provider_message_id)"
        " select id, 'whatsapp', 'outbound', 'mine', 'm1' from conversations"
    )
    take(inbox, line("m0", 1), line("m1", 2, normalized={"direction": "outbound", "metadata": {"echo": True}}))
    assert message(inbox, "m1")["content_text"] == "mine"
    assert inbox.value("select count(*) from webhook_events where routed_at is null") == 0


# ── Replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("alone", [True, False])
def test_reply_to_a_message_that_is_there(inbox: Inbox, alone: bool) -> None:
    """A reply has the id that it names, and the message that this is."""
    take(inbox, line("m1", 1))
    take(inbox, line("m2", 2, normalized={"reply": "m1"}), *([] if alone else [line("m3", 3)]))
    assert message(inbox, "m2")["metadata"]["reply"] == {"ref": "m1", "message_id": str(message(inbox, "m1")["id"])}
    assert inbox.value("select count(*) from router.open_replies") == 0


@pytest.mark.parametrize("alone", [True, False])
def test_reply_to_a_message_that_is_not_there(inbox: Inbox, alone: bool) -> None:
    """It has the id at once, and is on the list of those to be linked later."""
    normalized = {"reply": "m1", "reply_token": "AB"}
    take(inbox, line("m2", 2, normalized=normalized), *([] if alone else [line("m3", 3)]))
    reply = message(inbox, "m2")
    assert reply["metadata"] == {"reply": {"ref": "m1"}}
    assert inbox.row("select message_id, channel, ref, token from router.open_replies") == {
        "message_id": reply["id"],
        "channel": "whatsapp",
        "ref": "m1",
        "token": "AB",
    }


def test_reply_by_another_id_of_the_message(inbox: Inbox) -> None:
    """WhatsApp may name a stored message by another id: what both have in common decides, within the conversation."""
    # "wamid." and base64 of: a few bytes, the other party, and sixteen hexadecimal digits.
    one = "wamid." + inbox.value("select encode(convert_to('HB55119-' || '0123456789ABCDEF', 'UTF8'), 'base64')")
    other = "wamid." + inbox.value("select encode(convert_to('HA55118-' || '0123456789ABCDEF', 'UTF8'), 'base64')")
    token = inbox.value("select router.token_of(%s)", other)
    assert token == inbox.value("select router.token_of(%s)", one) is not None
    take(inbox, line(one, 1))
    normalized = {"reply": other, "reply_token": token}
    take(inbox, line("m2", 2, normalized=normalized), line("m3", 3, author_id="p2", normalized=normalized))
    assert message(inbox, "m2")["metadata"]["reply"]["message_id"] == str(message(inbox, one)["id"])
    assert message(inbox, "m3")["metadata"]["reply"] == {"ref": other}


def test_triggers_may_keep_messages_out_and_give_them_keys(inbox: Inbox) -> None:
    """What a trigger of the application makes of a message is what waits for the one that it answers."""
    inbox.run(
        """create function public.choosy() returns trigger language plpgsql as $$
        begin
            if new.provider_message_id = 'm2' then return null; end if;
            new.id := md5(new.provider_message_id)::uuid;
            return new;
        end $$"""
    )
    inbox.run("create trigger choosy before insert on messages for each row execute function public.choosy()")
    take(inbox, *(line(f"m{n}", n, normalized={"reply": "gone"}) for n in (1, 2, 3)))
    assert inbox.count("messages") == 2
    assert set(inbox.column("select message_id from router.open_replies")) <= set(
        inbox.column("select id from messages")
    )


# ── Redeliveries ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_redelivery_adds_what_is_new(inbox: Inbox) -> None:
    """A flag that is told once stays, whichever comes first; what somebody has written in the message stays too."""
    plain, flagged = line("m1", 1, normalized={"metadata": {"a": 1}}), line("m1", 1, normalized=PICTURE)
    take(inbox, plain)
    inbox.run("""update messages set metadata = metadata || '{"ours": 1, "standby": "seen"}'""")
    take(inbox, flagged)
    take(inbox, plain)
    stored = message(inbox, "m1")
    assert stored["metadata"] == {
        "a": 1,
        "ours": 1,
        "standby": "seen",
        "attachments": PICTURE["metadata"]["attachments"],
    }
    assert stored["media_url"] == "https://cdn.example/1"
    told = inbox.value("select normalized from webhook_events")
    assert told["metadata"] == PICTURE["metadata"] | {"a": 1}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_flag_within_one_delivery(inbox: Inbox, order: tuple[int, int]) -> None:
    """The same message twice in one body is one message, with all flags."""
    both = [line("m1", 1), line("m1", 1, normalized={"metadata": {"standby": True}})]
    take(inbox, *(both[place] for place in order))
    assert message(inbox, "m1")["metadata"] == {"standby": True}


def test_redelivery_with_nothing_new_writes_nothing(inbox: Inbox) -> None:
    """The same message again leaves its rows as they are."""
    versions = "select xmin::text from webhook_events union all select xmin::text from messages"
    take(inbox, line("m1", 1, normalized=PICTURE))
    before = inbox.column(versions)
    take(inbox, line("m1", 1, normalized=PICTURE))
    assert inbox.column(versions) == before


def test_deleted_message_stays_deleted(inbox: Inbox) -> None:
    """A redelivery brings nothing back to an event whose message its author has deleted."""
    take(inbox, line("m1", 1, normalized=PICTURE))
    inbox.run(
        """update webhook_events set content = null,
        normalized = '{"account": "acc", "deleted_at": "2026-01-02T00:00:00+00:00"}'"""
    )
    take(inbox, line("m1", 1, normalized=PICTURE))
    row = inbox.row("select content, normalized ? 'metadata' as has_more from webhook_events")
    assert row == {"content": None, "has_more": False}


def test_deleted_message_is_made_as_deleted(inbox: Inbox) -> None:
    """An application that removes a deleted message, and has its event routed again, gets one without the text."""
    take(inbox, line("m1", 1))
    inbox.run(
        """update webhook_events set content = null, routed_at = null,
        normalized = '{"account": "acc", "deleted_at": "2026-01-02T00:00:00+00:00"}'"""
    )
    inbox.run("delete from messages")
    inbox.batch()
    stored = message(inbox, "m1")
    assert stored["content_text"] is None
    assert stored["metadata"] == {"deleted_at": "2026-01-02T00:00:00+00:00"}


def test_lines_of_applications_say_nothing_more(inbox: Inbox) -> None:
    """A field "normalized" in a line of an application is one of those that are ignored."""
    inbox.row(
        "select * from router.ingest_lines(%s)", '{"channel": "instagram", "event_id": "e1", "normalized": {"a": 1}}'
    )
    assert inbox.value("select normalized from webhook_events") is None


def test_a_bad_one_harms_no_other(inbox: Inbox) -> None:
    """What no message can be made of is set aside alone."""
    take(inbox, line("m1", 1), line("m2", 2, normalized={"message_type": "hologram"}), line("m3", 3))
    assert inbox.column("select provider_message_id from messages order by 1") == ["m1", "m3"]
    assert inbox.value("select count(*) from router.parked_events") == 1
