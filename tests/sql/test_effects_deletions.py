"""A message that its author has deleted: its text and its links are nowhere, and do not come back."""

import zlib

import pytest

from consumer.domain.providers.atoms import Effect, Message
from consumer.domain.providers.lines import token_of
from tests.sql.deliveries import ANA, delete, edit, effect, message, message_of, take, waiting, wamid
from tests.sql.inbox import Inbox

SECRET = "the secret"
LINK = "https://media.example/secret"
IMAGE = {"type": "image", "id": "secret-id", "link": LINK}
WITH_ALL = message(
    text=SECRET,
    message_type="image",
    metadata={
        "attachments": [IMAGE],
        "payload": "secret payload",
        "referral": {"source_url": LINK},
        "story": {"id": "secret story", "link": LINK},
        "album": "a1",
    },
)
BODY = b'{"text": "the secret", "link": "https://media.example/secret"}'


def places_of(inbox: Inbox, text: str) -> list[str]:
    """The tables of "public" and "router" one of whose rows says this."""
    tables = inbox.column(
        """
        select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'router') and c.relkind = 'r' order by 1
        """
    )
    bodies = inbox.column("select body from router.deliveries where body is not null")
    found = [
        table
        for table in tables
        if inbox.value(f"select exists (select from {table} t where t::text like %s)", f"%{text}%")
    ]
    return [*found, *("a body" for body in bodies if text.encode() in unpacked(body))]


def unpacked(body: bytes) -> bytes:
    """A stored body as it came."""
    try:
        return zlib.decompress(body)
    except zlib.error:
        return body


def orders() -> list[list[Message | Effect]]:
    """Ways in which a message, an edit and a deletion may come."""
    first, second, last = WITH_ALL, edit(f"more of {SECRET}", second=3, attachments=[IMAGE]), delete(second=5)
    return [
        [first, second, last],
        [first, last, second],
        [last, first, second],
        [second, last, first],
        [last, second, first],
        [second, first, last],
    ]


@pytest.mark.parametrize("atoms", orders(), ids=["m e d", "m d e", "d m e", "e d m", "d e m", "e m d"])
def test_what_it_said_is_nowhere(any_inbox: Inbox, atoms: list[Message | Effect]) -> None:
    """Neither in a table nor in a stored body, whatever order it comes in, and however often."""
    for atom in [*atoms, *atoms]:
        take(any_inbox, atom, body=BODY if atom in atoms[:2] else BODY * 20)
    found = message_of(any_inbox)
    assert (found["content_text"], found["media_url"]) == (None, None)
    assert found["metadata"] == {"album": "a1", "deleted_at": "2026-05-01T00:00:05Z"}
    assert any_inbox.count("message_revisions") == 0
    assert waiting(any_inbox) == []
    any_inbox.run("update router.deliveries set body = null where subjects is null")  # the deletion's: it says nothing
    assert places_of(any_inbox, "secret") == []


def test_a_deletion_waits_for_its_message_and_holds_back_what_is_there(inbox: Inbox) -> None:
    """An edit of a message that has never come, and its delivery."""
    take(inbox, edit(SECRET, second=3), body=BODY)
    take(inbox, delete())
    assert waiting(inbox) == ["del:m1:9"]
    take(inbox, edit(SECRET, second=3), body=BODY)
    take(inbox, edit(f"more of {SECRET}", second=4), body=BODY)
    assert waiting(inbox) == ["del:m1:9"]
    assert places_of(inbox, "secret") == []


def test_the_time_of_the_first_deletion_counts(inbox: Inbox) -> None:
    """One that is deleted for oneself and then for everybody, say."""
    take(inbox, message())
    take(inbox, delete(second=7))
    take(inbox, delete(second=5), delete(second=6))
    assert message_of(inbox)["metadata"] == {"deleted_at": "2026-05-01T00:00:05Z"}
    assert inbox.value("select normalized ->> 'deleted_at' from webhook_events") == "2026-05-01T00:00:05Z"


def test_a_redelivered_deletion_writes_nothing(inbox: Inbox) -> None:
    """Neither to the message nor to its event."""
    take(inbox, message())
    take(inbox, delete())
    before = inbox.rows("select xmin::text from messages union all select xmin::text from webhook_events")
    answer = take(inbox, delete())
    assert answer["effects"] == {"delete": {"applied": 0, "waiting": 0, "known": 1}}
    assert inbox.rows("select xmin::text from messages union all select xmin::text from webhook_events") == before


def test_other_messages_keep_what_they_say(inbox: Inbox) -> None:
    """And their deliveries; one that holds a deleted message beside others loses its body."""
    take(inbox, message(), message("m2", "second", second=2), body=b'"both"')
    take(inbox, message("m2", "second", second=2), body=b'"m2"')
    take(inbox, delete())
    assert message_of(inbox, "m2")["content_text"] == "second"
    assert inbox.column("select body from router.deliveries where body is not null order by id") == [b'"m2"', b"{}"]


def test_a_delivery_that_is_not_processed_yet_keeps_its_body(inbox: Inbox) -> None:
    """It has to be read once more."""
    take(inbox, message(), body=BODY)
    inbox.run("update router.deliveries set processed_at = null")
    take(inbox, delete())
    assert inbox.value("select body from router.deliveries where subjects is not null") == BODY


def test_what_two_transactions_did_not_see_of_each_other_is_mended(inbox: Inbox) -> None:
    """A delivery is being stored while the deletion of its message is committed."""
    other = inbox.another()
    with other.transaction():
        take(other, message(text=SECRET), body=BODY)
        take(inbox, delete())
    assert places_of(inbox, "secret") != []
    inbox.run("select router.scrub_late(now() - interval '1 hour')")
    assert inbox.column("select body from router.deliveries where subjects is not null") == [None]


def test_a_message_of_the_application_is_deleted(inbox: Inbox) -> None:
    """One whose metadata is no object; its own keys would stay."""
    take(inbox, message())
    inbox.run("update messages set metadata = '[]'; delete from webhook_events")
    take(inbox, delete())
    assert message_of(inbox)["metadata"] == {"deleted_at": "2026-05-01T00:00:09Z"}


def test_an_event_of_the_application_is_scrubbed(inbox: Inbox) -> None:
    """With its raw payload; it adds nothing to the message when it comes again."""
    inbox.ingest("m1", channel="whatsapp", author_id=ANA.id, content=SECRET, raw_payload={"text": SECRET})
    inbox.batch()
    take(inbox, delete())
    assert places_of(inbox, "secret") == []
    assert inbox.row("select content, raw_payload, normalized from webhook_events") == {
        "content": None,
        "raw_payload": {},
        "normalized": {"deleted_at": "2026-05-01T00:00:09Z"},
    }


def test_a_message_is_deleted_by_another_of_its_ids(inbox: Inbox) -> None:
    """The deliveries with it, and its event, are found as well."""
    own, others = wamid("5511900000001", "3EB0C767D097E9ECFE8A"), wamid("15550100001", "3EB0C767D097E9ECFE8A")
    take(inbox, message(own, SECRET), body=BODY)
    take(inbox, effect("delete", "d1", others, second=9))
    assert message_of(inbox, own)["metadata"] == {"deleted_at": "2026-05-01T00:00:09Z"}
    assert places_of(inbox, "secret") == []


@pytest.mark.parametrize(
    ("message_id", "token"),
    [
        (wamid("5511", "3EB0C767D097E9ECFE8A"), "3EB0C767D097E9ECFE8A"),
        (wamid("5511", "3EB0C767D097E9ECFE8A\0"), "3EB0C767D097E9ECFE8A"),
        (wamid("5511", "x" + "A" * 70), "A" * 64),
        (wamid("5511", "3eb0c767d097e9ecfe8a"), None),
        (wamid("5511", "3EB0C767D097E9E"), None),
        ("wamid.", None),
        ("wamid.s1", None),
        ("wamid.A", None),
        ("wamid.AAAAA", None),
        ("wamid.-_-_", None),
        ("wamid.====", None),
        ("mid.3EB0C767D097E9ECFE8A", None),
        ("", None),
        (None, None),
    ],
)
def test_tokens_are_those_of_python(any_inbox: Inbox, message_id: str | None, token: str | None) -> None:
    """Both sides compare them."""
    assert any_inbox.value("select router.token_of(%s)", message_id) == token
    assert token_of(message_id) == token
