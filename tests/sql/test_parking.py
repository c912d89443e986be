"""Events that cannot be routed: parked with a reason, tried again, dead in the end; and errors that are nobody's."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.sql.inbox import Inbox

SMS = """
alter table webhook_events drop constraint webhook_events_channel_check;
alter table webhook_events add constraint webhook_events_channel_check
    check (channel in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube', 'sms'));
"""
"""Lets in events of a channel that contact_channels and conversations refuse."""

TRIGGER = """
create function public.judge() returns trigger language plpgsql as $judge$ begin {body} return new; end $judge$;
create trigger judge before insert on messages for each row execute function public.judge();
"""

REFUSAL = "if new.content_text like 'bad%' then raise exception 'refused: %', new.content_text; end if;"


def add_trigger(inbox: Inbox, body: str) -> None:
    """An application's trigger on messages."""
    inbox.run(TRIGGER.format(body=body))


def parked(inbox: Inbox, event_id: str) -> dict[str, object]:
    """What is known about a parked event."""
    return inbox.row(
        """
        select p.channel, p.error_code, p.error_message, p.attempts, w.parked_until::text as until, w.routed_at,
               p.next_attempt_at::text as next_attempt, p.next_attempt_at = w.parked_until as agree,
               case when isfinite(p.next_attempt_at)
                    then extract(epoch from p.next_attempt_at - clock_timestamp())::float end as wait
        from router.parked_events p join webhook_events w on w.id = p.event_id
        where w.event_id = %s
        """,
        event_id,
    )


def make_due(inbox: Inbox) -> None:
    """Lets the time of the next attempt come for all parked events, dead ones excepted."""
    inbox.run(
        """
        update webhook_events set parked_until = now() - interval '1 second'
        where parked_until is not null and parked_until < 'infinity'
        """
    )


def test_violated_constraint(any_database: str) -> None:
    """An event that a constraint refuses is parked with the reason and not counted; the others of the batch commit."""
    with Inbox(any_database) as inbox:
        inbox.run(SMS)
        check_violated_constraint(inbox)


def check_violated_constraint(any_inbox: Inbox) -> None:
    """The test, in a database that it may alter."""
    any_inbox.insert_many(10)
    any_inbox.insert("t1", channel="sms")
    assert any_inbox.route_unrouted() == 10
    reason = parked(any_inbox, "t1")
    assert (reason["channel"], reason["error_code"], reason["attempts"]) == ("sms", "23514", 1)
    assert "contact_channels_channel_check" in str(reason["error_message"])
    assert reason["routed_at"] is None
    assert reason["agree"] is True
    assert isinstance(reason["wait"], float)
    assert 8 < reason["wait"] < 13
    assert any_inbox.count("messages") == 10
    assert any_inbox.route_unrouted() == 0
    assert parked(any_inbox, "t1")["attempts"] == 1


def test_endless_date(inbox: Inbox) -> None:
    """A date that is no time parks its event, before and after all others, and leaves the others alone."""
    inbox.insert("past", event_date="-infinity")
    inbox.insert("future", event_date="infinity")
    inbox.insert_many(5)
    assert inbox.route_unrouted() == 5
    for event in ("past", "future"):
        assert parked(inbox, event)["error_code"] == "22008"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (REFUSAL, "P0001"),
        ("if new.content_text like 'bad%' then new.channel := null; end if;", "23502"),
        ("if new.content_text like 'bad%' then new.contact_id := gen_random_uuid(); end if;", "23503"),
        ("if new.content_text like 'bad%' then perform 1 / 0; end if;", "22012"),
        ("if new.content_text like 'bad%' then perform new.content_text::jsonb; end if;", "22P02"),
        ("assert new.content_text not like 'bad%', 'no bad words';", "P0004"),
        ("if new.content_text like 'bad%' then raise sqlstate '38000' using message = 'external'; end if;", "38000"),
    ],
)
def test_trigger_of_the_application(inbox: Inbox, body: str, code: str) -> None:
    """What an application's trigger raises for one message parks that event alone, unless the schema is at fault."""
    add_trigger(inbox, body)
    inbox.insert_many(6)
    inbox.insert("culprit", content="bad word", event_date="2026-01-01 12:00:03.5+00")
    batch = inbox.batch()
    assert (batch.claimed, batch.inserted, batch.parked, batch.dead) == (7, 6, 1, 0)
    assert batch.channels == ["instagram"] * 6
    assert parked(inbox, "culprit")["error_code"] == code
    assert inbox.counts() == {"contacts": 6, "contact_channels": 6, "conversations": 6, "messages": 6}


def test_deferred_trigger_of_the_application(any_inbox: Inbox) -> None:
    """A constraint that is checked at the commit only is checked before it, while the culprit can be told."""
    any_inbox.run(
        """
        create function public.judge() returns trigger language plpgsql as
        $$ begin if new.content_text = 'bad' then raise exception 'too late'; end if; return null; end $$;
        create constraint trigger judge after insert on messages deferrable initially deferred
            for each row execute function public.judge();
        """
    )
    any_inbox.insert_many(10)
    any_inbox.insert("culprit", content="bad")
    assert any_inbox.route_unrouted() == 10
    assert parked(any_inbox, "culprit")["error_message"] == "raise_exception (function judge())"
    assert any_inbox.count("messages") == 10


def test_nothing_of_a_parked_event_stays(any_inbox: Inbox) -> None:
    """A parked event makes no contact, conversation, name or time, although routing had come that far."""
    add_trigger(any_inbox, REFUSAL)
    any_inbox.insert("e1", author_name="Alice")
    any_inbox.route_unrouted()
    any_inbox.insert("e2", author_name="Alicia", content="bad", event_date="2026-01-02 12:00+00")
    any_inbox.insert("e3", author_id="stranger", content="bad")
    assert any_inbox.route_unrouted() == 0
    assert any_inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}
    assert any_inbox.contact_of()["full_name"] == "Alice"
    assert any_inbox.conversation_of("e1")["last_message_at"] == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert parked(any_inbox, "e2")["error_message"] == "raise_exception (function judge())"


def test_three_culprits_among_a_thousand(any_inbox: Inbox) -> None:
    """A batch of a thousand with three culprits commits the other 997."""
    add_trigger(any_inbox, REFUSAL)
    any_inbox.insert_many(1000, authors=50)
    any_inbox.run("update webhook_events set content = 'bad ' || event_id where event_id in ('e1', 'e500', 'e1000')")
    batch = any_inbox.batch(1000)
    assert (batch.claimed, batch.inserted, batch.parked, batch.dead) == (1000, 997, 3, 0)
    assert any_inbox.count("messages") == 997
    for event in ("e1", "e500", "e1000"):
        assert parked(any_inbox, event)["error_message"] == "raise_exception (function judge())"
    assert any_inbox.value("select count(*) from webhook_events where routed_at is null") == 3


def test_everybody_is_a_culprit(inbox: Inbox) -> None:
    """A batch in which each event fails is parked as a whole, and the next calls find nothing to do."""
    add_trigger(inbox, REFUSAL)
    inbox.insert_many(64)
    inbox.run("update webhook_events set content = 'bad'")
    batch = inbox.batch()
    assert (batch.claimed, batch.inserted, batch.parked, batch.channels) == (64, 0, 64, None)
    assert inbox.batch().claimed == 0


def test_growing_waits_and_the_end(any_inbox: Inbox) -> None:
    """The wait doubles from 10 s up to an hour, plus up to a quarter; the tenth failure is the last."""
    add_trigger(any_inbox, REFUSAL)
    any_inbox.insert("e1", content="bad")
    any_inbox.batch()
    for attempt in range(1, 10):
        reason = parked(any_inbox, "e1")
        assert reason["attempts"] == attempt
        shortest = min(10 * 2 ** (attempt - 1), 3600)
        assert isinstance(reason["wait"], float)
        assert shortest - 5 < reason["wait"] <= shortest * 1.25, attempt
        assert any_inbox.retry().claimed == 0
        make_due(any_inbox)
        batch = any_inbox.retry()
        assert (batch.claimed, batch.parked, batch.dead) == (1, 1, 1 if attempt == 9 else 0)
    reason = parked(any_inbox, "e1")
    assert (reason["attempts"], reason["until"], reason["next_attempt"]) == (10, "infinity", "infinity")
    make_due(any_inbox)
    assert any_inbox.retry().claimed == 0
    assert any_inbox.route_unrouted() == 0
    assert any_inbox.batch().claimed == 0


def test_dead_event_that_an_operator_revives(inbox: Inbox) -> None:
    """A dead event whose parked_until is cleared, or that is routed by name, is routed and forgotten as parked."""
    add_trigger(inbox, REFUSAL)
    for event in ("e1", "e2", "e3"):
        inbox.insert(event, content="bad")
    inbox.batch()
    inbox.run("update webhook_events set parked_until = 'infinity'")
    inbox.run("update router.parked_events set next_attempt_at = 'infinity', attempts = 10")
    inbox.run("drop trigger judge on messages")
    inbox.run("update webhook_events set parked_until = null where event_id = 'e1'")
    inbox.run("update webhook_events set parked_until = now() where event_id = 'e2'")
    assert inbox.batch().inserted == 1
    assert inbox.retry().inserted == 1
    inbox.route("e3")
    assert inbox.rows("select * from router.parked_events") == []
    assert inbox.value("select count(*) from webhook_events where parked_until is not null or routed_at is null") == 0


@pytest.mark.parametrize("call", ["route_unrouted_events", "route_due"])
@pytest.mark.parametrize("channel", [None, "instagram"])
def test_due_events_are_tried_again(any_inbox: Inbox, call: str, channel: str | None) -> None:
    """When their time has come, both calls take parked events, longest due first, and success leaves no trace."""
    add_trigger(any_inbox, REFUSAL)
    any_inbox.insert_many(4)
    any_inbox.insert_many(4, channel="whatsapp")
    any_inbox.run("update webhook_events set content = 'bad'")
    assert any_inbox.batch().parked == 8
    any_inbox.run("drop trigger judge on messages")
    make_due(any_inbox)
    any_inbox.run("update webhook_events set parked_until = now() - interval '1 hour' where event_id = 'e3'")
    expected = 4 if channel else 8
    if call == "route_due":
        first = any_inbox.retry(channel, 1)
        assert (first.claimed, first.inserted) == (1, 1)
        assert any_inbox.message("e3", first.channels[0] if first.channels else "")
        assert any_inbox.retry(channel).inserted == expected - 1
    else:
        assert any_inbox.route_unrouted(channel, 1) == 1
        assert any_inbox.value("select distinct provider_message_id from messages") == "e3"
        assert any_inbox.route_unrouted(channel) == expected - 1
    assert any_inbox.count("messages") == expected
    assert any_inbox.value("select count(*) from router.parked_events") == 8 - expected
    assert any_inbox.value("select count(*) from webhook_events where parked_until is not null") == 8 - expected


def test_ready_events_come_before_due_ones(inbox: Inbox) -> None:
    """route_unrouted_events gives due events only the room that ready ones leave."""
    add_trigger(inbox, REFUSAL)
    for number in range(5):
        inbox.insert(f"p{number}", content="bad")
    inbox.batch()
    inbox.run("drop trigger judge on messages")
    make_due(inbox)
    inbox.insert_many(5)
    assert inbox.route_unrouted(limit=7) == 7
    assert inbox.value("select count(*) from messages where provider_message_id like 'e%%'") == 5


@pytest.mark.parametrize("sqlstate", ["40P01", "40001", "55P03", "53100", "53200", "57014", "57P01", "58030", "25006"])
def test_errors_that_are_nobodys_fault(inbox: Inbox, sqlstate: str) -> None:
    """Deadlocks, timeouts, a full disk, a shutdown are passed on: nothing is parked, the batch can be tried again."""
    add_trigger(inbox, f"if new.content_text like 'bad%' then raise sqlstate '{sqlstate}'; end if;")
    inbox.insert_many(8)
    inbox.insert("e9", content="bad")
    for statement in ("select router.route_batch(100)", "select public.route_unrouted_events()"):
        with pytest.raises(psycopg.Error) as caught:
            inbox.run(statement)
        assert caught.value.sqlstate == sqlstate
    assert inbox.count("messages") == 0
    assert inbox.rows("select * from router.parked_events") == []
    assert inbox.value("select count(*) from webhook_events where parked_until is not null") == 0
    inbox.run("drop trigger judge on messages")
    assert inbox.batch().inserted == 9


def test_culprit_beside_a_passing_error(inbox: Inbox) -> None:
    """Where one event is to blame and another meets a passing error, nothing is parked: the next attempt will tell."""
    add_trigger(inbox, f"{REFUSAL} if new.content_text = 'later' then raise sqlstate '40001'; end if;")
    inbox.insert_many(4)
    inbox.insert("culprit", content="bad", author_id="x")
    inbox.insert("passing", content="later", author_id="y", event_date="2026-01-02")
    with pytest.raises(psycopg.errors.SerializationFailure):
        inbox.route_unrouted()
    assert inbox.rows("select * from router.parked_events") == []
    assert inbox.value("select count(*) from webhook_events where routed_at is null") == 6


def test_real_lock_timeout(any_inbox: Inbox) -> None:
    """A lock that somebody holds for too long is an error of the call and parks nothing."""
    any_inbox.insert("e1")
    any_inbox.route_unrouted()
    any_inbox.insert("e2", event_date="2026-01-02")
    any_inbox.insert("e3", author_id="a3")
    holder = any_inbox.another()
    with holder.transaction():
        holder.run("select from conversations for update")
        any_inbox.run("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            any_inbox.route_unrouted()
    assert any_inbox.rows("select * from router.parked_events") == []
    assert any_inbox.route_unrouted() == 2


@pytest.mark.parametrize("caller", ["the service", "the application"])
def test_real_deadlock(any_inbox: Inbox, caller: str) -> None:
    """The victim of a deadlock with the application parks nothing, and succeeds the next time.

    The service tries again later; the function that applications call does so at once.
    """
    for number in (1, 2):
        any_inbox.insert(f"e{number}", author_id=f"a{number}")
    any_inbox.route_unrouted()
    low, high = any_inbox.column("select id from conversations order by id")
    for number in (3, 4):
        any_inbox.insert(f"e{number}", author_id=f"a{number - 2}", event_date="2026-01-02")
    application = any_inbox.another()
    # A session looks for a deadlock once, so long after it began to wait; by then the application must wait as well.
    any_inbox.run("set deadlock_timeout = '4s'")
    application.run("set deadlock_timeout = '10min'")
    with ThreadPoolExecutor(1) as pool:
        with application.transaction():
            application.run("update conversations set subject = 'x' where id = %s", high)
            routing = pool.submit(any_inbox.batch if caller == "the service" else any_inbox.route_unrouted)
            application.another().wait_until_blocked(any_inbox)
            application.run("update conversations set subject = 'x' where id = %s", low)  # the batch holds it
            if caller == "the service":
                with pytest.raises(psycopg.errors.DeadlockDetected):
                    routing.result(timeout=90)
        if caller == "the application":
            assert routing.result(timeout=90) == 2
    assert any_inbox.rows("select * from router.parked_events") == []
    assert any_inbox.route_unrouted() == (2 if caller == "the service" else 0)


def test_read_only(inbox: Inbox) -> None:
    """On a server that is read-only nothing is parked: the error is passed on."""
    inbox.insert("e1")
    inbox.run("set default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        inbox.route_unrouted()


def test_statement_timeout(any_inbox: Inbox) -> None:
    """No handler catches a statement timeout; router.route_one then parks the event that router.next_event named."""
    add_trigger(any_inbox, "if new.content_text = 'slow' then perform pg_sleep(60); end if;")
    any_inbox.insert("slow", content="slow", created_at="2026-01-01", author_id="x")
    any_inbox.insert("fast", created_at="2026-01-02")
    any_inbox.run("set statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        any_inbox.batch()
    assert any_inbox.rows("select * from router.parked_events") == []
    row = any_inbox.row(
        """
        select claimed, inserted, parked, dead, channels, reached_at = w.created_at and reached_id = w.id as reached
        from router.next_event(false, '-infinity', '00000000-0000-0000-0000-000000000000', 'infinity', 0, 1) n (id)
        cross join router.route_one(n.id, true)
        join webhook_events w on w.event_id = 'slow'
        """
    )
    assert row == {"claimed": 1, "inserted": 0, "parked": 1, "dead": 0, "channels": None, "reached": True}
    assert (parked(any_inbox, "slow")["error_code"], parked(any_inbox, "slow")["error_message"]) == (
        "57014",
        "takes too long, even alone",
    )
    assert any_inbox.batch().inserted == 1


def test_route_one_leaves_it_to_others(inbox: Inbox) -> None:
    """An event that another session holds, that is routed, or that waits for its next attempt, is left alone."""
    inbox.insert("e1")
    event = inbox.value("select id from webhook_events")
    one = "select claimed, inserted, parked from router.route_one(%s, %s)"
    nothing, other = {"claimed": 0, "inserted": 0, "parked": 0}, inbox.another()
    with other.transaction():
        other.run("select from webhook_events for no key update")
        for untried in (False, True):
            assert inbox.row(one, event, untried) == nothing
    assert inbox.row(one, event, True) == {"claimed": 1, "inserted": 0, "parked": 1}
    for untried in (False, True):
        assert inbox.row(one, event, untried) == nothing
    make_due(inbox)
    assert inbox.row(one, event, False) == {"claimed": 1, "inserted": 1, "parked": 0}
    for untried in (False, True):
        assert inbox.row(one, event, untried) == nothing


def test_next_event_of_due_ones(inbox: Inbox) -> None:
    """router.next_event names the parked event that is due instead, when asked; with none, nothing is done."""
    ask = """
    select claimed, parked, dead
    from router.next_event(true, '-infinity', '00000000-0000-0000-0000-000000000000', 'infinity', 0, 1) n (id)
    cross join router.route_one(n.id, true)
    """
    inbox.insert("ready")
    assert inbox.row(ask) == {"claimed": 0, "parked": 0, "dead": 0}
    inbox.insert("e1", event_date="infinity")
    inbox.route_unrouted()
    make_due(inbox)
    inbox.run("update router.parked_events set attempts = 9")
    assert inbox.row(ask) == {"claimed": 1, "parked": 1, "dead": 1}
    assert parked(inbox, "e1")["error_code"] == "57014"
    assert inbox.row(ask) == {"claimed": 0, "parked": 0, "dead": 0}


def test_reopening_is_no_parking(inbox: Inbox) -> None:
    """An event that was parked, routed and re-opened has nothing of the old parking."""
    add_trigger(inbox, REFUSAL)
    inbox.insert("e1", content="bad")
    inbox.batch()
    inbox.run("drop trigger judge on messages")
    make_due(inbox)
    inbox.retry()
    inbox.reopen("e1")
    assert inbox.batch().claimed == 1
    assert inbox.rows("select * from router.parked_events") == []


def test_application_empties_the_table(inbox: Inbox) -> None:
    """An application may truncate or delete its events although some are parked."""
    inbox.insert("e1", event_date="infinity")
    inbox.batch()
    inbox.run("truncate webhook_events")
    inbox.insert("e2", event_date="infinity")
    inbox.batch()
    inbox.run("delete from webhook_events")
    assert inbox.value("select count(*) from router.parked_events") == 2
    assert inbox.retry().claimed == 0


def test_when_it_was_parked(inbox: Inbox) -> None:
    """The first and the last time of parking are kept."""
    inbox.insert("e1", event_date="infinity")
    inbox.batch()
    inbox.run("update router.parked_events set first_parked_at = '2026-01-01', last_parked_at = '2026-01-01'")
    make_due(inbox)
    inbox.retry()
    row = inbox.row("select first_parked_at, last_parked_at from router.parked_events")
    assert row["first_parked_at"].day == 1
    assert datetime.now(UTC) - row["last_parked_at"] < timedelta(minutes=1)
