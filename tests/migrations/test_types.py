"""Composite types of the private schema: whatever is there before, the files of `schemas/types/` are what holds."""

import contextlib
import shutil
from pathlib import Path

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator, sql_files, types
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.migrations.sql_files import SqlFile
from consumer.adapters.shipped_files import schemas_folder
from consumer.domain.errors import Fatal
from tests.migrations.databases import HERE, Database, catalogue
from tests.migrations.psql import run_psql
from tests.processes import running
from tests.waiting import wait_for

ROUTE = """
    insert into public.webhook_events (channel, type, event_id, author_id, content)
    values ('tiktok', 'message', 'e1', 'a1', 'text')
    on conflict do nothing;
    select public.route_unrouted_events(null, 10)
"""
OF_ANOTHER_BUILD = """
    create schema router;
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
    for file in sql_files.types():
        assert types.in_force(file).text.startswith(f"-- {file.name.removesuffix('.sql')}: ")
    names = [file.name for file in [*sql_files.types(), *sql_files.functions()]]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match="does not create"):
        types.in_force(SqlFile(name="router.other.sql", text="create type router.another as (id uuid);"))


def test_a_type_changes_under_a_drain(fresh: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version has one more column. Calls under way are waited for, later ones held up: no event is parked."""
    migrator.migrate(fresh.owned)
    shutil.copytree(Path(str(schemas_folder())), tmp_path / "schemas")
    file = tmp_path / "schemas" / "types" / "router.batch.sql"
    file.write_text(file.read_text().replace("(\n", "(\n    weight numeric,\n", 1))
    monkeypatch.setattr(sql_files, "schemas_folder", lambda: tmp_path / "schemas")
    pending = "select count(*) from public.webhook_events where routed_at is null"
    with running(fresh.admin, "--batch-size", "20", "--reconcile-interval", "1") as router:
        router.until_listening()
        fresh.run(
            """insert into public.webhook_events (channel, type, event_id, author_id)
               select 'tiktok', 'message', 'e' || i, 'a' || i % 50 from generate_series(1, 20000) i"""
        )
        wait_for(lambda: 0 < int(str(fresh.value(pending))) < 20_000, what="a drain")
        report = migrator.migrate(fresh.owned)
        assert report.functions
        assert int(str(fresh.value(pending))) > 0, "the drain was over too soon to say anything"
        wait_for(lambda: fresh.value(pending) == 0, what=f"the drain to end, {router.lines}")
    assert fresh.value("select count(*) from router.parked_events") == 0
    assert fresh.value("select count(*) from public.messages") == 20_000
    assert migrator.check(fresh.owned) == []
