"""What a deleted message has said is in no row, also not in bodies that are kept, and does not come back."""

import random
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql

from consumer.domain.providers import lines
from tests.intake import feeding
from tests.intake.cases import Case, cases, named
from tests.intake.test_cases import context_of

DELETING = [case for case in cases() if any(m.get("deleted_at") for m in case.expect.get("messages", []))]
SHORT = 5
"""Characters of a text that may well be somewhere else."""
TABLES = """
    select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and n.nspname in ('public', 'router')
"""


def said(deliveries: Sequence[lines.Delivery], deleted: set[str]) -> Iterator[str]:
    """All texts and links that the messages have ever had."""
    for delivery in deliveries:
        assert delivery.atoms is not None
        for message in delivery.atoms.messages:
            if message.id in deleted:
                yield from texts_of(message.text, message.metadata)
        for effect in delivery.atoms.effects:
            if effect.target in deleted:
                yield from texts_of(effect.values.get("text"), effect.values)


def texts_of(text: str | None, values: Any) -> Iterator[str]:
    """The text, and the links of the attachments."""
    yield from (found for found in (text, *(a.get("link") for a in values.get("attachments") or [])) if found)


def everything(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """All rows of all tables, each with the table's name, and all bodies."""
    for schema, table in connection.execute(TABLES).fetchall():
        rows = sql.SQL("select t::text from {} t").format(sql.Identifier(schema, table))
        yield from ((table, row[0]) for row in connection.execute(rows).fetchall())
    kept = connection.execute("select body, is_compressed from router.deliveries where body is not null")
    for body, is_compressed in kept.fetchall():
        yield "a body", (zlib.decompress(body) if is_compressed else body).decode(errors="replace")


@pytest.mark.parametrize("case", DELETING, ids=named(DELETING))
def test_nothing_is_left_of_a_deleted_message(case: Case, inbox: psycopg.Connection[Any]) -> None:
    """In whatever order its deliveries come, and however often; a body that quotes it goes as well."""
    deleted = {message["id"] for message in case.expect["messages"] if message.get("deleted_at")}
    deliveries = [feeding.read(case.provider, body, context_of(case)) for body in case.bodies()]
    words = {text for text in said(deliveries, deleted) if len(text) >= SHORT}
    chance = random.Random(str(case))
    for _ in range(8 if case.any_order else 1):
        order = [*deliveries, *chance.choices(deliveries, k=2)]
        if case.any_order:
            chance.shuffle(order)
        inbox.execute(feeding.CLEAR)
        for delivery in order:
            feeding.take(inbox, [delivery])
        feeding.settle(inbox)

        found = [(where, row) for where, row in everything(inbox) if any(word in row for word in words)]
        assert not found
