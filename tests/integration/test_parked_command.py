"""`webhook-router parked`: what could not be routed, and what becomes of it."""

import json
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import TupleRow

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import Ran, run
from tests.processes import command

Connection = psycopg.Connection[TupleRow]

# Messages with this content are refused by a trigger of the application; an endless date is refused by the router.
TRIGGER = """
    create table public.switch (refusing boolean);
    insert into public.switch values (true);
    create function public.refuse() returns trigger language plpgsql as $$
    begin
        if new.content_text = 'refuse' and (select refusing from public.switch) then
            raise exception E'the application\\nrefuses' using errcode = 'RF001';
        end if;
        return new;
    end $$;
    create trigger refuse before insert on public.messages for each row execute function public.refuse()
"""
EVENTS = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
    values ('instagram', 'message', 'endless', 'secret author', 'Secret Name', 'secret text', 'infinity'),
           ('whatsapp', 'message', 'refused', 'secret author', 'Secret Name', 'refuse', now()),
           ('facebook', 'message', 'dead', 'secret author', 'Secret Name', 'refuse', now()),
           ('facebook', 'message', 'fine', 'a', 'A', 'fine', now())
"""
ROUTE = "select claimed, parked from router.route_batch(10000)"
TRY_AGAIN = "select claimed, parked from router.route_due(null, 10000)"
ROWS_READ = """
    select sum(seq_tup_read + idx_tup_fetch) from pg_stat_xact_user_tables
    where relname in ('webhook_events', 'parked_events')
"""
GROUPS = ("parked", "list", "--group")
BACKLOG = "select ready, parked, dead, discarded from router.backlog()"


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def letters(connection: Connection) -> dict[str, str]:
    """Three parked events, by name: `endless` and `refused` for an hour and a day, `dead` without another attempt."""
    connection.execute(TRIGGER)
    connection.execute(EVENTS)
    assert connection.execute(ROUTE).fetchone() == (4, 3)
    ids = {name: str(found) for name, found in connection.execute("select event_id, id from webhook_events")}
    aged = "update router.parked_events set first_parked_at = now() - %s::interval where event_id = %s"
    connection.execute(aged, ["1 h", ids["endless"]])
    connection.execute(aged, ["1 d", ids["refused"]])
    # The last attempt has failed.
    connection.execute("update router.parked_events set attempts = 9 where event_id = %s", [ids["dead"]])
    connection.execute("update webhook_events set parked_until = now() where id = %s", [ids["dead"]])
    assert connection.execute(TRY_AGAIN).fetchone() == (1, 1)
    assert connection.execute(BACKLOG).fetchone() == (0, 2, 1, 0)
    return ids


def found(done: Ran) -> set[str]:
    assert done.error is None
    return {letter["event_id"] for letter in done.json}


FILTERS: list[tuple[list[str], set[str]]] = [
    ([], {"endless", "refused", "dead"}),
    (["--channel", "WhatsApp"], {"refused"}),
    (["--error-class", "RF001"], {"refused", "dead"}),
    (["--error-class", "rf"], {"refused", "dead"}),
    (["--error-class", "22"], {"endless"}),
    (["--older-than", "30m"], {"endless", "refused"}),
    (["--older-than", "2h"], {"refused"}),
    (["--newer-than", "2h"], {"endless", "dead"}),
    (["--older-than", "30m", "--newer-than", "2h"], {"endless"}),
    (["--state", "waiting"], {"endless", "refused"}),
    (["--state", "dead"], {"dead"}),
    (["--state", "discarded"], set()),
    (["--error-class", "RF001", "--state", "dead", "--channel", "facebook"], {"dead"}),
]


SAVE = "create table saved as select * from router.parked_events"
RESTORE = """
    update router.parked_events p set attempts = s.attempts, next_attempt_at = s.next_attempt_at, discarded_at = null
    from saved s where s.event_id = p.event_id;
    update public.webhook_events w set parked_until = s.next_attempt_at from saved s where s.event_id = w.id
"""


def test_filters_choose(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """Each narrows the list, all together too; retry and discard take the same."""
    connection.execute(SAVE)
    for filters, names in FILTERS:
        assert found(run(database, "parked", "list", "--json", *filters)) == names
        outcome = run(database, "parked", "discard", "--all", "--json", *filters).json
        assert outcome == {"matched": len(names), "changed": len(names), "unknown": []}
        assert found(run(database, "parked", "list", "--state", "discarded", "--json")) == names
        connection.execute(RESTORE)


def test_the_list_says_what_happened_and_nothing_private(database: str, letters: dict[str, str]) -> None:
    """Channel, state, age, attempts, error, next attempt; the latest first; nothing that anybody wrote."""
    lines = run(database, "parked", "list").out.splitlines()
    heads = [head.strip() for head in lines[0].split("|")]
    assert heads == ["id", "channel", "event_id", "state", "age", "attempts", "error", "message", "next attempt"]
    rows = {
        cells[0]: [cells[1], *cells[3:]] for cells in ([cell.strip() for cell in line.split("|")] for line in lines[2:])
    }
    assert next(iter(rows)) == letters["dead"]
    names = [line.split("|")[2].strip() for line in lines[2:]]
    assert sorted(names) == ["dead", "endless", "refused"]
    assert rows[letters["dead"]][1] == "dead"
    assert rows[letters["dead"]][3:] == ["10", "RF001", "error (function refuse())", "never"]
    assert rows[letters["refused"]][:4] == ["whatsapp", "waiting", "1 d 0 h", "1"]
    assert rows[letters["endless"]][2:6] == ["1 h 0 min", "1", "22008", "event_date is not a finite time"]
    assert rows[letters["endless"]][6].startswith("in ")
    assert "ecret" not in run(database, "parked", "list", "--json").out
    few = run(database, "parked", "list", "--limit", "2")
    assert len(few.out.splitlines()) == 4
    assert "the latest 2; --limit shows more" in few.err


def test_show_keeps_what_was_written_to_itself(database: str, letters: dict[str, str]) -> None:
    """Everything about an event, but author and content only on demand; times that Python has not are no obstacle."""
    shown = run(database, "parked", "show", letters["endless"])
    assert shown.code == 0
    assert "event_date       infinity\n" in shown.out
    assert "error_code       22008\n" in shown.out
    assert "ecret" not in shown.out
    (letter,) = run(database, "parked", "show", letters["endless"], "--payload", "--json").json
    assert (letter["author_id"], letter["content"], letter["raw_payload"]) == ("secret author", "secret text", {})
    both = run(database, "parked", "show", letters["endless"], letters["dead"], str(uuid4()))
    assert both.code == 1
    assert "not parked (any more): " in str(both.error)
    assert both.out.count("error_code ") == 2


def test_retry_starts_afresh(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """They are due now, with all attempts before them, the dead one too; once the reason is gone they are routed."""
    done = run(database, "parked", "retry", letters["refused"], letters["dead"])
    assert done.code == 0
    assert done.out.startswith("2 events will be tried again")
    assert connection.execute(BACKLOG).fetchone() == (0, 3, 0, 0)
    assert connection.execute(TRY_AGAIN).fetchone() == (2, 2)
    attempts = "select attempts from router.parked_events where event_id = %s"
    assert connection.execute(attempts, [letters["dead"]]).fetchone() == (1,)
    connection.execute("update switch set refusing = false")
    assert run(database, "parked", "retry", "--all", "--error-class", "RF").code == 0
    assert connection.execute(TRY_AGAIN).fetchone() == (2, 0)
    assert run(database, "parked", "retry", letters["dead"]).code == 1
    assert connection.execute("select count(*) from messages").fetchone() == (3,)


def test_retry_twice_is_retry_once(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """The second call finds nothing to change."""
    first = run(database, "parked", "retry", "--all", "--json").json
    state = connection.execute("select id, xmin::text, parked_until from webhook_events order by id").fetchall()
    second = run(database, "parked", "retry", "--all", "--json").json
    assert (first, second) == (
        {"matched": 3, "changed": 3, "unknown": []},
        {"matched": 3, "changed": 0, "unknown": []},
    )
    assert connection.execute("select id, xmin::text, parked_until from webhook_events order by id").fetchall() == state
    assert "0 events will be tried again" in run(database, "parked", "retry", "--all").out


def test_discard_is_for_good_until_retry(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """It stays in the table, is tried no more, a redelivery does not revive it, and nobody is alarmed; retry does."""
    assert run(database, "parked", "discard", letters["refused"]).out == "1 event will not be tried any more\n"
    assert "1 was discarded already" in run(database, "parked", "discard", letters["refused"]).out
    assert connection.execute(BACKLOG).fetchone() == (0, 1, 1, 1)
    assert found(run(database, "parked", "list", "--json")) == {"endless", "dead"}
    connection.execute("update webhook_events set parked_until = now() where event_id = 'endless'")
    assert connection.execute(TRY_AGAIN).fetchone() == (1, 1)
    connection.execute(
        "select ingest_webhook_event('whatsapp', 'message', 'refused', 'a', 'A', 'new', now(), null, null, '{}')"
    )
    assert connection.execute(BACKLOG).fetchone() == (0, 1, 1, 1)
    assert run(database, "parked", "retry", letters["refused"]).code == 0
    assert connection.execute(TRY_AGAIN).fetchone() == (1, 0)


def test_thousands_are_one_statement_whatever_the_planner_knows(database: str, connection: Connection) -> None:
    """On tables that were never analysed: each event costs a few look-ups, however many there are."""
    connection.execute("alter table webhook_events set (autovacuum_enabled = off)")
    connection.execute("alter table router.parked_events set (autovacuum_enabled = off)")
    connection.execute(
        "insert into webhook_events (channel, type, event_id, event_date) "
        "select 'instagram', 'message', i::text, 'infinity' from generate_series(1, 3000) i"
    )
    assert connection.execute(ROUTE).fetchone() == (3000, 3000)

    def rows_read() -> int:
        (read,) = connection.execute(ROWS_READ).fetchone() or (0,)
        return int(read)

    for call in ("retry_parked()", "discard_parked()", "retry_parked(p_state => 'discarded')"):
        with connection.transaction():
            before = rows_read()
            assert connection.execute(f"select matched, changed from router.{call}").fetchone() == (3000, 3000)
            assert rows_read() - before < 3000 * 20
    with connection.transaction():
        before = rows_read()
        assert len(connection.execute("select from router.parked(p_limit => 50)").fetchall()) == 50
        assert rows_read() - before < 50 * 20


def test_groups_by_error(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """A line for each error, the most frequent first: how many events, in which state and channels, and one of them."""
    first, second = run(database, "parked", "list", "--group", "--json").json
    assert (first["error_code"], first["events"], first["waiting"], first["dead"]) == ("RF001", 2, 1, 1)
    assert first["channels"] == ["facebook", "whatsapp"]
    assert first["latest_id"] == letters["dead"]
    assert (second["error_code"], second["events"], second["discarded"]) == ("22008", 1, 0)
    lines = run(database, "parked", "list", "--group").out.splitlines()
    heads = [head.strip() for head in lines[0].split("|")]
    assert heads == ["events", "waiting", "dead", "discarded", "channels", "oldest", "error", "message", "latest id"]
    assert [line.split("|")[0].strip() for line in lines[2:]] == ["2", "1"]
    (only,) = run(database, "parked", "list", "--group", "--json", "--channel", "whatsapp").json
    assert (only["error_code"], only["events"]) == ("RF001", 1)
    few = run(database, "parked", "list", "--group", "--limit", "1")
    assert len(few.out.splitlines()) == 3
    assert "the 1 most frequent errors; --limit shows more" in few.err
    run(database, "parked", "discard", "--all")
    nothing = run(database, "parked", "list", "--group")
    assert (len(nothing.out.splitlines()), nothing.err) == (2, "nothing is parked\n")
    assert [group["discarded"] for group in run(database, *GROUPS, "--state", "discarded", "--json").json] == [2, 1]


def test_by_the_id_of_the_provider(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """A complaint names an event_id: list, show, retry and discard take it, and filters narrow it."""
    assert found(run(database, "parked", "list", "--event-id", "refused", "--json")) == {"refused"}
    both = ("--event-id", "refused", "--event-id", "dead")
    assert found(run(database, "parked", "list", *both, "--json")) == {"refused", "dead"}
    assert found(run(database, "parked", "list", *both, "--channel", "facebook", "--json")) == {"dead"}
    (letter,) = run(database, "parked", "show", "--event-id", "dead", "--json").json
    assert letter["id"] == letters["dead"]
    assert len(run(database, "parked", "show", letters["dead"], "--event-id", "dead", "--json").json) == 1
    outcome = run(database, "parked", "discard", *both, "--channel", "facebook", "--json")
    assert outcome.json == {"matched": 1, "changed": 1, "unknown": []}
    assert str(outcome.error).startswith("not parked (any more): refused; webhook-router explain CHANNEL")
    assert found(run(database, "parked", "list", "--event-id", "dead", "--json")) == {"dead"}, "though discarded"
    assert run(database, "parked", "retry", "--event-id", "dead").out.startswith("1 event will be tried again")
    assert run(database, "parked", "retry", "--event-id", "fine", "--json").json["matched"] == 0
    none = run(database, "parked", "list", "--event-id", "fine", "--channel", "facebook")
    assert none.code == 0
    assert "nothing is parked that has all of this" in none.err
    assert "fine is not parked; where it is: webhook-router explain facebook fine" in none.err


def test_events_that_are_hard_to_show(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """Numbers that no program holds, times that Python lacks, escapes: they are shown, and JSON stays JSON."""
    payload = '{"big": 123456789012345678901234567890, "huge": 1e400, "deep": %s}' % ("[" * 2000 + "]" * 2000)
    connection.execute(
        "update webhook_events set raw_payload = %s::jsonb, content = %s, created_at = '-infinity',"
        " event_date = '4000-01-01 BC' where event_id = 'dead'",
        [payload, "\x1b[2J\x9b\u202e"],
    )
    connection.execute("update router.parked_events set error_message = E'refused \\x1b[2J\\u009b\\u202e'")
    for arguments in (["list"], ["list", "--group"], ["show", "--payload", letters["dead"]]):
        words, answer = (run(database, "parked", *arguments, *more) for more in ([], ["--json"]))
        assert words.error is answer.error is None
        for character in "\x1b\x9b\u202e":
            assert character not in words.out + answer.out
    text = run(database, "parked", "show", "--payload", letters["dead"], "--json").out
    assert "123456789012345678901234567890" in text
    assert json.loads(text.replace("[" * 2000, "[").replace("]" * 2000, "]"))[0]["content"] == "\x1b[2J\x9b\u202e"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1252"])
def test_bytes_that_are_no_text(postgres_server: EmbeddedPostgres, encoding: str) -> None:
    """A row that some program has written in another encoding does not keep it, or others, from being shown."""
    name = f"encoded_{uuid4().hex}"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'")
        try:
            dsn = postgres_server.dsn(name)
            migrator.migrate(dsn)
            with psycopg.connect(dsn, autocommit=True, client_encoding=encoding) as connection:
                connection.execute(
                    b"insert into webhook_events (channel, type, event_id, content, event_date)"
                    b" values ('instagram', 'message', 'caf\xe9\x81', '\xff\xfe', 'infinity'),"
                    b" ('instagram', 'message', 'fine', '\xff', 'infinity')"
                )
                connection.execute(ROUTE)
            events = run(dsn, "parked", "list", "--json").json
            assert {event["event_id"][:3] for event in events} == {"caf", "fin"}
            if encoding == "LATIN1":
                assert {event["event_id"] for event in events} == {"caf\u00e9\x81", "fine"}
            assert run(dsn, "parked", "show", "--payload", *(event["id"] for event in events)).error is None
            assert run(dsn, "explain", "instagram", "fine", "--json").json["state"] == "parked"
            assert run(dsn, "parked", "retry", "--all").out.startswith("2 events")
        finally:
            admin.execute(f"drop database {name} with (force)")


def test_columns_of_other_types(database: str, connection: Connection, letters: dict[str, str]) -> None:
    """An application may have varchar where the contract has text."""
    for column in ("channel", "type", "event_id", "author_id", "author_name", "content", "post_id"):
        connection.execute(f"alter table webhook_events alter {column} type varchar(500)".encode())
    assert found(run(database, "parked", "list", "--json")) == {"endless", "refused", "dead"}
    assert found(run(database, "parked", "show", "--payload", letters["dead"], "--json")) == {"dead"}
    assert run(database, "explain", "facebook", "dead", "--json").json["state"] == "dead"
    assert run(database, "explain", "facebook", "none", "--json").json["state"] == "unknown"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "say which: ids, or --all, with filters if you like"),
        (["discard", "--channel", "instagram"], "say which: ids, or --all"),
        (["retry", str(uuid4()), "--all"], "ids, or --all with filters, but not both"),
        (["retry", str(uuid4()), "--channel", "instagram"], "ids, or --all with filters, but not both"),
        (["retry", "17"], "Invalid value for 'ID'"),
        (["list", "--older-than", "soon"], "'soon' is no duration such as"),
        (["list", "--error-class", "225"], "'225' is neither an SQLSTATE"),
        (["list", "--state", "lost"], "Invalid value for '--state': 'lost' is not one of 'waiting', "),
        (["discard", "--channel", "instagram"], "--all, which would discard all events that these filters let through"),
        (["discard"], "webhook-router parked discard --event-id EVENT_ID"),
        (["retry", str(uuid4()), "--event-id", "e1"], "ids, or --all with filters, but not both"),
        (["show"], "say which: ids, as `webhook-router parked list` shows them, or --event-id EVENT_ID"),
    ],
)
def test_mistakes_are_usage_errors(arguments: list[str], said: str) -> None:
    """Exit code 2, before anything is asked of the database."""
    done = run("postgresql://127.0.0.1:1/nowhere", "parked", *arguments)
    assert done.code == 2
    assert said in done.err


def test_as_a_command(database: str, letters: dict[str, str]) -> None:
    """An id that is no dead letter is an error, the others are dealt with all the same."""
    stranger = str(uuid4())
    done = command("parked", "retry", stranger, letters["dead"], dsn=database)
    assert done.returncode == 1
    assert done.stdout.startswith("1 event will be tried again")
    assert done.stderr == f"webhook-router: not parked (any more): {stranger}\n"
