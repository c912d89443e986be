"""Two sessions that meet: at the same event, author, post, name or message."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from tests.sql.inbox import Inbox, Routed

# Holds whoever is about to touch a conversation at a gate: an advisory lock that the test holds until it has acted.
GATE = """
create function public.gate() returns trigger language plpgsql as
$$ begin perform pg_advisory_xact_lock_shared(7, 7); return null; end $$;
create trigger gate after update on conversations for each row execute function public.gate();
"""


def test_two_callers_of_one_event(any_inbox: Inbox) -> None:
    """Whoever comes second waits for the first, and gets the same ids."""
    any_inbox.ingest("e1")
    other = any_inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with any_inbox.transaction():
            first = any_inbox.route("e1")
            second = pool.submit(other.route, "e1")
            any_inbox.another().wait_until_blocked(other)
        assert second.result(timeout=90) == first
    assert any_inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}


def test_event_claimed_by_a_batch(inbox: Inbox) -> None:
    """A call for an event that a batch has claimed waits for the batch, and takes over when the batch is undone."""
    inbox.ingest("e1")
    other = inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with inbox.connection.transaction(force_rollback=True):
            assert inbox.batch().inserted == 1
            single = pool.submit(other.route, "e1")
            inbox.another().wait_until_blocked(other)
        routed = single.result(timeout=90)
    assert inbox.message("e1")["id"] == routed.message_id
    assert inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}


def test_new_author_in_two_sessions(any_inbox: Inbox) -> None:
    """Two first messages of one author, routed at the same time, make one contact and one open conversation."""
    any_inbox.ingest("e1")
    any_inbox.ingest("e2")
    other = any_inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with any_inbox.transaction():
            first = any_inbox.route("e1")
            second = pool.submit(other.route, "e2")
            any_inbox.another().wait_until_blocked(other)
        assert second.result(timeout=90).conversation_id == first.conversation_id
    assert any_inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 2}


def test_closed_conversation_in_two_sessions(inbox: Inbox) -> None:
    """Two messages of a known contact without an open conversation, routed at the same time, open one."""
    inbox.ingest("e0")
    inbox.route("e0")
    inbox.run("update conversations set status = 'closed'")
    inbox.ingest("e1")
    inbox.ingest("e2")
    other = inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with inbox.transaction():
            first = inbox.route("e1")
            second = pool.submit(other.route, "e2")
            inbox.another().wait_until_blocked(other)
        assert second.result(timeout=90).conversation_id == first.conversation_id
    assert inbox.count("conversations") == 2


def test_comments_in_two_sessions(any_inbox: Inbox) -> None:
    """Two comments of one post without an author, routed at the same time, share one conversation."""
    any_inbox.ingest("c1", type_="comment", author_id=None, post_id="p1")
    any_inbox.ingest("c2", type_="comment", author_id=None, post_id="p1")
    other = any_inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with any_inbox.transaction():
            first = any_inbox.route("c1")
            second = pool.submit(other.route, "c2")
            any_inbox.another().wait_until_blocked(other)
        assert second.result(timeout=90).conversation_id == first.conversation_id
    assert any_inbox.count("conversations") == 1


def test_comments_of_other_posts(any_inbox: Inbox) -> None:
    """New conversations of different posts do not wait for each other, unless a batch has very many."""
    for number in range(300):
        any_inbox.ingest(f"c{number}", type_="comment", author_id=None, post_id=f"p{number}")
    other = any_inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with any_inbox.transaction():
            assert any_inbox.batch(60).inserted == 60
            other.run("set lock_timeout = '60s'")
            assert other.batch(60).inserted == 60
            # More than the server's lock table has room for in each session: they come one after the other.
            rest = pool.submit(other.batch, 180)
            any_inbox.another().wait_until_blocked(other)
        assert rest.result(timeout=90).inserted == 180
    assert any_inbox.count("conversations") == 300


def test_locks_of_many_posts(inbox: Inbox) -> None:
    """A batch of new posts takes a bounded number of advisory locks, since the server's lock table is shared by all."""
    for number in range(200):
        inbox.ingest(f"c{number}", type_="comment", author_id=None, post_id=f"p{number}")
    with inbox.transaction():
        assert inbox.batch(200).inserted == 200
        held = inbox.value("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
    assert held == 1


def test_names_in_two_sessions(inbox: Inbox) -> None:
    """A later name wins over one that another session is just writing, whichever of the two commits last."""
    inbox.ingest("e0", author_name="Al")
    inbox.route("e0")
    inbox.ingest("e1", author_name="Alice", event_date="2026-01-03 12:00+00")
    inbox.ingest("e2", author_name="Alicia", event_date="2026-01-02 12:00+00")
    other = inbox.another()
    for first, second in (("e1", "e2"), ("e2", "e1")):
        with ThreadPoolExecutor(1) as pool:
            with inbox.transaction():
                inbox.route(first)
                waiting = pool.submit(other.route, second)
                inbox.another().wait_until_blocked(other)
            waiting.result(timeout=90)
        contact = inbox.contact_of()
        assert contact["display_name"] == contact["full_name"] == "Alice"
        inbox.run(
            """
            delete from messages where provider_message_id <> 'e0';
            update contact_channels set display_name = 'Al', display_name_at = '2026-01-01 12:00+00';
            update contacts set full_name = 'Al';
            """
        )
        inbox.reopen("e1", "e2")


def test_name_back_and_forth_in_two_sessions(inbox: Inbox) -> None:
    """A name that is the known one when it is looked up, but not any more when it is written, is not lost."""
    inbox.ingest("e0", author_name="Ann")
    inbox.route("e0")
    inbox.ingest("e1", author_name="Bob", event_date="2026-01-02 12:00+00")
    inbox.ingest("e2", author_name="Ann", event_date="2026-01-03 12:00+00")
    other = inbox.another()
    with ThreadPoolExecutor(1) as pool:
        with inbox.transaction():
            inbox.route("e1")
            waiting = pool.submit(other.route, "e2")
            inbox.another().wait_until_blocked(other)
        waiting.result(timeout=90)
    contact = inbox.contact_of()
    assert (contact["display_name"], contact["full_name"]) == ("Ann", "Ann")
    assert inbox.value("select display_name_at from contact_channels") == datetime(2026, 1, 3, 12, tzinfo=UTC)


def test_message_that_comes_meanwhile(inbox: Inbox) -> None:
    """A message that the application inserts while its event is being routed is met; the event goes where it is."""
    chosen = inbox.value("insert into conversations (channel) values ('instagram') returning id")
    theirs = inbox.value("insert into conversations (channel) values ('instagram') returning id")
    inbox.run(GATE)
    for event, conversation in (("e1", chosen), ("e2", None)):
        inbox.insert(event, conversation_id=conversation, event_date="2026-01-02 12:00+00")
    for event in ("e1", "e2"):
        router = inbox.another()
        inbox.run("select pg_advisory_lock(7, 7)")
        if event == "e2":  # its conversation exists, or nothing would be updated and nobody come to the gate
            inbox.run(
                """
                with person as (insert into contacts default values returning id), channel as (
                    insert into contact_channels (contact_id, channel, external_id)
                    select id, 'instagram', 'a1' from person
                )
                insert into conversations (contact_id, channel) select id, 'instagram' from person
                """
            )
        with ThreadPoolExecutor(1) as pool:
            routing = pool.submit(router.route, event)
            inbox.wait_until_blocked(router)
            message = inbox.value(
                """
                insert into messages (conversation_id, channel, direction, provider_message_id)
                values (%s, 'instagram', 'outbound', %s) returning id
                """,
                theirs,
                event,
            )
            inbox.run("select pg_advisory_unlock(7, 7)")
            assert routing.result(timeout=90) == Routed(conversation_id=theirs, message_id=message)
        if event == "e1":
            assert inbox.count("contacts") == 0
    assert inbox.value("select count(*) from conversations where last_message_at is not null") == 0
    assert inbox.count("messages") == 2
