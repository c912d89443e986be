"""Effects whose message is not there wait for it; what the application refuses waits alone."""

import random

from tests.sql.effects import apply, delivery, effect, make, reaction, status, sweep, times, waiting, wamid, write
from tests.sql.inbox import Inbox

TOKEN = "3EB0C7A1D2F4E5B6A789"


def reactions(inbox: Inbox) -> dict[str, list[str]]:
    """Who reacts with what, to any message."""
    return {row["actor"]: row["emoji"] for row in inbox.rows("select actor, emoji from message_reactions")}


def test_reactions_are_ordered_by_time_and_id(any_inbox: Inbox) -> None:
    """The later one counts, of one moment that with the greater id, whichever comes first."""
    write(any_inbox, "m1")
    apply(any_inbox, reaction("b", "m1", 4, "heart"), reaction("a", "m1", 4, "thumb"), reaction("c", "m1", 3, "fire"))
    assert reactions(any_inbox) == {"ana": ["heart"]}
    apply(any_inbox, reaction("B", "m1", 4, "joy"))
    assert reactions(any_inbox) == {"ana": ["heart"]}
    apply(any_inbox, reaction("z", "m1", 5))
    apply(any_inbox, reaction("y", "m1", 4, "late"), reaction("x", "m1", 1, "one", "two", actor="bob"))
    assert reactions(any_inbox) == {"ana": [], "bob": ["one", "two"]}


def test_an_effect_waits_for_its_message(any_inbox: Inbox) -> None:
    """It is one row of router.waiting, however often it comes, and goes as soon as the message is made."""
    effects = [status("read", "m1", 5), reaction("r1", "m1", 6, "heart")]
    assert apply(any_inbox, *effects)["status"] == {"applied": 0, "waiting": 1, "known": 0}
    assert apply(any_inbox, *effects)["status"] == {"applied": 0, "waiting": 0, "known": 1}
    assert waiting(any_inbox) == ["r1", "status:m1:read"]
    make(any_inbox, "m2", 1)
    assert waiting(any_inbox) == ["r1", "status:m1:read"]
    make(any_inbox, "m1", 1)
    assert waiting(any_inbox) == []
    assert times(any_inbox, "m1") == {"status": "read", "read": 5}
    assert reactions(any_inbox) == {"ana": ["heart"]}


def test_the_next_sweep_finds_what_the_application_has_inserted(any_inbox: Inbox) -> None:
    """Its own messages settle nothing by themselves."""
    apply(any_inbox, status("read", "m1", 5), status("read", "m2", 5))
    write(any_inbox, "m1", 1)
    assert sweep(any_inbox)["applied"] == 1
    assert times(any_inbox, "m1") == {"status": "read", "read": 5}
    assert waiting(any_inbox) == ["status:m2:read"]


def test_a_sweep_goes_round_in_steps(inbox: Inbox) -> None:
    """Each step looks at so many rows, and at the newest ones: those come first."""
    apply(inbox, *(status("read", f"m{number:02}", 1) for number in range(20)))
    inbox.run("update router.waiting set received_at = now() - interval '1 day' * (20 - substr(target, 2)::integer)")
    write(inbox, "m19")
    write(inbox, "m10")
    step = inbox.row("""select * from router.sweep_waiting(3, '{"stage": "waiting"}')""")
    assert step["applied"] == 1
    assert delivery(inbox, "m19")
    assert not delivery(inbox, "m10")
    assert step["place"]["atom_id"] == "status:m02:read"
    assert sweep(inbox, 3)["steps"] >= 6
    assert delivery(inbox, "m10")
    assert len(waiting(inbox)) == 18


def test_what_has_waited_for_too_long_is_gone(inbox: Inbox) -> None:
    """Statuses wait for a week, all else for a month."""
    apply(inbox, status("read", "m1", 1), reaction("r1", "m1", 1, "heart"))
    days = "select atom_id, extract(day from expires_at - received_at)::integer as days from router.waiting order by 1"
    assert [row["days"] for row in inbox.rows(days)] == [30, 7]
    inbox.run("update router.waiting set expires_at = now() - interval '1 second' where atom_id = 'r1'")
    assert sweep(inbox)["expired"] == 1
    assert waiting(inbox) == ["status:m1:read"]


def test_ids_of_one_message_have_a_token_in_common(any_inbox: Inbox) -> None:
    """A reaction names the message by another id: it is found in the conversations of that person alone."""
    stored, named = wamid("5511900000001", TOKEN), wamid("15550100001", TOKEN)
    about = {"channel": "whatsapp", "token": TOKEN, "person": "551190000001", "canonical": "5511900000001"}
    write(any_inbox, wamid("5511900000002", TOKEN), channel="whatsapp", of="5511900000002")
    apply(any_inbox, reaction("r1", named, 1, "heart", **about))
    assert waiting(any_inbox) == ["r1"]
    make(any_inbox, stored, channel="whatsapp", of="5511900000001", token=TOKEN)
    assert waiting(any_inbox) == []
    apply(any_inbox, reaction("r2", named, 1, "fire", actor="bob", **about))
    found = any_inbox.rows(
        "select provider_message_id, actor from message_reactions join messages on id = message_id order by actor"
    )
    assert [(row["provider_message_id"], row["actor"]) for row in found] == [(stored, "ana"), (stored, "bob")]


def test_the_sweep_finds_a_message_by_its_token_too(inbox: Inbox) -> None:
    """One that the application has inserted, under the id that it knows."""
    stored, named = wamid("5511900000001", TOKEN), wamid("15550100001", TOKEN)
    apply(
        inbox,
        status("read", named, 1, channel="whatsapp", token=TOKEN, person="5511900000001", canonical="5511900000001"),
    )
    write(inbox, stored, channel="whatsapp", of="5511900000001")
    assert sweep(inbox)["applied"] == 1
    assert times(inbox, stored) == {"status": "read", "read": 1}


def test_what_the_application_refuses_waits_alone(any_inbox: Inbox) -> None:
    """A trigger that raises an error for one status leaves all others alone; the reason quotes nothing of the atom."""
    any_inbox.run(
        """
        create function judge() returns trigger language plpgsql as $$
        begin
            if new.errors is not null then raise exception 'not %', new.errors; end if;
            return new;
        end $$;
        create trigger judged before insert or update on message_delivery for each row execute function judge();
        """
    )
    for number in range(20):
        write(any_inbox, f"m{number}")
    effects = [
        status("failed", f"m{number}", 1, **({"errors": [{"code": "secret"}]} if number == 7 else {}))
        for number in range(20)
    ]
    assert apply(any_inbox, *effects)["status"] == {"applied": 19, "waiting": 1, "known": 0}
    row = any_inbox.row("select atom_id, error, attempts from router.waiting")
    assert row["atom_id"] == "status:m7:failed"
    assert "judge()" in row["error"]
    assert "secret" not in row["error"]
    assert row["attempts"] == 1

    # It is tried again after a while, at the arrival of its message or by the sweep.
    assert sweep(any_inbox)["applied"] == 0
    assert any_inbox.value("select attempts from router.waiting") == 1
    any_inbox.run("update router.waiting set received_at = now() - interval '1 minute'")
    sweep(any_inbox)
    assert any_inbox.value("select attempts from router.waiting") == 2
    any_inbox.run("drop function judge cascade")
    any_inbox.run("update router.waiting set received_at = now() - interval '1 hour'")
    assert sweep(any_inbox)["applied"] == 1
    assert waiting(any_inbox) == []
    row = delivery(any_inbox, "m7") or {}
    assert row["errors"] == [{"code": "secret"}]


def test_a_kind_that_is_not_known_waits(inbox: Inbox) -> None:
    """A newer release may have sent it, and will take it up."""
    write(inbox, "m1")
    counts = apply(inbox, effect("wink", "w1", "m1"), status("sent", "m1", 1))
    assert counts["wink"] == {"applied": 0, "waiting": 1, "known": 0}
    assert times(inbox, "m1") == {"status": "sent", "sent": 1}
    assert "wink" in inbox.value("select error from router.waiting")


def test_ids_that_fit_into_no_key(inbox: Inbox) -> None:
    """They harm no other effect, and do not wait: no message can have them."""
    write(inbox, "m1")
    drawn = random.Random(1)
    long = "".join(chr(drawn.randrange(33, 126)) for _ in range(9000))
    apply(
        inbox,
        status("sent", long, 1),
        status("sent", "m1", 1),
        effect("read_until", "w", None, 1, canonical=long, until="x"),
    )
    assert times(inbox, "m1") == {"status": "sent", "sent": 1}
    assert waiting(inbox) == []


def test_no_effects(inbox: Inbox) -> None:
    """A call without any has nothing to tell."""
    assert inbox.value("select router.apply_effects('{}')") is None
    assert inbox.value("select router.apply_effects(null)") is None
