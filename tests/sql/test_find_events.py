"""router.find_events and router.effects_told: events by any id, and what has become of messages."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import empty_database_on
from tests.sql.conftest import DatabaseOn
from tests.sql.effects import apply, at, effect, make, reaction, status
from tests.sql.inbox import Inbox, Row
from tests.sql.test_plans import LOAD, YOUNGER_KEYS, Meter

HOSTILE = "x' or '1'='1\u202e\x1b[2J<script>%s\\"
NOBODY = "0f0e0d0c-0b0a-4908-8706-050403020100"
TABLES = {"webhook_events", "messages", "conversations", "contact_channels", "contacts"}


def find(inbox: Inbox, *texts: object, channel: str | None = None, limit: int = 20) -> list[Row]:
    """The hits."""
    hits: list[Row] = inbox.value(
        "select hits from router.find_events(%s, %s, %s)", channel, [str(text) for text in texts], limit
    )
    return hits


def keys(hits: list[Row]) -> list[tuple[str, str, str | None, str | None]]:
    """How they were found, where they are, and their states."""
    return [(hit["matched_by"], hit["channel"], hit["event_id"], hit["state"]) for hit in hits]


def told(inbox: Inbox, message_id: object) -> dict[str, Row]:
    """What has become of a message, by kind."""
    found = inbox.rows("select * from router.effects_told(%s)", message_id)
    return {row["kind"]: row | {"at": row["at"].isoformat()} for row in found}


def test_every_kind_of_id(any_inbox: Inbox) -> None:
    """A provider's id, ours of each table, and a person's lead to the same event; what was asked for comes first."""
    inbox = any_inbox
    event = inbox.insert("e1", author_id="ana", author_name="Ana Secret", event_date="2026-01-01 12:00+00")
    inbox.insert("e2", author_id="ana", event_date="2026-01-01 13:00+00")
    inbox.insert("e1", channel="facebook", author_id="ben")
    inbox.batch()
    message, channel = inbox.message("e1"), inbox.row("select * from contact_channels where external_id = 'ana'")
    exact = ("instagram", "e1", "routed")
    assert keys(find(inbox, "e1", channel=" Instagram ")) == [("event_id", *exact)]
    assert sorted(keys(find(inbox, "e1"))) == [("event_id", "facebook", "e1", "routed"), ("event_id", *exact)]
    assert keys(find(inbox, str(event).upper())) == [("event", *exact)]
    assert keys(find(inbox, message["id"], channel="tiktok")) == [("message", *exact)]
    for by, text in (
        ("conversation", message["conversation_id"]),
        ("contact", channel["contact_id"]),
        ("contact", channel["id"]),
        ("person", "ana"),
    ):
        assert keys(find(inbox, text)) == [(by, "instagram", "e2", "routed"), (by, *exact)]
    assert find(inbox, "ana", channel="facebook") == []
    assert len(find(inbox, "ana", limit=1)) == 1
    assert "Secret" not in str(find(inbox, "ana")) + str(find(inbox, "e1"))
    # An id that is a person's and an event's at once: the event comes first.
    inbox.insert("ana", author_id="ben", event_date="2025-01-01")
    assert keys(find(inbox, "ana"))[0] == ("event_id", "instagram", "ana", "ready")


def test_what_is_not_routed(inbox: Inbox) -> None:
    """Ready, parked, dead and discarded events of a person are found without a message of theirs."""
    for number, until in enumerate((None, "2030-01-01", "infinity", "-infinity")):
        event = inbox.insert(f"e{number}", author_id=" ana ", event_date=f"2026-01-0{9 - number}", parked_until=until)
    inbox.run(
        "insert into router.parked_events values (%s, 'instagram', 'X', '', 1, now(), now(), now(), now())", event
    )
    states = ("ready", "parked", "dead", "discarded")
    found = [("person", "instagram", f"e{place}", state) for place, state in enumerate(states)]
    assert keys(find(inbox, "ana")) == found
    assert keys(find(inbox, "ana", channel="facebook")) == []
    inbox.insert_many(1000, prefix="many", authors=1)
    partial = "select is_partial from router.find_events(null, '{ana}')"
    assert inbox.value(partial)
    assert len(find(inbox, "a0", limit=50)) == 50


def test_messages_without_an_event(inbox: Inbox) -> None:
    """The event was deleted; or the application has made the message itself, with or without an id."""
    inbox.insert("e1", author_id="ana")
    inbox.batch()
    inbox.run("delete from webhook_events")
    assert keys(find(inbox, "e1")) == [("event_id", "instagram", "e1", None)]
    own = inbox.value(
        "insert into messages (conversation_id, channel, direction, sent_at) "
        "select id, channel, 'outbound', '2027-01-01' from conversations returning id"
    )
    assert keys(find(inbox, own)) == [("message", "instagram", None, None)]
    assert keys(find(inbox, "ana")) == [("person", "instagram", None, None), ("person", "instagram", "e1", None)]


@pytest.mark.parametrize("text", [HOSTILE, "", "%", "\\", "a" * 5000, NOBODY, f"{{{NOBODY}}}", "NULL"])
def test_ids_that_nobody_has(inbox: Inbox, text: str) -> None:
    """Nothing is found, in any channel, whatever it looks like; and what is there is found by the same text."""
    assert find(inbox, text) == []
    assert find(inbox, text, channel="insta' or true --") == []
    if len(text) < 500:
        inbox.insert(text, channel="instagram", author_id=text)
        assert [hit["event_id"] for hit in find(inbox, text)] == [text]
    assert inbox.row("select * from router.find_events('instagram', '{}')")["hits"] == []
    assert inbox.row("select * from router.find_events(null, null)")["hits"] == []


def test_what_became_of_a_message(inbox: Inbox) -> None:
    """Kinds, times, numbers, and the provider's codes; no text and no emoji."""
    of: dict[str, Any] = {"channel": "facebook", "account": "page"}
    make(inbox, "m1")
    make(inbox, "m2", 1)
    inbox.run(
        "insert into router.open_replies (message_id, channel, ref) select id, 'facebook', 'nobody' from messages "
        "where provider_message_id = 'm2'"
    )
    apply(
        inbox,
        status("sent", "m1", 1, **of),
        status("failed", "m1", 5, **of, errors=[{"code": 131047, "title": "Secret"}, {"code": "no <b>"}]),
        reaction("r1", "m1", 2, "secret", **of),
        reaction("r2", "m1", 3, "secret", **of, actor="ben"),
        effect("edit", "d1", "m1", 4, **of, ord="1", text="secret"),
    )
    message = inbox.message("m1", "facebook")["id"]
    found = told(inbox, message)
    assert list(found) == ["sent", "reactions", "edits", "failed"]
    assert found["sent"]["at"] == at(1)
    assert (found["failed"]["at"], found["failed"]["codes"]) == (at(5), "131047")
    assert (found["reactions"]["number"], found["reactions"]["at"]) == (2, at(3))
    assert (found["edits"]["number"], found["edits"]["at"]) == (1, at(4))
    assert "ecret" not in str(found)
    apply(inbox, effect("delete", "x1", "m1", 6, **of))
    assert told(inbox, message)["deletion"]["at"] == at(6)
    assert list(told(inbox, inbox.message("m2", "facebook")["id"])) == ["reply"]
    assert told(inbox, None) == told(inbox, uuid4()) == {}


@pytest.fixture
def large(any_postgres: EmbeddedPostgres, template_on: DatabaseOn) -> Iterator[Inbox]:
    """A large database that nobody has analysed."""
    if any_postgres.major < 15:
        pytest.skip("Postgres 14 has no way to write the counters out at once")
    with ExitStack() as stack:
        dsn = stack.enter_context(empty_database_on(any_postgres, template=template_on(any_postgres)))
        inbox = stack.enter_context(Inbox(dsn))
        for table in TABLES:
            inbox.run(f"alter table public.{table} set (autovacuum_enabled = off)")
        inbox.run(YOUNGER_KEYS)
        yield inbox


def test_it_reads_by_index(large: Inbox) -> None:
    """Planned while the tables were empty, freshly loaded, and analysed: a few entries for each answer."""
    early = large.another()
    find(early, "nobody")
    large.run(LOAD)
    meter = Meter(large)
    person = large.value("select md5('7')::uuid")
    asked = [
        ("old 500", None),
        ("p7", "whatsapp"),
        ("p8", None),
        ("nobody", None),
        (person, None),
        (large.value("select md5('c7')::uuid"), None),
        (large.value("select id from messages limit 1"), None),
    ]
    for session in (early, large.another()):
        for text, channel in asked:
            usage = meter.during(session, lambda: find(session, text, channel=channel))  # noqa: B023 - called at once
            assert not set(usage.scans_of_tables) & TABLES, text
            greedy = {index: entries for index, entries in usage.entries.items() if entries > 200}
            assert not greedy, f"{text} read {greedy}"
        message = large.value("select id from messages limit 1")
        usage = meter.during(session, lambda: told(session, message))  # noqa: B023
        assert not set(usage.scans_of_tables) & (
            TABLES | {"message_delivery", "message_reactions", "message_revisions"}
        )
        for table in TABLES:
            large.run(f"vacuum analyze {table}")
    assert [hit["matched_by"] for hit in find(large, "p7")] == ["person"] * 2
