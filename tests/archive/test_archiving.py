"""Pruning into an archive: what was dropped is in it, whatever fails between the two."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumer.adapters.archive.folder import Folder
from consumer.adapters.archive.members import Unpacking
from consumer.adapters.archive.places import archive_at
from consumer.adapters.postgres.operating.archiving import ArchivingPruning
from consumer.adapters.postgres.operating.session import session
from consumer.domain.archives import ArchivedLine
from consumer.domain.errors import Fatal
from consumer.domain.retention import Kind, Rule
from tests.archive.buckets import Server
from tests.cli import run
from tests.processes import clean_environment
from tests.waiting import wait_for

START = datetime(2026, 1, 1, tzinfo=UTC)
LOAD = """
    insert into public.webhook_events (channel, type, event_id, author_id, content, event_date, raw_payload, routed_at)
    select 'instagram', 'message', i::text, 'a' || i, 'hello ' || i, now(), jsonb_build_object('number', i),
           timestamptz '2026-01-01Z' + i * interval '1 minute'
    from generate_series(1, %s) i
"""


def loaded(dsn: str, count: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(LOAD, [count])


def left(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute("select event_id from public.webhook_events").fetchall()}


def archived(place: str, kind: str = "events") -> Counter[str]:
    """The ids of the events of an archive, with how often each is in there."""
    archive = archive_at(place)
    found: Counter[str] = Counter()
    for name in archive.files():
        if f"/{kind}-" in name:
            source = archive.open(name)
            file, out = Unpacking(source, name=name), b""
            while piece := file.read(1 << 20):
                out += piece
            source.close()
            found.update(json.loads(line)["event_id"] for line in out.splitlines())
    return found


class Work:
    """Archives and drops, as the command does, over a session of its own."""

    def __init__(self, dsn: str, archive: Any, kind: Kind, before: datetime) -> None:
        self._dsn, self._archive = dsn, archive
        self._rule = Rule(kind=kind, keep=datetime.now(UTC) - before)
        self.gone = self.refused = 0
        self.reason: str | None = None

    def run(self, limit: int = 100, *, steps: int = 10_000) -> None:
        asyncio.run(self._run(limit, steps))

    async def _run(self, limit: int, steps: int) -> None:
        async with session(self._dsn, name="prune") as connection:
            store, place = ArchivingPruning(connection, self._archive), None
            while steps:
                done = await store.prune(rule=self._rule, limit=limit, place=place)
                if done.busy:
                    await asyncio.sleep(0.01)
                    continue
                steps -= 1
                self.gone += done.gone
                self.refused += done.refused
                self.reason = self.reason or done.reason
                place = done.place
                if place is None:
                    return


def archiving(dsn: str, archive: Any, *, kind: str = "events", before: datetime) -> Work:
    return Work(dsn, archive, Kind(kind), before)


def all_steps(work: Work, limit: int = 100) -> None:
    work.run(limit)


def test_the_due_goes_into_the_archive(database: str, tmp_path: Path) -> None:
    """In steps, each hour into its file; the line is the whole row; nothing else is touched."""
    loaded(database, 250)
    work = archiving(database, Folder(tmp_path), before=START + timedelta(minutes=200, seconds=30))
    all_steps(work)
    assert work.gone == 200
    assert left(database) == {str(number) for number in range(201, 251)}
    assert archived(str(tmp_path)) == Counter(str(number) for number in range(1, 201))
    assert sorted(Folder(tmp_path).files()) == [f"2026/01/01/events-20260101T0{hour}Z.ndjson.gz" for hour in range(4)]


def test_payloads_go_into_files_of_their_own(database: str, tmp_path: Path) -> None:
    """The events stay, with all else that they say; nothing is taken twice."""
    loaded(database, 150)
    all_steps(archiving(database, Folder(tmp_path), kind="payloads", before=START + timedelta(days=1)), limit=40)
    assert len(left(database)) == 150
    assert archived(str(tmp_path), "payloads") == Counter(str(number) for number in range(1, 151))
    with psycopg.connect(database) as connection:
        assert connection.execute("select distinct raw_payload from public.webhook_events").fetchall() == [({},)]
    again = archiving(database, Folder(tmp_path), kind="payloads", before=START + timedelta(days=1))
    all_steps(again)
    assert again.gone == 0


def test_a_bucket_takes_it_too(database: str, with_credentials: Server) -> None:
    """And gives it back."""
    with_credentials.bucket("pruned")
    loaded(database, 130)
    all_steps(archiving(database, archive_at("s3://pruned/x"), before=START + timedelta(days=1)), limit=50)
    assert left(database) == set()
    assert archived("s3://pruned/x") == Counter(str(number) for number in range(1, 131))
    assert run(database, "ingest", "s3://pruned/x", "--json").json["ingested"] == 130
    assert len(left(database)) == 130


class Lossy(Folder):
    """Counts one line less than it was given."""

    def write(self, kind: str, lines: Sequence[ArchivedLine]) -> int:
        return super().write(kind, lines) - 1


class Failing(Folder):
    """Fails after it has written."""

    def write(self, kind: str, lines: Sequence[ArchivedLine]) -> int:
        super().write(kind, lines)
        raise Fatal("no")


@pytest.mark.parametrize("archive", [Lossy, Failing])
def test_nothing_goes_that_was_not_counted(database: str, tmp_path: Path, archive: type[Folder]) -> None:
    """A step whose lines are not all there is rolled back."""
    loaded(database, 10)
    work = archiving(database, archive(tmp_path), before=START + timedelta(days=1))
    with pytest.raises(Fatal, match=r"nothing of this step was deleted|^no$"):
        work.run(5)
    assert len(left(database)) == 10


class Slow(Folder):
    """Takes longer than the database lets a transaction be open, or idle."""

    def write(self, kind: str, lines: Sequence[ArchivedLine]) -> int:
        time.sleep(0.5)
        return super().write(kind, lines)


@pytest.mark.parametrize("timeout", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_a_slow_archive_is_waited_for(database: str, tmp_path: Path, timeout: str) -> None:
    """Whatever the database allows its transactions."""
    loaded(database, 10)
    with psycopg.connect(database, autocommit=True) as connection:
        if connection.execute("select current_setting(%s, true)", [timeout]).fetchone() == (None,):
            pytest.skip("new in Postgres 17")
    dsn = psycopg.conninfo.make_conninfo(database, options=f"-c {timeout}=200ms")
    all_steps(archiving(dsn, Slow(tmp_path), before=START + timedelta(days=1)))
    assert left(database) == set()


def test_what_is_parked_unrouted_or_locked_stays(database: str, tmp_path: Path) -> None:
    """It is neither dropped nor written."""
    loaded(database, 6)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update public.webhook_events set routed_at = null where event_id = '1'")
        connection.execute(
            "insert into router.parked_events (event_id, channel, error_code, error_message, attempts, "
            "first_parked_at, last_parked_at, next_attempt_at) "
            "select id, channel, 'x', 'x', 1, now(), now(), 'infinity' "
            "from public.webhook_events where event_id = '2'"
        )
        with psycopg.connect(database) as other:
            other.execute("select from public.webhook_events where event_id = '3' for update")
            all_steps(archiving(database, Folder(tmp_path), before=START + timedelta(days=1)), limit=2)
    assert left(database) == {"1", "2", "3"}
    assert set(archived(str(tmp_path))) == {"4", "5", "6"}


@pytest.mark.parametrize("how", ["raise exception 'no'", "return null"], ids=["raises", "silent"])
@pytest.mark.parametrize("kind", ["events", "payloads"])
def test_what_the_application_refuses_stays(database: str, tmp_path: Path, how: str, kind: str) -> None:
    """The others go, and they alone are in the archive, however often it is tried; the run says how many stay."""
    loaded(database, 150)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f"""
            create function keep() returns trigger language plpgsql as $$ begin
                if old.event_id like '%7' then {how}; end if;
                if tg_op = 'DELETE' then return old; end if;
                return new;
            end $$;
            create trigger keep before update or delete on public.webhook_events for each row execute function keep()
            """.encode()
        )
    work = archiving(database, Folder(tmp_path), kind=kind, before=START + timedelta(days=1))
    all_steps(work, limit=20)
    assert (work.gone, work.refused) == (135, 15)
    assert work.reason
    with psycopg.connect(database) as connection:
        kept = connection.execute("select event_id from public.webhook_events where raw_payload <> '{}'").fetchall()
    staying = {f"{tens}7" if tens else "7" for tens in range(15)}
    assert {event_id for (event_id,) in kept} == staying
    all_steps(archiving(database, Folder(tmp_path), kind=kind, before=START + timedelta(days=1)), limit=20)
    assert archived(str(tmp_path), kind) == Counter({str(number) for number in range(1, 151)} - staying)


def test_a_trigger_that_deletes_others_with_it(database: str, tmp_path: Path) -> None:
    """They were due as well: they have gone, and are in the archive."""
    loaded(database, 10)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            create function in_pairs() returns trigger language plpgsql as $$ begin
                delete from public.webhook_events where event_id = old.event_id || '0';
                return old;
            end $$;
            create trigger in_pairs before delete on public.webhook_events for each row execute function in_pairs()
            """
        )
    work = archiving(database, Folder(tmp_path), before=START + timedelta(days=1))
    all_steps(work)
    assert (work.gone, work.refused, left(database)) == (10, 0, set())
    assert archived(str(tmp_path)) == Counter(str(number) for number in range(1, 11))


@pytest.mark.parametrize("kind", ["events", "payloads"])
def test_a_rule_that_keeps_everything(database: str, tmp_path: Path, kind: str) -> None:
    """Nothing goes, nothing is written; a rule that says what to do instead returns no rows."""
    loaded(database, 30)
    with psycopg.connect(database, autocommit=True) as connection:
        for of in ("delete", "update"):
            connection.execute(f"create rule keep_{of} as on {of} to public.webhook_events do instead nothing".encode())
    work = archiving(database, Folder(tmp_path), kind=kind, before=START + timedelta(days=1))
    all_steps(work, limit=20)
    assert (work.gone, work.refused) == (0, 30)
    assert work.reason == "a trigger or rule on webhook_events keeps them"
    assert list(Folder(tmp_path).files()) == []


def test_a_crash_at_any_moment_leaves_no_gap(database: str, tmp_path: Path) -> None:
    """kill -9 over and over, while events are redelivered: each one is in the table or in the archive, or in both."""
    loaded(database, 20_000)
    everything = {str(number) for number in range(1, 20_001)}
    stop = threading.Event()

    def redeliver() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            number = 0
            while not stop.is_set():
                number = number % 20_000 + 7
                connection.execute(
                    "update public.webhook_events set content = 'again' where event_id = %s", [str(number)]
                )

    traffic = threading.Thread(target=redeliver)
    traffic.start()
    try:
        for turn in range(6):
            process = subprocess.Popen(
                [sys.executable, "-m", "consumer", "prune", "--keep-events", "1h", "--archive", str(tmp_path)],
                stdout=subprocess.DEVNULL,
                env=clean_environment() | {"WEBHOOK_ROUTER_DATABASE_URL": database},
            )
            there = len(left(database))
            wait_for(lambda: len(left(database)) < there - turn * 100 or process.poll() is not None, what="a step")  # noqa: B023
            process.kill()
            process.wait()
            assert left(database) | set(archived(str(tmp_path))) == everything
    finally:
        stop.set()
        traffic.join()
    all_steps(archiving(database, Folder(tmp_path), before=START + timedelta(days=300)))
    assert left(database) == set()
    assert set(archived(str(tmp_path))) == everything
    assert run(database, "ingest", str(tmp_path), "--json").json["ingested"] == 20_000


def test_two_at_once_take_each_event_once(database: str, tmp_path: Path) -> None:
    """Into the same folder: no double, no gap."""
    loaded(database, 1000)
    works = [archiving(database, Folder(tmp_path), before=START + timedelta(days=300)) for _ in range(2)]
    threads = [threading.Thread(target=all_steps, args=(work, 30)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left(database) == set()
    assert archived(str(tmp_path)) == Counter(str(number) for number in range(1, 1001))


def test_a_step_is_bounded_by_its_bytes(database: str, tmp_path: Path) -> None:
    """Events with payloads of megabytes go a few at a time."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(LOAD, [20])
        connection.execute(
            "update public.webhook_events set raw_payload = jsonb_build_object('x', repeat('y', 3000000))"
        )
    work = archiving(database, Folder(tmp_path), before=START + timedelta(days=1))
    work.run(1000, steps=1)
    assert 1 <= work.gone <= 20
    all_steps(work, 1000)
    assert work.gone == 20
