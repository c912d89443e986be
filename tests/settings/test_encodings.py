"""Databases that cannot hold every character: what cannot be stored is refused alone, with the reason."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.postgres.encodings import fitting
from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating import positions
from consumer.adapters.postgres.operating.session import session
from consumer.adapters.postgres.record_store import PostgresRecordStore
from consumer.domain.errors import Rejected
from consumer.domain.lag import Partition
from consumer.domain.positions import Noted, Noting
from consumer.domain.webhook import Intake
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import run
from tests.migrations.databases import Database
from tests.settings.cases import Case
from tests.settings.test_matrix import database_of

LATIN1 = Case(name="latin1", create="encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'")


@pytest.fixture
def latin1(server_with_owner: EmbeddedPostgres) -> Iterator[Database]:
    """A database with the schema, without Greek and emoji."""
    with database_of(LATIN1, server_with_owner) as database:
        migrator.migrate(database.owned)
        yield database


def line(event_id: str, content: str) -> str:
    return json.dumps({"channel": "instagram", "event_id": event_id, "content": content}, ensure_ascii=False)


def test_a_line_that_cannot_be_stored_is_refused_alone(latin1: Database, tmp_path: Path) -> None:
    """With SQLSTATE 22P05; those before and behind it are stored."""
    lines = tmp_path / "lines.ndjson"
    lines.write_text("\n".join([line("1", "é"), line("2", "λ"), line("3", "ü"), line("4", "🙂")]), encoding="utf-8")
    rejected = tmp_path / "rejected.ndjson"
    ran = run(latin1.owned, "ingest", str(lines), "--rejected", str(rejected))
    assert ran.code == 1
    with psycopg.connect(latin1.admin, client_encoding="utf8") as connection:
        stored = connection.execute("select event_id, content from webhook_events order by 1").fetchall()
    assert stored == [("1", "é"), ("3", "ü")]
    refusals = [json.loads(text) for text in rejected.read_text(encoding="utf-8").splitlines()]
    assert all("[22P05]" in json.dumps(refusal) for refusal in refusals)
    assert len(refusals) == 2


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_an_archive_is_read_back(server_with_owner: EmbeddedPostgres, tmp_path: Path, encoding: str) -> None:
    """Its lines are UTF-8, whatever the database has."""
    case = Case(name=encoding.lower(), create=f"encoding '{encoding}' lc_collate 'C' lc_ctype 'C'")
    with database_of(case, server_with_owner) as database:
        migrator.migrate(database.owned)
        (tmp_path / "lines").write_text(line("1", 'é \\ "ü"'), encoding="utf-8")
        assert run(database.owned, "ingest", str(tmp_path / "lines")).code == 0
        with psycopg.connect(database.admin, client_encoding="utf8", autocommit=True) as connection:
            stored = connection.execute("select to_jsonb(w)::text from public.webhook_events w").fetchall()
            row = connection.execute("select router.archive_line(w) from public.webhook_events w").fetchone()
            assert row is not None
            connection.execute("delete from public.webhook_events")
            (tmp_path / "archived").write_text(row[0], encoding="utf-8")
            assert run(database.owned, "ingest", str(tmp_path / "archived")).code == 0
            assert connection.execute("select to_jsonb(w)::text from public.webhook_events w").fetchall() == stored


async def test_a_record_that_cannot_be_stored_is_refused_alone(latin1: Database) -> None:
    """The others of its poll are stored and routed; an id that cannot be sent makes the call one that is refused."""
    store = PostgresRecordStore(latin1.owned, group="λ", call_timeout=30.0)
    try:
        taken = [Intake(channel="instagram", event_id=number, line=line(number, text)) for number, text in
                 (("1", "é"), ("2", "λ"), ("3", "ü"))]  # fmt: skip
        partition = Partition("events", 0)
        done = await store.ingest_and_route(taken, Noting(known={partition: None}, offsets={partition: 3}))
        assert (await store.noted([partition]))[partition].offset == 3
        async with session(latin1.owned, name="kafka") as operator:  # who names the same group
            assert (await positions.skip(operator, "λ", partition, 3)).given_up
            assert (await positions.noted(operator, "λ", [partition]))[partition] == Noted(offset=3, skipped=3)
        assert [(refusal.place, refusal.code) for refusal in done.refusals] == [(1, "22P05")]
        assert done.batch.claimed == 2
        with pytest.raises(Rejected, match="22P05"):
            await store.ingest_and_route([Intake(channel="instagram", event_id="λ", line=line("λ", "x"))])
    finally:
        await store.close()


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(value=JSON, escapes=st.booleans(), encoding=st.sampled_from(["UTF8", "SQL_ASCII", "LATIN1"]))
def test_it_means_the_same(value: object, escapes: bool, encoding: str) -> None:
    """Whatever form the JSON has, and whichever the database takes."""
    fits = fitting(json.dumps(value, ensure_ascii=escapes), encoding)
    assert json.loads(fits) == value
    if encoding == "LATIN1":
        assert fits.isascii()


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (r'"\u00e9 \ud83d\ude42"', '"é 🙂"'),
        (r'"\\u00e9"', r'"\\u00e9"'),
        (r'"\\\u00e9"', r'"\\é"'),
        (r'"\u0022\u0000\n"', r'"\u0022\u0000\n"'),
        (r'"\ud83d"', r'"\ud83d"'),
    ],
)
def test_sql_ascii_takes_characters_and_no_escapes(text: str, fits: str) -> None:
    """But for those of ASCII, which it understands, and half pairs, which it must refuse."""
    assert fitting(text, "SQL_ASCII") == fits
