"""`webhook-router ingest`: events in bulk, from lines of JSON into webhook_events."""

import itertools
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from consumer.adapters.event_schema import event_schema, is_date_time
from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.ingest import EventLoader
from consumer.domain.backoff import Backoff
from consumer.domain.errors import Fatal, Misconfigured, Transient
from tests.cli import run
from tests.conftest import StartPostgres
from tests.processes import clean_environment, command
from tests.waiting import PATIENCE, wait_for

Event = dict[str, Any]

STORED = """
    select channel, event_id, type, author_id, author_name, content, event_date::text, post_id, conversation_id,
           raw_payload
    from public.webhook_events
    order by channel, event_id
"""
ONE_BY_ONE = """
    select public.ingest_webhook_event(%(channel)s, %(type)s, %(event_id)s, %(author_id)s, %(author_name)s, %(content)s,
                                       %(event_date)s, %(post_id)s, %(conversation_id)s, %(raw_payload)s)
"""
COLUMNS = (
    "channel", "type", "event_id", "author_id", "author_name", "content", "event_date", "post_id", "conversation_id",
    "raw_payload",
)  # fmt: skip


def line(event_id: str, **more: object) -> bytes:
    return json.dumps({"channel": "instagram", "event_id": event_id, **more}).encode()


def stored(dsn: str) -> list[Event]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute(STORED).fetchall()


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: bytes, end: bytes = b"\n") -> Path:
        path = tmp_path / "events.ndjson"
        path.write_bytes(b"\n".join(lines) + end)
        return path

    return write


@pytest.fixture
def loader(database: str) -> Iterator[EventLoader]:
    opened = EventLoader(database, patience=20, backoff=Backoff(first=0.01, maximum=0.1))
    yield opened
    opened.close()


def test_lines_become_events(database: str, file_of: Callable[..., Path]) -> None:
    """Each field lands in its column; what is left out has its default; digits and letters of any kind stay."""
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("insert into conversations (channel) values ('instagram') returning id").fetchone()
        assert row is not None
    path = file_of(
        line(
            "full",
            channel="Instagram",
            type="comment",
            author_id="a1",
            author_name="מיכל 👩‍👩‍👧",
            content="line\nline \\u0000 \u2028 \U0001f600",
            event_date="2026-01-31T10:30:00.250+01:00",
            post_id="p1",
            conversation_id=str(row[0]),
            raw_payload={"a": [1, None, {"b": "\t"}]},
        ),
        b'{"channel":"whatsapp","event_id":"digits","raw_payload":{"id":123456789012345678901234567890,"price":1.10}}',
        line("less", author_id=None, raw_payload=None, type=None, event_date=None, id="ignored", routed_at="ignored"),
        line("large", content="x" * 1_000_000),
        end=b"",
    )
    done = run(database, "ingest", str(path), "--json")
    assert done.code == 0
    figures = done.json
    assert figures["seconds"] > 0
    assert figures["per_second"] > 0
    assert figures | {"seconds": 0, "per_second": 0} == {
        "lines": 4, "ingested": 4, "duplicates": 0, "rejected": 0, "seconds": 0, "per_second": 0, "rejected_file": None,
    }  # fmt: skip
    events = {event["event_id"]: event for event in stored(database)}
    assert events["full"] == {
        "channel": "instagram", "event_id": "full", "type": "comment", "author_id": "a1",
        "author_name": "מיכל 👩‍👩‍👧", "content": "line\nline \\u0000 \u2028 \U0001f600",
        "event_date": "2026-01-31 09:30:00.25+00", "post_id": "p1", "conversation_id": row[0],
        "raw_payload": {"a": [1, None, {"b": "\t"}]},
    }  # fmt: skip
    assert events["less"] | {"event_date": None} == {
        "channel": "instagram", "event_id": "less", "type": "message", "author_id": None, "author_name": None,
        "content": None, "event_date": None, "post_id": None, "conversation_id": None, "raw_payload": {},
    }  # fmt: skip
    assert events["less"]["event_date"] is not None
    assert len(events["large"]["content"]) == 1_000_000
    with psycopg.connect(database) as connection:
        text = connection.execute("select raw_payload::text from webhook_events where event_id = 'digits'").fetchone()
        unrouted = connection.execute("select count(*) from webhook_events where routed_at is null").fetchone()
    assert text == ('{"id": 123456789012345678901234567890, "price": 1.10}',)
    assert unrouted == (4,)
    assert not list(path.parent.glob("*.rejected.ndjson"))


def test_a_file_can_be_ingested_again(database: str, file_of: Callable[..., Path]) -> None:
    """What is there already counts as duplicate, and takes what the line knows more; routed events stay routed."""
    path = file_of(*(line(f"e{number}", author_id="a") for number in range(30)))
    assert run(database, "ingest", str(path), "--batch-size", "7").code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("select route_unrouted_events(null, 100)")
        before = connection.execute("select * from webhook_events order by id").fetchall()
    again = run(database, "ingest", str(path), "--json").json
    assert (again["ingested"], again["duplicates"]) == (0, 30)
    with psycopg.connect(database) as connection:
        assert connection.execute("select * from webhook_events order by id").fetchall() == before
    file_of(line("e1", author_name="Ana"), line("new"), line("new", content="hi"))
    said = run(database, "ingest", str(path)).out
    assert said.startswith("3 lines: 1 ingested, 2 duplicates, 0 rejected; ")
    assert [event["author_name"] for event in stored(database) if event["event_id"] == "e1"] == ["Ana"]


some = st.none() | st.sampled_from(["x", "y"])
deliveries = st.fixed_dictionaries(
    {"channel": st.sampled_from(["instagram", "Instagram", "whatsapp"]), "event_id": st.sampled_from(["1", "2", "É"])},
    optional={
        "type": st.sampled_from(["message", "comment", None]),
        "author_id": some,
        "author_name": some,
        "content": some,
        "event_date": st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00+01:00", None]),
        "post_id": some,
        "conversation_id": st.sampled_from(
            ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b", None]
        ),
        "raw_payload": st.sampled_from([{"v": 1}, {"v": 2}, {}, None]),
    },
)


EMPTY = """
    truncate public.webhook_events, public.conversations cascade;
    insert into public.conversations (id, channel)
    values ('00000000-0000-0000-0000-00000000000a', 'instagram'), ('00000000-0000-0000-0000-00000000000b', 'instagram')
"""
# What has no date is dated by its first delivery.
OUTCOME = """
    select channel, event_id, type, author_id, author_name, content, nullif(event_date, created_at), post_id,
           conversation_id, raw_payload
    from public.webhook_events
    order by channel, event_id
"""


# The test itself empties the database for each example.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(deliveries, min_size=1, max_size=8), cuts=st.sets(st.integers(1, 7), max_size=3))
def test_a_batch_is_as_good_as_one_by_one(
    database: str, loader: EventLoader, events: list[Event], cuts: set[int]
) -> None:
    """However lines fall into batches, the table ends as if each had been ingested alone, in their order."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(EMPTY)
        for event in events:
            full = dict.fromkeys(COLUMNS) | event
            payload = full["raw_payload"]
            connection.execute(ONE_BY_ONE, full | {"raw_payload": None if payload is None else Jsonb(payload)})
        expected = connection.execute(OUTCOME).fetchall()
        connection.execute(EMPTY)
        bounds = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
        lines = [json.dumps(event).encode() for event in events]
        batches = [loader.store(lines[begin:end]) for begin, end in itertools.pairwise(bounds)]
        assert connection.execute(OUTCOME).fetchall() == expected
        assert sum(batch.new for batch in batches) == len(expected)
        assert not any(batch.refused for batch in batches)


def test_a_redelivery_in_bulk_ends_a_wait(database: str, loader: EventLoader) -> None:
    """As one alone does: a parked event that is told something new is ready again, unless it is dead."""
    loader.store([line("told"), line("same"), line("dead")])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "update webhook_events set parked_until = case event_id when 'dead' then 'infinity' else now() + '1 h' end"
        )
        loader.store([line("told", content="new"), line("same"), line("dead", content="new")])
        ready = connection.execute("select event_id from webhook_events where parked_until is null").fetchall()
    assert ready == [("told",)]


def test_rejected_lines_are_kept_with_number_and_reason(database: str, file_of: Callable[..., Path]) -> None:
    """Exit code 1, the others are stored, and the file has each rejected line, in order, whoever rejected it."""
    path = file_of(
        line("1"),
        b"",
        b"{oops",
        line("2", channel="sms"),
        line("3", conversation_id="7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00"),
        b'{"channel":"instagram","event_id":"\xff"}',
        line("4"),
    )
    done = command("ingest", str(path), dsn=database)
    assert done.returncode == 1
    kept = path.with_name("events.ndjson.rejected.ndjson")
    assert done.stdout.startswith(f"6 lines: 2 ingested, 0 duplicates, 4 rejected (see {kept}); ")
    assert done.stderr == ""
    entries = [json.loads(entry) for entry in kept.read_text().splitlines()]
    assert [(entry["line"], entry.get("record", "").encode()) for entry in entries] == [
        (3, b"{oops"), (4, line("2", channel="sms")),
        (5, line("3", conversation_id="7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00")), (6, b""),
    ]  # fmt: skip
    assert "not JSON" in entries[0]["reason"]
    assert "webhook_events_channel_check" in entries[1]["reason"]
    assert "webhook_events_conversation_id_fkey" in entries[2]["reason"]
    assert "UTF-8" in entries[3]["reason"]
    assert [event["event_id"] for event in stored(database)] == ["1", "4"]


def test_the_database_may_refuse_any_lines_of_a_batch(
    database: str, file_of: Callable[..., Path], tmp_path: Path
) -> None:
    """Whichever lines of a large batch the database refuses, they and no others are rejected."""
    refused = {1, 500, 501, 502, 1999, 2000, *random.Random(7).sample(range(3, 1998), 60)}
    path = file_of(*(line(f"e{n}", channel="x" if n in refused else "whatsapp") for n in range(1, 2001)))
    kept = tmp_path / "kept"
    done = run(database, "ingest", str(path), "--rejected", str(kept), "--json")
    assert done.code == 1
    assert (done.json["ingested"], done.json["rejected"]) == (2000 - len(refused), len(refused))
    assert [json.loads(entry)["line"] for entry in kept.read_text().splitlines()] == sorted(refused)
    assert len(stored(database)) == 2000 - len(refused)


def test_every_accepted_time_is_one_for_postgres(database: str) -> None:
    """What the schema takes for a date-time, the database takes too."""
    days = ["0001-01-01", "1899-12-31", "2024-02-29", "9999-12-31"]
    times = ["00:00:00", "23:59:60", "12:30:60", "00:00:00.1", "23:59:59." + "9" * 30]
    zones = ["Z", "z", "+00:00", "-00:00", "+15:59", "-15:59", "+05:45"]
    texts = [f"{d}{t}{time}{zone}" for d in days for t in "Tt" for time in times for zone in zones]
    assert all(is_date_time(text) for text in texts)
    with psycopg.connect(database) as connection:
        taken = connection.execute("select count(t::timestamptz) from unnest(%s::text[]) t", [texts]).fetchone()
    assert taken == (len(texts),)


def test_a_live_feed_does_not_wait_for_a_full_batch(database: str, tmp_path: Path) -> None:
    """From a pipe, what has come is stored as soon as no more comes; the end of the pipe is the end of the work."""
    with feeding(database, tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(line("first") + b"\n" + line("second") + b"\n")
        process.stdin.flush()
        wait_for(lambda: len(stored(database)) == 2, what="two events")
        process.stdin.write(line("third"))
        out, _ = process.communicate(timeout=90)
        assert process.returncode == 0
        assert out.startswith(b"3 lines: 3 ingested, 0 duplicates, 0 rejected; ")


def test_an_interruption_says_how_far_it_came(database: str, tmp_path: Path) -> None:
    """Ctrl-C ends it in order: one line, up to which line all is dealt with, exit code 1."""
    with feeding(database, tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(line("first") + b"\nnonsense\n")
        process.stdin.flush()
        wait_for(lambda: (tmp_path / "rejected.ndjson").exists() and stored(database), what="an event")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=90)
        assert process.returncode == 1
        assert err.startswith(b"webhook-router: stopped; up to line 2 the lines are dealt with, 1 of them rejected")
        assert err.count(b"\n") == 1


def feeding(dsn: str, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", "ingest", "-"],
        env=clean_environment() | {"WEBHOOK_ROUTER_DATABASE_URL": dsn},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )


def test_loaders_that_share_events_do_not_deadlock(database: str) -> None:
    """Two files with the same events in different orders, at the same time: each event once, all knowledge kept."""

    def load(name: str, seed: int) -> None:
        loader = EventLoader(database, patience=0)  # a deadlock would be an error at once
        numbers = random.Random(seed).sample(range(400), 400)
        lines = [line(f"e{number}", **{name: str(number)}) for number in numbers]
        for begin in range(0, 400, 80):
            assert not loader.store(lines[begin : begin + 80]).refused
        loader.close()

    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            fields = ["author_id", "author_name", "content", "post_id"]
            list(pool.map(load, fields, range(4)))
        events = stored(database)
        assert len(events) == 400
        assert all(event[field] == event["event_id"][1:] for event in events for field in fields)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("truncate webhook_events cascade")


def test_a_lost_connection_is_made_anew(database: str, loader: EventLoader) -> None:
    """A failover costs a pause, not the ingestion."""
    assert loader.store([line("1")]).new == 1
    with psycopg.connect(database, autocommit=True) as connection:
        ended = connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where application_name = 'webhook-router ingest' and datname = current_database()"
        ).fetchall()
    assert ended == [(True,)]
    assert loader.store([line("1"), line("2")]).new == 1


def test_a_database_that_stays_away_ends_the_work(private_postgres: StartPostgres) -> None:
    """Patience has an end, and the error is one to try again after."""
    server = private_postgres()
    migrator.migrate(server.dsn())
    loader = EventLoader(server.dsn(), patience=0.2, backoff=Backoff(first=0.01, maximum=0.05))
    assert loader.store([line("1")]).new == 1
    server.stop("immediate")
    with pytest.raises(Transient):
        loader.store([line("2")])
    loader.close()


def test_a_statement_timeout_makes_batches_smaller(database: str, loader: EventLoader) -> None:
    """What the server gives up on as a whole is stored in parts."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            create function slow() returns trigger language plpgsql as $$
            begin
                if (select count(*) from fresh) > 10 then
                    raise exception 'canceling statement due to statement timeout' using errcode = 'query_canceled';
                end if;
                return null;
            end $$;
            create trigger slow after insert on webhook_events referencing new table as fresh
                for each statement execute function slow()
            """
        )
    result = loader.store([line(str(number), channel="x" if number == 33 else "whatsapp") for number in range(50)])
    assert result.new == 49
    assert [index for index, _ in result.refused] == [33]


def test_a_broken_trigger_is_not_the_lines_fault(database: str, file_of: Callable[..., Path]) -> None:
    """An error about the schema, which every line would meet, ends the work and rejects nothing."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            create function broken() returns trigger language plpgsql as $$ begin perform nix.f(); return new; end $$;
            create trigger broken before insert on webhook_events for each row execute function broken()
            """
        )
    path = file_of(line("1"), line("2"))
    done = run(database, "ingest", str(path))
    assert done.code == 1
    assert isinstance(done.error, Fatal)
    assert 'schema "nix" does not exist' in str(done.error)
    assert not path.with_name("events.ndjson.rejected.ndjson").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.ndjson"], 2, "webhook-router: cannot read nowhere.ndjson: No such file or directory\n"),
        (["-", "--batch-size", "0"], 2, "Invalid value for '--batch-size'"),
        (["-"], 1, "webhook-router: database: connection failed: connection to server at "),
    ],
)
def test_mistakes_are_told_apart(arguments: list[str], code: int, said: str) -> None:
    """2 for what the user got wrong, 1 for what went wrong; one line that says what."""
    done = command("ingest", *arguments, dsn="postgresql://u@127.0.0.1:1/d", stdin="")
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if done.stderr.startswith("webhook-router:"):
        assert done.stderr.count("\n") == 1


def test_the_input_is_never_overwritten(database: str, file_of: Callable[..., Path]) -> None:
    """--rejected that names the input is a mistake, by whatever path."""
    path = file_of(b"nonsense")
    done = run(database, "ingest", str(path), "--rejected", str(path.parent / "." / path.name))
    assert "it is the file that is read" in str(done.error)
    assert path.read_bytes() == b"nonsense\n"
    nowhere = run(database, "ingest", str(path), "--rejected", str(path.parent))
    assert isinstance(nowhere.error, Misconfigured)
    assert "it cannot be written; name another one by --rejected" in str(nowhere.error)


def test_rejected_lines_on_standard_output(database: str) -> None:
    """--rejected - is for a pipe: the lines and nothing else are on standard output, the summary is on the other."""
    for flags in ([], ["--json"]):
        text = '{"channel":"instagram","event_id":"1"}\nnonsense\n'
        done = command("ingest", "-", "--rejected", "-", *flags, dsn=database, stdin=text)
        assert done.returncode == 1
        (kept,) = [json.loads(line) for line in done.stdout.splitlines()]
        assert (kept["line"], kept["record"]) == (2, "nonsense")
        assert "1 rejected (see standard output)" in done.stderr or '"rejected":1' in done.stderr
    assert not Path("-").exists()


def test_a_folder_that_cannot_be_written_to(database: str) -> None:
    """Standard input is read there as anywhere; where lines are rejected the message says where they are."""
    good, bad = '{"channel":"instagram","event_id":"1"}\n', "nonsense\n"
    process = [sys.executable, "-m", "consumer", "ingest", "-"]
    env = {**clean_environment(), "WEBHOOK_ROUTER_DATABASE_URL": database, "PYTHONPATH": str(Path.cwd())}
    for text, code in ((good, 0), (good + bad, 1)):
        done = subprocess.run(
            process, env=env, cwd="/proc", input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == code, done.stderr
    kept = Path(done.stdout.partition("(see ")[2].partition(")")[0])
    try:
        assert json.loads(kept.read_text())["record"] == "nonsense"
    finally:
        kept.unlink()


def test_a_link_is_no_place_for_rejected_lines(database: str, file_of: Callable[..., Path], tmp_path: Path) -> None:
    """It is refused before anything is read."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    done = run(database, "ingest", str(file_of(b"nonsense")), "--rejected", str(tmp_path / "link"))
    assert isinstance(done.error, Misconfigured)
    assert "it is a link" in str(done.error)
    assert not (tmp_path / "target").exists()


def test_csv_is_named_as_such(database: str, file_of: Callable[..., Path]) -> None:
    """Instead of a line of rejections for each of its rows."""
    path = file_of(b"channel,event_id,content", b"instagram,1,x")
    done = run(database, "ingest", str(path))
    assert isinstance(done.error, Misconfigured)
    assert f"{path} is CSV, not one JSON object a line" in str(done.error)
    assert not path.with_name("events.ndjson.rejected.ndjson").exists()


def test_an_empty_file_is_no_mistake(database: str, file_of: Callable[..., Path]) -> None:
    """Nothing to do is done at once."""
    assert run(database, "ingest", str(file_of(b"", b" ", end=b""))).out.startswith("0 lines: 0 ingested")


def test_without_the_schema_it_says_what_to_do(empty_database: str, file_of: Callable[..., Path]) -> None:
    """The most likely mistake of a first user."""
    done = run(empty_database, "ingest", str(file_of(line("1"))))
    assert isinstance(done.error, Fatal)
    assert "run `webhook-router migrate`" in str(done.error)


def test_the_examples_of_the_schema_are_stored(database: str, loader: EventLoader) -> None:
    """What the schema shows works."""
    examples = event_schema().schema["examples"]
    assert loader.store([json.dumps(example).encode() for example in examples]).new == len(examples)
