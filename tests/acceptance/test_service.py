"""`webhook-router run` as a process: events in, rows out, and everything that may happen to it on the way."""

import itertools
import signal
from collections.abc import Iterator

import psycopg
import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.conftest import StartPostgres
from tests.processes import running
from tests.waiting import wait_for

INSERT = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
    select 'instagram', 'message', %s || i, 'author-' || i %% 50, 'Name ' || i %% 50, 'text ' || i, now()
    from generate_series(1, %s) i
"""


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A connection of the application."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def insert(db: psycopg.Connection, count: int, prefix: str = "e") -> None:
    """Commits events as an edge function would: straight into the table."""
    db.execute(INSERT, (prefix, count))


def value(db: psycopg.Connection, query: str) -> int:
    """The one number that a query gives."""
    row = db.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def paths(db: psycopg.Connection) -> set[tuple[str]]:
    """By which the events were routed."""
    return set(db.execute("select distinct routed_by from public.webhook_events").fetchall())


def unrouted(db: psycopg.Connection) -> int:
    """Events that no human sees."""
    return value(db, "select count(*) from public.webhook_events where routed_at is null")


def until_routed(db: psycopg.Connection) -> None:
    """Waits until nothing is left."""
    wait_for(lambda: unrouted(db) == 0, timeout=180, what="an empty backlog")


def assert_nothing_half_done(db: psycopg.Connection) -> None:
    """Each event has its message or is unrouted. One statement: a dead client's may still commit."""
    assert (
        value(
            db,
            """select count(*) from public.webhook_events w
               where (w.routed_at is null) = exists (select from public.messages m where m.channel = w.channel
                                                     and m.provider_message_id = w.event_id)""",
        )
        == 0
    )


def waiting_for_a_lock(db: psycopg.Connection) -> int:
    """Sessions of the service that do."""
    return value(
        db,
        """select count(*) from pg_stat_activity
           where wait_event_type = 'Lock' and application_name = 'webhook-router' and datname = current_database()""",
    )


def awake(db: psycopg.Connection) -> int:
    """Consumers that keep the doorbell silent."""
    return value(
        db,
        """select count(*) from pg_locks l join pg_database d on d.oid = l.database
           where l.locktype = 'advisory' and l.classid = 1920298101 and d.datname = current_database()""",
    )


def assert_one_message_each(db: psycopg.Connection) -> None:
    """Each event has exactly one message, in its own conversation, and nobody was made twice."""
    assert value(db, "select count(*) from public.webhook_events") == value(db, "select count(*) from public.messages")
    assert (
        value(
            db,
            """select count(*) from public.webhook_events w
               where not exists (select from public.messages m where m.channel = w.channel
                                 and m.provider_message_id = w.event_id and m.conversation_id = w.conversation_id)""",
        )
        == 0
    )
    assert (
        value(
            db,
            """select count(*) from (select from public.conversations where status = 'open'
               group by contact_id, channel, channel_conversation_id having count(*) > 1) d""",
        )
        == 0
    )
    assert value(db, "select count(*) from public.contacts") == value(
        db, "select count(*) from public.contact_channels"
    )


def test_routes_an_event_that_is_inserted(database: str, db: psycopg.Connection) -> None:
    """A row becomes contact, conversation and message, and the metrics say so."""
    with running(database) as router:
        router.until_listening()
        insert(db, 1)
        until_routed(db)
        assert db.execute(
            """select c.full_name, k.external_id, v.status, m.direction, m.content_text, m.sent_at = w.event_date,
                      v.last_message_at = w.event_date
               from public.webhook_events w
               join public.conversations v on v.id = w.conversation_id
               join public.messages m on m.conversation_id = v.id
               join public.contacts c on c.id = v.contact_id
               join public.contact_channels k on k.contact_id = c.id"""
        ).fetchall() == [("Name 1", "author-1", "open", "inbound", "text 1", True, True)]
        wait_for(lambda: router.metric("webhook_router_events_routed_total", channel="instagram", path="hot") == 1)
        assert paths(db) == {("hot",)}
        more = itertools.count()

        def notified() -> bool:
            # The doorbell may still be silent from the drain that follows a start: one of these rings it.
            insert(db, 1, f"more-{next(more)}-")
            return router.metric("webhook_router_notifications_total") >= 1

        wait_for(notified, what="a notification")
        assert router.metric("webhook_router_event_latency_seconds_count") >= 1


def test_routes_a_backlog_that_was_there_before_it(database: str, db: psycopg.Connection) -> None:
    """What came while no service ran is routed at its start, in full batches."""
    insert(db, 5_000)
    with running(database):
        until_routed(db)
    assert_one_message_each(db)


def test_is_not_notified_while_awake_and_notified_once_asleep(database: str, db: psycopg.Connection) -> None:
    """The doorbell is silent during a drain: hundreds of inserts make no notification."""
    with psycopg.connect(database) as blocker, running(database) as router:
        router.until_listening()
        first = itertools.count()

        def drains_in_silence() -> bool:
            # A look that nobody rang for leaves the bell alone; where one finds the event, the next event is to ring.
            blocker.rollback()
            until_routed(db)
            blocker.execute("lock table public.messages in access exclusive mode")
            insert(db, 1, f"first-{next(first)}-")
            wait_for(lambda: waiting_for_a_lock(db) > 0, what="a call that waits")
            return awake(db) > 0

        wait_for(drains_in_silence, what="a drain that waits")
        rung = router.metric("webhook_router_notifications_total")
        for number in range(300):
            insert(db, 1, f"n{number}-")
        blocker.rollback()
        until_routed(db)
        assert (
            router.metric("webhook_router_notifications_total") <= rung + 1
        )  # that of the first may have been on its way
        wait_for(lambda: awake(db) == 0, what="its sleep")
        rung = router.metric("webhook_router_notifications_total")
        insert(db, 1, "last-")
        wait_for(lambda: router.metric("webhook_router_notifications_total") > rung, what="a notification")
        until_routed(db)
    assert_one_message_each(db)


def test_parks_an_event_that_cannot_be_routed_and_routes_the_others(database: str, db: psycopg.Connection) -> None:
    """One bad event harms nobody; it is counted, logged without its content, and stays."""
    db.execute(
        """insert into public.webhook_events (channel, type, event_id, author_id, content, event_date)
           values ('instagram', 'message', 'bad', 'x', 'secret-content', 'infinity')"""
    )
    insert(db, 300)
    with running(database, "--reconcile-interval", "3600") as router:
        wait_for(lambda: unrouted(db) == 1, what="all but the bad one routed")
        wait_for(lambda: router.metric("webhook_router_events_parked_total") == 1, what="the metric")
        wait_for(lambda: router.logged("events parked"), what="the log line")
        assert "secret-content" not in str(router.lines)
        assert router.metric("webhook_router_events_routed_total") == 300
    row = db.execute("select error_code, attempts, next_attempt_at > now() from router.parked_events").fetchone()
    assert row == ("22008", 1, True)


def test_the_sweep_finds_what_was_reopened(database: str, db: psycopg.Connection) -> None:
    """An event re-opened by the application, however old, is routed by the next sweep and makes nothing new."""
    insert(db, 20)
    db.execute("update public.webhook_events set created_at = now() - interval '1 hour'")
    with running(database, "--reconcile-interval", "0.2") as router:
        until_routed(db)
        db.execute("update public.webhook_events set routed_at = null, conversation_id = null where event_id = 'e7'")
        until_routed(db)
        wait_for(lambda: router.metric("webhook_router_sweep_found_events_total") == 1, what="the metric")
        assert router.metric("webhook_router_events_already_routed_total", path="sweep") == 1
    assert paths(db) == {("hot",), ("sweep",)}
    assert_one_message_each(db)


def test_sigterm_finishes_and_exits_0(database: str, db: psycopg.Connection) -> None:
    """A stop in the middle of a backlog loses nothing and leaves nothing half done."""
    insert(db, 20_000)
    db.execute(
        """create function slow() returns trigger language plpgsql as
           $$ begin perform pg_sleep(0.005); return new; end $$;
           create trigger slow before insert on public.messages for each row execute function slow()"""
    )
    with running(database, "--batch-size", "100") as router:
        wait_for(lambda: unrouted(db) < 20_000, what="the first batch")
        router.signal(signal.SIGTERM)
        assert router.stopped() == 0
        assert router.logged("stopped")
    assert unrouted(db) > 0
    assert_nothing_half_done(db)
    db.execute("drop trigger slow on public.messages")
    with running(database):
        until_routed(db)
    assert_one_message_each(db)


def test_a_second_signal_stops_at_once(database: str, db: psycopg.Connection) -> None:
    """Somebody who is in a hurry gets his prompt back: the transaction under way is rolled back."""
    insert(db, 1)
    with psycopg.connect(database) as blocker, running(database, "--shutdown-grace", "600") as router:
        router.until_listening()
        blocker.execute("lock table public.messages in access exclusive mode")
        insert(db, 1, "blocked-")
        wait_for(lambda: waiting_for_a_lock(db) > 0, what="a routing call that waits")
        router.signal(signal.SIGTERM)
        wait_for(lambda: router.logged("stopping"), what="the first signal's line")
        router.signal(signal.SIGTERM)
        assert router.stopped() == 1
    assert_nothing_half_done(db)


def test_kill_9_loses_nothing(database: str, db: psycopg.Connection) -> None:
    """A service that dies without a word leaves events either routed or as they were; another one takes over."""
    insert(db, 20_000)
    with running(database, "--batch-size", "500") as router:
        wait_for(lambda: unrouted(db) < 20_000, what="the first batch")
        router.signal(signal.SIGKILL)
        router.stopped()
    assert_nothing_half_done(db)
    with running(database):
        until_routed(db)
    assert_one_message_each(db)


def test_four_replicas_share_one_database(database: str, db: psycopg.Connection) -> None:
    """No deadlock, no loss, no double effect, however many there are."""
    with running(database) as a, running(database) as b, running(database) as c, running(database) as d:
        replicas = [a, b, c, d]
        for replica in replicas:
            replica.until_ready()
        for number in range(40):
            insert(db, 250, f"r{number}-")
        until_routed(db)
        assert sum(replica.metric("webhook_router_loop_failures_total") for replica in replicas) == 0
        wait_for(
            lambda: sum(replica.metric("webhook_router_events_routed_total") for replica in replicas) == 10_000,
            what="the sum of their counters",
        )
    assert_one_message_each(db)


def test_a_lost_listener_comes_back(database: str, db: psycopg.Connection) -> None:
    """The LISTEN session is terminated: the service says so, polls meanwhile, listens again."""
    with running(database) as router:
        router.until_listening()
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'webhook-router' and datname = current_database() and query ~* 'listen'"
        )
        wait_for(lambda: router.metric("webhook_router_listener_lost_total") == 1, what="the loss")
        insert(db, 10)
        until_routed(db)
        router.until_listening()
        assert router.get("/livez")[0] == 200
    assert_one_message_each(db)


def test_all_sessions_terminated(database: str, db: psycopg.Connection) -> None:
    """Every session of the service is killed, again and again, under traffic."""
    with running(database) as router:
        router.until_listening()
        for number in range(10):
            insert(db, 200, f"t{number}-")
            db.execute(
                """select pg_terminate_backend(pid) from pg_stat_activity
                   where application_name = 'webhook-router' and datname = current_database()"""
            )
        until_routed(db)
        assert router.process.poll() is None
    assert_one_message_each(db)


def test_the_database_goes_away_and_comes_back(private_postgres: StartPostgres) -> None:
    """Killed and restarted under the service: alive, not ready, then ready again, listening again, nothing lost."""
    from consumer.adapters.postgres.migrations import migrator

    server: EmbeddedPostgres = private_postgres(settings={"fsync": "on"})
    migrator.migrate(server.dsn())
    with running(server.dsn()) as router:
        router.until_listening()
        with psycopg.connect(server.dsn(), autocommit=True) as db:
            insert(db, 100)
            until_routed(db)
            insert(db, 3_000, "late-")
        server.kill()
        wait_for(lambda: router.get("/readyz")[0] == 503, what="not ready")
        assert router.get("/livez")[0] == 200
        server.restart()
        with psycopg.connect(server.dsn(), autocommit=True) as db:
            until_routed(db)
            assert_one_message_each(db)
            router.until_listening()
            insert(db, 1, "again-")
            until_routed(db)


def test_starts_before_its_database(private_postgres: StartPostgres) -> None:
    """A database that is not there yet is waited for: alive, not ready, then routing."""
    from consumer.adapters.postgres.migrations import migrator

    server = private_postgres()
    migrator.migrate(server.dsn())
    server.kill()
    with running(server.dsn()) as router:
        assert router.get("/readyz")[0] == 503
        assert router.get("/livez")[0] == 200
        wait_for(lambda: router.logged("cannot go on"), what="a line about it")
        server.restart()
        router.until_ready()


def test_survives_a_statement_that_is_too_slow(database: str, db: psycopg.Connection) -> None:
    """An event that makes the application's trigger hang is found by smaller batches, parked, and holds up nobody."""
    db.execute(
        """create function hang() returns trigger language plpgsql as
           $$ begin if new.content_text = 'text 77' then perform pg_sleep(60); end if; return new; end $$;
           create trigger hang before insert on public.messages for each row execute function hang()"""
    )
    insert(db, 100)
    with running(database, "--call-timeout", "1", "--reconcile-interval", "1") as router:
        wait_for(lambda: unrouted(db) == 1, timeout=180, what="all but one routed")
        wait_for(lambda: router.metric("webhook_router_batches_too_slow_total") > 0, what="the metric")
        # On a busy machine an innocent one may have been too slow as well; the sweep has routed it since.
        left = """select w.content, p.error_code from public.webhook_events w
                  join router.parked_events p on p.event_id = w.id where w.routed_at is null"""
        assert db.execute(left).fetchall() == [("text 77", "57014")]
        insert(db, 10, "more-")
        wait_for(lambda: unrouted(db) == 1, timeout=180, what="what came afterwards")
    assert_nothing_half_done(db)


def test_fails_at_once_without_a_schema(empty_database: str) -> None:
    """A database that nobody has migrated is a clear error, not a loop."""
    with running(empty_database) as router:
        assert router.stopped() == 1
        assert "webhook-router migrate" in str(router.lines[-1]["event"])
