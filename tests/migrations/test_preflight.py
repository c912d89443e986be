"""What stands in the way of migrations and of routing: found in any database, named, and gone after its remedy."""

import contextlib
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.domain.errors import Fatal
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.conftest import StartPostgres
from tests.migrations.databases import Database, brownfield_on

OBSTACLES: Final = SHIPPED.file("migrator", "obstacles.sql").text.encode()
NOTES: Final = SHIPPED.file("migrator", "notes.sql").text.encode()
TRIGGER: Final = "create function public.f() returns trigger language plpgsql as $$ {} $$;"


class Case(NamedTuple):
    """`damage` is one obstacle, which `problem` names; with it, storing or routing fails."""

    damage: str
    problem: str
    breaks: bool = True
    """False: harm that one event does not show."""
    version: int = 0
    """The first major version that can be damaged like this."""


CASES: Final = {
    "parked_until is text": Case(
        "drop index router_ready_by_arrival, router_ready_by_event_date, router_parked_by_next_attempt;"
        "alter table webhook_events alter parked_until type text",
        r"column public\.webhook_events\.parked_until is of type text instead of timestamptz",
    ),
    "parked_until is a number": Case(
        "alter table webhook_events drop parked_until cascade; alter table webhook_events add parked_until bigint",
        r"column public\.webhook_events\.parked_until is of type bigint",
    ),
    "parked_until is a plain time": Case(
        "alter table webhook_events alter parked_until type timestamp",
        r"parked_until is of type timestamp without time zone",
        breaks=False,
    ),
    "routed_at is a flag with a default": Case(
        "alter table webhook_events drop routed_at cascade;"
        "alter table webhook_events add routed_at boolean default false",
        r"column public\.webhook_events\.routed_at is of type boolean",
    ),
    "routed_at is mandatory": Case(
        "update webhook_events set routed_at = now(); alter table webhook_events alter routed_at set not null",
        r"column public\.webhook_events\.routed_at is not null",
    ),
    "routed_at has a default": Case(
        "alter table webhook_events alter routed_at set default now()",
        r"column public\.webhook_events\.routed_at has a default",
    ),
    "parked_until has a default": Case(
        "alter table webhook_events alter parked_until set default 'infinity'",
        r"column public\.webhook_events\.parked_until has a default",
    ),
    "parked_until is generated": Case(
        "alter table webhook_events drop parked_until cascade; alter table webhook_events"
        " add parked_until timestamptz generated always as (null::timestamptz) stored",
        r"column public\.webhook_events\.parked_until is generated",
    ),
    "routed_by is a reference": Case(
        "alter table webhook_events drop routed_by; alter table webhook_events add routed_by uuid references contacts",
        r"column public\.webhook_events\.routed_by is of type uuid instead of text",
    ),
    "routed_by is too short": Case(
        "alter table webhook_events alter routed_by type varchar(3)",
        r"column public\.webhook_events\.routed_by is of type character varying\(3\)",
    ),
    "routed_by has words of its own": Case(
        "alter table webhook_events add constraint words check (routed_by in ('ai', 'agent'))",
        r"constraint words of public\.webhook_events does not allow what routing writes to the column routed_by",
    ),
    "routed_by has a default": Case(
        "alter table webhook_events alter routed_by set default 'agent'",
        r"column public\.webhook_events\.routed_by has a default",
        breaks=False,
    ),
    "display_name_at is a date": Case(
        "alter table contact_channels alter display_name_at type date",
        r"column public\.contact_channels\.display_name_at is of type date",
        breaks=False,
    ),
    "display_name_at is mandatory": Case(
        "update contact_channels set display_name_at = now();"
        "alter table contact_channels alter display_name_at set not null",
        r"column public\.contact_channels\.display_name_at is not null, but null means: people without a name",
        breaks=False,
    ),
    "an enumeration": Case(
        "drop index idx_conv_channel_status; alter table conversations drop constraint conversations_status_check;"
        "create type status as enum ('open', 'closed'); alter table conversations alter status drop default,"
        " alter status type status using status::status, alter status set default 'open'",
        r"column public\.conversations\.status is of type (public\.)?status instead of text",
        breaks=False,  # but it has been refused so far, and nothing says that it will always work
    ),
    "keys of text": Case(
        "alter table message_analysis alter id type text, alter id set default gen_random_uuid()::text;"
        "alter table message_analysis alter message_id drop not null;"
        "alter table message_analysis drop constraint message_analysis_message_id_fkey;"
        "alter table message_analysis alter message_id type text",
        r"column public\.message_analysis\.message_id is of type text instead of uuid",
        breaks=False,  # but it has been refused so far, and nothing says that it will always work
    ),
    "a generated name": Case(
        "alter table contacts drop full_name;"
        "alter table contacts add full_name text generated always as (first_name || ' ' || last_name) stored",
        r"column public\.contacts\.full_name is generated, and routing writes it",
    ),
    "a virtual name": Case(
        "alter table contacts drop full_name;"
        "alter table contacts add full_name text generated always as (first_name || ' ' || last_name) virtual",
        r"column public\.contacts\.full_name is generated",
        version=18,
    ),
    "a generated number": Case(
        "alter table message_analysis drop confidence;"
        "alter table message_analysis add confidence integer generated always as identity",
        r"column public\.message_analysis\.confidence is generated",
    ),
    "a rule that logs contacts": Case(
        "create table log (id uuid); create rule log as on insert to contacts do also insert into log values (new.id)",
        r"rule log on insert of public\.contacts",
    ),
    "a rule that logs renames": Case(
        "create table log (id uuid); create rule log as on update to contacts do also insert into log values (new.id)",
        r"rule log on update of public\.contacts",
        breaks=False,  # names are left out, and nobody knows why
    ),
    "a rule on channels": Case(
        "create table log (id uuid);"
        "create rule log as on insert to contact_channels do also insert into log values (new.id)",
        r"rule log on insert of public\.contact_channels",
    ),
    "a rule on updates of events": Case(
        "create table log (id uuid);"
        "create rule log as on update to webhook_events do also insert into log values (new.id)",
        r"rule log on update of public\.webhook_events",
    ),
    "a disabled rule": Case(
        "create table log (id uuid);"
        "create rule log as on update to webhook_events do also insert into log values (new.id);"
        "alter table webhook_events disable rule log",
        r"rule log on update of public\.webhook_events",
    ),
    "a rule on analyses": Case(
        "create rule one as on update to message_analysis do also notify analysed",
        r"rule one on update of public\.message_analysis",
    ),
    "a rule that swallows messages": Case(
        "create rule swallow as on insert to messages do instead nothing", r"rule swallow on insert of public\.messages"
    ),
    "a mandatory column": Case(
        "alter table messages add tenant text not null",
        r"column public\.messages\.tenant is not null and has no default",
    ),
    "a mandatory column of events": Case(
        "alter table webhook_events add tenant text not null",
        r"column public\.webhook_events\.tenant is not null and has no default",
    ),
    "a mandatory column of analyses": Case(
        "alter table message_analysis add tenant text not null",
        r"column public\.message_analysis\.tenant is not null",
    ),
    "a mandatory first name": Case(
        "update contacts set first_name = '-'; alter table contacts alter first_name set not null",
        r"column public\.contacts\.first_name is not null and has no default",
    ),
    "no time of arrival": Case(
        "alter table webhook_events alter created_at drop default",
        r"column public\.webhook_events\.created_at is not null and has no default",
    ),
    "a mandatory domain": Case(
        "create domain tenant as text not null; alter table contacts add tenant tenant",
        r"column public\.contacts\.tenant is not null and has no default",
    ),
    "a key without default": Case(
        "alter table contact_channels alter id drop default",
        r"key column public\.contact_channels\.id has no default",
    ),
    "a thread for everyone": Case(
        "alter table conversations alter channel_conversation_id set not null",
        r"channel_conversation_id is not null, but null means: every event with an author",
    ),
    "no replica identity": Case(
        "alter table conversations replica identity nothing; create publication p for table conversations",
        r"publication p publishes updates of public\.conversations, which has no replica identity",
    ),
    "no key to publish": Case(
        "alter table message_analysis drop constraint message_analysis_pkey;"
        "create publication p for table message_analysis",
        r"publication p publishes updates of public\.message_analysis",
        breaks=False,  # it is first updated when a message is analysed again
    ),
    "a short column list": Case(
        "create publication p for table contacts (full_name)",
        r"column list of publication p lacks columns of the replica identity of public\.contacts",
        breaks=False,  # as above
    ),
    "a row filter": Case(
        "create publication p for table webhook_events where (channel = 'tiktok')",
        r"row filter of publication p uses columns that are not in the replica identity of public\.webhook_events",
    ),
    "forced row security": Case(
        "alter table webhook_events force row level security",
        r'row security of public\.webhook_events is forced: it hides rows from "app_owner"',
    ),
    "forced row security with a policy for some": Case(
        "alter table conversations force row level security;"
        "create policy open on conversations using (status = 'open')",
        r"row security of public\.conversations is forced",
        breaks=False,
    ),
    "a restriction": Case(
        "alter table messages force row level security; create policy all_of_them on messages using (true);"
        "create policy mine on messages as restrictive using (channel = 'tiktok')",
        r"row security of public\.messages is forced",
    ),
    "the owner's rights": Case(
        "revoke insert on messages from app_owner",
        r'"app_owner", with whose rights routing writes, may not read and write public\.messages',
    ),
    "the owner's schema": Case(
        "alter schema public owner to postgres; revoke all on schema public from public, app_owner",
        r'"app_owner", with whose rights routing writes, may not use the schema "public"',
    ),
    "a function elsewhere": Case(
        "create schema crm; grant usage on schema crm to public;"
        "create function crm.helper(text) returns text language sql as 'select $1';"
        + TRIGGER.format(
            "begin /* helper's */ perform 'it''s', helper(new.content_text);  -- or helper(1)\n return new; end"
        )
        + "create trigger leads after insert on messages for each row execute function f()",
        r"trigger public\.messages\.leads calls function public\.f\(\),.* needs function crm\.helper$",
    ),
    "a type elsewhere": Case(
        'create schema "My CRM"; grant usage on schema "My CRM" to public;'
        """create type "My CRM".mood as enum ('good'); set local search_path = public, "My CRM";"""
        + TRIGGER.format("declare v_mood constant mood := 'good'; begin return new; end")
        + "create trigger moods before update on conversations for each row execute function f();"
        "create trigger also before insert on conversations for each row execute function f();"
        "set local search_path to default",
        r'trigger public\.conversations\.also calls .* needs type "My CRM"\.mood$',
    ),
    "a table elsewhere": Case(
        "create schema crm; grant all on schema crm to public; create table crm.leads (id uuid);"
        "grant all on crm.leads to public;"
        + TRIGGER.format("begin insert into leads(id) values (new.id); return new; end")
        + "create trigger leads after insert on messages for each row execute function f()",
        r"needs table crm\.leads$",
    ),
    "the name of an index": Case(
        "drop index router_threads; create index router_threads on messages (sent_at)",
        r"public\.router_threads has a name that webhook-router needs for an index on public\.conversations",
        breaks=False,
    ),
    "the name of a table": Case(
        "drop index router_threads; create table router_threads (id uuid)",
        r"public\.router_threads has a name that webhook-router needs",
        breaks=False,
    ),
    "the name of the trigger": Case(
        "drop trigger webhook_router_doorbell on webhook_events;"
        + TRIGGER.format("begin return null; end")
        + "create trigger webhook_router_doorbell after insert on webhook_events execute function f()",
        r"trigger webhook_router_doorbell on public\.webhook_events calls public\.f\(\) after an insert",
        breaks=False,
    ),
    "a doorbell for each row": Case(
        "drop trigger webhook_router_doorbell on webhook_events; create trigger webhook_router_doorbell"
        " after insert on webhook_events for each row execute function router.ring_doorbell()",
        r"trigger webhook_router_doorbell on public\.webhook_events calls router\.ring_doorbell\(\) at another time",
        breaks=False,
    ),
}

HARMLESS: Final = {
    "a mandatory column that a trigger fills": "alter table messages add tenant text not null;"
    + TRIGGER.format("begin new.tenant := 'ours'; return new; end")
    + "create trigger tenants before insert on messages for each row execute function f()",
    "a mandatory column with a default": "alter table messages add tenant text not null default 'ours'",
    "a mandatory domain with a default": "create domain tenant as text default 'ours' not null;"
    "alter table contacts add tenant tenant",
    "an identity": "alter table messages add number bigint generated always as identity",
    "a generated column of theirs": "alter table messages add words tsvector"
    " generated always as (to_tsvector('simple', coalesce(content_text, ''))) stored",
    "a rule beside messages": "create table log (id uuid); grant all on log to public;"
    "create rule log as on insert to messages do also insert into log values (new.id)",
    "a rule beside conversations": "create table log (id uuid); grant all on log to public;"
    "create rule made as on insert to conversations do also insert into log values (new.id);"
    "create rule changed as on update to conversations do also insert into log values (new.id)",
    "a rule on deletions": "create rule keep as on delete to webhook_events do instead nothing",
    "row security that is not forced": "create policy none on messages using (false)",
    "forced row security with a policy for the owner": "alter table webhook_events force row level security;"
    "create policy own on webhook_events to app_owner using (true) with check (true)",
    "forced row security with a policy for each command": "alter table messages force row level security;"
    "create policy r on messages for select using (true);"
    "create policy a on messages for insert with check (true);"
    "create policy w on messages for update using (true)",
    "a publication with keys": "create publication p for table webhook_events, contacts",
    "a publication of insertions": "create publication p for table webhook_events (channel) with (publish = 'insert')",
    "a filter by the key": "create publication p for table contacts where (id is not null)",
    "a trigger with a path": "create schema crm; grant usage on schema crm to public;"
    "create function crm.helper(text) returns text language sql as 'select $1';"
    + TRIGGER.format("begin perform helper(new.content_text); return new; end")
    + "alter function f() set search_path = public, crm;"
    "create trigger leads after insert on messages for each row execute function f()",
    "a trigger that only mentions": "create schema crm; create table crm.recent (id uuid);"
    "create table crm.number (id uuid); create type crm.helper as (id uuid);"
    "create function crm.helper() returns text language sql as 'select null';"
    + TRIGGER.format(
        "declare number integer; begin -- helper() is not called\n"
        " with recent as (select 'from crm: helper()' as text) select count(*) into number from recent;"
        " if new.content_text is distinct from 'helper()' then null; end if; return new; end"
    )
    + "create trigger leads after insert on messages for each row execute function f()",
    "names in quotes": "set quote_all_identifiers = on",
}


@pytest.fixture(scope="module")
def ready(application_server: EmbeddedPostgres) -> Iterator[Database]:
    with brownfield_on(application_server) as database:
        migrator.migrate(database.owned)
        yield database


@contextlib.contextmanager
def rolled_back(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.admin) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def undone(ready: Database) -> Iterator[psycopg.Connection]:
    """A superuser's transaction that is rolled back."""
    with rolled_back(ready) as connection:
        yield connection


def problems(connection: psycopg.Connection) -> list[tuple[str, str]]:
    return connection.execute(OBSTACLES).fetchall()


def use(connection: psycopg.Connection) -> None:
    """Stores and routes events in each way; fails if one of them is not routed."""
    connection.execute(
        "insert into public.webhook_events (channel, type, event_id, author_id, author_name, content) values"
        " ('whatsapp', 'message', 'a', 'ann', 'Ann', 'help?'), ('whatsapp', 'message', 'b', 'bob', null, 'yes')"
    )
    assert connection.execute("select public.route_webhook_event('whatsapp', 'a')").fetchone() is not None
    assert connection.execute("select public.route_unrouted_events()").fetchone() == (1,)
    for event in ("c", "d"):
        connection.execute(
            "select public.ingest_route_analyze('whatsapp', 'message', %s, 'ann', %s, 'urgent', now(), '{}')",
            [event, f"Ann {event}"],
        )
    connection.execute("insert into public.webhook_events (channel, type, event_id) values ('tiktok', 'comment', 'e')")
    batch = connection.execute("select b.claimed, b.parked from router.route_batch(10) b").fetchone()
    assert batch == (1, 0)
    routed = connection.execute(
        "select count(*) from public.webhook_events w join public.messages m on m.provider_message_id = w.event_id"
        " where w.event_id in ('a', 'b', 'c', 'd', 'e') and w.routed_at is not null"
        " and w.conversation_id = m.conversation_id"
    ).fetchone()
    assert routed == (5,)


@pytest.mark.parametrize("name", CASES)
def test_an_obstacle_is_named_with_its_remedy(ready: Database, undone: psycopg.Connection, name: str) -> None:
    """It alone is reported; it does prevent routing; after the remedy, which is SQL, everything works."""
    case = CASES[name]
    if ready.server.major < case.version:
        pytest.skip("not with this version")
    if case.breaks:
        with rolled_back(ready) as broken:  # a session of its own: the plans of this one would know the damage
            broken.execute(case.damage.encode())
            with pytest.raises((psycopg.Error, AssertionError)):
                use(broken)
    undone.execute(case.damage.encode())
    ((problem, remedy),) = problems(undone)
    assert re.search(case.problem, problem), problem
    undone.execute(remedy.encode())
    assert problems(undone) == []
    if "has a name" not in problem:  # whose index is missing now: the planner is not to be left without it
        use(undone)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_routing_lives_with_is_no_obstacle(undone: psycopg.Connection, name: str) -> None:
    """A refusal of a database that works would be as bad as an obstacle that is not seen."""
    undone.execute(HARMLESS[name].encode())
    assert problems(undone) == []
    use(undone)


def test_altered_tables_are_put_right_and_migrated(brownfield: Database) -> None:
    """Before anything is changed the error names all of it; with the remedies run, the migration goes through."""
    damages = {
        "alter table contacts drop full_name;"
        "alter table contacts add full_name text generated always as (first_name) stored": "full_name is generated",
        "create rule log as on update to contacts do also notify renamed": "rule log on update",
        "alter table messages add tenant text not null default 'x'; alter table messages alter tenant drop default": (
            r"messages\.tenant is not null"
        ),
        "alter table webhook_events alter routed_at set default now()": "routed_at has a default",
        "alter table webhook_events force row level security": "row security of public.webhook_events",
        "create table router_ready_by_arrival (id uuid)": "public.router_ready_by_arrival has a name",
        TRIGGER.format("begin return null; end")
        + "create trigger webhook_router_doorbell after insert on webhook_events execute function f()": (
            "trigger webhook_router_doorbell"
        ),
    }
    brownfield.run(*damages, role=brownfield.owner)
    brownfield.run("alter table contact_channels replica identity nothing", "create publication p for all tables")
    expected = [*damages.values(), "publication p publishes updates of public.contact_channels"]
    with pytest.raises(Fatal, match="nothing was changed") as error:
        migrator.migrate(brownfield.owned)
    assert brownfield.value("select to_regnamespace('router')") is None
    lines = [line.strip(" -") for line in str(error.value).splitlines()[1:]]
    assert len(lines) == 2 * len(expected)
    for problem in expected:
        assert any(re.search(problem, line) for line in lines[::2]), problem
        assert any(re.search(problem, finding) for finding in migrator.check(brownfield.owned)), problem
    block = script().partition("do $preflight$")
    with brownfield.session(brownfield.owner) as connection:
        connection.execute("set webhook_router.reads = off")
        connection.execute("set webhook_router.same = true")  # what the script has found out about the connection
        with pytest.raises(psycopg.errors.RaiseException) as refusal:
            connection.execute((block[1] + block[2].partition("$preflight$;")[0] + "$preflight$").encode())
    assert [line for line in lines if line not in str(refusal.value)] == []
    assert brownfield.value("select to_regnamespace('router')") is None
    brownfield.run(*lines[1::2], role=brownfield.owner)
    migrator.migrate(brownfield.owned)
    assert migrator.check(brownfield.owned) == []
    with rolled_back(brownfield) as connection:
        connection.execute("update webhook_events set routed_at = coalesce(routed_at, now())")
        use(connection)


def test_a_remedy_keeps_what_is_stored(brownfield: Database) -> None:
    """A time of ours that somebody made a text stays that time."""
    migrator.migrate(brownfield.owned)
    brownfield.run(
        "drop index router_ready_by_arrival, router_ready_by_event_date, router_parked_by_next_attempt",
        "update webhook_events set parked_until = '2026-01-01 00:00+00'",
        "alter table webhook_events alter parked_until type text",
    )
    with brownfield.session() as connection:
        ((_, remedy),) = problems(connection)
        connection.execute(remedy.encode())
    assert brownfield.rows("select distinct parked_until = '2026-01-01 00:00+00' from webhook_events") == [(True,)]


NOTED: Final = {
    "alter table webhook_events disable trigger webhook_router_doorbell": "the doorbell is disabled",
    "alter table webhook_events enable replica trigger webhook_router_doorbell": "enabled for replicas only",
    "create publication p for all tables": "publication p publishes the tables of the private schema",
    "create publication p for tables in schema router": "publication p publishes the tables of the private schema",
    "alter table webhook_events alter created_at drop not null;"
    "insert into webhook_events (channel, type, event_id, created_at) values ('tiktok', 'message', 'x', null)": (
        "unrouted events have no created_at"
    ),
    "alter table contacts alter full_name set not null": "contacts.full_name is not null: an event of people without",
    "alter table messages alter id drop default": "auto_reply_stub",
    "create rule r as on insert to messages do also notify stored": "rule r on public.messages",
    "create table old () inherits (messages)": "public.messages has child tables (old)",
    "create table every (like webhook_events); alter table webhook_events inherit every": "is a child of every",
    "alter role anon set session_replication_role = replica": "by default for anon",
    "alter table message_analysis set unlogged": "message_analysis is unlogged",
}


@pytest.mark.parametrize("cause", NOTED)
def test_what_is_better_known_is_noted(undone: psycopg.Connection, cause: str) -> None:
    """One line each, and none without its cause, nor after the statement that some of them name."""
    assert undone.execute(NOTES).fetchall() == []
    undone.execute(cause.encode())
    ((note,),) = undone.execute(NOTES)
    assert NOTED[cause] in note
    if note.endswith(";"):
        undone.execute("delete from webhook_events where created_at is null")
        undone.execute(note.rpartition(": ")[2].encode())
        assert undone.execute(NOTES).fetchall() == []


def test_a_subscription_is_noted(ready: Database, undone: psycopg.Connection) -> None:
    """Rows that replication writes do not ring."""
    undone.execute("create subscription s connection 'dbname=nowhere' publication p with (connect = false)")
    undone.execute(
        "insert into pg_subscription_rel (srsubid, srrelid, srsubstate)"
        " select oid, 'webhook_events'::regclass, 'r' from pg_subscription where subname = 's'"
    )
    with rolled_back(ready) as other:
        assert other.execute(NOTES).fetchall() == []
    ((note,),) = undone.execute(NOTES)
    assert "filled by a subscription" in note


def test_settings_of_the_server_are_noted(private_postgres: StartPostgres) -> None:
    """Two-phase commit beside the doorbell, and a synchronous standby that is not there."""
    server = private_postgres(
        settings={
            "max_prepared_transactions": "5",
            "synchronous_standby_names": "elsewhere",
            "synchronous_commit": "local",
        }
    )
    migrator.migrate(server.dsn())
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        ((two_phases,),) = connection.execute(NOTES)
        assert "migrate --no-doorbell" in two_phases
        migrator.migrate(server.dsn(), doorbell=False)
        connection.execute("begin")
        connection.execute("insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'x')")
        connection.execute("prepare transaction 'two phases'")
        connection.execute("commit prepared 'two phases'")
        connection.execute("set synchronous_commit = on")
        ((alone,),) = connection.execute(NOTES)
        assert 'synchronous_standby_names is "elsewhere"' in alone
        connection.execute("set synchronous_commit = local")


def test_who_may_read_little_still_gets_an_answer(ready: Database) -> None:
    """Both only read the catalogue, or what they may read."""
    with ready.session("anon") as connection:
        assert connection.execute(OBSTACLES).fetchall() == []
        assert connection.execute(NOTES).fetchall() == []
