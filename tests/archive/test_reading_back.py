"""`ingest` reads archives: what was pruned comes back as it was, and what is there already loses nothing."""

import gzip
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from consumer.adapters.archive.folder import Folder
from consumer.adapters.archive.members import SIGNATURE
from consumer.adapters.archive.places import archive_at, find
from consumer.adapters.postgres.migrations import migrator
from consumer.domain.archives import ArchivedLine as Line
from consumer.domain.errors import Fatal, Misconfigured
from tests.archive.buckets import Server
from tests.cli import run
from tests.conftest import StartPostgres
from tests.processes import clean_environment

NINE = datetime(2026, 1, 31, 9, tzinfo=UTC)
FILE = "2026/01/31/events-20260131T09Z.ndjson.gz"
LINES = "select convert_to(router.archive_line(w), 'UTF8') from public.webhook_events w order by w.event_id"
EVENTS = "select to_jsonb(w) as event from public.webhook_events w order by w.event_id"
DECIDED_ANEW = {"conversation_id", "routed_at", "routed_by", "parked_until"}


class Tables:
    """A database with some events that were routed, as its owner sees it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)

    def do(self, statement: str, *parameters: object) -> None:
        self.connection.execute(statement.encode(), parameters)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        return self.connection.execute(statement.encode()).fetchall()

    def routed(self, *event_ids: str) -> None:
        """Stores and routes events that have something in each column."""
        for event_id in event_ids:
            self.do(
                "select public.ingest_webhook_event('instagram', 'message', %s, 'ana', 'Ana', %s, "
                "now() - interval '1 d', 'post', null, "
                "jsonb_build_object('of', %s::text, 'digits', 123456789012345678901234567890))",
                event_id, f'says {event_id} 👩‍👩‍👧 \\ "', event_id,
            )  # fmt: skip
        self.route()

    def route(self) -> None:
        self.do("select public.route_unrouted_events(null, 1000)")

    def events(self, *, without: Collection[str] = ()) -> list[dict[str, Any]]:
        found = [row["event"] for row in self.rows(EVENTS)]
        return [{name: value for name, value in event.items() if name not in without} for event in found]

    def lines(self) -> list[Line]:
        return [Line(NINE, row["convert_to"]) for row in self.rows(LINES)]

    def archived(self, folder: Path, kind: Any = "events") -> Folder:
        """An archive of all events."""
        archive = Folder(folder)
        archive.write(kind, self.lines())
        return archive

    def messages(self) -> list[dict[str, Any]]:
        return self.rows("select * from public.messages order by id")


@pytest.fixture
def tables(database: str) -> Iterator[Tables]:
    made = Tables(database)
    yield made
    made.connection.close()


def test_events_come_back_as_they_were(tables: Tables, tmp_path: Path) -> None:
    """With all columns, those of the application and of normalisers as well; routed anew, they are only marked."""
    tables.do("alter table webhook_events add column tags text[], add column seen timestamptz default now()")
    tables.do("alter table webhook_events add column shouted text generated always as (upper(event_id)) stored")
    tables.do("alter table webhook_events add column number bigint generated always as identity")
    tables.routed("a", "b", "c")
    tables.do(
        """update webhook_events set tags = '{x,"y z"}', seen = 'infinity', normalized = '{"metadata": {"k": 1}}'"""
    )
    tables.do("update webhook_events set created_at = '-infinity', event_date = '4000-01-01' where event_id = 'c'")
    before, messages = tables.events(), tables.messages()
    archive = tables.archived(tmp_path / "archive")
    tables.do("delete from webhook_events")
    done = run(tables.dsn, "ingest", str(archive.path), "--json")
    assert (done.code, done.json["ingested"], done.json["rejected"]) == (0, 3, 0)
    assert tables.events(without=DECIDED_ANEW) == [
        {name: value for name, value in event.items() if name not in DECIDED_ANEW} for event in before
    ]
    assert [event["conversation_id"] for event in tables.events()] == [event["conversation_id"] for event in before]
    assert all(event["routed_at"] is None for event in tables.events())
    tables.route()
    assert tables.messages() == messages
    assert all(event["routed_at"] for event in tables.events())
    again = run(tables.dsn, "ingest", str(archive.path), "--json").json
    assert (again["ingested"], again["duplicates"]) == (0, 3)
    assert tables.messages() == messages


def test_a_payload_comes_back_into_its_event(tables: Tables, tmp_path: Path) -> None:
    """The event stays routed, and keeps what it was told since; what it knows already is not taken from the archive."""
    tables.routed("a", "b")
    before = tables.events()
    archive = tables.archived(tmp_path / "archive", "payloads")
    tables.do("update webhook_events set raw_payload = '{}'")
    tables.do("update webhook_events set content = 'edited', author_name = null where event_id = 'a'")
    tables.do("""update webhook_events set raw_payload = '{"newer": 1}' where event_id = 'b'""")
    assert run(tables.dsn, "ingest", str(archive.path)).code == 0
    assert tables.events() == [
        before[0] | {"content": "edited"},
        before[1] | {"raw_payload": {"newer": 1}},
    ]


def test_lines_of_an_event_add_up(tables: Tables, tmp_path: Path) -> None:
    """First its payload went, then the event: both files together have all of it, in either order."""
    tables.routed("a")
    (before,) = tables.events(without=DECIDED_ANEW)
    archive = tables.archived(tmp_path / "archive", "payloads")
    tables.do("update webhook_events set raw_payload = '{}'")
    tables.archived(archive.path, "events")
    files = [str(archive.path / name) for name in archive.files()]
    for order in (files, files[::-1]):
        tables.do("delete from webhook_events")
        done = run(tables.dsn, "ingest", *order, "--json")
        assert done.json["ingested"] == 1
        assert tables.events(without=DECIDED_ANEW) == [before]


def test_what_was_redelivered_since_is_newer(tables: Tables, tmp_path: Path) -> None:
    """An event that came again after it was pruned keeps its own row."""
    tables.routed("a")
    archive = tables.archived(tmp_path / "archive")
    tables.do("delete from webhook_events")
    tables.do(
        "select public.ingest_webhook_event('instagram', 'message', 'a', 'ana', 'Ana B.', 'edited', now(), null, null, "
        "'{\"again\": true}')"
    )
    (now,) = tables.events()
    assert run(tables.dsn, "ingest", str(archive.path)).code == 0
    assert tables.events() == [now | {"post_id": "post"}]


def test_what_its_author_has_deleted_does_not_come_back(tables: Tables, tmp_path: Path) -> None:
    """The message was deleted after its event was archived: the event comes back without what it said."""
    tables.routed("a", "b")
    archive = tables.archived(tmp_path / "archive")
    tables.do("delete from webhook_events")
    tables.do(
        'update messages set content_text = null, metadata = \'{"deleted_at": "2026-02-01T00:00:00Z"}\''
        " where provider_message_id = 'a'"
    )
    assert run(tables.dsn, "ingest", str(archive.path)).code == 0
    deleted, kept = tables.events()
    assert (deleted["content"], deleted["raw_payload"]) == (None, {})
    assert deleted["normalized"]["deleted_at"].startswith("2026-02-01")
    assert kept["content"].startswith("says b")


def test_a_conversation_that_is_gone_is_not_named(tables: Tables, tmp_path: Path) -> None:
    """Its messages went with it: the event comes back, and makes its message anew in a conversation of today."""
    tables.routed("a")
    archive = tables.archived(tmp_path / "archive")
    tables.do("delete from webhook_events")
    tables.do("delete from conversations")
    assert run(tables.dsn, "ingest", str(archive.path), "--json").json["rejected"] == 0
    tables.route()
    assert len(tables.messages()) == 1


def test_the_table_may_have_changed(tables: Tables, tmp_path: Path) -> None:
    """A column that is gone is left out, a new one has its default; the lines of both times are in one file."""
    tables.do("alter table webhook_events add column old text default 'o'")
    tables.routed("a")
    archive = tables.archived(tmp_path / "archive")
    tables.do("delete from webhook_events")
    tables.do("alter table webhook_events drop column old, add column fresh text not null default 'f'")
    tables.routed("b")
    tables.archived(archive.path)
    tables.do("delete from webhook_events")
    assert run(tables.dsn, "ingest", str(archive.path), "--json").json["ingested"] == 2
    assert [event["fresh"] for event in tables.events()] == ["f", "f"]


def test_lines_that_the_database_refuses_are_kept(tables: Tables, tmp_path: Path) -> None:
    """Each with its reason; the others come back. A line of a later version is not guessed at."""
    tables.routed("a", "b", "c")
    texts = [line.text for line in tables.lines()]
    tables.do("delete from webhook_events")
    texts[1] = texts[1].replace(b'"instagram"', b'"pigeon"')
    texts += [b'{"webhook_router_archive": 2, "channel": "instagram", "event_id": "z"}']
    texts += [
        b'{"webhook_router_archive": 1, "channel": "instagram"',
        b'{"webhook_router_archive": 1, "event_id": "\xff"}',
    ]
    texts += [b'{"channel": "instagram", "event_id": "plain"}']
    Folder(tmp_path).write("events", [Line(NINE, text) for text in texts])
    done = run(tables.dsn, "ingest", str(tmp_path / FILE), "--json")
    assert (done.code, done.json["ingested"], done.json["rejected"]) == (1, 3, 4)
    reasons = [json.loads(text)["reason"] for text in Path(done.json["rejected_file"]).read_text().splitlines()]
    assert "webhook_events_channel_check" in reasons[0]
    assert "not an event of an archive that this version reads" in reasons[1]
    assert "invalid input syntax for type json" in reasons[2]
    assert "UTF-8" in reasons[3]


def test_the_unpacked_lines_are_read_as_well(tables: Tables, tmp_path: Path) -> None:
    """zcat … | grep … | webhook-router ingest -, or a file that somebody unpacked."""
    tables.routed("a", "b")
    archive = tables.archived(tmp_path / "archive")
    tables.do("delete from webhook_events")
    (tmp_path / "some.ndjson").write_bytes(gzip.decompress((archive.path / FILE).read_bytes()))
    assert run(tables.dsn, "ingest", str(tmp_path / "some.ndjson"), "--json").json["ingested"] == 2


def test_a_long_line_of_an_archive_is_read(tables: Tables, tmp_path: Path) -> None:
    """Longer than any other line may be: it is nowhere else."""
    tables.routed("a")
    tables.do("update webhook_events set raw_payload = jsonb_build_object('text', repeat('x', 20000000))")
    archive = tables.archived(tmp_path / "archive")
    tables.do("delete from webhook_events")
    assert run(tables.dsn, "ingest", str(archive.path), "--json").json["ingested"] == 1
    assert tables.rows("select length(raw_payload ->> 'text') as length from webhook_events") == [
        {"length": 20_000_000}
    ]


def test_events_that_nobody_archived_may_be_packed_too(tables: Tables, tmp_path: Path) -> None:
    """A file, several files, standard input."""
    paths = [tmp_path / f"{number}.ndjson.gz" for number in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(gzip.compress(b'{"channel": "instagram", "event_id": "e%d"}\nwrong\n' % number))
    done = run(tables.dsn, "ingest", *map(str, paths), "--json")
    assert done.code == 1
    assert (done.json["files"], done.json["ingested"], done.json["rejected"]) == (2, 2, 2)
    assert done.json["rejected_files"] == [f"{path}.rejected.ndjson" for path in paths]
    said = run(tables.dsn, "ingest", *map(str, paths), "--rejected", str(tmp_path / "kept"))
    assert said.out.startswith("4 lines of 2 files: 0 ingested, 2 duplicates, 2 rejected (see ")
    kept = [json.loads(line) for line in (tmp_path / "kept").read_text().splitlines()]
    assert [(entry["file"], entry["line"]) for entry in kept] == [(str(path), 2) for path in paths]
    piped = subprocess.run(
        [sys.executable, "-m", "consumer", "ingest", "-", "--json"],
        env=clean_environment() | {"WEBHOOK_ROUTER_DATABASE_URL": tables.dsn},
        input=paths[0].read_bytes(), cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert json.loads(piped.stdout)["duplicates"] == 1


def test_what_cannot_be_read_is_said(tables: Tables, tmp_path: Path) -> None:
    """A damaged member, and a torn end: the rest comes back, and the exit code says that it is not all."""
    tables.routed("a", "b", "c")
    archive = Folder(tmp_path)
    for line in tables.lines():
        archive.write("events", [line])
    tables.do("delete from webhook_events")
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    content[content.index(SIGNATURE) + 60] ^= 0xFF
    path.write_bytes(content[:-5])
    done = run(tables.dsn, "ingest", str(tmp_path))
    assert done.code == 1
    assert f"{path} is damaged: 1 place in it cannot be read; all the rest was" in done.err
    assert f"{path} has no whole end: it is not a whole copy, or a crash ended its writing" in done.err
    assert [event["event_id"] for event in tables.events()] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["empty"], "empty has no files of an archive; name the files themselves"),
        (["x.ndjson", "x.ndjson"], "the same file is named more than once"),
        ([""], "the archive has no name"),
    ],
    ids=["empty folder", "twice", "an empty variable"],
)
def test_mistakes_are_said(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], said: str
) -> None:
    """Before anything is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    error = run(tables.dsn, "ingest", *arguments).error
    assert isinstance(error, Misconfigured)
    assert said in str(error)


def test_a_bucket_is_read_back(tables: Tables, with_credentials: Server, tmp_path: Path) -> None:
    """All of it, a part, or one object."""
    with_credentials.bucket("back")
    tables.routed("a", "b")
    archive = archive_at("s3://back/router")
    for line in tables.lines():
        archive.write("events", [line])
    names = list(archive.files())
    for place, count in (
        ("s3://back/router", 2),
        ("s3://back/router/2026/01/", 2),
        (f"s3://back/router/{names[0]}", 1),
    ):
        tables.do("delete from webhook_events")
        done = run(tables.dsn, "ingest", place, "--json")
        assert (done.code, done.json["ingested"]) == (0, count)


def test_the_files_that_have_something_of_somebody(tables: Tables, with_credentials: Server, tmp_path: Path) -> None:
    """By the whole id in a line, wherever it stands; the same in a folder and in a bucket."""
    with_credentials.bucket("found")
    texts = [
        b'{"webhook_router_archive": 1, "channel": "instagram", "author_id": "ana", "event_id": "1"}',
        b'{"webhook_router_archive": 1, "channel": "instagram", "author_id": "ana b", "event_id": "2"}',
        b'{"webhook_router_archive": 1, "channel": "facebook", "author_id": "ana", "event_id": "3"}',
        b'{"webhook_router_archive": 1, "channel": "instagram", "event_id": "4", "raw_payload": {"to": {"id": "ana"}}}',
    ]
    later = Line(NINE.replace(hour=10), texts[1])
    for archive in (Folder(tmp_path), archive_at("s3://found")):
        archive.write("events", [*(Line(NINE, text) for text in texts), later])
        (holding,) = find(archive, ["ana", "nobody"])
        assert holding.file.startswith("2026/01/31/events-20260131T09Z")
        assert (holding.lines, holding.damaged) == (3, False)
        assert not list(find(archive, ["an"]))


def test_only_the_owner_reads_an_archive_back(private_postgres: StartPostgres, tmp_path: Path) -> None:
    """Others are told whose right it is."""
    server = private_postgres()
    migrator.migrate(server.dsn())
    tables = Tables(server.dsn())
    tables.routed("a")
    archive = tables.archived(tmp_path)
    tables.do("create role loader login password 'x'; grant usage on schema router to loader")
    done = run(make_conninfo(server.dsn(), user="loader", password="x"), "ingest", str(archive.path))
    tables.connection.close()
    assert isinstance(done.error, Fatal)
    assert "read back by the owner of the tables" in str(done.error)


def test_erase_lists_the_files_that_name_the_person(tables: Tables, tmp_path: Path) -> None:
    """It erases the tables, and says where the archive has more; nothing of the archive is changed."""
    tables.routed("a", "b")
    archive = tables.archived(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    done = run(tables.dsn, "erase", "instagram", "ana", "--archive", str(archive.path), "--json")
    assert done.json["archived"] == [{"file": FILE, "lines": 2, "damaged": False}]
    assert not tables.events()
    said = run(tables.dsn, "erase", "instagram", "ana", "--archive", str(archive.path))
    assert f"{FILE}" in said.out
    assert "reading them back would bring the person back" in said.out
    assert "no file of the archive" in run(tables.dsn, "erase", "instagram", "bo", "--archive", str(archive.path)).out
    assert (tmp_path / FILE).read_bytes() == before
