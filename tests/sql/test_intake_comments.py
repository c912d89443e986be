"""Comments of our own go where the comments are that they answer, and wait for these if they come first."""

from itertools import permutations
from typing import Any

import pytest

from tests.sql.inbox import Inbox
from tests.sql.taking import Line, line, take


def conversations(inbox: Inbox) -> list[list[str]]:
    """The messages of each conversation."""
    return inbox.column(
        "select array_agg(provider_message_id order by provider_message_id) from messages group by conversation_id"
    )


def comment(event_id: str, minute: int = 0, **columns: Any) -> Line:
    """A comment below a post."""
    return line(event_id, minute, channel="instagram", type="comment", post_id="post", **columns)


def own(event_id: str, answered: str, minute: int = 0) -> Line:
    """A comment of our own."""
    normalized = {"direction": "outbound", "reply": answered, "own_comment": True}
    return comment(event_id, minute, author_id=None, normalized=normalized)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("together", [True, False])
def test_own_comment_goes_where_the_answered_one_is(inbox: Inbox, order: tuple[int, ...], together: bool) -> None:
    """It shares conversation and contact with the comment that it answers, whatever comes first; so do its answers."""
    lines = [comment("c1", 1), own("c2", "c1", 2), own("c3", "c2", 3)]
    if together:
        take(inbox, *(lines[place] for place in order))
    else:
        for place in order:
            take(inbox, lines[place])
    assert conversations(inbox) == [["c1", "c2", "c3"]]
    assert inbox.value("select count(distinct contact_id) from messages") == 1
    assert inbox.column("select direction from messages order by provider_message_id") == [
        "inbound", "outbound", "outbound",
    ]  # fmt: skip
    assert inbox.value("select count(*) from router.waiting") == 0
    assert inbox.value("select count(*) from webhook_events where routed_at is null") == 0


def test_own_comment_waits_for_a_while(inbox: Inbox) -> None:
    """It is not routed at once, and counted as waiting; when its time is over it goes below the post."""
    assert take(inbox, own("c2", "c1", 2)) == []
    assert inbox.count("messages") == 0
    assert inbox.row("select kind, target, atom_id from router.waiting") == {
        "kind": "comment", "target": "c1", "atom_id": "c2",
    }  # fmt: skip
    assert inbox.value("select router.release_due_comments(100)") == 0
    inbox.run("update webhook_events set parked_until = now()")
    assert inbox.value("select router.release_due_comments(100)") == 1
    assert conversations(inbox) == [["c2"]]
    assert inbox.value("select channel_conversation_id from conversations") == "post"
    assert inbox.row("select contact_id, direction from messages") == {"contact_id": None, "direction": "outbound"}
    assert inbox.value("select count(*) from router.waiting") == 0


def test_own_comment_is_tried_again_by_the_service(inbox: Inbox) -> None:
    """The next attempt of parked events takes it as well, once its time is over."""
    take(inbox, own("c2", "c1", 2))
    inbox.run("update webhook_events set parked_until = now(), created_at = now() - interval '6 seconds'")
    assert inbox.retry().inserted == 1
    assert inbox.count("messages") == 1
    assert inbox.value("select count(*) from router.waiting") == 0


def test_own_comment_does_not_count_as_routed(inbox: Inbox) -> None:
    """A batch with one that begins to wait tells of the others."""
    inbox.insert("c1", type="comment", post_id="post")
    inbox.run(
        """insert into webhook_events (channel, type, event_id, post_id, content, normalized)
        values ('instagram', 'comment', 'c2', 'post', 'x', '{"own_comment": true, "reply": "gone"}')"""
    )
    batch = inbox.batch()
    assert (batch.claimed, batch.inserted, batch.parked, batch.channels) == (1, 1, 0, ["instagram"])


def test_answered_comment_is_that_of_an_application(inbox: Inbox) -> None:
    """A comment that came flattened can be answered as well."""
    inbox.ingest("c1", type_="comment", post_id="post")
    inbox.route("c1")
    take(inbox, own("c2", "c1", 2))
    assert conversations(inbox) == [["c1", "c2"]]
