"""One person, several identities: numbers and user ids, and a number in several spellings."""

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest

from tests.sql.inbox import Inbox
from tests.sql.taking import line, take

PHONE, USER, SPELT = "525500000017", "MX.1", "5215500000017"
IDS = [{"id": PHONE, "kind": "phone"}, {"id": USER, "kind": "user_id", "username": "fer"}]


def by_phone(event_id: str, minute: int = 0, **columns: Any) -> dict[str, Any]:
    """A message of the number."""
    return line(event_id, minute, author_id=PHONE, normalized={"forms": [SPELT]}, **columns)


def by_spelling(event_id: str, minute: int = 0, **columns: Any) -> dict[str, Any]:
    """A message of the number, in its other spelling."""
    return line(event_id, minute, author_id=SPELT, normalized={"forms": [PHONE], "persons": [PHONE]}, **columns)


def by_user(event_id: str, minute: int = 0, **columns: Any) -> dict[str, Any]:
    """A message of the user id alone."""
    return line(event_id, minute, author_id=USER, normalized={"people": IDS[1:]}, **columns)


def by_both(event_id: str, minute: int = 0, **columns: Any) -> dict[str, Any]:
    """A message that tells both."""
    normalized = {"people": IDS, "forms": [SPELT], "persons": [PHONE, USER]}
    return line(event_id, minute, author_id=PHONE, normalized=normalized, **columns)


def channels(inbox: Inbox) -> list[list[str]]:
    """The identities of each contact."""
    return inbox.column(
        'select array_agg(external_id order by external_id collate "C") from contact_channels group by contact_id'
        " order by 1"
    )


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("together", [True, False])
def test_spellings_are_one_contact(any_inbox: Inbox, order: tuple[int, ...], together: bool) -> None:
    """All spellings of a number lead to one contact and conversation; each is kept as it came, with the latest name."""
    lines = [
        by_phone("m1", 1, author_name="Fer"),
        by_spelling("m2", 2, author_name="Fernando"),
        by_phone("m3", 3, author_name="F."),
    ]
    if together:
        take(any_inbox, *(lines[place] for place in order))
    else:
        for place in order:
            take(any_inbox, lines[place])
    assert channels(any_inbox) == [[SPELT, PHONE]]
    assert any_inbox.column("select full_name from contacts") == ["F."]
    assert any_inbox.count("conversations") == 1
    assert any_inbox.count("messages") == 3


def test_both_identities_at_once(any_inbox: Inbox) -> None:
    """A body with a number and a user id makes one contact of both; later each of them alone leads to it."""
    take(any_inbox, by_both("m1", 1, author_name="Fer"))
    take(any_inbox, by_user("m2", 2), by_spelling("m3", 3))
    assert channels(any_inbox) == [[SPELT, PHONE, USER]]
    assert any_inbox.count("conversations") == 1
    told = any_inbox.value("select metadata from contact_channels where external_id = %s", USER)
    assert (told["kind"], told["username"]) == ("user_id", "fer")
    assert any_inbox.value("select whatsapp_phone from contacts") is None


def test_identity_is_added_to_a_known_contact(inbox: Inbox) -> None:
    """A contact that was known by one of them gets the other."""
    take(inbox, by_user("m1", 1))
    take(inbox, by_both("m2", 2))
    assert channels(inbox) == [[PHONE, USER]]
    assert inbox.count("conversations") == 1


def test_contacts_made_apart_are_linked(any_inbox: Inbox) -> None:
    """Two contacts are not merged: both channels tell of the other, and what comes goes to the older contact."""
    take(any_inbox, by_spelling("m1", 1))
    take(any_inbox, by_user("m2", 2))
    take(any_inbox, by_both("m3", 3))
    take(any_inbox, by_user("m4", 4), by_phone("m5", 5))
    assert channels(any_inbox) == [[SPELT, PHONE], [USER]]
    links = any_inbox.rows("select external_id, metadata ->> 'same_as' as other from contact_channels")
    assert {row["external_id"]: row["other"] for row in links} == {SPELT: None, PHONE: USER, USER: PHONE}
    older = any_inbox.value("select contact_id from contact_channels where external_id = %s", SPELT)
    found = any_inbox.rows("select provider_message_id as id, contact_id = %s as older from messages", older)
    assert {row["id"]: row["older"] for row in found} == {"m1": True, "m2": False, "m3": True, "m4": True, "m5": True}


def test_two_sessions_meet_one_person(any_inbox: Inbox) -> None:
    """The first messages of one number in two spellings, at the same time, make one contact."""
    other = any_inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with any_inbox.transaction():
            take(any_inbox, by_phone("m1", 1))
            second = pool.submit(take, other, by_spelling("m2", 2))
            any_inbox.another().wait_until_blocked(other)
        assert second.result(timeout=90) == []
    assert channels(any_inbox) == [[SPELT, PHONE]]
    assert any_inbox.count("conversations") == 1


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_latest_username_stays(inbox: Inbox, order: tuple[int, ...]) -> None:
    """Usernames are ordered by the time of the messages, not by that of their arrival."""
    lines = [
        line(f"m{n}", n, author_id=USER, normalized={"people": [{"id": USER, "kind": "user_id", "username": name}]})
        for n, name in ((1, "a"), (2, "b"), (3, "a"))
    ]
    for place in order:
        take(inbox, lines[place])
    assert inbox.value("select metadata ->> 'username' from contact_channels") == "a"


def test_name_of_the_owner_stays(inbox: Inbox) -> None:
    """A name that somebody has given the contact is not replaced through another spelling."""
    take(inbox, by_phone("m1", 1, author_name="Fer"))
    inbox.run("update contacts set full_name = 'Mr Fernando'")
    take(inbox, by_spelling("m2", 2, author_name="F."))
    assert inbox.value("select full_name from contacts") == "Mr Fernando"


def test_many_people_in_one_call(inbox: Inbox) -> None:
    """A hundred people of two spellings each need one lock, not a hundred."""
    lines = [
        line(
            f"{n}-{s}", author_id=f"52{s}55000{n:05}", normalized={"forms": [f"52{f}55000{n:05}"], "persons": [f"p{n}"]}
        )
        for n in range(100)
        for s, f in (("", "1"), ("1", ""))
    ]
    assert take(inbox, *lines) == []
    assert inbox.counts() == {"contacts": 100, "contact_channels": 200, "conversations": 100, "messages": 200}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_wishes_hold_for_all_spellings(inbox: Inbox, order: tuple[int, ...]) -> None:
    """Whether somebody wants marketing is told by each spelling of the number, whichever of them comes when."""
    wish = {
        "delivery": 0, "kind": "marketing", "id": "w1", "channel": "whatsapp", "account": "acc", "person": SPELT,
        "canonical": PHONE, "forms": [PHONE], "at": "2026-01-01T12:00:00Z", "ord": "w1", "content": {"value": "stop"},
    }  # fmt: skip
    for place in order:
        if place == 0:
            take(inbox, effects=[wish])
        else:
            take(inbox, (by_phone, by_spelling)[place - 1](f"m{place}", place))
    assert inbox.column("select metadata ->> 'marketing' from contact_channels") == ["stop", "stop"]
