"""How far messages of ours have come: by statuses of single messages and by watermarks, in any order."""

from itertools import permutations
from typing import Any

import psycopg
import pytest

from tests.sql.effects import apply, at, delivery, effect, make, read_until, status, sweep, times, waiting, write
from tests.sql.inbox import Inbox
from tests.sql.taking import line, take


def test_the_furthest_status_shows_and_each_time_is_kept(any_inbox: Inbox) -> None:
    """Statuses come in any order: none takes another one back."""
    write(any_inbox, "m1")
    for name, second in (("read", 9), ("delivered", 3), ("sent", 2), ("delivered", 4)):
        apply(any_inbox, status(name, "m1", second))
    assert times(any_inbox, "m1") == {"status": "read", "sent": 2, "delivered": 3, "read": 9}
    apply(any_inbox, status("played", "m1", 12), status("read", "m1", 8))
    assert times(any_inbox, "m1") == {"status": "played", "sent": 2, "delivered": 3, "read": 8, "played": 12}


def test_a_failure_keeps_its_errors(inbox: Inbox) -> None:
    """A late "sent" does not clear them, and of two failures it is the earlier one that tells why."""
    write(inbox, "m1")
    apply(inbox, status("failed", "m1", 5, errors=[{"code": 2, "title": None}]))
    apply(inbox, status("sent", "m1", 6))
    row = delivery(inbox, "m1")
    assert row
    assert (row["status"], row["errors"]) == ("failed", [{"code": 2, "title": None}])
    apply(inbox, status("failed", "m1", 7, errors=[{"code": 1}]))
    apply(inbox, status("failed", "m1", 5, errors=[{"code": 3}]))
    apply(inbox, status("failed", "m1", 5))
    row = delivery(inbox, "m1")
    assert row
    assert row["errors"] == [{"code": 2, "title": None}]
    apply(inbox, status("failed", "m1", 4, errors=[{"code": 9}]))
    row = delivery(inbox, "m1")
    assert row
    assert row["errors"] == [{"code": 9}]
    apply(inbox, status("delivered", "m1", 8))
    assert times(inbox, "m1")["status"] == "delivered"


def test_a_failure_that_tells_no_errors(inbox: Inbox) -> None:
    """Null in JSON is no errors."""
    write(inbox, "m1")
    apply(inbox, status("failed", "m1", 5, errors=None))
    assert times(inbox, "m1") == {"status": "failed", "failed": 5}


def test_only_messages_of_ours_have_a_status(inbox: Inbox) -> None:
    """A status that names a message of the other party comes to nothing, and does not wait."""
    write(inbox, "m1", direction="inbound")
    assert apply(inbox, status("read", "m1", 1)) == {"status": {"applied": 0, "waiting": 0, "known": 1}}
    assert delivery(inbox, "m1") is None
    assert waiting(inbox) == []


@pytest.mark.parametrize("together", [True, False])
def test_a_repetition_writes_nothing(any_inbox: Inbox, together: bool) -> None:
    """A transaction that brings only what is known has not even an id: there is nothing of it in the WAL."""
    write(any_inbox, "m1")
    effects = [
        status("sent", "m1", 1),
        status("failed", "m1", 2, errors=[{"code": 1}]),
        status("delivered", "m1", 3),
        status("read", "m2", 4),
        read_until(2),
        read_until(2, person="eve", canonical="eve"),
        effect("reaction", "r1", "m1", 1, actor="ana", emoji=["x"]),
        effect("reaction", "r0", "m1", 1, actor="ana", emoji=["y"]),
    ]
    apply(any_inbox, *effects)
    with any_inbox.transaction():
        for part in [effects] if together else [[one] for one in effects]:
            apply(any_inbox, *part)
        assert sweep(any_inbox)["applied"] == 0
        assert any_inbox.value("select pg_current_xact_id_if_assigned()") is None


def test_an_old_status_of_a_history_has_no_time(inbox: Inbox) -> None:
    """The status of a message that a history brings stands without a time, until one is told."""
    make(inbox, "m1", status="read")
    assert times(inbox, "m1") == {"status": "read"}
    apply(inbox, status("delivered", "m1", 3))
    assert times(inbox, "m1") == {"status": "read", "delivered": 3}
    make(inbox, "m2", status="read", direction="inbound")
    assert delivery(inbox, "m2") is None


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("told", list(permutations([None, "delivered", "read"])))
def test_the_furthest_status_of_several_histories(inbox: Inbox, told: tuple[str | None, ...], together: bool) -> None:
    """In whatever order they come, and a copy of the message that came live among them."""
    lines = [line("m1", normalized={"direction": "outbound", "status": name}) for name in told]
    for part in [lines] if together else [[one] for one in lines]:
        assert take(inbox, *part) == []
    assert times(inbox, "m1") == {"status": "read"}


def test_a_status_without_a_time_has_that_of_its_arrival(inbox: Inbox) -> None:
    """Where the body tells none."""
    write(inbox, "m1")
    apply(inbox, status("read", "m1", None))
    assert inbox.value("select read_at > now() - interval '1 minute' from message_delivery")


def test_a_watermark_reads_what_was_sent_up_to_it(any_inbox: Inbox) -> None:
    """What was written later is not read; what is stored later, but was sent earlier, is."""
    write(any_inbox, "m1", 1)
    make(any_inbox, "m8", 8)
    assert apply(any_inbox, read_until(5, 6))["read_until"]["applied"] == 1
    assert times(any_inbox, "m1") == {"status": "read", "read": 6}
    assert times(any_inbox, "m8") == {}
    make(any_inbox, "m5", 5)
    assert times(any_inbox, "m5") == {"status": "read", "read": 6}
    write(any_inbox, "m4", 4)
    assert times(any_inbox, "m4") == {}
    sweep(any_inbox)
    assert times(any_inbox, "m4") == {"status": "read", "read": 6}
    assert waiting(any_inbox) == []


def test_of_several_watermarks_the_earliest_counts(inbox: Inbox) -> None:
    """A message is read at the first time that any of those after it tells, whichever comes first."""
    for second in (1, 3, 5):
        write(inbox, f"m{second}", second)
    apply(inbox, read_until(6, 9))
    apply(inbox, read_until(4, 4), read_until(2, 7))
    apply(inbox, effect("delivered_until", "d", None, 2, until=at(3)))
    make(inbox, "m2", 2)
    assert {f"m{n}": times(inbox, f"m{n}").get("read") for n in (1, 2, 3, 5)} == {"m1": 4, "m2": 4, "m3": 4, "m5": 9}
    assert times(inbox, "m2") == {"status": "read", "read": 4, "delivered": 2}


def test_watermarks_are_of_a_person_and_an_account(inbox: Inbox) -> None:
    """Another person's messages are not read by them, nor those to the same person from another account."""
    write(inbox, "mine", 1)
    write(inbox, "other account", 1, account="other")
    write(inbox, "any account", 1, account=None)
    write(inbox, "other person", 1, of="bob")
    write(inbox, "theirs", 1, direction="inbound")
    apply(inbox, read_until(2))
    read = inbox.column("select provider_message_id from message_delivery join messages on id = message_id order by 1")
    assert read == ["any account", "mine"]


def test_the_last_watermark_of_a_stranger_waits(inbox: Inbox) -> None:
    """Until there is a message of that person and account; then it is applied to what was sent before it."""
    apply(inbox, read_until(5))
    assert len(waiting(inbox)) == 1
    assert sweep(inbox)["applied"] == 0
    make(inbox, "other", 1, account="other")
    assert len(waiting(inbox)) == 1
    make(inbox, "m1", 1)
    assert waiting(inbox) == []
    assert times(inbox, "m1") == {"status": "read", "read": 5}


def test_a_watermark_that_is_no_time_harms_no_other(inbox: Inbox) -> None:
    """It waits alone, with the reason."""
    write(inbox, "m1", 1)
    broken = effect("read_until", "broken", None, 1, until="soon")
    assert apply(inbox, broken, read_until(3))["read_until"] == {"applied": 1, "waiting": 1, "known": 0}
    assert times(inbox, "m1") == {"status": "read", "read": 3}
    assert inbox.value("select error from router.waiting where atom_id = 'broken'").startswith("22007")


def test_old_watermarks_are_forgotten_but_the_last(inbox: Inbox) -> None:
    """After a month; the last one of each person stays, since messages may come later."""
    write(inbox, "m1", 1)
    apply(inbox, read_until(2), read_until(4), effect("delivered_until", "d", None, 2, until=at(3)))
    sweep(inbox)
    assert inbox.value("select count(*) from router.watermarks") == 3
    inbox.run("update router.watermarks set received_at = now() - interval '31 days'")
    sweep(inbox, 1)
    assert inbox.column("select extract(second from until)::integer from router.watermarks order by 1") == [3, 4]


def test_two_sessions_tell_the_same_message(inbox: Inbox) -> None:
    """Whoever comes second waits for the first one, and adds to what it has told."""
    write(inbox, "m1", 1)
    other = inbox.another()
    with inbox.transaction():
        apply(inbox, status("read", "m1", 5))
        other.run("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            apply(other, status("delivered", "m1", 3))
    other.run("reset lock_timeout")
    apply(other, status("delivered", "m1", 3))
    assert times(inbox, "m1") == {"status": "read", "read": 5, "delivered": 3}


def test_an_effect_and_its_message_come_at_the_same_moment(inbox: Inbox) -> None:
    """Neither transaction sees the other one: the sweep brings them together."""
    write(inbox, "m0", 0)
    other = inbox.another()
    with inbox.transaction():
        apply(inbox, status("delivered", "m1", 3), read_until(4))
        make(other, "m1", 1)
    assert times(inbox, "m1") == {}
    assert waiting(inbox) == ["status:m1:delivered"]
    assert sweep(inbox)["applied"] >= 1
    assert times(inbox, "m1") == {"status": "read", "delivered": 3, "read": 4}
    assert waiting(inbox) == []


def test_triggers_of_the_application_see_their_own_path(any_inbox: Inbox) -> None:
    """They find the tables of "public", as when the application writes itself."""
    any_inbox.run(
        """
        create function count_it() returns trigger language plpgsql as $$
        begin perform count(*) from messages; return new; end $$;
        create trigger counted after insert or update on message_delivery for each row execute function count_it();
        create trigger counted after insert or update on message_reactions for each row execute function count_it();
        """
    )
    write(any_inbox, "m1")
    apply(any_inbox, status("sent", "m1", 1), effect("reaction", "r", "m1", 1, actor="ana", emoji=["x"]))
    apply(any_inbox, status("read", "m1", 2), effect("reaction", "s", "m1", 2, actor="ana", emoji=[]))
    assert times(any_inbox, "m1") == {"status": "read", "sent": 1, "read": 2}
    path: Any = any_inbox.value("show search_path")
    assert "pg_temp" not in path
