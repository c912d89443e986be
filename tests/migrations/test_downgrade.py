"""Back by one release: refused with the way to do it, and that way works."""

import shutil
from pathlib import Path

import pytest

from consumer.adapters.postgres.migrations import migrator, replaced, uninstaller
from consumer.adapters.postgres.migrations.sql_files import SqlFiles
from consumer.adapters.shipped_files import schemas_folder
from consumer.domain.errors import Fatal
from tests.migrations.databases import Database

RELEASE_BEFORE = (Path(__file__).parent / "release_before.sql").read_text(encoding="utf-8")


@pytest.fixture
def newer(tmp_path: Path) -> SqlFiles:
    """The files of a release that comes after this one: a migration more, a function more, another one changed."""
    folder = tmp_path / "schemas"
    shutil.copytree(Path(str(schemas_folder())), folder)
    (folder / "migrations" / "20991231000000_newer.sql").write_text(
        "alter table router.parked_events add column if not exists newer text;\n"
    )
    operating = folder / "functions" / "operating"
    (operating / "router.newer.sql").write_text(
        "create or replace function router.newer() returns integer language sql set search_path = pg_catalog, pg_temp"
        " as 'select 1';\n"
    )
    return SqlFiles(folder)


def test_the_way_back_by_one_release(brownfield: Database, newer: SqlFiles) -> None:
    """Nothing is changed until the newer release has uninstalled itself; then the older one starts from the data."""
    migrator.migrate(brownfield.owned)
    migrator.migrate(brownfield.owned, files=newer)
    routed = brownfield.value("select count(*) from webhook_events where routed_at is not null")
    with pytest.raises(Fatal, match=r"20991231000000.*let that release run webhook-router uninstall"):
        migrator.migrate(brownfield.owned)
    assert brownfield.value("select router.newer()") == 1
    with pytest.raises(Fatal, match=r"a newer release has migrated this database.*\n.*uninstall with that release"):
        uninstaller.uninstall(brownfield.owned)

    uninstaller.uninstall(brownfield.owned, files=newer)
    assert brownfield.value("select to_regnamespace('router')") is None
    migrator.migrate(brownfield.owned)
    assert migrator.check(brownfield.owned) == []
    assert brownfield.value("select count(*) from webhook_events where routed_at is not null") == routed
    assert brownfield.value("select route_unrouted_events(null, 100)", role="anon") == 10
    assert migrator.migrate(brownfield.owned, files=newer).migrations == ("20991231000000_newer.sql",)


def test_the_older_program_works_on_the_newer_schema(fresh_newest: Database, newer: SqlFiles) -> None:
    """So a replica can be put back without touching the database."""
    migrator.migrate(fresh_newest.owned, files=newer)
    fresh_newest.run("insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'a')")
    assert fresh_newest.value("select claimed from router.route_batch(10)") == 1
    assert "belongs to a newer release" in "".join(migrator.check(fresh_newest.owned))


def test_a_database_of_the_release_before(fresh_newest: Database) -> None:
    """It can be uninstalled by this release without being migrated first, left-over functions and types included."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(
        RELEASE_BEFORE,
        "drop table router.replaced_functions, router.found, router.history",
        "delete from router.schema_migrations where version >= '20260901000600'",
        role="app_owner",
    )
    left = uninstaller.uninstall(fresh_newest.owned).left
    assert sum("an earlier release kept no copy" in line for line in left) == len(replaced.SIGNATURES)
    assert fresh_newest.value("select to_regnamespace('router')") is None
    migrator.migrate(fresh_newest.owned)
    assert migrator.check(fresh_newest.owned) == []
