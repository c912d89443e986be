"""Uninstalling: the application's database is again what it was, data excepted, and nothing that it needs goes."""

import difflib
import re
import threading
from collections.abc import Callable

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator, replaced, uninstaller
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.shipped_files import roles_script
from consumer.domain.errors import Fatal, Transient
from consumer.embedded_postgres.server import EmbeddedPostgres, all_binaries, find_binaries
from tests.cli import run
from tests.conftest import StartPostgres
from tests.migrations.databases import TABLES, Database, brownfield_on, empty_on, make_role
from tests.migrations.dumps import dump
from tests.migrations.psql import run_psql
from tests.waiting import PATIENCE, wait_for

OWN_RIGHTS = """
    grant execute on function route_unrouted_events(text, integer) to jobs with grant option;
    grant execute on function ai_reply_template(uuid) to public;
    revoke all on function auto_reply_stub(uuid) from public, anon, authenticated;
    comment on function route_webhook_event(text, text) is 'ours, since 2023: it''s \\ old';
    create function app_view_of(p_channel text) returns bigint language sql as 'select count(*) from webhook_events';
    create view unrouted as select count(*) as n from webhook_events where routed_at is null;
    grant select on unrouted to authenticated;
"""
"""Grants that migrations would not make, and objects that use the same tables."""


def assert_same(before: str, after: str) -> None:
    """With what differs, line by line."""
    assert [*difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=1)] == []


@pytest.fixture(params=sorted(binaries.major for binaries in all_binaries()), ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest, server_of_major: Callable[[int], EmbeddedPostgres]) -> EmbeddedPostgres:
    """Every version at hand."""
    found = server_of_major(request.param)
    make_role(found, "jobs", "nologin")
    return found


@pytest.mark.parametrize("migrating", ["owner", "superuser"])
@pytest.mark.parametrize("leaving", ["owner", "superuser"])
def test_a_dump_is_the_same_as_before(server: EmbeddedPostgres, migrating: str, leaving: str) -> None:
    """Functions of the application have their texts, owners, grants and comments again; nothing of ours is left."""
    with brownfield_on(server, events=200) as database:
        database.run(OWN_RIGHTS, role="app_owner")
        before = dump(database)
        migrator.migrate(database.owned if migrating == "owner" else database.admin)
        assert dump(database) != before
        database.run("select route_unrouted_events(null, 500)", role="jobs")
        conninfo = database.owned if leaving == "owner" else database.admin
        planned = uninstaller.plan(conninfo)
        assert planned.problems == []
        removal = uninstaller.uninstall(conninfo)
        assert removal.done[: len(planned.done)] == planned.done
        assert_same(before, dump(database))
        assert database.value("select count(*) from messages") == 200
        assert database.value("select count(*) from webhook_events where routed_at is null") == 0
        assert database.value("select route_unrouted_events()", role="jobs") == 0
        assert uninstaller.uninstall(conninfo).left == ["webhook-router is not installed in this database"]


def test_an_installation_by_psql(newest_server: EmbeddedPostgres) -> None:
    """The script keeps the same copies."""
    with brownfield_on(newest_server) as database:
        before = dump(database)
        run_psql(database, script())
        uninstaller.uninstall(database.owned)
        assert_same(before, dump(database))


def test_an_empty_database_is_empty_again(server: EmbeddedPostgres) -> None:
    """Tables that the migrations have made go while they are empty."""
    with empty_on(server) as database:
        before = dump(database)
        migrator.migrate(database.owned)
        removal = uninstaller.uninstall(database.owned)
        assert_same(before, dump(database))
        assert any("public.contacts" in line for line in removal.done)


def test_tables_with_data_stay(newest_server: EmbeddedPostgres) -> None:
    """With the keys, rights and policies that they have, also those that only others refer to."""
    with empty_on(newest_server) as database:
        migrator.migrate(database.owned)
        database.run(
            "insert into webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', 'a', 'b')",
            "select route_unrouted_events()",
        )
        left = uninstaller.uninstall(database.owned).left
        for table in TABLES:
            stays = table != "message_analysis"
            assert (database.value(f"select to_regclass('public.{table}')") is not None) == stays, table
            assert any(f"table public.{table}," in line for line in left) == stays
        assert database.value("select count(*) from messages", role="authenticated") == 1
        migrator.migrate(database.owned)
        assert migrator.check(database.owned) == []
        assert database.value("select count(*) from webhook_events where routed_at is null") == 0


WITHOUT_ROWS = "".join(
    f"delete from router.{table};"
    for table in (
        *("schema_migrations", "schema_functions", "installation", "parked_events", "found", "history"),
        "replaced_functions",
    )
)


def test_a_restored_schema_without_rows(brownfield_newest: Database) -> None:
    """Tables of the application are not taken for ours, and dropped when they are empty: ours bear a comment."""
    database = brownfield_newest
    migrator.migrate(database.owned)
    database.run("truncate contacts, conversations, webhook_events cascade", WITHOUT_ROWS, role="app_owner")
    migrator.migrate(database.owned)
    assert migrator.check(database.owned) == []
    done = uninstaller.uninstall(database.owned).done
    assert not [line for line in done for table in TABLES if line.startswith(f"table public.{table},")]
    for table in TABLES:
        assert database.value(f"select to_regclass('public.{table}')") is not None, table


def test_parked_and_dead_events_are_reachable_again(brownfield_newest: Database) -> None:
    """Uninstalled, removed by hand with its schema, or restored without its rows: what was set aside is routed."""
    database = brownfield_newest
    for way in ("uninstall", "drop schema router cascade", WITHOUT_ROWS):
        migrator.migrate(database.owned)
        database.run(
            "create or replace function refuse() returns trigger language plpgsql as"
            " $$ begin raise exception 'no' using errcode = '23514'; end $$;"
            "create trigger refuse before insert on messages for each row execute function refuse();"
            "insert into webhook_events (channel, type, event_id)"
            f" select 'tiktok', 'message', '{way[:4]} ' || n from generate_series(1, 5) n;"
            "select route_unrouted_events();"
            f"update webhook_events set parked_until = 'infinity' where event_id in ('{way[:4]} 1', '{way[:4]} 2');"
            "update router.parked_events set discarded_at = now() where event_id ="
            f" (select id from webhook_events where event_id = '{way[:4]} 1');"
            "drop trigger refuse on messages",
            role="app_owner",
        )
        assert database.value("select count(*) from webhook_events where parked_until is not null") == 5
        if way == "uninstall":
            uninstaller.uninstall(database.owned)
        else:
            database.run(way, role="app_owner")
        migrator.migrate(database.owned)
        assert migrator.check(database.owned) == []
        assert database.value("select route_unrouted_events()", role="anon") == 5
        assert database.value("select count(*) from webhook_events where routed_at is null") == 0


def test_what_depends_on_a_column_that_was_left(fresh_newest: Database) -> None:
    """It is not lost with what an installation that was removed by hand has left; the message says what to do."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(
        "create view waiting as select count(*) as n from webhook_events where parked_until is not null;"
        "drop schema router cascade",
        role="app_owner",
    )
    with pytest.raises(Fatal, match=r"parked_until is left over.*Drop what depends on it, run this again"):
        migrator.migrate(fresh_newest.owned)
    fresh_newest.run("drop view waiting")
    migrator.migrate(fresh_newest.owned)
    assert migrator.check(fresh_newest.owned) == []


def test_a_column_that_says_when_events_were_routed_is_data(newest_server: EmbeddedPostgres) -> None:
    """One that was added goes while it is empty; later the statement that drops it is told."""
    with brownfield_on(newest_server, events=100) as database:
        database.run("alter table webhook_events drop column routed_at")
        before = dump(database)
        migrator.migrate(database.owned)
        uninstaller.uninstall(database.owned)
        assert_same(before, dump(database))

        migrator.migrate(database.owned)
        database.run("select route_unrouted_events(null, 50)")
        (line,) = [line for line in uninstaller.uninstall(database.owned).left if "routed_at" in line]
        assert database.value("select count(routed_at) from webhook_events") == 50
        database.run(line.rpartition(": ")[2], role="app_owner")
        assert_same(before, dump(database))


def test_columns_of_the_application_stay(newest_server: EmbeddedPostgres) -> None:
    """Those that had the names of ours before."""
    with brownfield_on(newest_server) as database:
        database.run(
            "alter table webhook_events add column parked_until timestamptz;"
            "alter table contact_channels add column display_name_at timestamptz;"
            "alter table webhook_events add column routed_by text",
            role="app_owner",
        )
        before = dump(database)
        ((note,),) = [[note] for note in migrator.notes(database.owned) if "routed_by" in note]
        migrator.migrate(database.owned)
        assert not [note for note in migrator.notes(database.owned) if "routed_by" in note]
        uninstaller.uninstall(database.owned)
        assert_same(before, dump(database))
        database.run(note.rpartition(": ")[2], role="app_owner")
        assert not [note for note in migrator.notes(database.owned) if "routed_by" in note]
        migrator.migrate(database.owned)
        database.run("select route_unrouted_events(null, 50)")
        uninstaller.uninstall(database.owned)
        assert database.value("select count(routed_by_before) from webhook_events") == 0


DEPENDENTS = [
    ("create view parked as select id from webhook_events where parked_until is not null", "view public.parked"),
    ("create index by_parked on webhook_events (channel, parked_until)", "index public.by_parked"),
    ("create view backlog as select * from router.backlog()", "view public.backlog"),
    (
        "create trigger bell after insert on messages for each statement execute function router.ring_doorbell()",
        "trigger bell on table public.messages",
    ),
    ("create table batches (batch router.batch)", "column batch of table public.batches"),
    (
        "create table notes (event_id uuid references router.parked_events)",
        "constraint notes_event_id_fkey on table public.notes",
    ),
]


@pytest.mark.parametrize(("statement", "dependent"), DEPENDENTS, ids=[dependent for _, dependent in DEPENDENTS])
def test_what_the_application_built_on_ours_is_named(
    brownfield_newest: Database, statement: str, dependent: str
) -> None:
    """And nothing is changed, neither lost silently nor dropped with ours."""
    database = brownfield_newest
    migrator.migrate(database.owned)
    database.run(statement, role="app_owner")
    before = dump(database)
    ran = run(database.owned, "uninstall", "--check")
    assert ran.code == 1
    assert f"in the way: {dependent} of the application depends on " in ran.out
    with pytest.raises(Fatal, match=f"nothing was changed.*\n.*{re.escape(dependent)} of the application depends on"):
        uninstaller.uninstall(database.owned)
    assert_same(before, dump(database))


def test_what_was_new_in_public_and_is_used(fresh_newest: Database) -> None:
    """A function that replaced none is dropped, unless a view calls it."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run("create view sweep as select route_unrouted_events()", role="app_owner")
    with pytest.raises(
        Fatal, match=r"view public\.sweep of the application depends on function public\.route_unrouted_events"
    ):
        uninstaller.uninstall(fresh_newest.owned)


def test_what_calls_a_function_that_goes(fresh_newest: Database) -> None:
    """No catalogue knows what a function calls; one whose text has such a name is named."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(
        "create function nightly() returns integer language plpgsql as 'begin return route_unrouted_events(); end'",
        role="app_owner",
    )
    removal = uninstaller.uninstall(fresh_newest.owned)
    (line,) = [line for line in removal.left if "nightly" in line]
    assert line.startswith("function public.nightly(), which seems to call route_unrouted_events")


def test_what_the_application_keeps_in_our_schema_stays(brownfield_newest: Database) -> None:
    """With the schema, and it is said."""
    migrator.migrate(brownfield_newest.owned)
    brownfield_newest.run(
        "create table router.mine (id integer); create type router.mood as enum ('good');"
        "create function router.my_own() returns integer language sql as 'select 1'",
        role="app_owner",
    )
    left = uninstaller.uninstall(brownfield_newest.owned).left
    (line,) = [line for line in left if line.startswith('schema "router"')]
    assert all(name in line for name in ("table router.mine", "type router.mood", "function router.my_own()"))
    assert brownfield_newest.rows("select relname::text from pg_class where relnamespace = 'router'::regnamespace") == [
        ("mine",)
    ]
    assert brownfield_newest.value("select router.my_own()") == 1


def test_a_running_service_is_in_the_way(brownfield_newest: Database) -> None:
    """It would fail at every call; its process is named."""
    migrator.migrate(brownfield_newest.owned)
    with (
        psycopg.connect(brownfield_newest.owned, application_name="webhook-router") as service,
        pytest.raises(Fatal, match=rf"the service is connected: process {service.info.backend_pid} .*\n.*stop it"),
    ):
        uninstaller.uninstall(brownfield_newest.owned)
    uninstaller.uninstall(brownfield_newest.owned)


def test_a_stranger_cannot(brownfield_newest: Database) -> None:
    """Whoever does not act for the owner of the tables is told whose URL it takes."""
    migrator.migrate(brownfield_newest.owned)
    make_role(brownfield_newest.server, "stranger", "login")
    stranger = brownfield_newest.server.dsn(brownfield_newest.name, user="stranger")
    with pytest.raises(Fatal, match='"stranger" may not act as "app_owner", who owns the tables'):
        uninstaller.uninstall(stranger)


def test_under_traffic(brownfield_newest: Database) -> None:
    """It steps back from locks, so that others get through, and gives up in the end with nothing changed."""
    migrator.migrate(brownfield_newest.owned)
    before = dump(brownfield_newest)
    lines: list[str] = []
    insert = "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', %s)"
    with psycopg.connect(brownfield_newest.admin, application_name="a long report") as long:
        long.execute(insert, ["held"])
        with pytest.raises(Transient, match=r"a lock is not available.*\(a long report\)"):
            uninstaller.uninstall(brownfield_newest.owned, patience=0, lock_timeout=0.05)
        leaving = threading.Thread(
            target=uninstaller.uninstall,
            args=[brownfield_newest.owned],
            kwargs={"report": lines.append, "lock_timeout": 0.05},
        )
        leaving.start()
        wait_for(lambda: lines, what="the report that it waits")
        assert_same(before, dump(brownfield_newest))
        with brownfield_newest.session() as other:
            other.execute("set lock_timeout = '60s'")
            other.execute(insert, ["other"])
    leaving.join(PATIENCE)
    assert brownfield_newest.value("select to_regnamespace('router')") is None
    assert brownfield_newest.value("select count(*) from webhook_events") == 2


def test_functions_of_another_owner(newest_server: EmbeddedPostgres) -> None:
    """They go back to whom they belonged; whoever cannot do that is told what is lacking."""
    with brownfield_on(newest_server) as database:
        make_role(newest_server, "jobs", "nologin")
        database.run(
            "grant create on schema public to jobs; alter function route_unrouted_events(text, integer) owner to jobs"
        )
        before = dump(database)
        migrator.migrate(database.admin)
        with pytest.raises(Fatal, match='belonged to "jobs", as whom "app_owner" cannot act') as error:
            uninstaller.uninstall(database.owned)
        # A superuser makes no function for somebody from the text of somebody else.
        (line,) = [line for line in uninstaller.plan(database.admin).left if "jobs" in line]
        uninstaller.uninstall(database.admin)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):  # as before: "jobs" may read none of the tables
            database.run("select route_unrouted_events()", role="jobs")
        database.run(
            line.rpartition(": ")[2], "revoke all on function route_unrouted_events(text, integer) from app_owner"
        )
        migrator.migrate(database.admin)
        database.run(str(error.value).rpartition(", or: ")[2])
        try:
            uninstaller.uninstall(database.owned)
            assert "OWNER TO jobs" in dump(database)
            assert before.count("OWNER TO jobs") == dump(database).count("OWNER TO jobs")
        finally:
            database.run("revoke jobs from app_owner")


def test_a_function_of_a_stranger_gets_no_rights_of_the_owner(newest_server: EmbeddedPostgres) -> None:
    """Its text comes back, and runs with the rights of whoever calls it, until somebody has read it."""
    with brownfield_on(newest_server) as database:
        make_role(newest_server, "planter", "nologin")
        database.run(
            "grant create on schema public to planter; drop function auto_reply_stub(uuid);"
            "set role planter; create function public.auto_reply_stub(p_message_id uuid) returns uuid language plpgsql"
            " security definer as 'begin perform from public.contacts; return null; end'"
        )
        migrator.migrate(database.admin)
        (line,) = [line for line in uninstaller.plan(database.admin).left if "planter" in line]
        uninstaller.uninstall(database.admin)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="contacts"):
            database.run("select auto_reply_stub(gen_random_uuid())", role="anon")
        database.run(line.rpartition(": ")[2])
        kept = "select proowner::regrole || ' ' || prosecdef from pg_proc where proname = 'auto_reply_stub'"
        assert database.value(kept) == "planter true"


def test_fewer_defaults(newest_server: EmbeddedPostgres) -> None:
    """Which "or replace" cannot take away: the function is made anew."""
    with brownfield_on(newest_server) as database:
        database.run(
            "drop function route_unrouted_events(text, integer);"
            "create function route_unrouted_events(p_channel text, p_limit integer) returns integer"
            " language sql as 'select 7';"
            "revoke all on function route_unrouted_events(text, integer) from public;"
            "comment on function route_unrouted_events(text, integer) is 'seven'",
            role="app_owner",
        )
        before = dump(database)
        migrator.migrate(database.owned)
        uninstaller.uninstall(database.owned)
        assert_same(before, dump(database))


def test_the_check_names_what_will_be_replaced(brownfield_newest: Database) -> None:
    """Before the first run each of the application's functions; later one that was put in place of ours."""
    said = run(brownfield_newest.owned, "migrate", "--check").out
    assert said.count(" of the application will be replaced; ") == len(replaced.SIGNATURES)
    assert "function public.route_unrouted_events(text,integer) of the application will be replaced" in said
    migrator.migrate(brownfield_newest.owned)
    assert replaced.to_be_replaced(brownfield_newest.owned) == []
    brownfield_newest.run(
        "create or replace function route_unrouted_events(p_channel text default null, p_limit integer default 100)"
        " returns integer language sql as 'select 8'",
        role="app_owner",
    )
    (line,) = replaced.to_be_replaced(brownfield_newest.owned)
    assert "route_unrouted_events" in line
    migrator.migrate(brownfield_newest.owned)
    uninstaller.uninstall(brownfield_newest.owned)
    assert brownfield_newest.value("select route_unrouted_events()", role="anon") == 8


def test_signatures_are_those_of_the_public_functions(fresh_newest: Database) -> None:
    """As the catalogue writes them."""
    migrator.migrate(fresh_newest.owned)
    with fresh_newest.session() as connection:
        connection.execute("set search_path = ''")
        found = connection.execute(
            "select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert {name for (name,) in found} == replaced.SIGNATURES


def test_an_earlier_release_kept_no_copies(brownfield_newest: Database) -> None:
    """It is said of each function, which is dropped."""
    migrator.migrate(brownfield_newest.owned)
    brownfield_newest.run(
        "drop table if exists router.replaced_functions, router.found, router.history;"
        "delete from router.schema_migrations where name like '%replaced_functions%'",
        role="app_owner",
    )
    migrator.migrate(brownfield_newest.owned)
    left = uninstaller.uninstall(brownfield_newest.owned).left
    assert sum("an earlier release kept no copy" in line for line in left) == len(replaced.SIGNATURES)
    assert brownfield_newest.value("select to_regproc('public.route_webhook_event')") is None
    assert brownfield_newest.value("select count(routed_at) from webhook_events") == 0


@pytest.mark.parametrize(
    "tampering",
    [
        "update router.replaced_functions set definition = 'alter role app_owner superuser'",
        "update router.replaced_functions set definition = definition || '; alter role app_owner superuser'",
        (
            "update router.replaced_functions"
            " set definition = definition || '; reset role; alter role app_owner superuser'"
        ),
        (
            "update router.replaced_functions set signature ="
            " 'public.ai_reply_template(uuid) owner to app_owner; alter role app_owner superuser; --'"
            " where signature like '%ai_reply%'"
        ),
        "update router.replaced_functions set owner = 'postgres'",
        (
            "create function planted(text) returns boolean language plpgsql immutable as"
            " $$ begin perform nextval('public.traps'); return true; end $$;"
            "create index on router.replaced_functions (public.planted(signature))"
        ),
        (
            "alter table router.replaced_functions rename to elsewhere;"
            "create view router.replaced_functions as select nextval('public.traps')::text as signature,"
            " definition, owner, rights, description, extensions from router.elsewhere"
        ),
    ],
)
def test_a_superuser_runs_nothing_of_the_owner(brownfield_newest: Database, tampering: str) -> None:
    """Whatever the owner of the tables makes of the copies, nothing runs with more than his own rights."""
    database = brownfield_newest
    migrator.migrate(database.admin)
    database.run("create sequence public.traps", tampering, "alter sequence public.traps restart", role="app_owner")
    try:
        uninstaller.plan(database.admin)
        uninstaller.uninstall(database.admin)
    except Fatal:
        pass
    assert database.value("select rolsuper from pg_roles where rolname = 'app_owner'") is False
    assert database.value("select is_called from public.traps") is False
    assert (
        database.rows(
            "select p.oid::regprocedure::text from pg_proc p join pg_roles r on r.oid = p.proowner"
            " where p.pronamespace = 'public'::regnamespace and r.rolsuper"
        )
        == []
    )


# ── Servers of their own: roles belong to the whole server ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("major", sorted(binaries.major for binaries in all_binaries()), ids=lambda major: f"pg{major}")
def test_roles_go_with_the_last_database(private_postgres: StartPostgres, major: int) -> None:
    """While another database needs them, or a login is a member, they stay, and it is said why."""
    server = private_postgres(binaries=find_binaries(major=major))
    make_role(server, "app_owner", "login createdb createrole")
    with empty_on(server) as one, empty_on(server) as other:
        for database in (one, other):
            migrator.migrate(database.owned)
        one.run(roles_script(), "create role my_service login in role webhook_router_service")
        migrator.migrate(one.admin)
        left = uninstaller.uninstall(one.owned).left
        assert any(line.startswith("role webhook_router_api: another database of the server needs it") for line in left)
        assert any(line.startswith("role webhook_router_service: ") for line in left)
        one.run("drop role my_service")
        removal = uninstaller.uninstall(other.admin)
        assert "role webhook_router_api is dropped" in removal.done
        assert other.rows("select rolname::text from pg_roles where rolname = 'webhook_router_api'") == []
        migrator.migrate(other.owned)
        assert "role webhook_router_api is dropped" in uninstaller.uninstall(other.owned).done
