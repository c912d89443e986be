"""analyze_message_simple and ingest_route_analyze."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.sql.inbox import Inbox

TEXTS: list[tuple[str | None, str, bool]] = [
    ("Where are you?", "question", False),
    ("?", "question", False),
    ("good morning", "statement", False),
    ("", "other", False),
    ("   ", "other", False),
    (None, "other", False),
    ("please HELP me", "statement", True),
    ("Urgent!", "statement", True),
    ("I need assistance", "statement", True),
    ("Is this the Support?", "question", True),
    ("a PROBLEM", "statement", True),
    ("an issue\nover two lines?", "question", True),
    ("no worries", "statement", False),
    ("👍" * 1000, "statement", False),
    ("x" * 1_000_000 + "?", "question", False),
]


def message_with(inbox: Inbox, text: str | None, event_id: str = "e1") -> UUID:
    """The message of a new event with this text."""
    inbox.ingest(event_id, content=text)
    return inbox.route(event_id).message_id


def test_intent_and_escalation(any_inbox: Inbox) -> None:
    """'?' makes a question, no text 'other', all else is a statement; certain words, in any case, call for a person."""
    for number, (text, intent, escalate) in enumerate(TEXTS):
        any_inbox.ingest(f"e{number}", author_id=f"a{number}", content=text)
        message = any_inbox.route(f"e{number}").message_id
        assert any_inbox.analyze(message) == {
            "message_id": str(message),
            "intent": intent,
            "sentiment": "neutral",
            "confidence": 0.5,
            "needs_escalation": escalate,
        }, text
        row = any_inbox.row("select * from message_analysis where message_id = %s", message)
        assert (row["intent"], row["sentiment"], row["confidence"]) == (intent, "neutral", Decimal("0.5"))
        assert row["needs_escalation"] is escalate
        metadata = any_inbox.conversation_of(f"e{number}")["metadata"]
        assert metadata == ({"needs_escalation": True} if escalate else {}), text
    assert any_inbox.count("message_analysis") == len(TEXTS)


def test_unknown_message(inbox: Inbox) -> None:
    """A message that is not there is an error by the name that applications look for."""
    with pytest.raises(psycopg.errors.RaiseException, match=r"^message not found"):
        inbox.analyze(uuid4())
    with pytest.raises(psycopg.errors.RaiseException, match=r"^message not found"):
        inbox.value("select public.analyze_message_simple(null)")


def test_one_row_a_message(inbox: Inbox) -> None:
    """Analysing again updates the one row, and writes nothing when nothing has changed."""
    message = message_with(inbox, "all fine")
    inbox.analyze(message)
    before = inbox.row("select * from message_analysis")
    inbox.analyze(message)
    assert inbox.row("select * from message_analysis") == before
    inbox.run("update messages set content_text = 'help?'")
    inbox.analyze(message)
    after = inbox.row("select * from message_analysis")
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
    assert (after["intent"], after["needs_escalation"]) == ("question", True)


def test_analysis_of_the_application(inbox: Inbox) -> None:
    """What somebody else has stored about the message is replaced in our columns, and kept in metadata."""
    message = message_with(inbox, "help?")
    inbox.run(
        """
        insert into message_analysis (message_id, intent, sentiment, confidence, metadata)
        values (%s, 'complaint', 'negative', 0.9, '{"model": "x"}')
        """,
        message,
    )
    inbox.analyze(message)
    row = inbox.row("select * from message_analysis")
    assert (row["intent"], row["sentiment"], row["confidence"]) == ("question", "neutral", Decimal("0.5"))
    assert row["metadata"] == {"model": "x"}


@pytest.mark.parametrize("metadata", [None, "{}", '{"a": 1}', '{"needs_escalation": false}'])
def test_escalation_keeps_metadata(inbox: Inbox, metadata: str | None) -> None:
    """The conversation's metadata get the escalation and lose nothing; a second message of the kind writes nothing."""
    message = message_with(inbox, "help")
    inbox.run("update conversations set metadata = %s", metadata)
    inbox.analyze(message)
    expected = {"needs_escalation": True} | ({"a": 1} if metadata and "a" in metadata.split('"') else {})
    assert inbox.value("select metadata from conversations") == expected
    version = inbox.value("select xmin::text from conversations")
    other = message_with(inbox, "help again", "e2")
    version = inbox.value("select xmin::text from conversations")
    inbox.analyze(other)
    assert inbox.value("select xmin::text from conversations") == version


def test_escalation_stays(inbox: Inbox) -> None:
    """A calm message after an urgent one does not take the escalation back."""
    inbox.analyze(message_with(inbox, "urgent"))
    inbox.analyze(message_with(inbox, "thanks", "e2"))
    assert inbox.value("select metadata from conversations") == {"needs_escalation": True}


def test_analysis_by_a_trigger(any_inbox: Inbox) -> None:
    """Applications analyse each new message in a trigger: it fires for each message of a batch."""
    any_inbox.run(
        """
        create function public.analyze_new() returns trigger language plpgsql as
        $$ begin perform public.analyze_message_simple(new.id); return null; end $$;
        create trigger analyze_new after insert on messages for each row execute function public.analyze_new();
        """
    )
    any_inbox.insert_many(20, authors=5)
    any_inbox.run("update webhook_events set content = 'urgent' where event_id in ('e1', 'e2')")
    assert any_inbox.route_unrouted() == 20
    assert any_inbox.count("message_analysis") == 20
    assert any_inbox.value("select count(*) from conversations where metadata ->> 'needs_escalation' = 'true'") == 2


def test_ingest_route_analyze(any_inbox: Inbox) -> None:
    """One call stores, routes and analyses, and answers as route_webhook_event; again, it answers the same."""
    call = "select public.ingest_route_analyze(%s, %s, %s, %s, %s, %s, %s, %s)"
    values = ("Instagram", "message", "e1", "a1", "Alice", "can you help?", "2026-01-01 12:00+00", '{"k": 1}')
    first = any_inbox.value(call, *values)
    message = any_inbox.message("e1")
    assert first == {"conversation_id": str(message["conversation_id"]), "message_id": str(message["id"])}
    assert any_inbox.event("e1")["routed_at"] is not None
    assert any_inbox.event("e1")["raw_payload"] == {"k": 1}
    assert any_inbox.row("select intent, needs_escalation from message_analysis") == {
        "intent": "question",
        "needs_escalation": True,
    }
    assert any_inbox.value(call, *values) == first
    assert any_inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}
    assert any_inbox.count("message_analysis") == 1


def test_ingest_route_analyze_at_once(inbox: Inbox) -> None:
    """Deliveries of one event in four sessions at the same moment all get the same answer."""
    sessions = [inbox.another() for _ in range(4)]

    def call(session: Inbox) -> str:
        answer = session.value(
            "select public.ingest_route_analyze('instagram', 'message', 'e1', 'a1', 'Alice', 'help', now(), '{}')"
        )
        return str(answer["message_id"])

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(call, sessions))
    assert answers == {str(inbox.message("e1")["id"])}
    assert inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}
