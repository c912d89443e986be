"""Composite types of the private schema: whatever is there before, the files of `schemas/types/` are what holds."""

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator, types
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, SqlFile, SqlFiles
from consumer.adapters.shipped_files import schemas_folder
from consumer.domain.errors import Fatal
from tests.migrations.databases import HERE, Database, catalogue
from tests.migrations.psql import run_psql
from tests.processes import running
from tests.waiting import PATIENCE, wait_for

ROUTE = """
    insert into public.webhook_events (channel, type, event_id, author_id, content)
    values ('tiktok', 'message', 'e1', 'a1', 'text')
    on conflict do nothing;
    select public.route_unrouted_events(null, 10)
"""
OF_ANOTHER_BUILD = """
    create schema router;
    create table router.schema_migrations (version text primary key, name text, applied_at timestamptz default now());
    create type router.event as (id uuid, channel text, weight numeric);
    create type router.batch as (claimed bigint)
"""
ATTRIBUTES = """
    select t.oid, array_agg(a.attname order by a.attnum)
    from pg_type t
    join pg_attribute a on a.attrelid = t.typrelid and not a.attisdropped
    join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
    where t.typnamespace = 'router'::regnamespace
    group by t.oid
    order by t.oid
"""


def routes(database: Database) -> bool:
    """Whether an event becomes a message."""
    with contextlib.suppress(psycopg.errors.UndefinedFunction):
        database.run(ROUTE)
    return database.value("select count(*) from public.messages") == 1


def test_types_of_another_build_are_replaced(fresh: Database) -> None:
    """They were there before anything else; "create … if missing" would keep them, and no event could be routed."""
    fresh.run(OF_ANOTHER_BUILD, "alter schema router owner to app_owner")
    fresh.run(*(f"alter type router.{name} owner to app_owner" for name in ("event", "batch")))
    fresh.run("alter table router.schema_migrations owner to app_owner")
    migrator.migrate(fresh.owned)
    assert migrator.check(fresh.owned) == []
    assert routes(fresh)


@pytest.mark.parametrize("with_psql", [False, True], ids=["migrate", "psql"])
def test_a_type_that_somebody_has_changed_is_reported_and_repaired(fresh: Database, *, with_psql: bool) -> None:
    """As a function is; the types that nobody has changed stay the same ones."""
    migrator.migrate(fresh.owned)
    before = fresh.rows(ATTRIBUTES)
    changed = fresh.value("select 'router.batch'::regtype::oid")
    fresh.run("alter type router.batch add attribute weight numeric")
    assert migrator.check(fresh.owned) == ["router.batch.sql is applied, but was changed or dropped in the database"]
    if with_psql:
        run_psql(fresh, script())
    else:
        migrator.migrate(fresh.owned)
    assert migrator.check(fresh.owned) == []
    after = fresh.rows(ATTRIBUTES)
    assert {str(names) for _, names in after} == {str(names) for _, names in before}
    assert {oid for oid, _ in before} - {oid for oid, _ in after} == {changed}
    assert routes(fresh)


def test_types_that_are_the_same_are_left_alone(fresh: Database) -> None:
    """Also when everything is applied again."""
    migrator.migrate(fresh.owned)
    before = fresh.rows(ATTRIBUTES)
    migrator.migrate(fresh.owned, reapply=True)
    assert fresh.rows(ATTRIBUTES) == before


def test_what_uses_a_type_that_changes_is_named(fresh: Database) -> None:
    """It is not dropped, and nothing is changed: it does not belong to us."""
    migrator.migrate(fresh.owned)
    fresh.run(
        "create function public.weigh(router.batch[]) returns integer language sql as 'select 1'",
        "alter type router.batch add attribute weight numeric",
    )
    with pytest.raises(Fatal, match=r"router\.batch\.sql.* is used by: function (public\.)?weigh\(router\.batch\[\]\)"):
        migrator.migrate(fresh.owned)
    assert fresh.value("select count(*) from pg_proc where proname = 'weigh'") == 1
    assert fresh.value("select to_regprocedure('router.backlog()') is not null") is True
    fresh.run("drop function public.weigh(router.batch[])")
    migrator.migrate(fresh.owned)
    assert migrator.check(fresh.owned) == []


def test_a_type_of_an_earlier_version_is_dropped(fresh: Database) -> None:
    """One that our own list names; one that it does not name is somebody else's."""
    migrator.migrate(fresh.owned)
    fresh.run(
        "create type router.before as (id uuid)",
        "create type router.theirs as (id uuid)",
        """insert into router.schema_functions (file, checksum, signature, fingerprint)
           values ('router.before.sql', 'x', 'type router.before', 'x')""",
    )
    assert migrator.check(fresh.owned) == ["router.before.sql is left over from another release"]
    fresh.run("alter type router.before owner to app_owner")
    migrator.migrate(fresh.owned)
    assert migrator.check(fresh.owned) == []
    assert fresh.value("select to_regtype('router.before')") is None
    assert fresh.value("select to_regtype('router.theirs')") is not None


@pytest.mark.parametrize("with_psql", [False, True], ids=["migrate", "psql"])
def test_an_upgrade_from_the_release_before_types_had_files(fresh: Database, *, with_psql: bool) -> None:
    """It ends where a fresh installation does."""
    migrator.migrate(fresh.owned)
    installed = catalogue(fresh)
    fresh.run((HERE / "release_before.sql").read_text(), role="app_owner")
    assert not routes(fresh)
    assert "router.event.sql is not applied" in migrator.check(fresh.owned)
    if with_psql:
        run_psql(fresh, script())
    else:
        migrator.migrate(fresh.owned)
    assert migrator.check(fresh.owned) == []
    assert catalogue(fresh) == installed
    assert routes(fresh)


def test_a_file_creates_the_type_that_it_is_named_after() -> None:
    """Its name is what the database remembers."""
    for file in SHIPPED.types():
        assert types.in_force(file).text.startswith(f"-- {file.name.removesuffix('.sql')}: ")
    names = [file.name for file in [*SHIPPED.types(), *SHIPPED.functions()]]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match="does not create"):
        types.in_force(SqlFile(name="router.other.sql", text="create type router.another as (id uuid);"))


FEED = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, post_id)
    select 'tiktok', 'message', '{0} ' || i, nullif('a' || i % 50, 'a0'), 'Name ' || i % 7, 'p' || i % 9
    from generate_series(1, 3000) i
"""


@pytest.fixture
def later(tmp_path: Path) -> SqlFiles:
    """A release with one column more of an event, a target and a batch: no other function changes."""
    folder = tmp_path / "schemas"
    shutil.copytree(str(schemas_folder()), folder)
    for name, old, new in (
        ("types/router.event.sql", "sent_at               timestamptz,", "weight numeric, sent_at timestamptz,"),
        ("functions/routing/router.as_event.sql", "coalesce(p_row.event_date", "1, coalesce(p_row.event_date"),
        ("types/router.batch.sql", "claimed    integer,", "weight numeric, claimed integer,"),
        ("types/router.target.sql", "contact_id      uuid,", "weight numeric, contact_id uuid,"),
        ("functions/routing/router.find_targets.sql", "f.contact_id, f.channel_id,", "1, f.contact_id, f.channel_id,"),
    ):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, name
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    return SqlFiles(folder)


# A trigger of the application that waits for whoever holds this lock.
SLOW_APPLICATION = """
    create function public.be_slow() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock_shared(7); return null; end $$;
    create trigger be_slow after insert on public.messages for each statement execute function public.be_slow()
"""
CALL = """
    select (b.batch).inserted, (b.batch).parked from (select router.route_batch(5000) as batch offset 0) b
"""
WAITS = """
    select count(*) from pg_locks
    where relation = 'public.webhook_events'::regclass and mode = 'ExclusiveLock' and not granted
"""


def test_types_change_when_no_call_is_half_way_through(fresh: Database, later: SqlFiles) -> None:
    """It would look for functions that take types which are gone."""
    migrator.migrate(fresh.admin)
    fresh.run(SLOW_APPLICATION)
    fresh.run(FEED.format(1))
    with ThreadPoolExecutor(2) as pool, fresh.session() as routing, fresh.session() as gate:
        assert routing.execute(CALL).fetchone() == (3000, 0)  # all statements are planned now
        fresh.run(FEED.format(2))
        gate.execute("select pg_advisory_lock(7)")
        call = pool.submit(routing.execute, CALL)
        wait_for(lambda: fresh.value("select count(*) from pg_locks where objid = 7 and not granted"), what="the call")
        migration = pool.submit(migrator.migrate, fresh.admin, files=later)
        wait_for(lambda: fresh.value(WAITS), what="the migration to wait for the call")
        gate.execute("select pg_advisory_unlock(7)")
        assert call.result(PATIENCE).fetchone() == (3000, 0)
        assert migration.result(PATIENCE).functions
        fresh.run(FEED.format(3))
        assert routing.execute(CALL).fetchone() == (3000, 0)
    assert migrator.check(fresh.admin, files=later) == []


def test_a_type_changes_under_a_drain(fresh: Database, later: SqlFiles) -> None:
    """The next version has more columns. Calls under way are waited for, later ones held up: no event is parked."""
    migrator.migrate(fresh.owned)
    pending = "select count(*) from public.webhook_events where routed_at is null"
    with running(fresh.admin, "--batch-size", "20", "--reconcile-interval", "1") as router:
        router.until_listening()
        fresh.run(
            """insert into public.webhook_events (channel, type, event_id, author_id)
               select 'tiktok', 'message', 'e' || i, 'a' || i % 50 from generate_series(1, 20000) i"""
        )
        wait_for(lambda: 0 < int(str(fresh.value(pending))) < 20_000, what="a drain")
        report = migrator.migrate(fresh.owned, files=later)
        assert report.functions
        assert int(str(fresh.value(pending))) > 0, "the drain was over too soon to say anything"
        wait_for(lambda: fresh.value(pending) == 0, what=f"the drain to end, {router.lines}")
    assert fresh.value("select count(*) from router.parked_events") == 0
    assert fresh.value("select count(*) from public.messages") == 20_000
    assert migrator.check(fresh.owned, files=later) == []
