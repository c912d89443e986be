"""`webhook-router reconcile`, the sweep for those who run no service."""

import json
import re
import subprocess
import sys

import psycopg
import pytest

from consumer.cli import reconcile
from tests.acceptance.test_service import INSERT, assert_nothing_half_done, assert_one_message_each, paths, unrouted
from tests.cli import run
from tests.intake import feeding
from tests.processes import clean_environment, command
from tests.waiting import PATIENCE


def test_everything_is_routed_once(database: str) -> None:
    """Over several batches; the second sweep finds nothing, and what was re-opened is only marked."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(INSERT, ("e", 2_500))
        assert command("reconcile", dsn=database).stdout == "2500\n"
        assert command("reconcile", "--json", dsn=database).stdout == '{"routed":0,"parked":0}\n'
        db.execute("update public.webhook_events set routed_at = null, conversation_id = null where event_id = 'e7'")
        assert command("reconcile", dsn=database).stdout == "1\n"
        assert paths(db) == {("sweep",)}
        assert_one_message_each(db)


def test_what_waits_finds_what_the_application_has_inserted(database: str) -> None:
    """A status that came before the application stored its own send."""
    status = {"id": "wamid.own", "status": "delivered", "timestamp": "1780000000", "recipient_id": "5511900000001"}
    value = {"metadata": {"phone_number_id": "900100"}, "statuses": [status]}
    entry = {"id": "800100", "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    with psycopg.connect(database, autocommit=True) as db:
        feeding.take(db, [feeding.read("whatsapp", body)])
        db.execute("insert into public.conversations (channel) values ('whatsapp')")
        db.execute(
            """insert into public.messages (conversation_id, channel, direction, content_text, provider_message_id)
               select id, channel, 'outbound', 'sent by the application', 'wamid.own' from public.conversations"""
        )
        assert command("reconcile", "--channel", "whatsapp", dsn=database).stdout == "0\n"
        assert db.execute("select count(*) from router.waiting").fetchone() == (1,)

        assert command("reconcile", dsn=database).stdout == "0\n"

        assert db.execute("select status from public.message_delivery").fetchall() == [("delivered",)]
        assert db.execute("select count(*) from router.waiting").fetchone() == (0,)


def test_channel_and_limit(database: str) -> None:
    """Each narrows the sweep."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(INSERT, ("e", 50))
        assert command("reconcile", "--channel", "tiktok", dsn=database).stdout == "0\n"
        assert command("reconcile", "--channel", "instagram", "--limit", "20", dsn=database).stdout == "20\n"
        assert unrouted(db) == 30


SLOW = """
create function public.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.01); return new; end $$;
create trigger slow before insert on public.messages for each row execute function public.slow();
"""


def test_a_long_sweep_says_how_far_it_is(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error: what is done, how fast, and what is left. A short one says nothing."""
    monkeypatch.setattr(reconcile, "FIRST_AFTER", 0.2)
    monkeypatch.setattr(reconcile, "EVERY", 0.02)
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(SLOW)
        db.execute(INSERT, ("e", 200))
        done = run(database, "reconcile", "--batch-size", "20")
        assert done.out == "200\n"
        lines = done.err.splitlines()
        assert len(lines) > 1
        assert all(re.fullmatch(r"\d+ routed so far, \d+ a second, about \d+ left", line) for line in lines)
        monkeypatch.setattr(reconcile, "FIRST_AFTER", 60)
        assert run(database, "reconcile").err == ""


def test_a_sweep_that_waits_names_who_has_the_lock(database: str) -> None:
    """At the first call that is too slow; it goes on when the lock is gone."""
    with psycopg.connect(database, autocommit=True) as db, psycopg.connect(database) as holder:
        db.execute(INSERT, ("e", 5))
        holder.execute("lock table public.messages")
        env = {**clean_environment(), "WEBHOOK_ROUTER_DATABASE_URL": database, "WEBHOOK_ROUTER_CALL_TIMEOUT": "3"}
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "reconcile"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith(f"a call took too long: it waits for process {holder.info.backend_pid} (")
            holder.rollback()
            out, _ = process.communicate(timeout=PATIENCE)
            assert out == "5\n"
        finally:
            process.kill()
            process.wait()


BROKEN = """
create function public.broken() returns trigger language plpgsql as
$$ begin if new.content_text like 'bad%' then perform no_such_function(new.content_text); end if;
         if new.content_text = 'slow' then perform pg_sleep(600); end if; return new; end $$;
create trigger broken before insert on public.messages for each row execute function public.broken();
"""


@pytest.mark.parametrize("hangs", [False, True])
def test_what_the_schema_keeps_from_being_routed(database: str, *, hangs: bool) -> None:
    """It is an error that names the object; the sweep goes on behind such events, and leaves them as they are."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(BROKEN)
        db.execute(INSERT, ("e", 350))
        db.execute(
            "update public.webhook_events set content = 'bad secret' where split_part(event_id, 'e', 2)::int <= 120"
        )
        if hangs:
            db.execute("update public.webhook_events set content = 'slow' where event_id = 'e200'")
        env = {"WEBHOOK_ROUTER_BATCH_SIZE": "50", "WEBHOOK_ROUTER_CALL_TIMEOUT": "2" if hangs else "60"}
        done = command("reconcile", dsn=database, env=env)
        assert done.returncode == 1
        assert done.stdout == ("229\n" if hangs else "230\n")
        assert "120 could not be routed, for no fault of theirs" in done.stderr
        assert "42883: function no_such_function(text) does not exist (function broken())" in done.stderr
        assert "secret" not in done.stderr
        assert db.execute("select count(*) from router.parked_events").fetchone() == (int(hangs),)
        done = command("reconcile", "--json", "--channel", "instagram", dsn=database, env=env)
        assert done.returncode == 1
        figures = json.loads(done.stdout)
        assert (figures["routed"], figures["parked"], figures["held"]) == (0, 0, 120)
        assert figures["held_reason"].startswith("42883: ")
        db.execute("drop trigger broken on public.messages")
        assert command("reconcile", dsn=database, env=env).stdout == "120\n"


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
