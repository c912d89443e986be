"""A person who was erased is in no row of any table and in no body that is kept; everybody else is as before."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.operating.forgetting import Erased, Forgetting
from consumer.adapters.postgres.operating.session import session
from consumer.domain.forgetting import Identity, mention
from tests.intake import feeding
from tests.intake.cases import CHANNELS, Case, cases, named
from tests.intake.test_cases import context_of
from tests.intake.test_scrubbing import everything

CASES = [
    case
    for case in cases()
    if not case.flattened and case.provider in {"whatsapp", "instagram", "messenger", "telegram", "tiktok"}
]
PEOPLE = "select channel, external_id from public.contact_channels order by channel, external_id"
STRANGER = {
    "whatsapp": "4915799999999",
    "instagram": "9988776655443322",
    "facebook": "8877665544332211",
    "telegram": "5544332211",
    "tiktok": "stranger-0001",
}
AUDIT = "router.erasures"


async def erase(
    dsn: str, channel: str, external_id: str, *, dry_run: bool = False
) -> tuple[Sequence[Identity], Erased]:
    async with session(dsn, name="erase") as connection:
        person = Forgetting(connection, channel=channel, external_id=external_id)
        identities = await person.identities()
        return identities, await person.erase(identities, dry_run=dry_run)


async def export(dsn: str, channel: str, external_id: str) -> dict[str, list[Any]]:
    async with session(dsn, name="export") as connection:
        return await Forgetting(connection, channel=channel, external_id=external_id).export()


def snapshot(connection: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """All rows, and all bodies."""
    return set(everything(connection))


def of_nobody(rows: set[tuple[str, str]], identities: Sequence[Identity]) -> set[tuple[str, str]]:
    """Those that do not mention them."""
    wanted = mention(identities)
    return {(table, row) for table, row in rows if not wanted.search(row.encode())}


def people(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    yield from connection.execute(PEOPLE).fetchall()


@pytest.mark.parametrize("case", CASES, ids=named(CASES))
def test_nothing_is_left_of_an_erased_person(case: Case, inbox: psycopg.Connection[Any], intake_database: str) -> None:
    """Whatever their deliveries have made. A stranger who writes at the same time stays, to the byte."""
    inbox.execute("delete from router.erasures")
    for body in case.bodies():
        feeding.take(inbox, [feeding.read(case.provider, body, context_of(case))])
    feeding.settle(inbox)
    channel = CHANNELS.get(case.provider, case.provider)
    stranger = STRANGER[channel]
    for number in range(2):
        inbox.execute(
            "select public.ingest_route_analyze(%s, 'message', %s, %s, 'A stranger', 'help?', now(), %s)",
            (channel, f"strange-{number}", stranger, json.dumps({"from": stranger})),
        )
    before = snapshot(inbox)
    for theirs, external_id in people(inbox):
        if (
            external_id == stranger
            or not inbox.execute(
                "select 1 from public.contact_channels where channel = %s and external_id = %s", (theirs, external_id)
            ).fetchone()
        ):
            continue
        was = snapshot(inbox)
        kept = asyncio.run(export(intake_database, theirs, external_id))
        assert kept["contact_channels"]
        _, would = asyncio.run(erase(intake_database, theirs, external_id, dry_run=True))
        assert snapshot(inbox) == was, "a dry run changes nothing"
        identities, done = asyncio.run(erase(intake_database, theirs, external_id))
        assert done.gone == would.gone
        assert done.waiting == 0
        for table in done.gone.keys() - {"router.deliveries"} | kept.keys():
            assert done.gone.get(table, 0) == len(kept.get(table, [])), f"what goes is what is exported: {table}"
        now = snapshot(inbox)
        wanted = mention(identities)
        assert not [(table, row) for table, row in now if wanted.search(row.encode())]
        assert asyncio.run(export(intake_database, theirs, external_id)) == {}
        _, again = asyncio.run(erase(intake_database, theirs, external_id))
        assert again == Erased()
    mine = [(table, row) for table, row in before if stranger in row or "A stranger" in row or "strange-" in row]
    assert len(mine) >= 5
    assert set(mine) <= snapshot(inbox)
    texts = {message.get("text") for message in case.expect.get("messages", [])} - {None}
    left = " ".join(row for _, row in snapshot(inbox))
    contacts = inbox.execute("select count(*) from public.contacts").fetchone()
    if contacts == (1,):
        inbound = {m.get("text") for m in case.expect.get("messages", []) if m.get("contact", m.get("from", True))}
        assert not [text for text in texts & inbound if text and len(text) > 12 and text in left]


def test_every_text_column_was_searched(inbox: psycopg.Connection[Any]) -> None:
    """What the test above looks at is every table of the database that is not the server's."""
    tables = {
        f"{schema}.{name}"
        for schema, name in inbox.execute(
            """
            select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'p', 'm') and not c.relispartition
              and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'
            """
        ).fetchall()
    }
    assert {table.partition(".")[0] for table in tables} == {"public", "router"}
    for table in tables:
        schema, _, name = table.partition(".")
        inbox.execute(sql.SQL("select t::text from {} t limit 1").format(sql.Identifier(schema, name)))
