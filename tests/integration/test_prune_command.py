"""`webhook-router prune`, and the service that prunes by itself: what goes, what is said, and how it ends."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import TupleRow

from consumer.cli.prune import _size
from consumer.domain.errors import Misconfigured
from tests.cli import run
from tests.processes import command
from tests.waiting import wait_for

Connection = psycopg.Connection[TupleRow]

OLD = """
    insert into public.webhook_events (channel, type, event_id, content, raw_payload, routed_at)
    select 'instagram', 'message', 'e' || i, 'hello', jsonb_build_object('of', i), now() - i * interval '10 days'
    from generate_series(1, 10) i
"""
LEFT = "select event_id from public.webhook_events order by routed_at desc"


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """Ten events, routed 10, 20, … 100 days ago."""
    with psycopg.connect(database, autocommit=True) as opened:
        opened.execute(OLD)
        yield opened


def left(connection: Connection) -> list[str]:
    return [event for (event,) in connection.execute(LEFT)]


def test_what_was_kept_long_enough_goes(database: str, connection: Connection) -> None:
    """By flags; a dry run says the same numbers and changes nothing."""
    flags = ("--keep-events", "75d", "--keep-payloads", "35d", "--share", "1", "--step", "2")
    dry = run(database, "prune", *flags, "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    payloads, events = dry.out.splitlines()
    assert payloads.startswith("7 payloads would be deleted, ")
    assert events.startswith("3 events would be deleted, ")
    assert len(left(connection)) == 10
    done = run(database, "prune", *flags)
    assert (done.code, done.err) == (0, "")
    payloads, events = done.out.splitlines()
    assert payloads.startswith("7 payloads deleted, ")
    assert events.startswith("3 events deleted, ")
    assert left(connection) == [f"e{number}" for number in range(1, 8)]
    bare = connection.execute("select count(*) from public.webhook_events where raw_payload = '{}'").fetchone()
    assert bare == (4,)
    again = run(database, "prune", *flags, "--json")
    assert json.loads(again.out) == {
        "events": {"gone": 0, "bytes": 0, "refused": 0, "refused_reason": None},
        "payloads": {"gone": 0, "bytes": 0, "refused": 0, "refused_reason": None},
        "dry_run": False,
        "busy": False,
    }


def test_settings_say_it_as_well(database: str, connection: Connection) -> None:
    """For cron, where the environment is the service's."""
    done = command(
        "prune", "--json", env={"WEBHOOK_ROUTER_DATABASE_URL": database, "WEBHOOK_ROUTER_KEEP_EVENTS": "15d"}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"]["gone"] == 9
    assert json.loads(done.stdout)["payloads"] is None
    assert left(connection) == ["e1"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--keep-events 90d"),
        (("--keep-events", "30d", "--keep-payloads", "60d"), "not shorter than"),
        (("--keep-events", "15d", "--archive", ""), "the archive has no name"),
    ],
    ids=["nothing", "longer than the event", "an empty variable"],
)
def test_it_does_not_guess(database: str, connection: Connection, flags: tuple[str, ...], said: str) -> None:
    """Wrong usage, told before anything goes."""
    done = run(database, "prune", *flags)
    assert isinstance(done.error, Misconfigured)
    assert said in str(done.error)
    assert len(left(connection)) == 10


@pytest.mark.parametrize("given", ["30", "30 minutes", "10m", "soon"])
def test_a_typing_error_deletes_nothing(database: str, connection: Connection, given: str) -> None:
    """It is told with the flag that it belongs to."""
    done = run(database, "prune", "--keep-events", given)
    assert done.code == 2
    assert "--keep-events" in done.err
    assert len(left(connection)) == 10


def test_what_the_application_keeps_is_told(database: str, connection: Connection) -> None:
    """With the reason and no value; the exit code says it to a scheduler."""
    connection.execute(
        """
        create table public.notes (event uuid references public.webhook_events);
        insert into public.notes select id from public.webhook_events where event_id in ('e8', 'e9');
        """
    )
    done = run(database, "prune", "--keep-events", "15d", "--share", "1")
    assert done.code == 1
    assert done.out.startswith("7 events deleted, ")
    assert done.err.startswith("2 events are kept by the application: 23503: ")
    assert left(connection) == ["e1", "e8", "e9"]


def test_no_superuser_prunes_what_others_own(database: str, connection: Connection) -> None:
    """Triggers of the owner's would run with all rights at the commit."""
    name = connection.execute("select current_database()").fetchone()
    assert name is not None
    role = f"keeper_{name[0]}"
    connection.execute(f"create role {role}".encode())
    try:
        connection.execute(f"alter function router.prune owner to {role}".encode())
        done = run(database, "prune", "--keep-events", "15d")
        assert isinstance(done.error, Misconfigured)
        assert "superuser" in str(done.error)
        assert len(left(connection)) == 10
    finally:
        connection.execute(f"reassign owned by {role} to current_user; drop owned by {role}; drop role {role}".encode())


def test_a_database_without_the_schema_is_told(empty_database: str) -> None:
    """What to do is in the line."""
    done = run(empty_database, "prune", "--keep-events", "15d")
    assert done.error is not None
    assert "webhook-router migrate" in str(done.error)


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e6, "2.5 MB"), (3e12, "3,000.0 GB")]
)
def test_sizes_are_told_in_units(number: float, said: str) -> None:
    """As people read them."""
    assert _size(number) == said


def test_it_waits_for_its_turn(database: str, connection: Connection) -> None:
    """Another session that prunes is done with a step in no time."""
    with psycopg.connect(database) as other:
        other.execute("select router.take_due('events', '15 days')")
        done = []

        def let_go() -> bool:
            waiting = connection.execute(
                "select 1 from pg_stat_activity where application_name like 'webhook-router prune%' and state = 'idle'"
            ).fetchone()
            if waiting:
                other.rollback()
                done.append(True)
            return bool(waiting)

        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            pruning = pool.submit(
                command, "prune", "--keep-events", "15d", env={"WEBHOOK_ROUTER_DATABASE_URL": database}
            )
            wait_for(let_go, what="the command to wait")
            assert pruning.result().returncode == 0
    assert left(connection) == ["e1"]
