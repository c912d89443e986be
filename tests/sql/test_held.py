"""Events that are held: the schema is at fault, or they cannot even be parked. The others are routed."""

from uuid import uuid4

import psycopg
import pytest

from tests.conftest import StartPostgres
from tests.processes import command
from tests.servers import empty_database_on
from tests.sql.inbox import Inbox

ZERO = "00000000-0000-0000-0000-000000000000"

JUDGE = """
create function public.judge() returns trigger language plpgsql as $judge$ begin {body} return new; end $judge$;
create trigger judge {when} for each row execute function public.judge();
"""
ON_MESSAGES = "before insert on messages"
ON_EVENTS = "before update on webhook_events"
BAD = "if new.content_text like 'bad%' then {} end if;"
BAD_EVENT = "if new.content like 'bad%' then {} end if;"


def judge(inbox: Inbox, body: str, when: str = ON_MESSAGES) -> None:
    """An application's trigger."""
    inbox.run(JUDGE.format(body=body, when=when))


def nothing_parked(inbox: Inbox) -> bool:
    """Neither noted as parked nor marked so."""
    return inbox.rows("select * from router.parked_events") == [] and not inbox.value(
        "select count(*) from webhook_events where parked_until is not null"
    )


FAULTS = [
    pytest.param(
        "execute 'select * from no_such_table';",
        '42P01: relation "no_such_table" does not exist (function judge())',
        id="a table is missing",
    ),
    pytest.param(
        "perform no_such_function();", "42883: function no_such_function() does not exist", id="a function is"
    ),
    pytest.param("execute 'sel ' || new.content_text;", "42601 (function judge())", id="the parser quotes the content"),
    pytest.param(
        "raise sqlstate 'XX000' using message = new.content_text;", "XX000 (function judge())", id="raise quotes it"
    ),
    pytest.param("raise sqlstate '0A000' using message = 'x';", "0A000 (function judge())", id="not supported"),
    pytest.param("raise sqlstate '55000' using message = 'x';", "55000 (function judge())", id="not in the state"),
    pytest.param("raise sqlstate '08001' using message = 'x';", "08001 (function judge())", id="a link to elsewhere"),
    pytest.param("raise sqlstate '3F000' using message = 'x';", "3F000 (function judge())", id="a schema is missing"),
]


@pytest.mark.parametrize(("body", "reason"), FAULTS)
def test_the_schema_is_at_fault(inbox: Inbox, body: str, reason: str) -> None:
    """The events that meet it are left as they are, beside others and alone, however often; the others are routed."""
    judge(inbox, BAD.format(body))
    inbox.insert_many(12)
    inbox.run("update webhook_events set content = 'bad secret' where event_id in ('e3', 'e4', 'e9')")
    batch = inbox.batch()
    assert (batch.claimed, batch.inserted, batch.parked, batch.held) == (12, 9, 0, 3)
    assert batch.channels == ["instagram"] * 9
    assert str(batch.held_reason).startswith(reason)
    assert "secret" not in str(batch.held_reason)
    for limit in (1, 1, 100):
        batch = inbox.batch(limit)
        assert (batch.claimed, batch.inserted, batch.parked, batch.held) == (min(limit, 3), 0, 0, min(limit, 3))
    assert nothing_parked(inbox)
    inbox.insert("new", event_date="2026-01-02")
    assert inbox.route_unrouted() == 1
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        inbox.route_unrouted()
    assert str(caught.value).startswith(f"no event can be routed: {reason}")
    inbox.run("drop trigger judge on messages")
    batch = inbox.batch()
    assert (batch.inserted, batch.held, batch.held_reason) == (3, 0, None)


SCHEMAS = [
    pytest.param(
        "alter table contacts add column country_code text not null",
        ("23502", "table public.contacts, column country_code"),
        id="mandatory column",
    ),
    pytest.param(
        "alter table contacts drop column full_name; alter table contacts add column full_name text "
        "generated always as ('x') stored",
        ("428C9", "full_name"),
        id="generated column",
    ),
    pytest.param(
        "alter table webhook_events replica identity nothing; create publication everything for all tables",
        ("55000", "webhook_events"),
        id="published without a replica identity",
    ),
]


@pytest.mark.parametrize(("change", "reason"), SCHEMAS)
def test_a_schema_that_routing_cannot_live_with(any_database: str, change: str, reason: tuple[str, ...]) -> None:
    """Nothing is parked for it, the object is named, and once it is put right all is routed."""
    with Inbox(any_database) as inbox:
        inbox.insert_many(3)
        inbox.run(change)
        for limit in (1, 10):
            batch = inbox.batch(limit)
            assert (batch.inserted, batch.parked, batch.held) == (0, 0, min(limit, 3)), batch
            assert all(word in str(batch.held_reason) for word in reason), batch.held_reason
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=reason[0]):
            inbox.route_unrouted()
        assert nothing_parked(inbox)


def test_columns_that_routing_fills_are_the_events_affair(any_database: str) -> None:
    """A person without a name, where the application insists on names, is parked."""
    with Inbox(any_database) as inbox:
        inbox.run("alter table contacts alter column full_name set not null")
        inbox.insert("named", author_name="A")
        inbox.insert("nameless", author_id="b")
        batch = inbox.batch()
        assert (batch.inserted, batch.parked, batch.held) == (1, 1, 0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise exception 'never: %', new.content;", "P0001 (function refuse())"),
        ("perform 1 / 0;", "22012 (function refuse())"),
        ("new.parked_until := null;", "RW005: a trigger on webhook_events does not let the event be parked"),
        ("return null;", "RW005: a trigger on webhook_events does not let the event be parked"),
    ],
)
@pytest.mark.parametrize("size", [1, 12])
def test_a_park_that_fails(any_inbox: Inbox, body: str, reason: str, size: int) -> None:
    """The event is held, and the batch commits: the others are routed, and those that can be parked are."""
    judge(any_inbox, BAD.format("raise exception 'refused';"))
    any_inbox.insert_many(size)
    any_inbox.run("update webhook_events set content = 'bad' where event_id in ('e1', 'e5', 'e9')")
    any_inbox.run(
        """
        create function public.refuse() returns trigger language plpgsql as
        $$ begin if new.event_id in ('e1', 'e9') and new.routed_at is null then """
        + body
        + """ end if; return new; end $$;
        create trigger refuse before update on webhook_events for each row execute function public.refuse();
        """
    )
    batch = any_inbox.batch()
    held = 1 if size == 1 else 2
    assert (batch.claimed, batch.parked, batch.held) == (size, 0 if size == 1 else 1, held)
    assert batch.inserted == size - batch.parked - held
    assert batch.held_reason == f"an event that fails with P0001 cannot be parked: {reason}"
    assert any_inbox.value("select count(*) from router.parked_events") == batch.parked
    assert any_inbox.route_unrouted() == 0
    assert any_inbox.batch().held == held
    any_inbox.run("drop trigger refuse on webhook_events")
    assert any_inbox.batch().parked == held


@pytest.mark.parametrize("timeout", ["0", "60 s"])
def test_faults_are_told_from_what_cannot_be_parked(any_inbox: Inbox, timeout: str) -> None:
    """Whoever routes by hand hears of a fault of the schema, whatever comes before it; with a timeout, in steps."""
    any_inbox.run(f"set statement_timeout = '{timeout}'")
    any_inbox.insert_many(60)
    any_inbox.run(
        "update webhook_events set content = 'bad' where event_id in (select 'e' || i from generate_series(1, 30) i)"
    )
    judge(any_inbox, "if new.content_text like 'bad%' then raise 'bad'; else perform no_such_function(); end if;")
    any_inbox.run(
        """
        create function public.refuse() returns trigger language plpgsql as
        $$ begin if new.content = 'bad' then raise 'locked'; end if; return new; end $$;
        create trigger refuse before update on webhook_events for each row execute function public.refuse();
        """
    )
    counts = "select (b).claimed, (b).held, (b).faults from (select router.route_batch(1000) as b offset 0) b"
    assert any_inbox.row(counts) == {"claimed": 60, "held": 60, "faults": 30}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"^no event can be routed: 42883: "):
        any_inbox.route_unrouted(limit=100)
    any_inbox.run("drop function judge cascade")
    judge(any_inbox, "raise 'bad';")
    any_inbox.run("update webhook_events set routed_at = now() where content <> 'bad'")
    assert any_inbox.row(counts) == {"claimed": 30, "held": 30, "faults": 0}
    assert any_inbox.route_unrouted(limit=100) == 0


def test_a_trigger_that_refuses_the_mark(any_inbox: Inbox) -> None:
    """One event that the application lets nobody touch does not undo the batch, and is not parked over and over."""
    judge(any_inbox, BAD_EVENT.format("raise exception 'locked: %', new.content;"), ON_EVENTS)
    any_inbox.insert_many(20)
    any_inbox.insert("e21", content="bad", author_id="x")
    batch = any_inbox.batch()
    assert (batch.inserted, batch.parked, batch.held) == (20, 0, 1)
    assert batch.held_reason == "an event that fails with P0001 cannot be parked: P0001 (function judge())"
    assert any_inbox.counts() == {"contacts": 10, "contact_channels": 10, "conversations": 10, "messages": 20}
    assert any_inbox.batch().held == 1
    assert any_inbox.route_unrouted() == 0


def test_a_park_meets_an_error_that_passes(inbox: Inbox) -> None:
    """Then nothing is parked or held: the call is made again."""
    judge(inbox, BAD.format("raise exception 'refused';"))
    inbox.run(JUDGE.replace("judge", "wait").format(body=BAD_EVENT.format("raise sqlstate '40001';"), when=ON_EVENTS))
    inbox.insert_many(5)
    inbox.insert("culprit", content="bad")
    with pytest.raises(psycopg.errors.SerializationFailure):
        inbox.batch()
    assert inbox.count("messages") == 0


def test_due_ones_that_are_held(any_inbox: Inbox) -> None:
    """A parked event that meets a fault of the schema when it is due lets others come first, and loses no attempt."""
    judge(any_inbox, BAD.format("raise exception 'refused';"))
    any_inbox.insert_many(4)
    any_inbox.run("update webhook_events set content = 'bad'")
    assert any_inbox.batch().parked == 4
    any_inbox.run("drop trigger judge on messages; drop function judge")
    judge(any_inbox, "if new.provider_message_id in ('e1', 'e2') then execute 'select * from no_such_table'; end if;")
    any_inbox.run("update webhook_events set parked_until = now() - interval '1 minute'")
    done = [any_inbox.retry(limit=1) for _ in range(5)]
    assert sum(batch.held for batch in done) == 2
    assert sum(batch.inserted for batch in done) == 2
    assert done[-1].claimed == 0
    left = any_inbox.row(
        """
        select count(*) as n, max(p.attempts) as attempts, bool_and(w.parked_until > now()) as later,
               bool_and(w.parked_until = p.next_attempt_at) as agree
        from router.parked_events p join webhook_events w on w.id = p.event_id
        """
    )
    assert left == {"n": 2, "attempts": 1, "later": True, "agree": True}


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("event_date", "'infinity'", "22008"),
        ("author_id", "(select string_agg(md5(i || g::text), '') from generate_series(1, 100) g)", "54000"),
    ],
)
def test_a_thousand_that_are_unfit(any_inbox: Inbox, column: str, value: str, code: str) -> None:
    """They are parked together, for a few transaction ids, at each attempt, and the good ones are routed."""
    any_inbox.insert_many(1000)
    any_inbox.insert_many(50, prefix="good")
    any_inbox.run(
        f"update webhook_events set {column} = {value} from generate_series(1, 1000) i where event_id = 'e' || i"
    )
    for attempt in (1, 2):
        before = any_inbox.value("select pg_current_xact_id()::text::bigint")
        batch = any_inbox.batch(2000) if attempt == 1 else any_inbox.retry(limit=2000)
        spent = any_inbox.value("select pg_current_xact_id()::text::bigint") - before
        assert (batch.inserted, batch.parked) == (50 if attempt == 1 else 0, 1000)
        assert spent < 2000, "others on this server spend some too, but one by one it would be thousands"
        assert any_inbox.row("select min(attempts) as a, max(attempts) as z from router.parked_events") == {
            "a": attempt,
            "z": attempt,
        }
        any_inbox.run("update webhook_events set parked_until = now() where parked_until is not null")
    assert any_inbox.value("select distinct error_code from router.parked_events") == code


DEFERRED = """
create function public.judge() returns trigger language plpgsql as
$$ begin if new.content_text = 'bad' then raise exception 'too late'; end if; return null; end $$;
create constraint trigger judge after insert on messages deferrable initially deferred
    for each row execute function public.judge();
create function public.complete() returns trigger language plpgsql as
$$ begin
    if not exists (select from messages m where m.conversation_id = new.id) then raise exception 'empty'; end if;
    return null;
end $$;
create constraint trigger complete after insert on conversations deferrable initially deferred
    for each row execute function public.complete();
"""


@pytest.mark.parametrize("call", ["service", "application"])
def test_deferred_constraints_of_ours(any_inbox: Inbox, call: str) -> None:
    """They are checked when a batch is done, not in the middle of it, in each part of a batch that is split."""
    any_inbox.run(DEFERRED)
    any_inbox.insert_many(40, authors=40)
    any_inbox.run("update webhook_events set content = 'bad' where event_id in ('e7', 'e31')")
    if call == "service":
        batch = any_inbox.batch()
        assert (batch.inserted, batch.parked, batch.held) == (38, 2, 0)
    else:
        assert any_inbox.route_unrouted() == 38
    assert set(any_inbox.column("select error_message from router.parked_events")) == {
        "raise_exception (function judge())"
    }


def test_deferred_constraints_of_the_caller(any_database: str) -> None:
    """What the caller's transaction has deferred stays so, violated or not; and ours are deferred again afterwards."""
    with Inbox(any_database) as inbox:
        inbox.run(DEFERRED)
        inbox.run(
            """
            create table parts (id int primary key, whole int references parts deferrable initially deferred);
            alter table contacts add column parent uuid references contacts deferrable initially deferred;
            """
        )
        inbox.insert_many(3)
        inbox.insert("bad", content="bad", author_id="x")
        with inbox.transaction():
            inbox.run("insert into parts values (1, 2)")
            assert inbox.route_unrouted() == 3
            assert inbox.value("select event_id from webhook_events where parked_until is not null") == "bad"
            inbox.run("insert into contacts (parent) values ('00000000-0000-0000-0000-000000000001')")
            inbox.run("delete from contacts where parent is not null")
            inbox.run("insert into parts values (2, null)")
        inbox.insert_many(3, prefix="f")
        with inbox.transaction():
            inbox.run("insert into contacts (parent) values ('00000000-0000-0000-0000-000000000001')")
            assert inbox.route_unrouted() == 3
            inbox.run("delete from contacts where parent is not null")
        assert inbox.value("select count(*) from router.parked_events") == 1
        assert inbox.count("messages") == 6


def test_deferred_constraints_elsewhere(any_database: str) -> None:
    """In the service's own transactions those of any table are found in time: a trigger may write there."""
    with Inbox(any_database) as inbox:
        inbox.run("create table leads (message text, owner int unique deferrable initially deferred)")
        judge(inbox, "insert into leads values (new.provider_message_id, case new.content_text when 'bad' then 1 end);")
        inbox.run("insert into leads values ('first', 1)")
        inbox.insert_many(20)
        inbox.insert("culprit", content="bad")
        batch = inbox.batch()
        assert (batch.inserted, batch.parked) == (20, 1)


def test_created_at_is_no_time(any_database: str) -> None:
    """Events without a finite created_at are claimed by the service: those without any first, whatever the bounds."""
    with Inbox(any_database) as inbox:
        inbox.run("alter table webhook_events alter column created_at drop not null")
        inbox.insert_many(3)
        for event, created_at in (("n1", None), ("n2", None), ("low", "-infinity"), ("high", "infinity")):
            inbox.insert(event, created_at=created_at, author_id=event)
        inbox.insert("future", created_at="20000-01-01", author_id="future")
        seen: list[int] = []
        at, where = "-infinity", ZERO
        while True:
            batch = inbox.window(2, at, where, "infinity")
            assert batch.reached_at is not None
            assert all(age >= 0 for age in batch.ages or [])
            seen.append(batch.inserted)
            at, where = batch.reached_at, str(batch.reached_id)
            if batch.claimed < 2:
                break
        assert seen == [2, 2, 2, 2, 0]
        inbox.run("update webhook_events set routed_at = null where created_at is null or not isfinite(created_at)")
        assert inbox.window(10, None, None, None).claimed == 4
        inbox.run("update webhook_events set routed_at = null where created_at is null or not isfinite(created_at)")
        assert inbox.window(10, "-infinity", ZERO, "2026-01-01").claimed == 3
        assert inbox.route_unrouted() == 1


def test_hidden_rows(any_database: str) -> None:
    """Row level security that is forced on an owner who cannot bypass it is an error, not an empty table."""
    with Inbox(any_database) as inbox:
        owner = f"owner_{uuid4().hex}"
        inbox.run(f"create role {owner} nologin")
        try:
            inbox.run(
                f"""
                do $do$ declare o text; begin
                    grant all on schema public, router to {owner};
                    for o in select c.oid::regclass from pg_class c
                             where c.relnamespace in ('public'::regnamespace, 'router'::regnamespace)
                               and c.relkind in ('r', 'v') loop
                        execute format('alter table %s owner to {owner}', o);
                    end loop;
                    for o in select p.oid::regprocedure from pg_proc p
                             where p.pronamespace = 'router'::regnamespace loop
                        execute format('alter function %s owner to {owner}', o);
                    end loop;
                end $do$;
                alter table webhook_events force row level security;
                """
            )
            inbox.insert_many(3)
            counts = "select ready from router.backlog()", "select ready from router.status()"
            for statement in ("select router.route_batch(10)", "select public.route_unrouted_events()", *counts):
                with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"public\.webhook_events"):
                    inbox.run(statement)
            inbox.run(f"create policy owners on webhook_events to {owner} using (true) with check (true)")
            assert [inbox.value(count) for count in counts] == [3, 3]
            assert inbox.batch().inserted == 3
            assert inbox.batch().claimed == 0
            inbox.run("create policy narrow on webhook_events as restrictive using (channel = 'x')")
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"public\.webhook_events"):
                inbox.batch()
        finally:
            inbox.run(f"reassign owned by {owner} to postgres; drop owned by {owner}; drop role {owner}")


SLOW = "if new.content_text like 'bad%' then perform pg_sleep(0.2); end if;"


@pytest.mark.parametrize("timeout", ["statement_timeout", "transaction_timeout"])
def test_the_timeout_of_the_caller(any_inbox: Inbox, timeout: str) -> None:
    """route_unrouted_events commits what it can do in half of it, and gets on with each call."""
    if any_inbox.value("select current_setting(%s, true)", timeout) is None:
        pytest.skip("this version has no transaction_timeout")
    judge(any_inbox, SLOW)
    any_inbox.insert_many(10)
    any_inbox.run("update webhook_events set content = 'bad'")
    any_inbox.run(f"set {timeout} = '1500ms'")
    done: list[int] = []
    while sum(done) < 10:
        done.append(any_inbox.route_unrouted(limit=10_000))
        assert 0 < done[-1] <= 4, done
    assert any_inbox.route_unrouted(limit=10_000) == 0


def test_the_timeout_strikes_in_a_later_step(any_inbox: Inbox) -> None:
    """Slow events behind many quick ones do not undo them; then their own turn comes."""
    judge(any_inbox, "if new.content_text like 'bad%' then perform pg_sleep(0.45); end if;")
    any_inbox.insert_many(103)
    any_inbox.run("update webhook_events set content = 'bad' where event_id in ('e50', 'e51', 'e52')")
    any_inbox.run("set statement_timeout = '1s'")
    done: list[int] = []
    while sum(done) < 103:
        done.append(any_inbox.route_unrouted(limit=10_000))
        assert done[-1] > 0, done
    assert done[0] < 60, done


def test_a_call_that_somebody_cancels(any_inbox: Inbox) -> None:
    """It fails: only the timeout of its own ends with what is done."""
    judge(any_inbox, "if new.content_text like 'bad%' then raise query_canceled; end if;")
    any_inbox.insert_many(10)
    any_inbox.run("update webhook_events set content = 'bad' where event_id = 'e5'")
    any_inbox.run("set statement_timeout = '60s'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        any_inbox.route_unrouted()


def test_a_timeout_costs_little(any_inbox: Inbox) -> None:
    """Where events are quick, one call does as many as are asked for, in few steps."""
    any_inbox.insert_many(3000, authors=200)
    any_inbox.insert("undated", event_date=None)
    any_inbox.run("set statement_timeout = '60s'")
    assert any_inbox.route_unrouted(limit=2500) == 2500
    assert any_inbox.route_unrouted(limit=2500) == 501
    assert any_inbox.value("select count(*) from webhook_events where routed_at is null") == 0


def test_a_step_that_would_wait_is_left_for_later(any_inbox: Inbox) -> None:
    """A call that goes on in the same transaction holds locks, so it does not wait for those of others."""
    any_inbox.insert_many(3, authors=3)
    any_inbox.route_unrouted()
    any_inbox.insert_many(3, authors=3, prefix="f")
    any_inbox.run("set statement_timeout = '60s'")
    holder = any_inbox.another()
    with holder.transaction():
        holder.run(
            """select from conversations c join webhook_events w on w.conversation_id = c.id
               where w.event_id = 'e2' for update of c"""
        )
        assert any_inbox.route_unrouted() == 1
    assert any_inbox.route_unrouted() == 2


def test_the_order_of_event_dates_beyond_what_is_held(any_inbox: Inbox) -> None:
    """A sweep goes on behind held events: each call is told where the one before has come."""
    judge(any_inbox, BAD.format("execute 'select * from no_such_table';"))
    any_inbox.insert_many(6)
    for number in range(3):
        any_inbox.insert(f"u{number}", event_date=None)
    any_inbox.run("update webhook_events set content = 'bad' where event_id in ('e1', 'e2', 'e3', 'e4', 'u1')")
    found: list[tuple[int, int]] = []
    at, where = "-infinity", ZERO
    for _ in range(6):
        batch = any_inbox.row(
            "select claimed, held, reached_at::text, reached_id from router.route_oldest('instagram', 2, %s, %s)",
            at,
            where,
        )
        found.append((batch["claimed"], batch["held"]))
        at, where = batch["reached_at"], batch["reached_id"]
    assert sum(held for _, held in found) == 5
    assert [claimed for claimed, _ in found] == [2, 2, 2, 2, 1, 0]
    assert str(where) == "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert any_inbox.count("messages") == 4


def test_locks_of_strangers_park_nothing(any_inbox: Inbox) -> None:
    """An advisory lock on a key of routing is blamed when it is a stranger's, and names the process."""
    any_inbox.insert("e1", type="comment", author_id=None, post_id="p")
    event = any_inbox.value("select id from webhook_events")
    stranger = any_inbox.another()
    for key in (1920298102, 1920298104, 1920298105, 1920298106):
        stranger.run(f"select pg_advisory_lock({key}, 7)")
        with pytest.raises(psycopg.errors.LockNotAvailable, match=f"process {stranger.connection.info.backend_pid}"):
            any_inbox.run("select router.route_one(%s, true)", event)
        stranger.run("set application_name = 'webhook-router of another machine'")
        stranger.run("select pg_advisory_unlock_all()")
        stranger.run("reset application_name")
    assert nothing_parked(any_inbox)
    stranger.run("select pg_advisory_lock(1920298103, 7)")
    assert any_inbox.value("select (router.route_one(%s, true)).parked", event) == 1


def test_locks_of_prepared_transactions_park_nothing(private_postgres: StartPostgres) -> None:
    """They have no process; the message names the transaction, which somebody has to end."""
    server = private_postgres(settings={"max_prepared_transactions": "2"})
    with empty_database_on(server) as dsn:
        assert command("migrate", dsn=dsn).returncode == 0
        with Inbox(dsn) as inbox:
            inbox.insert("e1")
            inbox.route_unrouted()
            inbox.insert("e2")
            event = inbox.value("select id from webhook_events where event_id = 'e2'")
            inbox.run("begin")
            inbox.run("update conversations set subject = 'x'")
            inbox.run("prepare transaction 'forgotten one'")
            with pytest.raises(psycopg.errors.LockNotAvailable, match='prepared transaction "forgotten one"'):
                inbox.run("select router.route_one(%s, true)", event)
            assert nothing_parked(inbox)
            inbox.run("rollback prepared 'forgotten one'")
            assert inbox.value("select (router.route_one(%s, true)).parked", event) == 1
