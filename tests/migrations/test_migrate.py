"""The migrator: once, twice, at the same time, behind locks, after accidents."""

import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.migrations.sql_files import NO_TRANSACTION, SHIPPED, SqlFiles
from consumer.adapters.shipped_files import schemas_folder
from consumer.domain.errors import ConsumerError, Fatal, Transient
from tests.migrations.databases import Database
from tests.migrations.psql import run_psql
from tests.waiting import PATIENCE, wait_for

OPEN_AND_WRITE = "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'held')"


def test_an_empty_database_gets_everything(fresh: Database) -> None:
    """What check announces is what migrate does; then there is nothing left to do."""
    names = [migration.name for migration in SHIPPED.migrations()]
    announced = migrator.check(fresh.owned)
    assert announced[: len(names)] == [f"migration {name} is pending" for name in names]
    lines: list[str] = []
    done = migrator.migrate(fresh.owned, report=lines.append)
    assert list(done.migrations) == names
    assert done.functions == len(SHIPPED.functions())
    assert lines[: len(names)] == [f"applying {name}" for name in names]
    assert migrator.check(fresh.owned) == []


def test_the_second_run_does_nothing(fresh: Database) -> None:
    """It only confirms the rights."""
    assert migrator.migrate(fresh.owned).changed
    assert not migrator.migrate(fresh.owned).changed
    assert migrator.migrate(fresh.owned, reapply=True).functions == len(SHIPPED.functions())


def test_many_at_the_same_time(fresh: Database) -> None:
    """One of them does the work, the others wait for it and find it done."""
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: migrator.migrate(fresh.owned), range(4)))
    assert sorted(len(report.migrations) for report in reports) == [0, 0, 0, len(SHIPPED.migrations())]
    assert migrator.check(fresh.owned) == []


def test_a_waiting_migrator_stands_in_no_index_builds_way(fresh_newest: Database) -> None:
    """It asks for the lock again and again; to sit in pg_advisory_lock would keep a snapshot all the time."""
    migrator.migrate(fresh_newest.owned)
    lines: list[str] = []
    with fresh_newest.session() as busy:
        busy.execute("select pg_advisory_lock(%s, %s)", migrator.MIGRATION_LOCK)
        migration = threading.Thread(
            target=migrator.migrate, args=[fresh_newest.owned], kwargs={"report": lines.append}
        )
        migration.start()
        wait_for(lambda: lines, what="the migrator's report that it waits")
        busy.execute("set statement_timeout = '90s'")
        busy.execute("create index concurrently on webhook_events (author_id)")
    migration.join(PATIENCE)
    assert not migration.is_alive()
    assert "waiting for another session" in lines[0]


@pytest.mark.parametrize("finish", [psycopg.Connection.commit, psycopg.Connection.rollback])
def test_a_long_transaction_delays_the_migration_alone(
    brownfield_newest: Database, finish: Callable[[psycopg.Connection], None]
) -> None:
    """It steps back from the exclusive lock, so that others get through, and says whom it waits for."""
    lines: list[str] = []
    with psycopg.connect(brownfield_newest.admin, application_name="a long report") as long:
        long.execute(OPEN_AND_WRITE)
        migration = threading.Thread(
            target=migrator.migrate,
            args=[brownfield_newest.owned],
            kwargs={"report": lines.append, "lock_timeout": 0.05},
        )
        migration.start()
        wait_for(lambda: [line for line in lines if "waiting for a lock" in line], what="the migrator's report")
        brownfield_newest.run("set lock_timeout = '60s'", OPEN_AND_WRITE.replace("held", "other"))
        finish(long)
    migration.join(PATIENCE)
    assert migrator.check(brownfield_newest.owned) == []
    waiting = next(line for line in lines if "waiting for a lock" in line)
    assert "event_columns.sql" in waiting
    assert "(a long report)" in waiting


def test_patience_ends(brownfield_newest: Database) -> None:
    """The error says who is in the way, and nothing of the step remains."""
    with psycopg.connect(brownfield_newest.admin, application_name="a long report") as long:
        long.execute(OPEN_AND_WRITE)
        with pytest.raises(Transient, match=r"event_columns\.sql.*lock timeout.*\(a long report\).*again later"):
            migrator.migrate(brownfield_newest.owned, patience=0, lock_timeout=0.05)
    assert any("event_columns" in finding for finding in migrator.check(brownfield_newest.owned))


def test_an_interrupted_index_build_is_repaired(fresh: Database) -> None:
    """It leaves an invalid index behind, which the next run drops and builds again."""
    migrator.migrate(fresh.owned)
    fresh.run("drop index router_ready_by_arrival")
    with psycopg.connect(fresh.admin) as old, fresh.session() as building, ThreadPoolExecutor(1) as pool:
        old.execute(OPEN_AND_WRITE)
        build = pool.submit(
            building.execute, "create index concurrently router_ready_by_arrival on webhook_events (created_at, id)"
        )
        pid = building.info.backend_pid
        waits = f"select count(*) from pg_stat_activity where pid = {pid} and wait_event_type = 'Lock'"
        wait_for(lambda: fresh.value(waits), what="the build to wait for the old transaction")
        fresh.value(f"select pg_cancel_backend({pid})")
        with pytest.raises(psycopg.errors.QueryCanceled):
            build.result(PATIENCE)
    assert migrator.check(fresh.owned) == ["index public.router_ready_by_arrival is invalid"]
    lines: list[str] = []
    report = migrator.migrate(fresh.owned, report=lines.append)
    assert report.repaired == ("public.router_ready_by_arrival",)
    assert any("router_ready_by_arrival" in line for line in lines)
    assert migrator.check(fresh.owned) == []
    definition = fresh.value("select pg_get_indexdef('router_ready_by_arrival'::regclass)")
    assert "WHERE ((routed_at IS NULL)" in str(definition)


ACCIDENTS = [
    (
        (
            "create or replace function public.route_unrouted_events("
            "p_channel text default null, p_limit integer default 100)"
            " returns integer language sql as 'select 0'"
        ),
        "public.route_unrouted_events.sql is applied, but was changed or dropped in the database",
    ),
    ("drop function public.auto_reply_stub(uuid)", "public.auto_reply_stub.sql is applied, but was changed or dropped"),
    (
        "drop function router.backlog(); create function router.backlog() returns text language sql as 'select null'",
        "router.backlog.sql is applied, but was changed or dropped",
    ),
    ("drop trigger webhook_router_doorbell on webhook_events", "router.ring_doorbell.sql is applied, but was changed"),
    ("update router.schema_functions set checksum = '?' where file = 'rights.sql'", "rights.sql differs"),
    (
        (
            "insert into router.schema_functions values ('router.gone.sql', '?', 'router.gone(integer)', '?');"
            "create function router.gone(integer) returns integer language sql as 'select 1'"
        ),
        "router.gone.sql is left over from another release",
    ),
]


def test_dropped_index(fresh: Database) -> None:
    """The check names it, and the next run builds it again."""
    migrator.migrate(fresh.owned)
    fresh.run("drop index public.router_threads")
    assert migrator.check(fresh.owned) == ["index public.router_threads is missing"]
    assert migrator.migrate(fresh.owned).repaired == ("public.router_threads",)
    assert migrator.check(fresh.owned) == []
    assert not migrator.migrate(fresh.owned).changed


def test_functions_are_put_in_force_again(fresh_newest: Database) -> None:
    """Whatever the catalogue has become, the files are what holds; private functions without a file go."""
    migrator.migrate(fresh_newest.owned)
    before = functions(fresh_newest)
    for accident, finding in ACCIDENTS:
        fresh_newest.run(accident, role="app_owner")
        assert any(found.startswith(finding) for found in migrator.check(fresh_newest.owned)), accident
        assert migrator.migrate(fresh_newest.owned).functions == len(SHIPPED.functions())
        assert functions(fresh_newest) == before, accident
    assert migrator.check(fresh_newest.owned) == []


def functions(database: Database) -> list[tuple[object, ...]]:
    return database.rows(
        "select oid::regprocedure::text, pg_get_functiondef(oid), proowner::regrole::text, proacl::text from pg_proc"
        " where pronamespace in ('public'::regnamespace, 'router'::regnamespace) order by 1"
    )


def test_an_older_release_does_not_take_a_newer_one_back(fresh_newest: Database) -> None:
    """A replica with the old image that restarts in the middle of a roll-out must leave everything as it is."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(
        "insert into router.schema_migrations (version, name) values ('29990101000000', 'from the future')",
        "drop function public.auto_reply_stub(uuid)",
    )
    with pytest.raises(Fatal, match="newer release"):
        migrator.migrate(fresh_newest.owned)
    assert fresh_newest.value("select to_regproc('public.auto_reply_stub')") is None
    assert "migration 29990101000000 belongs to a newer release" in migrator.check(fresh_newest.owned)


def test_an_error_names_its_place(fresh_newest: Database, tmp_path: Path) -> None:
    """File, line and the database's words; nothing of the file stays, and a corrected one goes on."""
    folder = Path(str(schemas_folder()))
    shutil.copytree(folder, tmp_path / "schemas")
    files = SqlFiles(tmp_path / "schemas")
    broken = tmp_path / "schemas" / "migrations" / "20991231235958_broken.sql"
    broken.write_text("create table router.half (id integer);\n\nselect nonsense\nfrom router.half;\n")
    with pytest.raises(Fatal, match=r'20991231235958_broken\.sql, line 3: column "nonsense" does not exist \(42703\)'):
        migrator.migrate(fresh_newest.owned, files=files)
    assert fresh_newest.value("select to_regclass('router.half')") is None
    assert migrator.check(fresh_newest.owned, files=files)[0] == f"migration {broken.name} is pending"

    broken.write_text(f"{NO_TRANSACTION}\nselect 1;\n\n  -- a comment\n  select nonsense;\n")
    with pytest.raises(Fatal, match=r'20991231235958_broken\.sql, line 5: column "nonsense" does not exist'):
        migrator.migrate(fresh_newest.owned, files=files)

    broken.write_text("create table router.half (id integer);")
    assert migrator.migrate(fresh_newest.owned, files=files).migrations == (broken.name,)


OBSTACLES = [
    (
        "alter table webhook_events drop constraint webhook_events_channel_event_id_key",
        "webhook_events.*channel, event_id",
    ),
    ("drop index ux_messages_provider", "messages.*channel, provider_message_id"),
    ("alter table contact_channels drop constraint contact_channels_channel_external_id_key", "channel, external_id"),
    ("alter table message_analysis drop constraint message_analysis_message_id_key", "message_analysis.*message_id"),
    (
        (
            "drop function route_unrouted_events(text, integer); create function route_unrouted_events(p_channel text,"
            " p_limit integer) returns bigint language sql as 'select 0::bigint'"
        ),
        "returns bigint instead of integer",
    ),
    (
        (
            "drop function ai_reply_template(uuid); create function ai_reply_template(message uuid) returns text"
            " language sql as 'select null::text'"
        ),
        "named message instead of p_message_id",
    ),
    ("alter table messages drop column metadata", r"column public\.messages\.metadata is missing"),
    (
        "alter table message_analysis owner to postgres",
        'message_analysis belongs to "postgres", but public.webhook_events to "app_owner"',
    ),
    ("alter schema public owner to postgres; grant create on schema public to app_owner", "not pass that right on"),
    ("alter function auto_reply_stub(uuid) owner to postgres", r"function public\.auto_reply_stub\(uuid\) belongs to"),
]


def test_obstacles_are_found_before_anything_is_changed(brownfield_newest: Database) -> None:
    """The error names them all and says what to run; with that done, the migration goes through."""
    for obstacle, _ in OBSTACLES:
        brownfield_newest.run(obstacle, role=None if "owner to" in obstacle else "app_owner")
    with pytest.raises(Fatal, match="nothing was changed") as error:
        migrator.migrate(brownfield_newest.owned)
    assert brownfield_newest.value("select to_regnamespace('router')") is None
    lines = str(error.value).splitlines()[1:]
    problems, remedies = lines[::2], lines[1::2]
    assert len(problems) == len(OBSTACLES)
    for _, problem in OBSTACLES:
        assert any(re.search(problem, line) for line in problems), problem
        assert any(re.search(problem, finding) for finding in migrator.check(brownfield_newest.owned)), problem
    for remedy in remedies:
        assert remedy.endswith(";")
        brownfield_newest.run(remedy.rpartition(", or: ")[2])
    migrator.migrate(brownfield_newest.owned)
    assert migrator.check(brownfield_newest.owned) == []


def test_everybody_may_create_in_public(brownfield_newest: Database) -> None:
    """As it was by default before Postgres 15: nobody needs to be given that right."""
    brownfield_newest.run("alter schema public owner to postgres; grant create on schema public to public")
    migrator.migrate(brownfield_newest.owned)
    assert migrator.check(brownfield_newest.owned) == []


def test_another_kind_of_table_is_refused(brownfield_newest: Database) -> None:
    """Indexes cannot be built concurrently over a partitioned table, nor at all over a view."""
    brownfield_newest.run(
        "alter table message_analysis rename to analysis_table; create view message_analysis as select 1"
    )
    with pytest.raises(Fatal, match=r"public\.message_analysis is not an ordinary table"):
        migrator.migrate(brownfield_newest.owned)


@pytest.mark.parametrize(
    ("conninfo", "kind", "message"),
    [
        ("nonsense", ConsumerError, "postgresql://"),
        ("postgresql://localhost:1/x", Transient, "refused"),
    ],
)
def test_no_connection(conninfo: str, kind: type[Exception], message: str) -> None:
    """An address that is none is wrong for good; a server that is away may come."""
    with pytest.raises(kind, match=message):
        migrator.migrate(conninfo)


def test_a_wrong_password_is_for_good(fresh_newest: Database) -> None:
    """It will be as wrong the next time."""
    with pytest.raises(Fatal):
        migrator.check(fresh_newest.admin.replace(fresh_newest.server.password, "wrong"))


def test_an_old_server_is_refused(fresh_newest: Database) -> None:
    """Before anything is tried there."""
    with pytest.raises(Fatal, match="needs 99 or newer"):
        migrator.migrate(fresh_newest.admin, minimum_major=99)


def test_the_script_for_psql_does_the_same(fresh: Database) -> None:
    """Run by psql, twice; afterwards the migrator has nothing to do."""
    for _ in range(2):
        run_psql(fresh, script())
    assert migrator.check(fresh.owned) == []
    assert not migrator.migrate(fresh.owned).changed
