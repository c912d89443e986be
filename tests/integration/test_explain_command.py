"""`webhook-router explain`: where an event is, and what to do if that is not the inbox."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import Ran, run
from tests.processes import command
from tests.servers import TEMPLATE, empty_database_on

Connection = psycopg.Connection[TupleRow]

EVENT = """
    insert into public.webhook_events
        (channel, type, event_id, author_id, author_name, content, event_date, raw_payload)
    values (%s, 'message', %s, 'secret author', 'Secret Name', 'secret text', now(), '{"secret": "payload"}')
"""
ROUTE = "select claimed, inserted, parked from router.route_batch(10000)"
REFUSE = """
    create function public.refuse() returns trigger language plpgsql as $$
    begin
        if new.content_text like 'secret%' then
            raise exception 'refused: %', new.content_text using errcode = 'RF001';
        end if;
        return new;
    end $$;
    create trigger refuse before insert on public.messages for each row execute function public.refuse()
"""
OMIT = """
    create function public.omit() returns trigger language plpgsql as 'begin return null; end';
    create trigger omit before insert on public.{table} for each row execute function public.omit()
"""


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def explained(database: str, channel: str, event_id: str) -> Ran:
    """The answer in words; that in JSON agrees about the state, and neither shows what anybody wrote."""
    done = run(database, "explain", channel, event_id)
    other = run(database, "explain", channel, event_id, "--json")
    assert done.error is None
    assert done.code == other.code == (1 if other.json["state"] == "unknown" else 0)
    assert re.search(rf"^state +{other.json['state']}$", done.out, re.MULTILINE)
    assert "ecret" not in done.out + other.out
    return done


def json_of(database: str, channel: str, event_id: str) -> dict[str, object]:
    """The answer in JSON, without what does not apply."""
    answer = run(database, "explain", channel, event_id, "--json").json
    return {name: value for name, value in answer.items() if value is not None}


def test_a_routed_event(database: str, connection: Connection) -> None:
    """Its message, conversation, contact and channel are named; the channel is taken in any case."""
    connection.execute(EVENT, ["instagram", "e1"])
    connection.execute(ROUTE)
    query = """
        select m.id::text, m.conversation_id::text, m.contact_id::text, k.id::text
        from public.messages m join public.contact_channels k using (contact_id)
    """
    message, conversation, contact, channel = connection.execute(query).fetchone() or ()
    found = json_of(database, " Instagram", "e1")
    assert found["state"] == "routed"
    assert (found["message_id"], found["conversation_id"]) == (message, conversation)
    assert (found["contact_id"], found["channel_id"]) == (contact, channel)
    assert found["conversation_status"] == "open"
    said = explained(database, "instagram", "e1").out
    for id_ in (message, conversation, contact, channel):
        assert id_ in said
    assert "its message is in the conversation above" in said
    assert found["routed_by"] == "hot"
    assert re.search(r"^routed .* after that, by the hot path$", said, re.MULTILINE)
    connection.execute("update public.webhook_events set routed_at = null")
    assert "by a function or a command that was called" in run(database, "explain", "instagram", "e1", "--route").out


def test_what_became_of_its_message(database: str, connection: Connection) -> None:
    """Statuses, reactions and edits that came later are told with their times, and without what they say."""
    connection.execute(EVENT, ["instagram", "e1"])
    connection.execute(ROUTE)
    connection.execute(
        "insert into public.message_delivery (message_id, status, sent_at, read_at) "
        "select id, 'read', '2026-01-01 12:00:00+00', '2026-01-01 12:00:05+00' from public.messages"
    )
    connection.execute(
        "insert into public.message_reactions (message_id, actor, emoji, reacted_at, ord) "
        "select id, 'secret actor', '{secret}', '2026-01-01 12:00:06+00', '1' from public.messages"
    )
    effects = json_of(database, "instagram", "e1")["effects"]
    assert isinstance(effects, list)
    assert [(effect["kind"], effect["number"]) for effect in effects] == [
        ("sent", None),
        ("read", None),
        ("reactions", 1),
    ]
    said = explained(database, "instagram", "e1").out
    assert re.search(r"^read +2026-01-01T12:00:05", said, re.MULTILINE)
    assert re.search(r"^reactions +2026-01-01T12:00:06.*, 1, ", said, re.MULTILINE)


def test_a_routed_event_that_no_inbox_shows(database: str, connection: Connection) -> None:
    """The conversation is closed, or there is no message, or no author: that is said, and which triggers may be why."""
    connection.execute(EVENT, ["instagram", "e1"])
    connection.execute(ROUTE)
    connection.execute("update public.conversations set status = 'archived'")
    assert "Its conversation is archived: an inbox" in explained(database, "instagram", "e1").out
    connection.execute(OMIT.format(table="messages").encode())
    connection.execute(EVENT, ["instagram", "e2"])
    connection.execute("update public.webhook_events set author_id = ' ' where event_id = 'e2'")
    connection.execute(ROUTE)
    assert json_of(database, "instagram", "e2")["triggers"] == ["omit (public.omit())"]
    said = explained(database, "instagram", "e2").out
    assert "there is no message with its event_id" in said
    assert "Triggers that may do so: omit (public.omit())" in said
    assert "It names no author, so its conversation has no contact." in said
    (again,) = [line for line in said.splitlines() if line.startswith("To have it routed again")]
    connection.execute("drop trigger omit on public.messages")
    connection.execute(again.partition(": ")[2].encode())
    connection.execute(ROUTE)
    assert json_of(database, "instagram", "e2").keys() >= {"message_id", "conversation_id"}
    connection.execute("delete from public.conversations")
    assert "Its conversation was deleted." in explained(database, "instagram", "e2").out


def test_a_ready_event(database: str, connection: Connection) -> None:
    """How long it has waited, behind how many; after long, where to look, down to the command that routes it."""
    for number in range(3):
        connection.execute(EVENT, ["instagram", f"e{number}"])
    found = json_of(database, "instagram", "e2")
    assert (found["state"], found["ready_before"]) == ("ready", 2)
    said = explained(database, "instagram", "e2").out
    assert "2 ready events arrived before it" in said
    assert "Look again then." in said
    connection.execute("update public.webhook_events set created_at = now() - interval '2 h' where event_id = 'e0'")
    said = explained(database, "instagram", "e0").out
    assert ", 2 h 0 min ago" in said
    assert "No other ready event arrived before it." in said
    assert "`events are held`" in said
    assert "is routed" in run(database, *said.splitlines()[-1].partition(": webhook-router ")[2].split()).out
    assert [json_of(database, "instagram", id_)["state"] for id_ in ("e0", "e1")] == ["routed", "ready"]


def test_an_attempt_tells_what_keeps_an_event(database: str, connection: Connection) -> None:
    """--route routes it as the service would. Held: the reason is named. Locked: that is said. Not due: it waits."""
    connection.execute(EVENT, ["instagram", "e1"])
    connection.execute(
        "create function public.broken() returns trigger language plpgsql as 'begin new.missing := 1; return new; end';"
        "create trigger broken before insert on public.messages for each row execute function public.broken()"
    )
    held = run(database, "explain", "instagram", "e1", "--route", "--json").json
    assert (held["state"], held["held_reason"][:5]) == ("held", "42703")
    said = run(database, "explain", "instagram", "e1", "--route").out
    assert re.search(r"^state +held$", said, re.MULTILINE)
    assert "public.broken()" in said or "broken()" in said
    assert "missing" in said
    connection.execute("drop trigger broken on public.messages")
    with connection.transaction(force_rollback=True):
        connection.execute("select from public.webhook_events for update")
        busy = run(database, "explain", "instagram", "e1", "--route")
        assert "Another session has its row locked" in busy.out
    again = shlex.split(said.splitlines()[-1].partition(": webhook-router ")[2])
    assert run(database, *again, "--json").json["state"] == "routed"
    assert run(database, *again, "--json").json["state"] == "routed"

    connection.execute(REFUSE)
    connection.execute(EVENT, ["instagram", "e2"])
    for _ in range(2):  # the second attempt is not due yet
        parked = run(database, "explain", "instagram", "e2", "--route", "--json").json
        assert (parked["state"], parked["attempts"]) == ("parked", 1)
    assert run(database, "explain", "instagram", "e3", "--route").code == 1


def test_a_parked_event(database: str, connection: Connection) -> None:
    """Parked, dead, discarded: its error, its attempts, what comes next, and commands that work as they are printed."""
    connection.execute(REFUSE)
    connection.execute(EVENT, ["whatsapp", "e1"])
    assert connection.execute(ROUTE).fetchone() == (1, 0, 1)
    found = json_of(database, "whatsapp", "e1")
    assert (found["state"], found["error_code"], found["attempts"]) == ("parked", "RF001", 1)
    assert 0 < float(str(found["due_in_seconds"])) < 15
    said = explained(database, "whatsapp", "e1").out
    assert re.search(r"^error +RF001: ", said, re.MULTILINE)
    assert re.search(r"^next attempt +in \d+ s$", said, re.MULTILINE)

    connection.execute("update router.parked_events set attempts = 9")
    connection.execute("update public.webhook_events set parked_until = now()")
    connection.execute("select router.route_due(null, 10)")
    assert json_of(database, "whatsapp", "e1")["state"] == "dead"
    said = explained(database, "whatsapp", "e1").out
    assert "no attempt is left" in said
    commands = [line.partition(": webhook-router ")[2] for line in said.splitlines() if ": webhook-router " in line]
    retry, discard, show = (shlex.split(line) for line in commands)
    assert run(database, *discard).out == "1 event will not be tried any more\n"
    assert json_of(database, "whatsapp", "e1")["state"] == "discarded"
    assert "To have it tried again: webhook-router parked retry" in explained(database, "whatsapp", "e1").out
    assert "secret text" in run(database, *show).out
    assert run(database, *retry).out.startswith("1 event will be tried again")
    assert "next attempt     due" in explained(database, "whatsapp", "e1").out.replace(
        "attempt  due", "attempt     due"
    )


def test_an_unknown_event(database: str, connection: Connection) -> None:
    """Exit code 1, and what to check: other channels, the spelling, whether others arrive, triggers."""
    said = explained(database, "instagram", "e1")
    assert said.code == 1
    assert "No event of this channel was ever stored; the table is empty." in said.out
    connection.execute(EVENT, ["facebook", "e1"])
    connection.execute(EVENT, ["whatsapp", "w1"])
    found = json_of(database, "instagram", "e1")
    assert (found["state"], found["found_in"], found["channels"]) == ("unknown", ["facebook"], ["facebook", "whatsapp"])
    said = explained(database, "instagram", "e1")
    (other,) = [line for line in said.out.splitlines() if line.startswith("The channel facebook has")]
    assert run(database, *shlex.split(other.partition(": webhook-router ")[2])).code == 0
    assert "No event of this channel was ever stored; there are events of facebook, whatsapp." in said.out
    connection.execute(OMIT.format(table="webhook_events").encode())
    spaced = explained(database, "whatsapp", "w1 ").out
    assert "try it without: webhook-router explain whatsapp w1\n" in spaced
    assert "The latest event of this channel is of " in spaced
    assert "omit (public.omit())" in spaced


def test_an_event_whose_row_is_gone(database: str, connection: Connection) -> None:
    """It is unknown, but its message is named: it was routed before the application deleted old events."""
    connection.execute(EVENT, ["instagram", "e1"])
    connection.execute(ROUTE)
    connection.execute("delete from public.webhook_events")
    found = json_of(database, "instagram", "e1")
    assert found["state"] == "unknown"
    assert found.keys() >= {"message_id", "conversation_id", "contact_id"}
    assert "But a message has its id, see above" in explained(database, "instagram", "e1").out


def test_the_date_of_the_latest_event_is_not_of_the_future(database: str, connection: Connection) -> None:
    """Anybody can send a date: one that lies ahead does not hide that nothing arrives any more."""
    for id_, date in (("old", "2020-01-01"), ("ahead", "9999-01-01"), ("endless", "infinity"), ("none", None)):
        connection.execute(EVENT, ["instagram", id_])
        connection.execute("update public.webhook_events set event_date = %s where event_id = %s", [date, id_])
    assert str(json_of(database, "instagram", "?")["last_event_date"]).startswith("2020-01-01")


@pytest.mark.parametrize(
    "time", ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'200000-01-01'", "now() + interval '1 h'"]
)
@pytest.mark.parametrize("state", ["ready", "routed", "parked"])
def test_times_that_python_lacks(database: str, connection: Connection, state: str, time: str) -> None:
    """Every time that Postgres has can be shown."""
    connection.execute(EVENT, ["instagram", "e1"])
    connection.execute(f"update public.webhook_events set created_at = {time}, event_date = {time}".encode())
    column = {"ready": "author_name", "routed": "routed_at", "parked": "parked_until"}[state]
    value = "now()" if state == "ready" else time
    connection.execute(f"update public.webhook_events set {column} = {value}".encode())
    expected = "dead" if (state, time) == ("parked", "'infinity'") else state
    assert json_of(database, "instagram", "e1")["state"] == expected
    assert explained(database, "instagram", "e1").code == 0


def test_what_strangers_chose_moves_no_terminal(database: str, connection: Connection) -> None:
    """An event's id is written by whoever sends it: escapes of all kinds are shown as such, and JSON stays JSON."""
    strange = "\x1b[2J\x9b31m\u202e\u2028'\"\\ $(reboot)"
    connection.execute(EVENT, ["instagram", strange])
    connection.execute(EVENT, ["facebook", "other"])
    for channel in ("instagram", "facebook", "tiktok"):
        done, answer = run(database, "explain", channel, strange), run(database, "explain", channel, strange, "--json")
        assert answer.json["event_id"] == strange
        for character in "\x1b\x9b\u202e\u2028":
            assert character not in done.out + answer.out


def test_it_only_reads_by_key(any_postgres: EmbeddedPostgres) -> None:
    """On tables that were never analysed, each answer costs a few look-ups, however many events there are."""
    with empty_database_on(any_postgres, template=TEMPLATE) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        for table in ("webhook_events", "messages", "conversations", "contact_channels", "contacts"):
            connection.execute(f"alter table public.{table} set (autovacuum_enabled = off)".encode())
        connection.execute(
            "insert into public.webhook_events (channel, type, event_id, author_id, event_date) "
            "select (array['instagram', 'facebook'])[1 + i % 2], 'message', i::text, (i % 100)::text, now() "
            "from generate_series(1, 5000) i"
        )
        connection.execute("select router.route_batch(10000)")
        cost = "select coalesce(sum(seq_tup_read + idx_tup_fetch), 0) from pg_stat_xact_user_tables"
        for key in (("facebook", "1"), ("instagram", "2"), ("instagram", "none"), ("tiktok", "1")):
            with connection.transaction(force_rollback=True):
                connection.execute("set transaction read only")
                before = (connection.execute(cost).fetchone() or (0,))[0]
                connection.execute("select state from router.explain(%s, %s)", key)
                assert (connection.execute(cost).fetchone() or (0,))[0] - before < 30, key


def test_as_a_command(database: str, connection: Connection) -> None:
    """Exit codes 0 and 1 are for answers, 2 is for mistakes; all of it is on stdout."""
    connection.execute(EVENT, ["instagram", "e1"])
    known, unknown, mistaken = (
        command("explain", *arguments, dsn=database)
        for arguments in (("instagram", "e1"), ("instagram", "e2"), ("instagram",))
    )
    assert (known.returncode, unknown.returncode, mistaken.returncode) == (0, 1, 2)
    assert known.stderr == unknown.stderr == ""
    assert "Missing argument 'EVENT_ID'" in mistaken.stderr


def test_the_runbook(database: str, connection: Connection) -> None:
    """Each command of the section for whoever is on call can be typed, and what it says of the states is so."""
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    section = page.partition("## A message is not in the inbox\n")[2].partition("\n## ")[0]
    connection.execute(REFUSE)
    connection.execute(EVENT, ["instagram", "e1"])
    connection.execute(ROUTE)
    (id_,) = connection.execute("select id::text from public.webhook_events").fetchone() or ("",)
    commands = re.findall(r"webhook-router ([a-z][^`\n|]*)", section)
    assert len(commands) >= 8
    for text in commands:
        arguments = [{"EVENT_ID": "e1", "ID": id_}.get(word, word) for word in text.split()]
        if arguments == ["ingest"] or arguments[0] == "kafka":  # it is mentioned; it needs brokers
            continue
        done = run(database, *arguments)
        assert (done.code, done.error) == (0, None), text
    states = re.findall(r"^\| (\w+) \|", section, re.MULTILINE)[1:]
    assert states == ["routed", "ready", "held", "parked", "dead", "discarded", "unknown"]
