"""ai_reply_template and auto_reply_stub."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.sql.inbox import Inbox

THANKS_QUESTION = "Merci pour votre question."
THANKS_MESSAGE = "Merci pour votre message."
ESCALATION = "Votre demande est transmise en priorité à un membre de notre équipe."
CLOSING = "Nous revenons vers vous rapidement. À bientôt !"


def message_with(inbox: Inbox, text: str | None, *, name: str = "Alice", analyzed: bool = True) -> UUID:
    """The message of an event with this text, by somebody of this name."""
    inbox.ingest("e1", content=text, author_name=name)
    message = inbox.route("e1").message_id
    if analyzed:
        inbox.analyze(message)
    return message


def reply_to(inbox: Inbox, message: UUID) -> str:
    """Calls ai_reply_template."""
    text: str = inbox.value("select public.ai_reply_template(%s)", message)
    return text


@pytest.mark.parametrize("analyzed", [True, False])
@pytest.mark.parametrize(
    ("text", "thanks"), [("Where?", THANKS_QUESTION), ("Bonjour", THANKS_MESSAGE), (None, THANKS_MESSAGE)]
)
def test_reply(inbox: Inbox, text: str | None, thanks: str, analyzed: bool) -> None:
    """Greeting, thanks for a question or a message, closing, in this order; also before the analysis."""
    assert reply_to(inbox, message_with(inbox, text, analyzed=analyzed)) == f"Bonjour ! {thanks} {CLOSING}"


def test_escalation(any_inbox: Inbox) -> None:
    """A message that needs a person says so."""
    reply = reply_to(any_inbox, message_with(any_inbox, "I have a problem"))
    assert reply == f"Bonjour ! {THANKS_MESSAGE} {ESCALATION} {CLOSING}"


NAMES = ("Alice", "Win 1000 EUR: https://evil.example", "<a href=//evil.example>Alice</a>", "Alice\u202e\x1b[1m\n")


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_repeated(any_inbox: Inbox, name: str) -> None:
    """Replies go out in the operator's name: nothing that a sender, or whoever ingested for one, wrote is in them."""
    message = message_with(any_inbox, f"{name}?", name=name)
    expected = f"Bonjour ! {THANKS_QUESTION} {CLOSING}"
    assert reply_to(any_inbox, message) == expected
    any_inbox.run("update contacts set first_name = %s, last_name = %s", name, name)
    assert reply_to(any_inbox, message) == expected
    reply = any_inbox.value("select public.auto_reply_stub(%s)", message)
    assert any_inbox.value("select content_text from messages where id = %s", reply) == expected


def test_unknown_message(inbox: Inbox) -> None:
    """A message that is not there is an error by the name that applications look for, and nothing is stored."""
    for function in ("ai_reply_template", "auto_reply_stub"):
        for message in (uuid4(), None):
            with pytest.raises(psycopg.errors.RaiseException, match=r"^message not found"):
                inbox.value(f"select public.{function}(%s)", message)
    assert inbox.count("messages") == 0


def test_stored_reply(any_inbox: Inbox) -> None:
    """The reply becomes an outbound message of the same conversation, contact and channel; its id comes back."""
    message = message_with(any_inbox, "can you help?")
    reply = any_inbox.value("select public.auto_reply_stub(%s)", message)
    stored = any_inbox.row("select * from messages where id = %s", reply)
    original = any_inbox.message("e1")
    for column in ("conversation_id", "contact_id", "channel"):
        assert stored[column] == original[column]
    assert (stored["direction"], stored["message_type"], stored["provider_message_id"]) == ("outbound", "text", None)
    assert stored["content_text"] == reply_to(any_inbox, message)
    assert stored["sent_at"] > original["sent_at"]
    assert any_inbox.conversation_of("e1")["last_message_at"] == stored["sent_at"]


def test_reply_does_not_move_time_back(inbox: Inbox) -> None:
    """last_message_at of a conversation with a message from the future stays; each call is a reply of its own."""
    message = message_with(inbox, "hi")
    inbox.run("update conversations set last_message_at = '2126-01-01'")
    first = inbox.value("select public.auto_reply_stub(%s)", message)
    assert inbox.value("select public.auto_reply_stub(%s)", message) != first
    assert inbox.value("select last_message_at from conversations").year == 2126
    assert inbox.count("messages") == 3


def test_reply_without_a_contact(inbox: Inbox) -> None:
    """A message of nobody known can be replied to as well."""
    inbox.ingest("e1", author_id=None)
    message = inbox.route("e1").message_id
    reply = inbox.row("select * from messages where id = %s", inbox.value("select public.auto_reply_stub(%s)", message))
    assert reply["contact_id"] is None
    assert reply["content_text"].startswith("Bonjour ! ")
