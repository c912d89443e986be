"""Conversations belong to an account of ours, and those that are made for history are closed."""

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.inbox import Inbox
from tests.sql.taking import Line, line, take

HISTORY = {"history": True, "metadata": {"history": True}}


def conversations(inbox: Inbox) -> list[dict[str, Any]]:
    """All conversations, by account."""
    return inbox.rows(
        """select account_id, status, metadata -> 'history' as history, channel_conversation_id as thread,
                  (select array_agg(m.provider_message_id order by m.provider_message_id) from messages m
                   where m.conversation_id = v.id) as messages
           from conversations v order by account_id, status"""
    )


def test_each_account_has_its_own(any_inbox: Inbox) -> None:
    """Somebody who writes to two of our numbers has two conversations, and one contact."""
    take(
        any_inbox,
        line("m1", 1),
        line("m2", 2, normalized={"account": "other"}),
        line("m3", 3),
    )
    take(any_inbox, line("m4", 4, normalized={"account": "other"}))
    assert [(v["account_id"], v["messages"]) for v in conversations(any_inbox)] == [
        ("acc", ["m1", "m3"]),
        ("other", ["m2", "m4"]),
    ]
    assert any_inbox.count("contacts") == 1


def test_conversation_without_an_account_is_adopted(inbox: Inbox) -> None:
    """The first account takes what an application has opened; the next one makes its own."""
    inbox.ingest("e1", channel="whatsapp", author_id="p1")
    inbox.route("e1", channel="whatsapp")
    take(inbox, line("m1", 1))
    take(inbox, line("m2", 2, normalized={"account": "other"}))
    assert [(v["account_id"], v["messages"]) for v in conversations(inbox)] == [
        ("acc", ["e1", "m1"]),
        ("other", ["m2"]),
    ]


def test_two_accounts_want_one_conversation(inbox: Inbox) -> None:
    """In one batch as well, one of them gets it."""
    inbox.ingest("e1", channel="whatsapp", author_id="p1")
    inbox.route("e1", channel="whatsapp")
    take(inbox, line("m1", 1), line("m2", 2, normalized={"account": "other"}), line("m3", 3))
    assert [(v["account_id"], v["messages"]) for v in conversations(inbox)] == [
        ("acc", ["e1", "m1", "m3"]),
        ("other", ["m2"]),
    ]
    assert inbox.value("select count(*) from router.parked_events") == 0


def test_two_sessions_want_one_conversation(any_inbox: Inbox) -> None:
    """Who comes second sees that it has an account now, and makes another one."""
    any_inbox.ingest("e1", channel="whatsapp", author_id="p1")
    any_inbox.route("e1", channel="whatsapp")
    other = any_inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with any_inbox.transaction():
            take(any_inbox, line("m1", 1))
            second = pool.submit(take, other, line("m2", 2, normalized={"account": "other"}))
            any_inbox.another().wait_until_blocked(other)
        assert second.result(timeout=90) == []
    assert [(v["account_id"], v["messages"]) for v in conversations(any_inbox)] == [
        ("acc", ["e1", "m1"]),
        ("other", ["m2"]),
    ]


def test_plain_events_take_the_newest_open_one(inbox: Inbox) -> None:
    """An event that no normaliser knows goes into the newest open conversation, whose account it does not ask for."""
    take(inbox, line("m1", 1))
    inbox.ingest("e1", channel="whatsapp", author_id="p1")
    inbox.route("e1", channel="whatsapp")
    assert [v["messages"] for v in conversations(inbox)] == [["e1", "m1"]]


def test_plain_events_in_the_same_batch(inbox: Inbox) -> None:
    """An event of an application that comes first, and one of an account, share a conversation."""
    inbox.insert("e1", channel="whatsapp", author_id="p1")
    inbox.insert("m1", channel="whatsapp", author_id="p1", normalized=Jsonb({"account": "acc"}))
    inbox.batch()
    assert [(v["account_id"], v["messages"]) for v in conversations(inbox)] == [("acc", ["e1", "m1"])]


def test_thread_of_the_provider_is_kept(inbox: Inbox) -> None:
    """TikTok's own id of a conversation stands in it; without a person it is what messages have in common."""

    def of_nobody(event_id: str) -> Line:
        return line(event_id, channel="tiktok", author_id=None, normalized={"thread": "t2"})

    take(inbox, line("m1", channel="tiktok", normalized={"thread": "t1"}))
    take(inbox, of_nobody("m2"), of_nobody("m3"))
    take(inbox, of_nobody("m4"))
    found = {v["thread"]: v["messages"] for v in conversations(inbox)}
    assert found == {"t1": ["m1"], "t2": ["m2", "m3", "m4"]}


# ── History ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("together", [True, False])
def test_history_and_live_messages(inbox: Inbox, order: tuple[int, ...], together: bool) -> None:
    """History and live messages of one person share a conversation, open once one is live, in every order."""
    lines = [line("h1", 1, normalized=HISTORY), line("h2", 2, normalized=HISTORY), line("m1", 3)]
    if together:
        take(inbox, *(lines[place] for place in order))
    else:
        for place in order:
            take(inbox, lines[place])
    (only,) = conversations(inbox)
    assert only == {
        "account_id": "acc", "status": "open", "history": None, "thread": None, "messages": ["h1", "h2", "m1"],
    }  # fmt: skip
    assert inbox.value("select last_message_at = '2026-01-01 12:03+00' from conversations")


def test_history_alone_is_closed(inbox: Inbox) -> None:
    """A conversation that was made for history is closed, and known as such."""
    take(inbox, line("h1", 1, normalized=HISTORY), line("h2", 2, normalized=HISTORY))
    take(inbox, line("h3", 3, normalized=HISTORY))
    (only,) = conversations(inbox)
    assert (only["status"], only["history"], only["messages"]) == ("closed", True, ["h1", "h2", "h3"])


def test_closed_conversation_is_not_opened_by_a_message(inbox: Inbox) -> None:
    """What somebody has closed stays so: the next message opens another one."""
    take(inbox, line("m1", 1))
    inbox.run("update conversations set status = 'closed'")
    take(inbox, line("m2", 2))
    assert [(v["status"], v["messages"]) for v in conversations(inbox)] == [("closed", ["m1"]), ("open", ["m2"])]
