"""Names of contacts: the latest by event time or arrival, as long as nobody has given another one."""

from datetime import UTC, datetime

import pytest

from tests.sql.inbox import Inbox

NAMES: list[tuple[list[tuple[str | None, int]], str | None]] = [
    ([("Al", 1), ("Alice", 2)], "Alice"),
    ([("Alice", 2), ("Al", 1)], "Alice"),
    ([("Alice", 1), (None, 2)], "Alice"),
    ([(None, 1), ("Alice", 2)], "Alice"),
    ([(None, 2), ("Alice", 1)], "Alice"),
    ([("Alice", 1), ("", 2), ("  ", 3)], "Alice"),
    ([("Ann", 1), ("Bob", 1)], "Bob"),
    ([("Bob", 1), ("Ann", 1)], "Bob"),
    ([("Bob", 1), ("Bob", 3), ("Ann", 2)], "Bob"),
    ([("ann", 1), ("Bob", 1)], "ann"),
    ([("Ann", 1), ("Bob", 2), ("Ann", 3)], "Ann"),
    ([(None, 1)], None),
]
"""Names of one author's messages with their minutes, in the order of routing, and the name that is left."""


@pytest.mark.parametrize("in_a_batch", [False, True])
def test_latest_name_wins(inbox: Inbox, in_a_batch: bool) -> None:
    """The last name by event time is the contact's, whatever the order; equal times are settled by the name."""
    for case, (events, _) in enumerate(NAMES):
        for number, (name, minute) in enumerate(events):
            event = f"{case}-{number}"
            inbox.ingest(event, author_id=f"a{case}", author_name=name, event_date=f"2026-01-01 12:{minute:02}+00")
            if not in_a_batch:
                inbox.route(event)
    if in_a_batch:
        inbox.batch()
    names = {case: inbox.contact_of(f"a{case}") for case in range(len(NAMES))}
    expected = {case: name for case, (_, name) in enumerate(NAMES)}
    assert {case: contact["full_name"] for case, contact in names.items()} == expected
    assert {case: contact["display_name"] for case, contact in names.items()} == expected


@pytest.mark.parametrize("in_a_batch", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_name_from_the_future(any_inbox: Inbox, turned: bool, in_a_batch: bool) -> None:
    """A name counts from its arrival at the latest: a date in the far future renames nobody for good."""
    events = [
        {"event_id": "before", "author_name": "Ann", "event_date": "2026-01-01", "created_at": "2026-01-01"},
        {"event_id": "forged", "author_name": "Eve", "event_date": "2126-01-01", "created_at": "2026-01-02"},
        {"event_id": "after", "author_name": "Ann B.", "event_date": "2026-01-03", "created_at": "2026-01-03"},
    ]
    for event in reversed(events) if turned else events:
        any_inbox.insert(**event)
        if not in_a_batch:
            any_inbox.route(event["event_id"])
    if in_a_batch:
        any_inbox.batch()
    contact = any_inbox.contact_of()
    assert (contact["full_name"], contact["display_name"]) == ("Ann B.", "Ann B.")
    assert any_inbox.value("select display_name_at from contact_channels") == datetime(2026, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize("author", ["a1", "A1"])
def test_name_of_the_release_before_from_the_future(any_inbox: Inbox, author: str) -> None:
    """A contact that an earlier release let somebody rename for a hundred years takes the next name that comes.

    Also if a trigger of the application writes the author's id in another form.
    """
    any_inbox.run(
        """
        create function public.small() returns trigger language plpgsql as
        $$ begin new.external_id := lower(new.external_id); return new; end $$;
        create trigger small before insert on contact_channels for each row execute function public.small();
        """
    )
    any_inbox.insert("e1", author_name="Eve", author_id=author)
    any_inbox.route("e1")
    any_inbox.run("update contact_channels set display_name_at = '2126-01-01'")
    any_inbox.insert("e2", author_name="Ann", author_id=author, event_date="2026-01-02 12:00+00")
    any_inbox.insert("e3", author_name="An", author_id=author, event_date="2026-01-01 12:00+00")
    assert any_inbox.batch().inserted == 2
    contact = any_inbox.contact_of()
    assert (contact["full_name"], contact["display_name"]) == ("Ann", "Ann")
    assert any_inbox.value("select display_name_at from contact_channels") == datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_name_given_by_a_person(any_inbox: Inbox) -> None:
    """A full name that somebody has edited is kept; the channel's display name goes on following the author."""
    any_inbox.ingest("e1", author_name="alice_92")
    any_inbox.route("e1")
    any_inbox.run("update contacts set full_name = 'Dr. Alice Smith'")
    for number in (2, 3):
        any_inbox.ingest(f"e{number}", author_name=f"alice_9{number + 1}", event_date=f"2026-01-0{number} 12:00+00")
        any_inbox.route(f"e{number}")
        contact = any_inbox.contact_of()
        assert (contact["full_name"], contact["display_name"]) == ("Dr. Alice Smith", f"alice_9{number + 1}")


def test_contact_made_by_the_application(inbox: Inbox) -> None:
    """A contact and channel that are there are used; a name that is missing is filled in, one that is there is kept."""
    for author, name in (("a1", None), ("a2", "Existing Name")):
        inbox.run(
            """
            with person as (insert into contacts (full_name) values (%s) returning id)
            insert into contact_channels (contact_id, channel, external_id) select id, 'instagram', %s from person
            """,
            name,
            author,
        )
        inbox.ingest(f"of {author}", author_id=author, author_name="Alice")
        inbox.route(f"of {author}")
    assert inbox.contact_of("a1")["full_name"] == "Alice"
    assert inbox.contact_of("a2")["full_name"] == "Existing Name"
    assert inbox.contact_of("a2")["display_name"] == "Alice"
    assert inbox.counts() == {"contacts": 2, "contact_channels": 2, "conversations": 2, "messages": 2}


def test_triggers_that_refuse_and_change_names(inbox: Inbox) -> None:
    """Triggers of the application that keep or change the names of channels neither stop routing nor make it loop."""
    for author in ("a1", "a2"):
        inbox.ingest(f"first of {author}", author_id=author, author_name="alice")
    inbox.batch()
    inbox.run(
        """
        create function public.refuse() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger refuse before update on contact_channels for each row when (old.external_id = 'a1')
            execute function public.refuse();
        create function public.shout() returns trigger language plpgsql as
        $$ begin new.display_name := upper(new.display_name); return new; end $$;
        create trigger shout before update on contact_channels for each row execute function public.shout();
        """
    )
    for author in ("a1", "a2"):
        inbox.ingest(f"second of {author}", author_id=author, author_name="bob", event_date="2026-01-02 12:00+00")
    inbox.run("set statement_timeout = '90s'")
    assert inbox.batch().inserted == 2
    assert inbox.contact_of("a1")["display_name"] == "alice"
    assert inbox.contact_of("a2")["display_name"] == "BOB"
