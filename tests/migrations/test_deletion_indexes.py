"""`migrate --deletion-indexes`: what deleting conversations and contacts needs, built where it is asked for."""

from uuid import UUID

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.audit import audit
from tests.cli import run
from tests.migrations.databases import Database

BUILT = """
    select indexname::text from pg_indexes
    where indexname in ('router_events_by_conversation', 'router_messages_by_contact') order by 1
"""
BOTH = [("router_events_by_conversation",), ("router_messages_by_contact",)]


def said(database: Database) -> dict[str, bool]:
    rows = [row for row in audit(database.admin).rows if row.kind == "deletion index"]
    assert all(row.ok for row in rows), "it is a choice"
    return {row.name: not row.detail.startswith("not built: deleting") for row in rows}


def test_they_are_built_on_request_alone(brownfield: Database) -> None:
    """A migration does not build them; the audit notes them, and what it advises helps. Later runs keep them."""
    migrator.migrate(brownfield.owned)
    assert brownfield.rows(BUILT) == []
    assert said(brownfield) == {"public.messages (contact_id)": False, "public.webhook_events (conversation_id)": False}
    assert audit(brownfield.admin).ok, "they are not required"
    done = run(brownfield.owned, "migrate", "--deletion-indexes")
    assert done.code == 0
    assert done.out == "applied: 0 migrations, 0 functions, 2 indexes for deletions\n"
    assert brownfield.rows(BUILT) == BOTH
    assert set(said(brownfield).values()) == {True}
    again = run(brownfield.owned, "migrate", "--deletion-indexes")
    assert again.out == "up to date already\n"
    assert migrator.check(brownfield.owned) == []


def test_an_index_of_another_name_is_as_good(brownfield: Database) -> None:
    """Also one that leaves out what refers to nothing; not one that lacks other rows."""
    migrator.migrate(brownfield.owned)
    brownfield.run(
        "create index mine on webhook_events (conversation_id, created_at) where conversation_id is not null",
        "create index part on messages (contact_id) where direction = 'inbound'",
    )
    assert migrator.migrate(brownfield.owned, deletion_indexes=True).built == ("public.router_messages_by_contact",)
    brownfield.run("create index whole on messages (contact_id)", "drop index router_messages_by_contact")
    assert migrator.migrate(brownfield.owned, deletion_indexes=True).built == ()


def test_what_an_interrupted_build_has_left_is_built_anew(brownfield: Database) -> None:
    """An index that is not valid slows down each write and is of no use."""
    migrator.migrate(brownfield.owned)
    run(brownfield.owned, "migrate", "--deletion-indexes")
    brownfield.run(
        "update pg_index set indisvalid = false where indexrelid = 'router_messages_by_contact'::regclass",
    )
    assert any("router_messages_by_contact is invalid" in line for line in migrator.check(brownfield.owned))
    assert migrator.migrate(brownfield.owned, deletion_indexes=True).built == ("public.router_messages_by_contact",)
    assert brownfield.rows(BUILT) == BOTH
    assert migrator.check(brownfield.owned) == []


def test_deletions_use_them(brownfield: Database) -> None:
    """A foreign key is checked by the index."""
    migrator.migrate(brownfield.owned, deletion_indexes=True)
    with psycopg.connect(brownfield.admin, autocommit=True) as connection:
        connection.execute("set enable_seqscan = off")
        for table, column in (("webhook_events", "conversation_id"), ("messages", "contact_id")):
            query = f"select 1 from only public.{table} x where {column} = '{UUID(int=1)}' for key share of x"
            plan = connection.execute(f"explain {query}".encode()).fetchall()
            assert "router_" in str(plan), plan


def test_uninstalling_takes_them_along(brownfield: Database) -> None:
    """They are ours by their names."""
    migrator.migrate(brownfield.owned, deletion_indexes=True)
    done = run(brownfield.owned, "uninstall")
    assert done.code == 0, done.error
    assert brownfield.rows(BUILT) == []


@pytest.mark.parametrize("other", ["--check", "--print", "--print-roles"])
def test_it_is_for_migrating(brownfield: Database, other: str) -> None:
    """What changes nothing builds nothing."""
    done = run(brownfield.owned, "migrate", "--deletion-indexes", other)
    assert done.code == 2
    assert "--deletion-indexes is for migrating" in done.err
