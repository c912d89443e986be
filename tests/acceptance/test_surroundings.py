"""`webhook-router run` on servers that are not at their best: standbys, limits, strange times."""

import re
from datetime import datetime

import psycopg

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.acceptance.test_service import insert, until_routed, value
from tests.conftest import StartPostgres
from tests.processes import running
from tests.waiting import wait_for

AT = """
    insert into public.webhook_events (channel, type, event_id, author_id, content, event_date, created_at)
    values ('instagram', 'message', %s, 'ana', 'text', now(), %s)
"""


def test_a_server_that_comes_back_as_a_standby(private_postgres: StartPostgres) -> None:
    """Alive, not ready, nothing lost; once it is promoted, all of it works again."""
    server = private_postgres()
    migrator.migrate(server.dsn())
    with running(server.dsn(), "--reconcile-interval", "1") as router:
        router.until_listening()
        (server.folder / "data" / "standby.signal").touch()
        server.restart()
        wait_for(lambda: router.get("/readyz")[0] == 503, what="not ready")
        with psycopg.connect(server.dsn(), autocommit=True) as db:
            wait_for(
                lambda: [line for line in router.logged("cannot go on") if "standby" in line["reason"]],
                what=f"the line that says why, {router.lines}",
            )
            assert router.get("/livez")[0] == 200
            assert value(db, "select count(*) from pg_stat_activity where application_name = 'webhook-router'") == 0
            db.execute("select pg_promote()")
            insert(db, 10)
            until_routed(db)
        router.until_listening()
        assert not any("Traceback" in str(line) for line in router.lines)


def test_two_addresses_of_which_one_is_a_standby(private_postgres: StartPostgres) -> None:
    """The one that can be written to is found, wherever it stands in the URL, and again after they change roles."""
    servers = [private_postgres() for _ in range(2)]
    for server in servers:
        migrator.migrate(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as db:
            db.execute("alter role postgres password 'the-same'")
    (servers[0].folder / "data" / "standby.signal").touch()
    servers[0].restart()
    ports = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    with running(f"postgresql://postgres:the-same@{ports}/postgres") as router:
        router.until_listening()
        with psycopg.connect(servers[1].dsn(), password="the-same", autocommit=True) as db:
            insert(db, 10)
            until_routed(db)
        with psycopg.connect(servers[0].dsn(), password="the-same", autocommit=True) as db:
            servers[1].kill()
            db.execute("select pg_promote()")
            insert(db, 10)
            until_routed(db)
        router.until_listening()


def test_an_event_that_arrived_in_the_past(database: str) -> None:
    """A ring that leads the hot path to nothing starts a sweep: nobody waits for the next one."""
    with (
        psycopg.connect(database, autocommit=True) as db,
        running(database, "--reconcile-interval", "3600") as router,
    ):
        router.until_listening()
        insert(db, 10)
        until_routed(db)
        for number in range(3):
            db.execute(AT, (f"past-{number}", "2001-02-03"))
            until_routed(db)
        wait_for(lambda: router.metric("webhook_router_sweep_found_events_total") == 3, what="the metric")


def test_events_that_arrive_in_the_future(database: str) -> None:
    """They are routed, and those that come after them do not wait for a sweep."""
    with (
        psycopg.connect(database, autocommit=True) as db,
        running(database, "--reconcile-interval", "3600", "--batch-size", "1") as router,
    ):
        router.until_listening()
        for number in range(5):
            db.execute(AT, (f"future-{number}", "2200-01-01"))
            insert(db, 10, f"now-{number}-")
            until_routed(db)
        assert router.metric("webhook_router_sweep_found_events_total") == 0
        assert router.metric("webhook_router_event_latency_seconds_sum") >= 0


def test_sessions_that_may_not_be_idle_for_long(database: str) -> None:
    """The server ends them: those of the loops are replaced without a word, and the listener is never idle so long."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(
            "do $$ begin execute format('alter database %I set idle_session_timeout = 500', current_database()); end $$"
        )
        with running(database, "--reconcile-interval", "0.8", "--sample-interval", "0.8") as router:
            router.until_listening()
            sweeps = router.metric("webhook_router_sweeps_total")
            wait_for(lambda: router.metric("webhook_router_sweeps_total") > sweeps + 4, what="some sweeps")
            assert router.metric("webhook_router_loop_failures_total") == 0
            assert router.metric("webhook_router_listener_lost_total") == 0
            assert router.metric("webhook_router_listener_up") == 1


def test_a_synchronous_standby_that_is_gone(private_postgres: StartPostgres) -> None:
    """One clear line, no event parked, none routed twice; when the standby is given up, all is well again."""
    server = private_postgres()
    migrator.migrate(server.dsn())
    with (
        psycopg.connect(server.dsn(), autocommit=True) as db,
        running(server.dsn(), "--call-timeout", "0.5", "--reconcile-interval", "1") as router,
    ):
        router.until_listening()
        db.execute("set synchronous_commit = local")
        db.execute("alter system set synchronous_standby_names = 'nobody'")
        db.execute("select pg_reload_conf()")
        wait_for(lambda: value(db, "select count(*) from pg_settings where setting = 'nobody'"), what="the setting")

        def told() -> list[object]:
            return [line for line in router.logged("cannot go on") if "no synchronous standby" in line["reason"]]

        insert(db, 10)
        wait_for(told, what=f"the line, {router.lines}")
        until_routed(db)
        db.execute("alter system reset synchronous_standby_names")
        db.execute("select pg_reload_conf()")
        insert(db, 10, "later-")
        until_routed(db)
        router.until_ready()
        assert router.metric("webhook_router_events_parked_total") == 0
        assert value(db, "select count(*) from public.messages") == 20


def test_a_database_that_is_left_alone(private_postgres: StartPostgres) -> None:
    """At a long poll interval nothing is asked more often than that, whatever the other intervals are."""
    server = private_postgres(settings={"log_statement": "all", "log_line_prefix": "%m|%a|"})
    migrator.migrate(server.dsn())
    every = 1.5
    with running(
        server.dsn(), "--poll-interval", str(every), "--reconcile-interval", "0.1", "--sample-interval", "0.1"
    ) as router:
        router.until_listening()
        # The looks that follow the first drain closely are over by then.
        wait_for(lambda: len([a for a in asked(server) if "route_due" in a[1]]) >= 3, what="the first sweeps")
        mark = len(asked(server))
        wait_for(lambda: len([a for a in asked(server)[mark:] if "route_due" in a[1]]) >= 5, what="some sweeps")
        statements = asked(server)[mark:]
    seconds = (statements[-1][0] - statements[0][0]).total_seconds()
    counts = {
        name: len([text for _, text in statements if name in text])
        for name in (
            *("router.route_batch", "router.route_due", "router.recent_backlog", "router.doorbell"),
            *("router.claim_deliveries", "router.sweep_waiting", "router.intake_backlog", "router.keep_deliveries"),
        )
    }
    sweeps = counts["router.route_due"]
    counts["router.route_batch"] -= sweeps  # a sweep makes one of them too
    most = seconds / every + 2  # one at each end
    assert all(count <= most for count in counts.values()), (counts, seconds)
    assert sum(counts.values()) + sweeps >= len(statements), statements


def asked(server: EmbeddedPostgres) -> list[tuple[datetime, str]]:
    """When the service has sent a statement, and which."""
    lines = re.findall(
        r"^(\S+ \S+) \S+\|webhook-router\|LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)",
        server.log_tail(1_000_000),
        re.MULTILINE,
    )
    return [(datetime.fromisoformat(at), text) for at, text in lines]
