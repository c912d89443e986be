"""A batch is one round trip, one statement, one transaction, and so many bytes of log an event."""

import contextlib
import json
import re
import tempfile
from pathlib import Path

import psycopg
import pytest

from consumer.adapters.postgres.store import PostgresStore
from consumer.domain.errors import Transient
from consumer.domain.routing import BEGINNING, Batch, Window
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.perf.backlog import load

RECORDED = Path(__file__).parent / "wal_bytes.json"
"""WAL bytes an event of a warm batch by major version of Postgres; a deliberate change is recorded there by hand."""


async def drain_one(store: PostgresStore, after: Window | None = None) -> Batch:
    return await store.route(limit=1000, window=after or Window())


async def test_a_batch_is_one_round_trip(counting: str) -> None:
    """The client sends one message pipeline and waits once, whatever the batch holds."""
    with psycopg.connect(counting, autocommit=True) as loader:
        load(loader, 2000)
    store = PostgresStore(counting, call_timeout=60)
    try:
        first = await drain_one(store)
        connection = store._session._connection
        assert connection is not None
        with tempfile.TemporaryFile() as trace:
            connection.pgconn.trace(trace.fileno())
            batch = await drain_one(store, Window(after=first.reached))
            connection.pgconn.untrace()
            trace.seek(0)
            said = trace.read().decode(errors="replace")
    finally:
        await store.close()
    assert batch.claimed == 1000
    assert len(re.findall(r"\tB\t\d+\tReadyForQuery", said)) == 1, said[:2000]


async def test_a_kept_statement_is_parsed_once(counting: str) -> None:
    """Where statements are kept the next call only executes; where they are not, nothing stays in the session."""
    store = PostgresStore(counting, call_timeout=60)
    parsed = []
    try:
        for keep in (False, False, True, True, True, False):
            store.keep_statements(keep=keep)
            with tempfile.TemporaryFile() as trace:
                if (connection := store._session._connection) is not None:
                    connection.pgconn.trace(trace.fileno())
                await drain_one(store)
                connection = store._session._connection
                assert connection is not None
                connection.pgconn.untrace()
                trace.seek(0)
                parsed.append(len(re.findall(r"\tF\t\d+\tParse", trace.read().decode(errors="replace"))))
    finally:
        await store.close()
    assert parsed[1:] == [1, 1, 0, 0, 1]  # nobody listened to the first


async def test_a_kept_statement_survives_a_migration(counting: str) -> None:
    """What it returns has changed: one call fails as one to be made again, and the next one is right."""
    store = PostgresStore(counting, call_timeout=60)
    store.keep_statements(keep=True)
    try:
        for _ in range(2):
            await drain_one(store)
        with psycopg.connect(counting, autocommit=True) as migration:
            migration.execute("alter type router.batch alter attribute claimed type bigint cascade")
        with contextlib.suppress(Transient):
            await drain_one(store)
        assert (await drain_one(store)).claimed == 0
    finally:
        await store.close()


async def test_a_batch_is_one_statement_and_one_transaction(counting: str, counting_server: EmbeddedPostgres) -> None:
    """The server's log has one statement of the service for a batch of 1,000, and it counts one transaction."""
    with psycopg.connect(counting, autocommit=True) as connection:
        load(connection, 2000)
        database = connection.info.dbname
        connection.execute(f"alter database \"{database}\" set log_statement = 'all'")
    store = PostgresStore(counting, call_timeout=60)
    log = counting_server.folder / "server.log"
    try:
        first = await drain_one(store)
        before = log.stat().st_size
        batch = await drain_one(store, Window(after=first.reached))
    finally:
        await store.close()
    assert batch.claimed == 1000
    with log.open("rb") as written:
        written.seek(before)
        said = written.read().decode(errors="replace")
    statements = re.findall(r"LOG:  (?:statement|execute [^:]*): (.*)", said)
    assert len(statements) == 1, statements
    assert "router.route_batch" in statements[0]


async def test_wal_bytes_an_event(counting: str, counting_server: EmbeddedPostgres) -> None:
    """A warm batch writes what it did when it was recorded, within ten percent: row locks, index entries and rows."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    major = str(counting_server.major)
    if major not in recorded:
        pytest.skip(f"nothing is recorded for Postgres {major}")
    with psycopg.connect(counting, autocommit=True) as connection:
        load(connection, 5000)
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
        store = PostgresStore(counting, call_timeout=60)
        try:
            # The first batches make the people, later ones only meet them.
            window = Window(after=BEGINNING)
            for _ in range(2):
                window = Window(after=(await drain_one(store, window)).reached)
            begin = connection.execute("select pg_current_wal_insert_lsn()").fetchone()
            assert begin is not None
            events = 0
            for _ in range(3):
                batch = await drain_one(store, window)
                window = Window(after=batch.reached)
                events += batch.claimed
            written = connection.execute("select pg_current_wal_insert_lsn() - %s::pg_lsn", begin).fetchone()
            assert written is not None
        finally:
            await store.close()
    assert events == 3000
    bytes_an_event = float(written[0]) / events
    assert bytes_an_event == pytest.approx(recorded[major], rel=0.1)


@pytest.mark.parametrize("events", [1, 3], ids=str)
async def test_a_call_takes_two_transaction_ids(counting: str, events: int) -> None:
    """That of the transaction, and that of its one part which can be undone: ids are vacuumed for, sooner or later."""
    with psycopg.connect(counting, autocommit=True) as connection:
        load(connection, 1000 + events)
        store = PostgresStore(counting, call_timeout=60)
        try:
            first = await drain_one(store)
            ids = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
            begin = connection.execute(ids).fetchone()
            batch = await drain_one(store, Window(after=first.reached))
            end = connection.execute(ids).fetchone()
        finally:
            await store.close()
    assert batch.claimed == events
    assert begin is not None
    assert end is not None
    assert end[0] - begin[0] == 2
