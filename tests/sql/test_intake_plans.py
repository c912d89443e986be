"""What messages of providers cost must not depend on statistics either: see `tests.sql.test_plans`."""

import pytest

from tests.sql.inbox import Inbox
from tests.sql.taking import Line, line, take
from tests.sql.test_plans import LOAD, TABLES, Meter, analyze, bare

__all__ = ["bare"]

PRIVATE = ("waiting", "open_replies", "parked_events", "watermarks", "referrals")


def messages(prefix: str, size: int, first: int) -> list[Line]:
    """Of known people and strangers, to several accounts: answers, spellings, identities, threads, own comments."""
    made = []
    for number in range(size):
        event, person = f"{prefix} {number}", f"p{first + 2 * number + 1}"
        normalized = {"account": f"acc {number % 3}"}
        kind = number % 8
        kinds: dict[int, Line] = {
            1: {"normalized": normalized | {"reply": f"old {1000 + 2 * number + 1}", "direction": "outbound"}},
            2: {"normalized": normalized | {"reply": "gone", "reply_token": "0123456789ABCDEF"}},
            3: {"normalized": normalized | {"forms": [f"{person}-"], "persons": [f"{person}-"]}},
            4: {"normalized": normalized | {"people": [{"id": person}, {"id": f"{person} id", "kind": "user_id"}]}},
            5: {"author_id": None, "normalized": normalized | {"thread": f"{prefix} {number % 40}"}},
            6: {
                "type": "comment",
                "author_id": None,
                "post_id": f"post {number}",
                "normalized": normalized | {"own_comment": True, "reply": f"old {1000 + 2 * number + 1}"},
            },
            7: {"author_id": f"{prefix} stranger {number}", "normalized": normalized | {"history": True}},
        }
        told = kinds.get(kind, {"author_name": f"Newer {number}", "normalized": normalized})
        made.append(line(event, number % 60, **({"author_id": person} | told)))
    return made


def check(inbox: Inbox, session: Inbox, prefix: str, *, size: int, first: int) -> None:
    """Neither the messages, nor the same again, scan a table or read more of an index than a few entries each."""
    meter = Meter(inbox)
    fresh = messages(prefix, size, first)
    more = [told | {"normalized": told["normalized"] | {"metadata": {"standby": True}}} for told in fresh]
    history = [told | {"normalized": told["normalized"] | {"history": True, "status": "read"}} for told in fresh]
    calls = {"new": fresh, "again": fresh, "again, with more": more, "in a history": history, "live after it": fresh}
    for name, lines in calls.items():
        refused: list[str] = []
        usage = meter.during(session, lambda lines=lines, refused=refused: refused.extend(take(session, *lines)))  # type: ignore[misc]
        assert refused == []
        scanned = set(usage.scans_of_tables) & {*TABLES, *PRIVATE}
        assert not scanned, f"{name}: {usage.scans_of_tables}"
        greedy = {index: entries for index, entries in usage.entries.items() if entries > 25 * size + 200}
        assert not greedy, f"{name} with {size} events read {greedy}"


@pytest.mark.parametrize("analysed", [True, False])
def test_messages_of_providers(bare: Inbox, analysed: bool) -> None:
    """On tables that are large, with plans made for tables that were tiny and with new ones."""
    early = bare.another()
    for number in range(3):
        take(early, *messages(f"tiny {number}", 8, 900_000))
    if analysed:
        analyze(bare)
        take(early, *messages("again", 8, 900_000))
    bare.run(LOAD)
    check(bare, early, "kept", size=100, first=2000)
    check(bare, bare.another(), "fresh", size=100, first=4000)
    analyze(bare)
    check(bare, bare.another(), "analysed", size=100, first=6000)
