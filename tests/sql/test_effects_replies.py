"""A reply names the message that it answers, whichever of the two comes first."""

from typing import Any

import pytest

from tests.sql.deliveries import ANA, insert_own, message, message_of, open_conversation, take, wamid
from tests.sql.inbox import Inbox


def reply_of(inbox: Inbox, id_: str = "m2") -> Any:
    """What a message answers."""
    return message_of(inbox, id_)["metadata"].get("reply")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_a_reply_names_its_message_whichever_comes_first(any_inbox: Inbox, turned: bool, together: bool) -> None:
    """In one delivery or in two."""
    atoms = [message(), message("m2", reply_to="m1", second=2)]
    atoms = atoms[::-1] if turned else atoms
    for part in [atoms] if together else [[atom] for atom in atoms]:
        take(any_inbox, *part)
    assert reply_of(any_inbox) == {"ref": "m1", "message_id": str(message_of(any_inbox)["id"])}
    assert any_inbox.value("select count(*) from router.open_replies") == 0


def test_a_reply_to_an_unknown_message_keeps_its_id(inbox: Inbox) -> None:
    """It is looked for until the application has inserted it, or a month has passed."""
    take(inbox, message(), message("m2", reply_to="own", second=2))
    assert reply_of(inbox) == {"ref": "own"}
    before = inbox.column("select xmin::text from messages")
    assert inbox.value("select router.retry_replies(100, null)") is None
    assert inbox.column("select xmin::text from messages") == before
    insert_own(inbox, "own", message_of(inbox)["conversation_id"])
    inbox.run("select router.retry_replies(100, null)")
    assert reply_of(inbox) == {"ref": "own", "message_id": str(message_of(inbox, "own")["id"])}
    assert inbox.value("select count(*) from router.open_replies") == 0


def test_open_replies_are_gone_through_in_steps(inbox: Inbox) -> None:
    """And forgotten after a month, or with their message."""
    for number in range(5):
        take(inbox, message(f"m{number}", reply_to="unknown", second=number))
    inbox.run("delete from messages where provider_message_id = 'm0'")
    steps, place = 0, None
    while steps == 0 or place is not None:
        place = inbox.value("select router.retry_replies(2, %s)", place)
        steps += 1
    assert steps == 3
    assert inbox.value("select count(*) from router.open_replies") == 4
    inbox.run("update router.open_replies set received_at = now() - interval '31 days'")
    inbox.run("select router.retry_replies(10, null)")
    assert inbox.value("select count(*) from router.open_replies") == 0


@pytest.mark.parametrize("turned", [False, True])
def test_a_reply_names_its_message_by_another_of_its_ids(inbox: Inbox, turned: bool) -> None:
    """Within the conversation."""
    own, others = wamid("5511900000001", "3EB0C767D097E9ECFE8A"), wamid("15550100001", "3EB0C767D097E9ECFE8A")
    atoms = [message(own), message("m2", reply_to=others, second=2)]
    for atom in reversed(atoms) if turned else atoms:
        take(inbox, atom)
    assert reply_of(inbox) == {"ref": others, "message_id": str(message_of(inbox, own)["id"])}


def test_a_reply_whose_link_the_application_refuses_harms_no_other(inbox: Inbox) -> None:
    """It stays open."""
    take(inbox, message("m2", reply_to="own", second=2), message("m3", reply_to="own", second=3))
    inbox.run(
        """
        create function public.refuse() returns trigger language plpgsql as
        $$ begin if new.provider_message_id = 'm2' then raise 'no'; end if; return new; end $$;
        create trigger refuse before update on messages for each row execute function public.refuse()
        """
    )
    insert_own(inbox, "own", open_conversation(inbox, ANA.id, "900100"))
    inbox.run("select router.retry_replies(100, null)")
    assert (reply_of(inbox), "message_id" in reply_of(inbox, "m3")) == ({"ref": "own"}, True)
    assert inbox.value("select count(*) from router.open_replies") == 1
