"""Edits and media of messages: whatever order they come in, they end in the same rows."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.domain.providers.atoms import Effect, Message
from tests.sql.deliveries import at, delete, edit, effect, message, message_of, revisions, take, take_all, waiting
from tests.sql.inbox import Inbox

IMAGE = {"type": "image", "id": "i1", "link": "https://media.example/1"}
VIDEO = {"type": "video", "id": "v1", "link": "https://media.example/2"}


def stamp(second: int) -> str:
    """A time as metadata has it."""
    return f"2026-05-01T00:00:{second:02}Z"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_the_last_edit_by_time_counts(any_inbox: Inbox, order: tuple[int, ...]) -> None:
    """And the texts before it are kept in the order of time; edits that come before the message wait for it."""
    atoms: list[Message | Effect] = [message(), edit("second", second=4), edit("third", second=8)]
    for place in order:
        take(any_inbox, atoms[place])
    found = message_of(any_inbox)
    assert found["content_text"] == "third"
    assert found["metadata"] == {"edited_at": stamp(8)}
    assert revisions(any_inbox) == ["first", "second"]
    assert waiting(any_inbox) == []


def test_an_edit_that_changes_nothing_writes_nothing(any_inbox: Inbox) -> None:
    """Neither to the message nor to its revisions."""
    take(any_inbox, message())
    before = any_inbox.row("select m.*, m.xmin::text from public.messages m")
    answer = take(any_inbox, edit("first", second=4))
    assert answer["effects"] == {"edit": {"applied": 0, "waiting": 0, "known": 1}}
    assert any_inbox.row("select m.*, m.xmin::text from public.messages m") == before
    assert revisions(any_inbox) == []


def test_an_edit_that_changed_nothing_takes_back_an_earlier_one_that_comes_later(inbox: Inbox) -> None:
    """The text is that of the last edit, though it had been the text when that one came."""
    take(inbox, message())
    take(inbox, edit("first", second=8))
    take(inbox, edit("between", second=4))
    found = message_of(inbox)
    assert (found["content_text"], found["metadata"]) == ("first", {"edited_at": stamp(8)})
    assert revisions(inbox) == ["first", "between"]


def test_a_revision_is_none_if_an_earlier_edit_said_the_same(inbox: Inbox) -> None:
    """The time of the edit is that of the first one that brought the text."""
    take(inbox, message())
    take(inbox, edit("second", second=8))
    take(inbox, edit("second", second=4))
    assert message_of(inbox)["metadata"] == {"edited_at": stamp(4)}
    assert revisions(inbox) == ["first"]


def test_a_redelivered_edit_writes_nothing(inbox: Inbox) -> None:
    """Nor does one of a message that has been edited since."""
    take(inbox, message())
    take(inbox, edit("second", second=4), edit("third", second=8))
    before = inbox.row("select m.*, m.xmin::text from public.messages m")
    answer = take(inbox, edit("second", second=4), edit("third", second=8))
    assert answer["effects"] == {"edit": {"applied": 0, "waiting": 0, "known": 2}}
    assert inbox.row("select m.*, m.xmin::text from public.messages m") == before


def test_texts_may_be_missing(inbox: Inbox) -> None:
    """A caption that is taken away, and one that comes."""
    take(inbox, message(text=None))
    take(inbox, edit("caption", second=2))
    take(inbox, edit(None, second=3))
    assert message_of(inbox)["content_text"] is None
    assert revisions(inbox) == [None, "caption"]


@pytest.mark.parametrize("turned", [False, True])
def test_attachments_of_the_last_edit_that_tells_some_replace_those_there(inbox: Inbox, turned: bool) -> None:
    """With the link and the type; an edit without any keeps them."""
    take(inbox, message(message_type="image", metadata={"attachments": [IMAGE]}))
    edits = [edit("first", second=3, attachments=[VIDEO]), edit("second", second=5)]
    for atom in reversed(edits) if turned else edits:
        take(inbox, atom)
    found = message_of(inbox)
    assert found["metadata"] == {"attachments": [VIDEO], "edited_at": stamp(5)}
    assert (found["message_type"], found["media_url"]) == ("video", VIDEO["link"])
    assert revisions(inbox) == ["first"]


def test_media_without_another_text_count_as_an_edit(inbox: Inbox) -> None:
    """There is no earlier text to keep; the same attachments once more are no edit."""
    take(inbox, message(message_type="image", metadata={"attachments": [IMAGE]}))
    take(inbox, edit("first", second=3, attachments=[IMAGE]))
    assert "edited_at" not in message_of(inbox)["metadata"]
    take(inbox, edit("first", second=4, attachments=[VIDEO]))
    assert message_of(inbox)["metadata"] == {"attachments": [VIDEO], "edited_at": stamp(4)}
    assert revisions(inbox) == []


def test_a_message_of_the_application_takes_edits(inbox: Inbox) -> None:
    """Whatever its metadata are; other keys stay."""
    take(inbox, message())
    inbox.run("update public.messages set metadata = null")
    take(inbox, edit("second", second=2))
    assert message_of(inbox)["metadata"] == {"edited_at": stamp(2)}
    inbox.run("update public.messages set metadata = metadata || '{\"score\": 5}'")
    take(inbox, edit("third", second=3))
    assert message_of(inbox)["metadata"] == {"edited_at": stamp(3), "score": 5}


def media(**values: Any) -> Effect:
    """What comes after a message of a history that had media."""
    told = {"message_type": "image", "attachments": [IMAGE], "text": None} | values
    return effect("media", "media:m1", second=1, values=told)


@pytest.mark.parametrize("turned", [False, True])
def test_media_come_after_their_message(any_inbox: Inbox, turned: bool) -> None:
    """Or before it: then they wait."""
    bare = message(text=None, metadata={"history": True, "placeholder": True})
    for atom in (media(text="look"), bare) if turned else (bare, media(text="look")):
        take(any_inbox, atom)
    found = message_of(any_inbox)
    assert found["metadata"] == {"history": True, "attachments": [IMAGE]}
    assert (found["message_type"], found["media_url"], found["content_text"]) == ("image", IMAGE["link"], "look")
    assert waiting(any_inbox) == []


def test_media_that_are_there_stay(inbox: Inbox) -> None:
    """The message had come as it was."""
    take(inbox, message(message_type="video", metadata={"attachments": [VIDEO]}))
    take(inbox, media(text="look"))
    found = message_of(inbox)
    assert (found["metadata"], found["content_text"]) == ({"attachments": [VIDEO]}, "first")


HISTORY: list[Message | Effect] = [
    message(text=None, metadata={"history": True}),
    media(text="look"),
    edit("look", second=3),
    edit("see", second=4),
    edit("see", second=5, attachments=[VIDEO]),
    edit("look", second=6),
]


def state(inbox: Inbox) -> list[Any]:
    """All that edits and media write, without keys."""
    found = message_of(inbox)
    kept = inbox.rows("select ord, revised_at, attachments from router.silent_edits order by ord")
    revised = inbox.rows("select ord, revised_at, content_text from public.message_revisions order by ord")
    return [
        [found[key] for key in ("content_text", "media_url", "message_type", "metadata")],
        [row for row in kept if row["ord"]],
        revised,
        waiting(inbox),
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(), size=st.integers(1, 6))
def test_any_order_ends_in_the_same_rows(inbox: Inbox, seed: int, size: int) -> None:
    """Shuffled, repeated, and split into calls in any way."""

    def play(atoms: list[Message | Effect], size: int) -> list[Any]:
        inbox.run("truncate public.webhook_events, public.messages cascade")
        inbox.run("truncate router.waiting, router.silent_edits, router.deleted_messages")
        for first in range(0, len(atoms), size):
            take_all(inbox, [([atom], b"{}") for atom in atoms[first : first + size]])
        return state(inbox)

    shuffled = HISTORY * 2
    random.Random(seed).shuffle(shuffled)
    assert play(shuffled, size) == play(HISTORY, len(HISTORY))


def test_a_deleted_message_takes_no_edits(inbox: Inbox) -> None:
    """Neither by one that comes later, nor by media."""
    take(inbox, message())
    take(inbox, delete(second=4))
    take(inbox, edit("secret", second=3), media(text="look"))
    found = message_of(inbox)
    assert (found["content_text"], found["metadata"]) == (None, {"deleted_at": stamp(4)})
    assert revisions(inbox) == []
    assert at(4).startswith("2026-05-01T00:00:04")
