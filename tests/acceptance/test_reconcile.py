"""`webhook-router reconcile`, the sweep for those who run no service."""

import json

import psycopg

from tests.acceptance.test_service import INSERT, assert_nothing_half_done, assert_one_message_each, unrouted
from tests.processes import command


def test_everything_is_routed_once(database: str) -> None:
    """Over several batches; the second sweep finds nothing, and what was re-opened is only marked."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(INSERT, ("e", 2_500))
        assert command("reconcile", dsn=database).stdout == "2500\n"
        assert command("reconcile", "--json", dsn=database).stdout == '{"routed":0,"parked":0}\n'
        db.execute("update public.webhook_events set routed_at = null, conversation_id = null where event_id = 'e7'")
        assert command("reconcile", dsn=database).stdout == "1\n"
        assert_one_message_each(db)


def test_channel_and_limit(database: str) -> None:
    """Each narrows the sweep."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(INSERT, ("e", 50))
        assert command("reconcile", "--channel", "tiktok", dsn=database).stdout == "0\n"
        assert command("reconcile", "--channel", "instagram", "--limit", "20", dsn=database).stdout == "20\n"
        assert unrouted(db) == 30


def test_an_event_that_hangs_is_parked_and_holds_up_nobody(database: str) -> None:
    """There is no service that would find it out, and the next sweep would meet it again."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(
            """create function hang() returns trigger language plpgsql as
               $$ begin if new.content_text = 'text 77' then perform pg_sleep(600); end if; return new; end $$;
               create trigger hang before insert on public.messages for each row execute function hang()"""
        )
        db.execute(INSERT, ("e", 100))
        done = command("reconcile", "--json", dsn=database, env={"WEBHOOK_ROUTER_CALL_TIMEOUT": "2"})
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        # On a busy machine an innocent one may have been too slow as well.
        assert figures["routed"] + figures["parked"] == 100
        assert figures["parked"] <= 10
        assert db.execute("select count(*) from router.parked_events").fetchone() == (figures["parked"],)
        culprit = """select p.error_code from public.webhook_events w join router.parked_events p on p.event_id = w.id
                     where w.content = 'text 77'"""
        assert db.execute(culprit).fetchall() == [("57014",)]
        assert_nothing_half_done(db)
