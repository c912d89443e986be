"""What belongs to the application stays as it is, also where it bears a name that we would like to have."""

import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.domain.errors import Fatal
from tests.migrations.databases import Database
from tests.migrations.psql import psql, run_psql

ROUTE = """
    insert into public.webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', 'e1', 'a1');
    select public.route_unrouted_events(null, 10000)
"""
NEIGHBOURS = """
    create table router.shops (id integer primary key, name text);
    insert into router.shops values (1, 'one');
    create view router.open_shops as select * from router.shops;
    create sequence router.numbers;
    create type router.weight as (grams integer);
    create type router.mood as enum ('good', 'bad');
    create domain router.age as integer check (value > 0);
    create function router.price(integer) returns integer language sql as 'select $1';
    create function router.price(router.weight) returns integer language sql as 'select 2';
    create procedure router.tidy() language sql as 'select 1';
    create aggregate router.total(integer) (sfunc = int4pl, stype = integer);
    create index router_by_author on public.webhook_events (author_id);
    grant usage on schema router to public, anon;
    grant select on router.shops, router.open_shops to public;
    grant usage on sequence router.numbers to anon;
    grant execute on function router.price(integer) to anon, public;
    grant usage on type router.mood to anon;
"""
STATE = """
    select 'relation' as kind, c.oid::regclass::text as name, c.oid,
           c.relowner::regrole::text as owner, c.relacl::text as acl
    from pg_class c
    where c.relname in ('shops', 'open_shops', 'numbers', 'router_by_author', 'shops_pkey')
    union all
    select 'routine', p.oid::regprocedure::text, p.oid, p.proowner::regrole::text, p.proacl::text
    from pg_proc p where p.pronamespace = 'router'::regnamespace and p.proname in ('price', 'tidy', 'total')
    union all
    select 'type', t.oid::regtype::text, t.oid, t.typowner::regrole::text, t.typacl::text
    from pg_type t where t.typnamespace = 'router'::regnamespace and t.typname in ('weight', 'mood', 'age')
    union all
    select 'schema', n.nspname, n.oid, n.nspowner::regrole::text,
           array(select a::text from aclexplode(n.nspacl) a where a.grantee <> to_regrole('webhook_router_api')
                 order by 1)::text
    from pg_namespace n where n.nspname = 'router'
    order by 1, 2
"""


@pytest.mark.parametrize(
    "schema", ["create schema router", f"create schema router; {NEIGHBOURS}"], ids=["empty", "used"]
)
def test_a_schema_of_that_name_is_refused(brownfield: Database, schema: str) -> None:
    """Before anything is changed, by migrate, --check and the script; with the remedy, all goes through."""
    if "shops" in schema:
        schema = schema.replace("numbers;", "numbers; create table router.schema_migrations (version bigint);", 1)
    brownfield.run(schema, role="app_owner")
    before = brownfield.rows(STATE)
    with pytest.raises(Fatal, match=r'nothing was changed.*\n.*the schema "router" is there already') as error:
        migrator.migrate(brownfield.owned)
    assert len(migrator.check(brownfield.owned)) == 1
    done = psql(brownfield, script())
    assert done.returncode == 3
    assert 'nothing was changed; first put right:\n  - the schema "router" is there already' in done.stderr
    assert brownfield.rows(STATE) == before
    assert brownfield.value("select to_regclass('router.parked_events')") is None

    brownfield.run(str(error.value).splitlines()[-1], role="app_owner")
    migrator.migrate(brownfield.owned)
    assert migrator.check(brownfield.owned) == []
    brownfield.run(ROUTE)
    if "shops" in schema:
        assert brownfield.value("select name from router_of_the_application.open_shops", role="anon") == "one"


@pytest.mark.parametrize("with_psql", [False, True], ids=["migrate", "psql"])
def test_what_the_application_keeps_beside_ours_stays(fresh: Database, *, with_psql: bool) -> None:
    """Neither dropped nor given to another owner, and its grants stay, whatever is applied again."""
    migrator.migrate(fresh.owned)
    fresh.run(NEIGHBOURS)
    fresh.run("update pg_index set indisvalid = false where indexrelid = 'router_by_author'::regclass")
    before = fresh.rows(STATE)
    assert migrator.check(fresh.owned) == []
    if with_psql:
        run_psql(fresh, script())
    else:
        migrator.migrate(fresh.admin, reapply=True)
        assert not migrator.migrate(fresh.owned).changed
    assert fresh.rows(STATE) == before
    assert migrator.check(fresh.owned) == []


TAKEN = [
    (
        "create index router_ready_by_arrival on public.webhook_events (author_id)",
        "public.router_ready_by_arrival",
    ),
    ("create index router_threads on public.conversations (channel_conversation_id)", "public.router_threads"),
    ("create table public.router_ready_by_event_date (id integer)", "public.router_ready_by_event_date"),
    (
        "create view public.router_parked_by_next_attempt as select 1 as one",
        "public.router_parked_by_next_attempt",
    ),
    ("create index router_messages_by_conversation on public.contacts (id)", "public.router_messages_by"),
    (
        (
            "create function public.ring() returns trigger language plpgsql as 'begin return new; end';"
            "create trigger webhook_router_doorbell before insert on public.webhook_events for each row"
            " execute function public.ring()"
        ),
        "trigger webhook_router_doorbell on public.webhook_events",
    ),
]
TAKEN_BESIDE_OURS = [
    ("drop table router.parked_events; create table router.parked_events (id integer)", "table router.parked_events"),
    ("drop table router.installation; create view router.installation as select 1 as one", "view router.installation"),
    ("drop type router.target cascade; create table router.target (id integer)", "table router.target"),
]


def test_names_that_are_taken_are_refused(brownfield: Database) -> None:
    """Each is named, nothing was changed, and the remedies are enough."""
    for statement, _ in TAKEN:
        brownfield.run(statement, role="app_owner")
    with pytest.raises(Fatal, match="nothing was changed") as error:
        migrator.migrate(brownfield.owned)
    assert brownfield.value("select to_regnamespace('router')") is None
    put_right(brownfield, str(error.value), [name for _, name in TAKEN])


def test_names_that_are_taken_in_our_schema_are_refused(fresh: Database) -> None:
    """Where the application has put its own things in the place of ours."""
    migrator.migrate(fresh.owned)
    for statement, _ in TAKEN_BESIDE_OURS:
        fresh.run(statement, role="app_owner")
    with pytest.raises(Fatal, match="nothing was changed") as error:
        migrator.migrate(fresh.owned)
    # What a migration has made comes back only by running it again.
    fresh.run("delete from router.schema_migrations where version >= '20260901000100'")
    put_right(fresh, str(error.value), [name for _, name in TAKEN_BESIDE_OURS])


def put_right(database: Database, error: str, names: list[str]) -> None:
    lines = error.splitlines()[1:]
    problems, remedies = lines[::2], lines[1::2]
    assert len(problems) == len(names)
    assert all(problem.endswith(";") for problem in problems)  # told in one line, it does not run into the remedy
    for name in names:
        assert any(f"{name}" in problem for problem in problems), name
    for remedy in remedies:
        database.run(remedy, role="app_owner")
    migrator.migrate(database.owned)
    assert migrator.check(database.owned) == []
    database.run(ROUTE)
    assert database.value("select count(*) from public.messages where provider_message_id = 'e1'") == 1


def test_functions_and_types_that_a_release_brings_are_not_taken(fresh: Database) -> None:
    """The application had them first: what our list does not name is neither replaced nor dropped."""
    migrator.migrate(fresh.owned)
    fresh.run(
        "delete from router.schema_functions where file in ('router.backlog.sql', 'router.target.sql')",
        "drop function router.backlog() cascade",
        "create function router.backlog() returns text language sql as $$select 'theirs'$$",
        role="app_owner",
    )
    expected = [f"function {'router.backlog()'} does not", "type router.target does not"]
    found = migrator.check(fresh.owned)
    for problem in expected:
        assert any(line.startswith(problem) for line in found), found
    with pytest.raises(Fatal, match="nothing was changed") as error:
        migrator.migrate(fresh.owned)
    assert psql(fresh, script()).returncode == 3
    assert fresh.value("select router.backlog()") == "theirs"
    for remedy in str(error.value).splitlines()[2::2]:
        fresh.run(remedy, role="app_owner")
    migrator.migrate(fresh.owned)
    assert fresh.value("select router.backlog_of_the_application()") == "theirs"


def test_every_relation_and_index_of_ours_is_known() -> None:
    """A migration that makes one adds it to the lists of names and rights."""
    text = "".join(migration.text for migration in SHIPPED.migrations())
    known = "".join(
        SHIPPED.file("migrator", name).text for name in ("taken_names.sql", "obstacles.sql", "invalid_indexes.sql")
    )
    for line in text.splitlines():
        words = line.split()
        if "create table if not exists router." in line:
            name = line.partition("router.")[2].split()[0]
            assert f"'{name}'" in known, line
            assert f"'{name}'" in SHIPPED.rights().text, line
        if "index" in words and "exists" in words and "create" in words and "%I" not in line:
            assert f"'{words[words.index('exists') + 1]}'" in known, line
