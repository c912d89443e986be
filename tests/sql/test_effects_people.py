"""What is said of people: who has a conversation, what they want, their further identities, and whence they come."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.domain.providers.atoms import Effect, Identity, Message
from tests.sql.deliveries import (
    ANA,
    delete,
    effect,
    message,
    take,
    take_all,
    waiting,
)
from tests.sql.inbox import Inbox

AD = {"source_url": "https://ads.example/1"}
OTHER_AD = {"source_url": "https://ads.example/2"}


def handover(owner: str, *, second: float, **more: Any) -> Effect:
    """Control passes to an app."""
    return effect("handover", f"handover {owner} {second}", None, second=second, values={"owner": owner}, **more)


def marketing(value: str, *, second: float, **more: Any) -> Effect:
    """Ana wants marketing messages, or no more."""
    return effect("marketing", f"marketing {value} {second}", None, second=second, values={"value": value}, **more)


def referral(content: dict[str, str], *, second: float, **more: Any) -> Effect:
    """Ana comes from an advertisement, and has written nothing yet."""
    return effect("referral", f"referral {second}", None, second=second, values={"referral": content}, **more)


def changed(new: str, *, second: float = 5, kind: str = "phone", person: Identity = ANA) -> Effect:
    """Somebody has another identity."""
    values = {"id": new, "identity_kind": kind}
    return effect("system", f"system {person.id} {new}", None, second=second, person=person, values=values)


def owner(inbox: Inbox) -> str | None:
    """Of the only conversation."""
    found: str | None = inbox.value("select metadata ->> 'owner' from public.conversations")
    return found


def channels(inbox: Inbox) -> list[list[str]]:
    """The identities of each contact."""
    return inbox.column(
        "select array_agg(external_id order by external_id) from contact_channels group by contact_id order by 1"
    )


# ── Handovers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_last_handover_counts(any_inbox: Inbox, order: tuple[int, ...]) -> None:
    """By time, and it waits for the conversation."""
    atoms: list[Message | Effect] = [message(), handover("app 1", second=3), handover("app 2", second=4)]
    for place in order:
        take(any_inbox, atoms[place])
    assert owner(any_inbox) == "app 2"
    assert waiting(any_inbox) == []
    assert any_inbox.value("select metadata ->> 'owner_at' from conversations") == "2026-05-01T00:00:04Z"


def test_a_handover_opens_nothing(inbox: Inbox) -> None:
    """Neither does it go to a closed conversation, or to that of another account."""
    take(inbox, handover("app 1", second=3))
    assert inbox.counts() == dict.fromkeys(inbox.counts(), 0)
    take(inbox, message(account="900200"))
    take(inbox, handover("app 1", second=3))
    assert (owner(inbox), len(waiting(inbox))) == (None, 1)
    inbox.run("update conversations set account_id = '900100', status = 'closed'")
    take(inbox, handover("app 2", second=4))
    assert (owner(inbox), len(waiting(inbox))) == (None, 2)
    take(inbox, message("m2", second=6))
    assert waiting(inbox) == []
    assert inbox.column("select metadata ->> 'owner' from conversations where status = 'open'") == ["app 2"]


def test_a_known_handover_writes_nothing(inbox: Inbox) -> None:
    """Nor does an older one."""
    take(inbox, message(), handover("app 2", second=4))
    before = inbox.value("select xmin::text from conversations")
    take(inbox, handover("app 2", second=4), handover("app 1", second=3))
    assert inbox.value("select xmin::text from conversations") == before


# ── Marketing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_last_word_on_marketing_counts(any_inbox: Inbox, order: tuple[int, ...]) -> None:
    """By time, and it waits for the person, who may be known by another spelling of the number."""
    spelt = Identity(id="551190000001", kind="phone")
    atoms: list[Message | Effect] = [
        message(people=(Identity(id="5511990000001"),)),
        marketing("stop", second=4, person=spelt),
    ]
    atoms.append(marketing("resume", second=3, person=spelt))
    for place in order:
        take(any_inbox, atoms[place])
    found = any_inbox.value("select metadata from contact_channels")
    assert (found["marketing"], found["marketing_at"]) == ("stop", "2026-05-01T00:00:04Z")
    assert waiting(any_inbox) == []


# ── Further identities ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_number_is_a_further_channel(any_inbox: Inbox) -> None:
    """Of the same contact; a message from it goes to the same conversation."""
    take(any_inbox, changed("5521900000002"))
    assert len(waiting(any_inbox)) == 1
    take(any_inbox, message())
    take(any_inbox, message("m2", people=(Identity(id="5521900000002"),), second=6))
    assert channels(any_inbox) == [["5511900000001", "5521900000002"]]
    assert any_inbox.counts() == {"contacts": 1, "contact_channels": 2, "conversations": 1, "messages": 2}
    assert waiting(any_inbox) == []


def test_nobody_loses_a_number(inbox: Inbox) -> None:
    """One that another contact has, in any spelling, stays theirs, and nothing waits for ever."""
    take(inbox, message(), message("m2", people=(Identity(id="551181234567"),), second=2))
    take(inbox, changed("551181234567"), changed("5511981234567", second=6))
    assert channels(inbox) == [["551181234567"], ["5511900000001"]]
    assert waiting(inbox) == []


def test_changes_follow_each_other_in_any_order(inbox: Inbox) -> None:
    """In one call, and in two: the second one then waits until the next sweep."""
    take(inbox, message())
    second = changed("5511900000003", person=Identity(id="5511900000002"), second=7)
    take(inbox, second, changed("5511900000002"))
    assert channels(inbox) == [["5511900000001", "5511900000002", "5511900000003"]]
    assert waiting(inbox) == []


def test_a_user_id_is_marked_as_one(inbox: Inbox) -> None:
    """A number is not."""
    take(inbox, message(), changed("US.1", kind="user_id"), changed("5511900000009"))
    kinds = inbox.rows("select external_id, metadata ->> 'kind' as kind from contact_channels order by external_id")
    assert [tuple(row.values()) for row in kinds] == [
        ("5511900000001", None),
        ("5511900000009", None),
        ("US.1", "user_id"),
    ]


# ── Referrals ─────────────────────────────────────────────────────────────────────────────────────────────────────────

REFERRED: list[Message | Effect] = [
    message("early", second=1),
    referral(AD, second=2),
    message("own", second=3, account="900200"),
    message("echo", second=3, outbound=True, metadata={"echo": True}),
    message("m1", second=4),
    message("m2", second=5),
    referral(OTHER_AD, second=5),
    message("m3", second=9, metadata={"referral": {"source_url": "https://own.example"}}),
    referral({"source_url": "https://ads.example/3"}, second=8),
]


def referrals(inbox: Inbox) -> dict[str, Any]:
    """Which message has which referral."""
    rows = inbox.rows("select provider_message_id as id, metadata -> 'referral' as referral from messages")
    return {row["id"]: row["referral"]["source_url"] for row in rows if row["referral"]}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(), size=st.integers(1, 6))
def test_a_referral_belongs_to_the_first_message_after_it(inbox: Inbox, seed: int, size: int) -> None:
    """Of that person and account, whatever order they come in; a message keeps one of its own."""
    inbox.run("truncate public.webhook_events, public.messages, public.conversations cascade")
    inbox.run("truncate router.waiting, router.referrals")
    shuffled = REFERRED * 2
    random.Random(seed).shuffle(shuffled)
    for first in range(0, len(shuffled), size):
        take_all(inbox, [([atom], b"{}") for atom in shuffled[first : first + size]])
    assert referrals(inbox) == {"m1": AD["source_url"], "m2": OTHER_AD["source_url"], "m3": "https://own.example"}
    assert waiting(inbox) == []


def test_a_referral_waits_for_its_message(inbox: Inbox) -> None:
    """And is counted among what waits."""
    take(inbox, message("early", second=1), referral(AD, second=2))
    assert waiting(inbox) == ["referral 2"]
    inbox.run("select router.sweep_late(100)")
    assert referrals(inbox) == {}


def test_a_deleted_message_shows_no_referral(inbox: Inbox) -> None:
    """It keeps it from the next one all the same."""
    take(inbox, message(), delete(), message("m2", second=5))
    take(inbox, referral(AD, second=0))
    assert referrals(inbox) == {}
