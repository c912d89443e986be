"""`webhook-router status`, `migrate` and `audit`: what an operator looks at first."""

import asyncio
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from unittest.mock import ANY

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from consumer.adapters.postgres.store import LONGEST_NAME, PostgresStore, replica_of, session_of
from consumer.domain.errors import Fatal, Misconfigured
from consumer.domain.overview import BacklogByChannel, ChannelBacklog
from tests.cli import run
from tests.conftest import StartPostgres
from tests.processes import clean_environment, command, running
from tests.waiting import wait_for

DRAINING = "select pg_advisory_lock(1920298101, 0)"
ROLES = Path(__file__).parents[2] / "deploy" / "sql" / "roles.sql"

Connection = psycopg.Connection[TupleRow]


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def test_an_idle_router(database: str) -> None:
    """Nothing waiting, nothing routed, nobody there; still exit code 0."""
    found = run(database, "status", "--json").json
    assert 0 <= found.pop("notification_queue") < 0.01  # of the whole server, where other tests notify
    assert found == {
        "ready": 0, "oldest_seconds": 0.0, "parked": 0, "dead": 0, "discarded": 0, "per_second_in_minute": 0.0,
        "per_second_in_hour": 0.0, "counted_seconds": 3600.0, "last_routed_seconds_ago": None, "replicas": 0,
        "sessions": 0, "awake": False, "doorbell": "rings", "by_channel": [], "by_channel_is_partial": False,
        "services": [],
    }  # fmt: skip
    done = run(database, "status")
    assert done.code == 0
    assert "backlog             0\n" in done.out
    assert "last routed         never\n" in done.out
    assert "services            none is connected\n" in done.out


def test_what_waits_and_how_old_it_is(database: str, connection: Connection) -> None:
    """Ready, parked and dead events are counted apart; the age is that of the oldest ready one."""
    connection.execute(
        "insert into webhook_events (channel, type, event_id, created_at, parked_until) "
        "select 'instagram', 'message', i::text, now() - i * interval '1 h', "
        "case when i > 4 then 'infinity' when i > 2 then now() + interval '1 h' end::timestamptz "
        "from generate_series(1, 5) i"
    )
    now = run(database, "status", "--json").json
    assert (now["ready"], now["parked"], now["dead"]) == (2, 2, 1)
    assert 7200 <= now["oldest_seconds"] < 7300
    said = run(database, "status").out
    assert "backlog             2, the oldest for 2 h 0 min\n" in said
    assert "dead                1 (webhook-router parked list --state dead)\n" in said
    assert "by channel          instagram: 2, the oldest for 2 h 0 min\n" in said


def test_how_fast_it_goes(database: str, connection: Connection) -> None:
    """Routed events of the last minute and the last hour, a second; older ones do not count."""
    connection.execute(
        "insert into webhook_events (channel, type, event_id, routed_at) select 'instagram', 'message', i::text, "
        "now() - case when i <= 120 then '10 s' when i <= 720 then '10 min' else '2 h' end::interval "
        "from generate_series(1, 1000) i"
    )
    now = run(database, "status", "--json").json
    assert now["per_second_in_minute"] == pytest.approx(120 / 60)
    assert now["per_second_in_hour"] == pytest.approx(720 / 3600)
    assert 10 <= now["last_routed_seconds_ago"] < 600


def test_rates_of_a_busy_hour(database: str, connection: Connection) -> None:
    """200,000 events routed within 100 s are 55.6 a second over the hour, not 2,000."""
    connection.execute(
        "insert into webhook_events (channel, type, event_id, routed_at) select 'instagram', 'message', i::text, "
        "now() - interval '70 s' - i * interval '0.5 ms' from generate_series(1, 200000) i"
    )
    now = run(database, "status", "--json").json
    if now["counted_seconds"] == 3600:  # or else this machine was too busy to count them in half a second
        assert now["per_second_in_hour"] == pytest.approx(200_000 / 3600)
    else:
        said = run(database, "status").out
        assert "in the last hour" not in said or "55.6/s in the last hour" in said
        assert now["per_second_in_hour"] <= 200_000 / now["counted_seconds"]
    assert now["per_second_in_minute"] == 0


@pytest.mark.parametrize("index", ["", "(channel, routed_at)", "(routed_at) where routed_at is null"])
def test_without_an_index_the_table_is_not_read(database: str, connection: Connection, index: str) -> None:
    """The application's own table may have none on routed_at: then the rates are unknown, and the rest is told."""
    connection.execute("drop index webhook_events_routed_at_idx")
    if index:
        connection.execute(f"create index on webhook_events {index}".encode())
    connection.execute(
        "insert into webhook_events (channel, type, event_id, routed_at) select 'instagram', 'message', i::text, "
        "case when i > 5 then now() end from generate_series(1, 50000) i"
    )
    before = scans(connection)
    assert connection.execute("select router.routed_within(60)").fetchone() == (None,)
    now = run(database, "status", "--json").json
    assert (now["ready"], now["per_second_in_hour"], now["last_routed_seconds_ago"]) == (5, None, None)
    said = run(database, "status")
    assert said.code == 0
    assert "routed              unknown: no index of webhook_events begins with routed_at\n" in said.out
    assert scans(connection) == before


def scans(connection: Connection) -> object:
    """How often the table was read from one end to the other, by sessions that have ended too."""
    # Sessions count for themselves, and report it about once a second: this one may have made an index before.
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select pg_stat_clear_snapshot()")
    return connection.execute("select seq_scan from pg_stat_user_tables where relname = 'webhook_events'").fetchone()


def test_replicas_are_counted(database: str) -> None:
    """Each process of the service is a replica, however many sessions it has; commands are none.

    Their sessions tell the version, but for those of replicas that are older than that.
    """
    older = psycopg.connect(database, application_name="webhook-router replica old-host:7")
    with older, running(database, "--lanes", "3") as one, running(database) as other:
        one.until_listening()
        wait_for(lambda: run(database, "status", "--json").json["replicas"] == 3, what="three replicas")
        assert "services            3 replicas, " in run(database, "status").out
        found = {replica.name: replica for replica in looked(database).replicas}
        here = [replica_of(gethostname(), service.process.pid) for service in (one, other)]
        assert set(found) == {"old-host:7", *here}
        assert found["old-host:7"].version == ""
        assert {found[name].version for name in here} == {version("webhook-router")}
        assert f"                    {here[0]}, {version('webhook-router')}\n" in run(database, "status").out
        assert all(0 <= (replica.seconds or 0) < 600 for replica in found.values())
    wait_for(lambda: run(database, "status", "--json").json["replicas"] == 0, what="none")
    assert "services            none is connected\n" in run(database, "status").out


def looked(dsn: str) -> BacklogByChannel:
    """What the sampler of a service finds while somebody watches."""

    async def look() -> BacklogByChannel:
        store = PostgresStore(dsn, call_timeout=10)
        try:
            return await store.by_channel(within=3600)
        finally:
            await store.close()

    return asyncio.run(look())


def test_the_name_of_a_replica_fits() -> None:
    """Hosts that are too long are told apart by their beginnings and ends; what cannot be a name is replaced."""
    pod = "webhook-router-of-a-long-name-7d9f8b6c5-{}"
    names = {replica_of(pod.format(end), 4194304) for end in ("abcde", "fghij")}
    assert names == {"webhook-rout..9f8b6c5-abcde:4194304", "webhook-rout..9f8b6c5-fghij:4194304"}
    assert all(len(session_of(name, "10.11.12")) <= LONGEST_NAME for name in names)
    assert replica_of("h\u00f6st name", 1) == "h?st_name:1"


def test_services_show(database: str, connection: Connection) -> None:
    """Sessions of services are counted, and whether one is draining; other programs, and other databases, are not."""
    with (
        psycopg.connect(database, application_name="webhook-router", autocommit=True) as service,
        psycopg.connect(database, application_name="webhook-router"),
    ):
        assert run(database, "status", "--json").json["sessions"] == 2
        assert not run(database, "status", "--json").json["awake"]
        service.execute(DRAINING)
        assert run(database, "status", "--json").json["awake"]
        assert "services            2 sessions, draining just now\n" in run(database, "status").out


def test_a_stranger_is_no_service(database: str, connection: Connection) -> None:
    """Nothing drains while another program holds the lock that silences the doorbell."""
    connection.execute(DRAINING)
    now = run(database, "status", "--json").json
    assert (now["sessions"], now["awake"]) == (0, False)


def test_from_an_empty_database_to_a_ready_one(empty_database: str) -> None:
    """status and audit say what is missing, migrate --check lists it, migrate makes it, once."""
    nothing = command("status", dsn=empty_database)
    assert nothing.returncode == 1
    assert "run `webhook-router migrate`" in nothing.stderr
    assert nothing.stderr.count("\n") == 1

    audit = run(empty_database, "audit")
    assert audit.code == 1
    assert "required things are missing; webhook-router migrate makes them" in audit.err
    assert any(line.split()[:4] == ["not", "ok", "|", "table"] for line in audit.out.splitlines())

    check = run(empty_database, "migrate", "--check")
    assert check.code == 1
    assert "contract_tables.sql is pending" in check.out

    done = run(empty_database, "migrate")
    assert done.code == 0
    assert done.out.startswith("applied: ")
    assert "applying" in done.err
    assert run(empty_database, "migrate").out == "up to date already\n"
    assert run(empty_database, "migrate", "--check").out == "up to date\n"
    assert run(empty_database, "audit").code == 0
    report = run(empty_database, "audit", "--json").json
    assert report["ok"] is True
    assert {"kind", "name", "required", "ok", "detail"} == set(report["rows"][0])
    assert run(empty_database, "status").code == 0


def test_the_script_of_a_migration_needs_no_database() -> None:
    """--print is for those who let nobody but psql change their database."""
    done = command("migrate", "--print")
    assert done.returncode == 0
    assert "create table public.webhook_events" in done.stdout
    both = command("migrate", "--print", "--check")
    assert both.returncode == 2
    assert "exclude each other" in both.stderr


NAMELESS = ["", " ", "postgresql://", "postgresql:///", "postgresql://user@", "user=somebody", "dbname=''"]


@pytest.mark.parametrize("words", [["migrate"], ["status"], ["parked", "list"], ["reconcile"], ["audit"]], ids=" ".join)
def test_no_database_is_not_the_one_of_this_machine(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that names none is an error of configuration, whatever libpq would make of it."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    for url in NAMELESS:
        error = run(url, *words).error
        assert isinstance(error, Misconfigured)
        assert ("names neither a host nor a database" if url.strip() else "no database given") in str(error)


def test_the_service_does_not_take_any_database() -> None:
    """Neither an empty URL nor one that names nothing, by flag, environment or file."""
    for done in (command("run", dsn=""), command("run", "--database-url", ""), command("run", dsn="postgresql://")):
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_libpq_can_be_told_by_its_own_variables(empty_database: str) -> None:
    """They name a database, so a URL need not."""
    parts = conninfo_to_dict(empty_database)
    of_libpq = {
        "PGHOST": str(parts["host"]),
        "PGPORT": str(parts["port"]),
        "PGUSER": str(parts["user"]),
        "PGPASSWORD": str(parts["password"]),
        "PGDATABASE": str(parts["dbname"]),
    }
    done = command("migrate", "--check", dsn="postgresql://", env=of_libpq)
    assert done.returncode == 1, done.stderr
    assert "is pending" in done.stdout


def test_without_a_database_it_says_how_to_name_one() -> None:
    """The first mistake of all."""
    done = command("status")
    assert done.returncode == 2
    assert done.stderr.startswith("webhook-router: no database given: set WEBHOOK_ROUTER_DATABASE_URL")
    assert done.stderr.count("\n") == 1


def test_the_role_of_the_service_is_enough(private_postgres: StartPostgres, tmp_path: Path) -> None:
    """Loading, looking and deciding take no right on a table; to read what strangers wrote takes more."""
    server = private_postgres()
    owner = server.dsn()
    assert run(owner, "migrate").code == 0
    script = command("migrate", "--print-roles")
    assert script.stdout == ROLES.read_text(encoding="utf-8")
    assert command("sql", "-", dsn=owner, stdin=script.stdout).returncode == 0
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("create role operator login password 'pw' in role webhook_router_service")
        connection.execute("grant connect on database postgres to operator")
    user, _, address = owner.partition("://")[2].rpartition("@")
    assert user
    operator = f"postgresql://operator:pw@{address}"
    events = tmp_path / "events.ndjson"
    events.write_text('{"channel":"instagram","event_id":"1","content":"private"}\n')
    assert run(operator, "ingest", str(events)).code == 0
    assert looked(operator).channels == [ChannelBacklog(channel="instagram", ready=1, oldest_seconds=ANY)]
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("update webhook_events set event_date = 'infinity'")
        connection.execute("select router.route_batch(10)")
    (letter,) = run(operator, "parked", "list", "--json").json
    assert run(operator, "parked", "discard", letter["id"]).code == 0
    assert run(operator, "parked", "retry", letter["id"]).code == 0
    assert run(operator, "status").code == 0
    refused = run(operator, "parked", "show", letter["id"], "--payload")
    assert isinstance(refused.error, Fatal)
    assert "permission denied" in str(refused.error)
    assert "`webhook-router migrate --print-roles | webhook-router sql -`" in str(refused.error)
