"""anon may call the public functions, and with them get at nothing that it may not read. So may authenticated."""

import contextlib
import threading
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.abuse.conftest import EVENTS, Target

TABLES = (
    *("public.webhook_events", "public.conversations", "public.messages", "public.message_analysis"),
    *("public.contacts", "public.contact_channels", "router.parked_events", "router.schema_migrations"),
    "router.installation",
)


def test_absurd_limits_in_a_loop_from_many_sessions(target: Target) -> None:
    """Eight sessions call with every limit there is: each event is routed once, and no call hangs."""
    handled: list[int] = []

    def call() -> None:
        with target.connect("anon") as anon:
            anon.execute("set statement_timeout = '90s'")
            for limit in (2**31 - 1, -(2**31), 0, -1, None, 10_000, 10_001) * 20:
                row = anon.execute("select public.route_unrouted_events(null, %s)", (limit,)).fetchone()
                assert row is not None
                handled.append(row[0])

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handled) == 8 * 140
    assert sum(handled) == EVENTS
    assert target.counts()["public.messages"] == EVENTS


def test_a_limit_is_clamped(target: Target) -> None:
    """Nobody takes more than 10,000 events in one call, however much he asks for."""
    with target.connect() as owner, target.connect("anon") as anon:
        owner.execute(
            """insert into public.webhook_events (channel, type, event_id, author_id)
               select 'instagram', 'message', 'many-' || i, 'author-' || i % 20 from generate_series(1, 11_000) i"""
        )
        assert anon.execute("select public.route_unrouted_events(null, 2147483647)").fetchone() == (10_000,)


READABLE = {"public.webhook_events", "public.conversations", "public.messages", "public.message_analysis"}
"""For authenticated, as the contract has it."""


@pytest.mark.parametrize("who", ["anon", "authenticated"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement",
    [
        "select * from {}",
        "insert into {} default values",
        "delete from {}",
        "truncate {}",
        "drop table {}",
        "alter table {} add column x int",
        "alter table {} disable row level security",
        "create policy mine on {} using (true)",
        "create index on {} ((1))",
        "create rule mine as on insert to {} do nothing",
        "comment on table {} is 'made by webhook-router; no readers yet'",
        "begin; lock {}",
    ],
)
def test_no_right_on_any_table(fortress: Target, table: str, statement: str, who: str) -> None:
    """Neither to read nor to write nor to stop others; authenticated may read what the contract says."""
    with fortress.connect(who) as session:
        if who == "authenticated" and table in READABLE and statement.startswith("select"):
            session.execute(statement.format(table).encode())
            return
        with pytest.raises(errors.InsufficientPrivilege):
            session.execute(statement.format(table).encode())


@pytest.mark.parametrize("who", ["anon", "authenticated"])
@pytest.mark.parametrize("statement", ["update {} set {} = {}", "select 1 from {} for update"])
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("public.webhook_events", "routed_at"),
        ("public.messages", "content_text"),
        ("public.conversations", "status"),
        ("public.message_analysis", "intent"),
        ("public.contacts", "full_name"),
        ("public.contact_channels", "external_id"),
    ],
)
def test_no_row_is_changed_or_locked(fortress: Target, table: str, column: str, statement: str, who: str) -> None:
    """Neither by an update nor by a lock."""
    with fortress.connect(who) as session, pytest.raises(errors.InsufficientPrivilege):
        session.execute(statement.format(table, column, column).encode())


@pytest.mark.parametrize("who", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "call",
    [
        "router.route_batch(1000)",
        "router.route_oldest(null, 1000)",
        "router.backlog()",
        "router.status()",
        "router.parked()",
        "router.parked_groups()",
        "router.retry_parked()",
        "router.discard_parked()",
        "router.ingest_lines('{}')",
        "router.next_event(false, '-infinity', '00000000-0000-0000-0000-000000000000', 'infinity', 0, 1)",
        "router.route_one('00000000-0000-0000-0000-000000000000', true)",
    ],
)
def test_no_private_function(fortress: Target, call: str, who: str) -> None:
    """The private schema is closed."""
    with fortress.connect(who) as session, pytest.raises(psycopg.Error) as refused:
        session.execute(f"select * from {call}".encode())
    assert refused.value.sqlstate == "42501"


@pytest.mark.parametrize("who", ["anon", "authenticated"])
def test_every_function_but_the_public_ones_is_closed(fortress: Target, who: str) -> None:
    """Of all functions in "router" none may be executed, nor is the schema open; in public, exactly eight may."""
    with fortress.connect(who) as session:
        assert session.execute("select has_schema_privilege('router', 'usage, create')").fetchone() == (False,)
        open_ones = session.execute(
            """select n.nspname, p.proname
               from pg_proc p join pg_namespace n on n.oid = p.pronamespace
               where n.nspname in ('public', 'router') and has_function_privilege(p.oid, 'execute')"""
        ).fetchall()
    assert {schema for schema, _ in open_ones} == {"public"}
    assert len(open_ones) == 8


def test_nothing_secret_comes_back(target: Target) -> None:
    """Answers and errors of what anon may call hold ids and counts, and no name, content or address of anybody else."""
    heard: list[str] = []
    with target.connect("anon") as anon:
        anon.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
        for call in (
            "select public.route_webhook_event('instagram', 'secret-1')",
            "select public.route_unrouted_events(null, 50)",
            "select public.route_webhook_event('instagram', 'secret-1')",
            "select public.ingest_webhook_event('instagram', 'message', null, '', '', '', null, null, null, null)",
            "select public.ingest_webhook_event('x', 'message', 'secret-2', '', '', '', null, null, null, null)",
            "select public.ingest_webhook_event('instagram', null, 'secret-1', '', '', null, null, null, null, null)",
            "select public.ingest_webhook_event('instagram', null, 'secret-4', '', '', null, null, null, null, null)",
            "select public.analyze_message_simple('00000000-0000-0000-0000-000000000000')",
            "select public.auto_reply_stub('00000000-0000-0000-0000-000000000000')",
        ):
            try:
                heard.append(str(anon.execute(call.encode()).fetchall()))
            except psycopg.Error as error:
                heard.append(f"{error} {error.diag.message_detail} {error.diag.context}")
    text = "\n".join(heard)
    assert "Secret Name" not in text
    assert "secret content" not in text


REFUSALS = {
    "a check of an event": (
        "alter table public.webhook_events add check (author_name <> 'x')",
        "select public.ingest_webhook_event('instagram', '', 'secret-1', '', 'x', null, null, null, null, null)",
        "23514",
    ),
    "a mandatory column of a message": (
        "alter table public.messages add column tenant text not null",
        "select public.route_webhook_event('instagram', 'secret-1')",
        "23502",
    ),
    "a cast in a trigger": (
        """create function public.cast_it() returns trigger language plpgsql as
               $$ begin new.metadata := jsonb_build_object('number', new.content_text::integer); return new; end $$;
           create trigger cast_it before insert on public.messages for each row execute function public.cast_it()""",
        "select public.route_webhook_event('instagram', 'secret-1')",
        "22P02",
    ),
    "a cast in a trigger on events": (
        """create function public.cast_it() returns trigger language plpgsql as
               $$ begin new.raw_payload := jsonb_build_object('number', new.content::integer); return new; end $$;
           create trigger cast_it before update on public.webhook_events for each row
               execute function public.cast_it()""",
        "select public.ingest_webhook_event('instagram', '', 'secret-1', '', '', null, null, null, null, null)",
        "22P02",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_application_refuses_is_not_quoted(target: Target, case: str) -> None:
    """The error keeps SQLSTATE and object; the row that a constraint refused, and the value of a cast, are not told."""
    ddl, call, code = REFUSALS[case]
    with target.connect() as owner, target.connect("anon") as anon:
        owner.execute(ddl.encode())
        with pytest.raises(psycopg.Error) as refused:
            anon.execute(call.encode())
    assert refused.value.sqlstate == code
    told = [refused.value.diag.message_primary, refused.value.diag.message_detail, refused.value.diag.message_hint]
    assert "ecret" not in f"{told} {refused.value.diag.context}"
    if code.startswith("23"):
        assert refused.value.diag.table_name in {"webhook_events", "messages"}


def test_the_search_path_of_the_caller_does_not_matter(target: Target) -> None:
    """Functions and operators of the caller's own, in a schema that comes first, are not called with others' rights."""
    with target.connect() as owner:
        owner.execute("create schema trap authorization anon")
    with target.connect("anon") as anon:
        anon.execute("set role anon")
        anon.execute("create function trap.lower(text) returns text language sql as $$ select 'trapped' $$")
        anon.execute("create function trap.btrim(text) returns text language sql as $$ select 'trapped' $$")
        anon.execute(
            """create function trap.now() returns timestamptz language plpgsql as
               $$ begin raise exception 'trapped as %', current_user; end $$"""
        )
        anon.execute("create table trap.webhook_events (id int)")
        anon.execute("create temporary table messages (id int)")
        anon.execute("set search_path = trap, pg_temp, public, pg_catalog")
        row = anon.execute("select public.route_webhook_event('Instagram', 'secret-3')").fetchone()
        assert row is not None
        assert row[0]["message_id"] is not None
        assert anon.execute("select public.route_unrouted_events(null, 10)").fetchone() == (10,)
        assert anon.execute("select count(*) from trap.webhook_events").fetchone() == (0,)


SETTINGS = """
select s.name, v.value
from pg_catalog.pg_settings s
cross join lateral unnest(case s.vartype when 'bool' then array['on', 'off'] when 'enum' then s.enumvals
                                         when 'string' then array[s.reset_val] else array[s.min_val, s.max_val] end
                          || case s.name when 'DateStyle' then array['SQL, DMY', 'German']
                                         when 'IntervalStyle' then array['sql_standard']
                                         when 'TimeZone' then array['Asia/Kolkata']
                                         when 'timezone_abbreviations' then array['India'] end) v (value)
where s.context = 'user' and not s.name ~ 'timeout|^post_auth_delay|^session_authorization|^role|^client_encoding'
order by s.name, v.value
"""
"""Whatever anon may set, with its limits; timeouts only end calls."""

SAME = ["message", "help?", "question", "Bonjour ! Merci pour votre question.", 1]
OTHER: dict[tuple[str, str], list[object]] = {
    ("default_transaction_isolation", "repeatable read"): ["25000"],
    ("default_transaction_isolation", "serializable"): ["25000"],
    ("default_transaction_read_only", "on"): ["25006"],
}


def test_the_settings_of_the_caller_do_not_matter(target: Target) -> None:
    """Each setting that a session may change, at each end of its range: the answers and the rows are the same."""
    with target.connect() as owner, target.connect("anon") as anon:
        owner.execute("delete from public.webhook_events")
        anon.prepare_threshold = None
        settings = owner.execute(SETTINGS).fetchall()
        assert len(settings) > 200
        for number, (name, value) in enumerate(settings):
            with contextlib.suppress(psycopg.Error):  # some are not for every role, or not in every build
                anon.execute("select set_config(%s, %s, false)", (name, value))
            assert told_to(anon, number) == OTHER.get((name, value), SAME), (name, value)
            anon.execute("discard all")
        sent = owner.execute("select distinct sent_at from public.messages where provider_message_id like 'a-%'")
        assert sent.fetchall() == [(datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC),)]
        assert owner.execute("select count(*) from public.webhook_events where routed_at is null").fetchone() == (0,)


def told_to(anon: psycopg.Connection, number: int) -> list[object]:
    """What the public functions answer about two new events, or a SQLSTATE; it leaves nothing unrouted."""

    def call(function: str, *values: object) -> Any:
        marks = ", ".join(["%s"] * len(values))
        row = anon.execute(f"select public.{function}({marks})".encode(), values).fetchone()
        assert row is not None
        return row[0]

    event, author = f"a-{number}", f"author {number}"
    try:
        with anon.transaction():
            stored = call(
                "ingest_webhook_event",
                *("Instagram", "", event, author, "Ann", "help?", "2026-01-02 03:04:05.6+00", None, None, None),
            )
            message = call("route_webhook_event", "INSTAGRAM", event)["message_id"]
            analysis = call("analyze_message_simple", message)
            call("auto_reply_stub", message)
            reply = str(call("ai_reply_template", message))
            call("ingest_webhook_event", "instagram", "", f"b-{number}", author, None, "", None, None, None, None)
            return [stored["type"], stored["content"], analysis["intent"], reply[:36], call("route_unrouted_events")]
    except psycopg.Error as error:
        return [error.sqlstate]
