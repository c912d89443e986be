"""The SQL tests that operators run with psql: again and again, on any backlog, beside a running service."""

import shutil
import subprocess
import threading

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.adapters.postgres.scripts.statements import split_statements
from tests.migrations.databases import Database

NAMES = ("test_phase9_tables_only", "test_phase9_basic", "test_phase9_implementation")
BACKLOG = """
    insert into webhook_events (channel, type, event_id, author_id, event_date, created_at)
    select 'whatsapp', 'message', 'backlog ' || n, 'somebody ' || n,
           case n % 4 when 0 then '0001-01-01 BC'::timestamptz when 1 then null else now() - n * interval '1 hour' end,
           now()
    from generate_series(1, 2000) n
"""


def run(database: Database, name: str) -> list[list[tuple[object, ...]]]:
    """Runs a script as psql does, statement by statement; returns its result sets."""
    results = []
    with psycopg.connect(database.owned, autocommit=True) as connection:
        for statement in split_statements(SHIPPED.file("tests", f"{name}.sql").text):
            cursor = connection.execute(statement.text.encode())
            if cursor.description is not None:
                results.append(cursor.fetchall())
    return results


@pytest.mark.parametrize("name", NAMES)
def test_it_passes_again_and_again(brownfield: Database, name: str) -> None:
    """Each run removes what the last one left, and nothing else is left over."""
    migrator.migrate(brownfield.owned)
    counts = []
    for _ in range(3):
        assert run(brownfield, name)[-1] == [(name, "passed")]
        counts.append(brownfield.rows("select (select count(*) from contacts), (select count(*) from messages)"))
    assert counts[1] == counts[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_backlog_is_no_obstacle(fresh_newest: Database, name: str) -> None:
    """Thousands of events wait, some with dates of long ago; no more of them are routed than one call takes."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(BACKLOG)
    assert run(fresh_newest, name)[-1] == [(name, "passed")]
    routed = fresh_newest.value(
        "select count(*) from webhook_events where event_id like 'backlog%' and routed_at is not null"
    )
    assert routed == (47 if name.endswith("implementation") else 0)


def test_events_before_all_time_are_no_obstacle(fresh_newest: Database) -> None:
    """They come before the test's own, and cannot be routed: they are parked, as any call would do."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(BACKLOG.replace("'0001-01-01 BC'", "'-infinity'"))
    assert run(fresh_newest, NAMES[2])[-1] == [(NAMES[2], "passed")]
    assert fresh_newest.value("select count(*) from router.parked_events") == 500


def test_beside_a_running_service(fresh_newest: Database) -> None:
    """Somebody routes all the time, and does not get hold of the test's events."""
    migrator.migrate(fresh_newest.owned)
    done = threading.Event()

    def serve() -> None:
        with fresh_newest.session() as connection:
            while not done.is_set():
                connection.execute("select router.route_batch(100)")

    service = threading.Thread(target=serve)
    service.start()
    try:
        for name in NAMES:
            for _ in range(3):
                assert run(fresh_newest, name)[-1] == [(name, "passed")]
    finally:
        done.set()
        service.join()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (NAMES[0], "alter table webhook_events drop column routed_at cascade", "missing: webhook_events.routed_at"),
        (
            NAMES[1],
            (
                "create or replace function route_webhook_event(p_channel text, p_event_id text) returns jsonb"
                " language sql security definer as $$ select '{}'::jsonb $$"
            ),
            "not marked as routed",
        ),
        (
            NAMES[2],
            (
                "create or replace function route_unrouted_events("
                "p_channel text default null, p_limit integer default 100)"
                " returns integer language sql security definer as 'select 3'"
            ),
            "3 of 3 events are not routed",
        ),
    ],
)
def test_it_fails_when_something_is_wrong(fresh_newest: Database, name: str, damage: str, message: str) -> None:
    """With an exception, so that psql -v ON_ERROR_STOP=1 fails, and without any row left behind."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(damage)
    with pytest.raises(psycopg.errors.RaiseException, match=message):
        run(fresh_newest, name)
    assert fresh_newest.value("select count(*) from webhook_events") == 0


def test_psql_runs_them(fresh_newest: Database) -> None:
    """All of them and the audit, with the exit codes that scripts rely on."""
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql on this machine")

    def exit_code(*path: str) -> int:
        return subprocess.run(
            [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-", fresh_newest.owned],
            input=SHIPPED.file(*path).text,
            capture_output=True,
            text=True,
            check=False,
        ).returncode

    assert exit_code("tests", "test_phase9_tables_only.sql") == 3
    assert exit_code("audit", "audit_phase9_readiness.sql") == 0
    migrator.migrate(fresh_newest.owned)
    assert [exit_code("tests", f"{name}.sql") for name in NAMES] == [0, 0, 0]
    assert exit_code("audit", "audit_phase9_readiness.sql") == 0
