"""`webhook-router run` behind a pooler that gives each transaction another session."""

import psycopg
from psycopg import sql

from tests.acceptance.test_service import assert_one_message_each, insert, unrouted, until_routed
from tests.pgbouncer import pooled
from tests.processes import running
from tests.waiting import wait_for


def test_polls_behind_a_transaction_pooler(database: str) -> None:
    """It finds out by itself that notifications do not get through, says so, and routes by polling."""
    with pooled(database) as through, psycopg.connect(database, autocommit=True) as db, running(through) as router:
        wait_for(lambda: router.logged("notifications do not get through"), what="the line that says so")
        router.until_ready()
        assert router.metric("webhook_router_listener_up") == 0
        for number in range(10):
            insert(db, 100, f"p{number}-")
            wait_for(lambda: unrouted(db) == 0, what="an empty backlog")
        assert router.metric("webhook_router_loop_failures_total") == 0
        # A session lock would stay with the pool's session and silence the doorbell for everybody.
        held = db.execute(
            "select count(*) from pg_locks l join pg_database d on d.oid = l.database"
            " where l.locktype = 'advisory' and d.datname = current_database()"
        )
        assert held.fetchone() == (0,)
        until_routed(db)
        assert_one_message_each(db)


def test_two_replicas_behind_a_transaction_pooler(database: str) -> None:
    """Sharing sessions with each other does not confuse them."""
    with pooled(database) as through, psycopg.connect(database, autocommit=True) as db:
        insert(db, 10_000)
        with running(through), running(through):
            until_routed(db)
        assert_one_message_each(db)


def test_leaves_the_sessions_of_others_as_they_are(database: str) -> None:
    """A client that shares the pool with the service keeps its isolation level, and hears no notification."""
    with psycopg.connect(database, autocommit=True) as db:
        name = sql.Identifier(db.info.dbname)
        db.execute(sql.SQL("alter database {} set default_transaction_isolation = 'serializable'").format(name))
        with pooled(database, size=2) as through, running(through, "--reconcile-interval", "0.1") as router:
            router.until_ready()
            levels = set()
            for number in range(120):
                insert(db, 1, f"p{number}-")
                with psycopg.connect(through, prepare_threshold=None) as client:
                    levels.add(client.execute("show transaction_isolation").fetchone())
                    assert client.execute("select count(*) from pg_listening_channels()").fetchone() == (0,)
            assert levels == {("serializable",)}
            until_routed(db)
            assert router.metric("webhook_router_loop_failures_total") == 0
        assert_one_message_each(db)
