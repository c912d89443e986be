"""What arrived before a time is marked as routed: cheaply, in steps, and to the end whatever interrupts it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from consumer.adapters.postgres.migrations import history, migrator
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.domain.errors import Misconfigured
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import run
from tests.migrations.databases import Database, brownfield_on
from tests.migrations.psql import psql
from tests.processes import clean_environment
from tests.waiting import PATIENCE, wait_for

EVENTS = int(os.environ.get("WEBHOOK_ROUTER_TEST_HISTORY_EVENTS", "20000"))
THEN = datetime(2026, 1, 1, tzinfo=UTC)
FILL = """
    insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date, created_at,
                                raw_payload)
    select 'whatsapp', 'message', 'old ' || n, 'person ' || n % 5000, 'Some One', 'What people write, or less ' || n,
           '2025-06-01'::timestamptz + n * interval '1 s', '2025-06-01'::timestamptz + n * interval '1 s',
           jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(n, repeat('x', 200)))
    from generate_series(1, {old}) n
    union all
    select 'whatsapp', 'message', 'new ' || n, 'person ' || n, 'Some One', 'New', '2026-06-01', '2026-06-01', '{{}}'
    from generate_series(1, {new}) n
"""


def left(database: Database) -> list[tuple[object, ...]]:
    """How many of the old and of the new events are not routed."""
    return database.rows(
        "select count(*) filter (where event_id like 'old%' and routed_at is null),"
        " count(*) filter (where event_id like 'new%' and routed_at is null) from webhook_events"
    )


@pytest.fixture(params=["without_column", "with_column"])
def filled(request: pytest.FixtureRequest, newest_server: EmbeddedPostgres) -> Iterator[Database]:
    """A table that was filled before the router came: whether it has the column `routed_at` decides how it is done."""
    with brownfield_on(newest_server) as database:
        if request.param == "without_column":
            database.run("alter table webhook_events drop column routed_at")
        database.run(FILL.format(old=EVENTS, new=100), "vacuum analyze webhook_events")
        yield database


@pytest.mark.parametrize("migrating", ["owner", "superuser"])
def test_what_is_older_is_routed(filled: Database, migrating: str) -> None:
    """And what is newer is not; the value says up to when that was decided."""
    lines: list[str] = []
    report = migrator.migrate(
        filled.owned if migrating == "owner" else filled.admin, routed_before=THEN, report=lines.append
    )
    assert report.marked == EVENTS
    assert left(filled) == [(0, 100)]
    assert filled.rows("select distinct routed_at from webhook_events where routed_at is not null") == [(THEN,)]
    assert migrator.check(filled.owned) == []
    assert any(f"{EVENTS:,} events that arrived before 2026-01-01" in line for line in lines)
    assert filled.value("select route_unrouted_events(null, 1000)") == 100
    assert filled.value("select count(*) from messages") == 100
    assert not migrator.migrate(filled.owned).changed
    default = "select count(*) from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum"
    assert filled.value(f"{default} where a.attname = 'routed_at'") == 0


def test_it_is_cheap(filled: Database) -> None:
    """A column that is added writes no row of the past; where it exists, each is updated once."""
    adds_column = not has_routed_at(filled)
    rows = "select event_id, ctid::text, xmin::text from webhook_events where event_id like 'old%' order by 1"
    before = filled.rows(rows)
    migrator.migrate(filled.owned, routed_before=THEN)
    assert (filled.rows(rows) == before) is adds_column
    if not adds_column:
        updates = "select n_tup_upd from pg_stat_user_tables where relname = 'webhook_events'"
        wait_for(lambda: filled.value(updates) == EVENTS, what="as many updates as events")


def has_routed_at(database: Database) -> bool:
    return bool(
        database.value(
            "select count(*) from pg_attribute where attrelid = 'webhook_events'::regclass and attname = 'routed_at'"
        )
    )


HINDRANCE = """
    create function public.hinder() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock(42);
        return new;
    end $$;
    create trigger hinder before update of routed_at on webhook_events for each row
        when (old.event_id in ('old {last}', 'new 50')) execute function public.hinder();
"""
"""Makes either way of marking wait at the end of the table, while somebody holds that lock."""


@contextlib.contextmanager
def hindered(database: Database) -> Iterator[None]:
    """Until the end of the block it cannot be done."""
    added = not has_routed_at(database)
    trigger = HINDRANCE.format(last=EVENTS)
    database.run(trigger.replace(" of routed_at", "") if added else trigger, role="app_owner")
    with database.session() as holder:
        holder.execute("select pg_advisory_lock(42)")
        yield


def test_events_that_move_meanwhile(filled: Database) -> None:
    """What the application writes to while it is under way is neither missed nor taken for older."""
    lines: list[str] = []
    with hindered(filled):
        marking = threading.Thread(
            target=migrator.migrate,
            args=[filled.owned],
            kwargs={"routed_before": THEN, "report": lines.append, "lock_timeout": 0.05},
        )
        marking.start()
        wait_for(lambda: [line for line in lines if "history: waiting for a lock" in line], what="the report of a lock")
        filled.run(
            "update webhook_events set content = content || '!'"
            f" where event_id not in ('old {EVENTS}', 'new 50') and (event_id like 'old 1%' or event_id like 'new%')",
            "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'new during')",
        )
    marking.join(PATIENCE)
    assert left(filled) == [(0, 101)]


def test_it_survives_a_kill(filled: Database) -> None:
    """The next run goes on from there, without being told; until then nothing is routed wrongly."""
    with hindered(filled):
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "migrate", "--routed-before", THEN.isoformat()],
            env={**clean_environment(), "WEBHOOK_ROUTER_DATABASE_URL": filled.owned},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = ""
        while "history: waiting for a lock" not in said:
            said = process.stderr.readline()
            assert said
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        process.stderr.close()
    (((state, block),)) = filled.rows("select state, block from router.history")
    assert state in {"mark", "reset"}
    assert block
    refused = psql(filled, script())
    assert (refused.returncode != 0) == (state == "reset"), refused.stderr
    lines: list[str] = []
    assert migrator.migrate(filled.owned, report=lines.append).marked == EVENTS
    assert any(re.match(r"history: going on with block [\d,]+ of", line) for line in lines)
    assert left(filled) == [(0, 100)]
    assert migrator.migrate(filled.owned).marked == 0


def test_mostly_newer(newest_server: EmbeddedPostgres) -> None:
    """Then the few that are older are marked, instead of taking the mark from all the others."""
    with brownfield_on(newest_server) as database:
        database.run("alter table webhook_events drop column routed_at", FILL.format(old=10, new=100))
        assert migrator.migrate(database.owned, routed_before=THEN).marked == 10
        assert left(database) == [(0, 100)]


def test_later(newest_server: EmbeddedPostgres) -> None:
    """It can be done at any time, and again for a later time; what is parked is left to whoever looks after that."""
    with brownfield_on(newest_server) as database:
        migrator.migrate(database.owned)
        database.run(
            FILL.format(old=100, new=20),
            "update webhook_events set parked_until = 'infinity' where event_id = 'old 7';"
            "insert into router.parked_events (event_id, channel, error_code, error_message, next_attempt_at)"
            " select id, channel, '23514', 'no', 'infinity' from webhook_events where event_id = 'old 7'",
        )
        assert migrator.migrate(database.owned, routed_before=THEN).marked == 99
        assert left(database) == [(1, 20)]
        assert migrator.migrate(database.owned, routed_before=THEN).marked == 0
        assert migrator.migrate(database.admin, routed_before=datetime(2026, 6, 2, tzinfo=UTC)).marked == 20
        assert left(database) == [(1, 0)]
        assert migrator.check(database.owned) == []


def test_events_without_times(newest_server: EmbeddedPostgres) -> None:
    """The arrival counts, the event's own time only where that is not known, and without both nothing is older."""
    with brownfield_on(newest_server) as database:
        database.run(
            "alter table webhook_events drop column routed_at, alter column created_at drop not null",
            "insert into webhook_events (channel, type, event_id, event_date, created_at) values"
            " ('tiktok', 'message', 'old 1', null, '2025-01-01'), ('tiktok', 'message', 'old 2', '2025-01-01', null),"
            " ('tiktok', 'message', 'old 3', 'infinity', '-infinity'),"
            " ('tiktok', 'message', 'new 1', null, null), ('tiktok', 'message', 'new 2', '2025-01-01', '2026-06-01')",
        )
        migrator.migrate(database.owned, routed_before=THEN)
        assert left(database) == [(0, 2)]


def test_no_events(fresh_newest: Database) -> None:
    """An empty database, or an empty table."""
    lines: list[str] = []
    migrator.migrate(fresh_newest.owned, routed_before=THEN, report=lines.append)
    assert "there are no events to mark as routed" in lines
    assert migrator.migrate(fresh_newest.owned, routed_before=THEN).marked == 0
    assert migrator.check(fresh_newest.owned) == []


TRAP = """
    create table public.seen (who name, path text);
    create function public.look() returns trigger language plpgsql as $$
    begin
        insert into seen values (current_user, current_setting('search_path'));
        begin
            reset role;
            create or replace function pg_temp.webhook_router_history(text, bigint, bigint, out events bigint,
                out of_all bigint) language plpgsql as 'begin alter role app_owner superuser; end';
        exception when others then
            null;
        end;
        return new;
    end $$;
    create trigger look before update on webhook_events for each row execute function public.look();
    create constraint trigger look_late after update on webhook_events deferrable initially deferred for each row
        execute function public.look();
"""


def test_triggers_of_the_application_have_the_rights_of_the_owner(filled: Database) -> None:
    """Whoever migrates; at the commit as well. They find what they name without a schema."""
    filled.run(TRAP, role="app_owner")
    migrator.migrate(filled.admin, routed_before=THEN)
    assert left(filled) == [(0, 100)]
    assert filled.rows("select distinct who::text, path ~ 'public' from seen") == [("app_owner", True)]
    assert filled.value("select rolsuper from pg_roles where rolname = 'app_owner'") is False


def test_the_check_says_how_many(filled: Database) -> None:
    """Before the first run, with what it will take; afterwards only of a large backlog."""
    for url in (filled.owned, filled.admin):
        said = run(url, "migrate", "--check").out
        assert f"note: {EVENTS + 100:,} events count as unrouted, and will be routed: " in said
        assert re.search(r"\d+ MB of WAL and \d+ (s|min) if their messages exist", said)
    ran = run(filled.owned, "migrate", "--routed-before", "2026-01-01")
    assert ran.out.rstrip().endswith(f"{EVENTS} events marked as routed")
    assert "count as unrouted" not in run(filled.owned, "migrate", "--check").out


def test_a_superuser_counts_by_nobodys_code(filled: Database) -> None:
    """Over an index whose expression is the owner's the number is an estimate; no code of the owner runs."""
    filled.run(
        "create sequence traps;"
        "create function trap() returns boolean language plpgsql immutable as 'begin return true; end';"
        "create index on webhook_events (id) where public.trap(); analyze webhook_events;"
        "create or replace function trap() returns boolean language plpgsql immutable as"
        " $$ begin perform nextval('public.traps'); return true; end $$",
        role="app_owner",
    )
    said = history.cost(filled.admin)
    assert all(line.startswith("about ") for line in said)
    assert filled.value("select is_called from traps") is False


@pytest.mark.parametrize("time", ["2126-01-01", "soon", ""])
def test_times_that_are_none(time: str) -> None:
    """They are wrong usage."""
    with pytest.raises(Misconfigured, match=r"in the future|is not a time"):
        history.moment(time)


def test_it_goes_with_nothing_else(fresh_newest: Database) -> None:
    """It is for migrating."""
    for other in ("--check", "--print", "--print-roles"):
        assert run(fresh_newest.owned, "migrate", other, "--routed-before", "2026-01-01").code == 2
