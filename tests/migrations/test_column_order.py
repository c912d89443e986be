"""What routing sets comes after what an event brings, in a table that was made by the migrations and is empty."""

import pytest

from consumer.adapters.postgres.migrations import migrator
from tests.migrations.databases import Database

ORDER = """
    select attname::text from pg_attribute
    where attrelid = 'public.webhook_events'::regclass and attnum > 0 and not attisdropped order by attnum
"""
AGAIN = "delete from router.schema_migrations where name like '%event_column_order%'"
OLD = """
    alter table public.webhook_events
        drop column conversation_id, drop column raw_payload, drop column routed_by,
        add column conversation_id uuid references public.conversations (id) on delete set null,
        add column raw_payload jsonb not null default '{}', add column routed_by text
"""
KEY = """
    select confrelid::regclass::text, confdeltype::text from pg_constraint
    where conrelid = 'public.webhook_events'::regclass and contype = 'f'
"""


def order(database: Database) -> list[object]:
    return [name for (name,) in database.rows(ORDER)]


def is_last(database: Database) -> bool:
    names = order(database)
    return names.index("conversation_id") > names.index("raw_payload")


def test_a_new_table_has_it_last(fresh: Database) -> None:
    """With its foreign key; and a second run leaves it alone."""
    migrator.migrate(fresh.owned)
    assert is_last(fresh)
    assert fresh.rows(KEY) == [("conversations", "n")]
    numbers = "select attnum from pg_attribute where attrelid = 'public.webhook_events'::regclass order by 1"
    before = fresh.rows(numbers)
    fresh.run(AGAIN)
    migrator.migrate(fresh.owned)
    assert fresh.rows(numbers) == before


@pytest.mark.parametrize(
    ("made", "gone"),
    [
        ("create view mine as select conversation_id from webhook_events", "drop view mine"),
        ("create index mine on webhook_events (conversation_id)", "drop index mine"),
        ("create index mine on webhook_events (channel, conversation_id)", "drop index mine"),
        ("create index mine on webhook_events (channel) where conversation_id is null", "drop index mine"),
        ("create statistics mine on channel, conversation_id from webhook_events", "drop statistics mine"),
        (
            "alter table webhook_events add constraint mine check (conversation_id is null or routed_at is not null)",
            "alter table webhook_events drop constraint mine",
        ),
        (
            "comment on column webhook_events.conversation_id is 'mine'",
            "comment on column webhook_events.conversation_id is null",
        ),
    ],
    ids=["view", "index", "wider index", "predicate", "statistics", "check", "comment"],
)
def test_what_the_application_has_added_stays(fresh: Database, made: str, gone: str) -> None:
    """Dropping a column would take most of it along without a word."""
    migrator.migrate(fresh.owned)
    fresh.run(OLD, made, AGAIN)
    migrator.migrate(fresh.owned)
    assert not is_last(fresh)
    fresh.run(gone, AGAIN)
    migrator.migrate(fresh.owned)
    assert is_last(fresh)


def test_tables_with_events_or_of_the_application_stay(fresh: Database, brownfield: Database) -> None:
    """No rewrite, and nothing is dropped."""
    migrator.migrate(brownfield.owned)
    assert not is_last(brownfield)
    migrator.migrate(fresh.owned)
    event = "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'e')"
    fresh.run(OLD, event, AGAIN)
    migrator.migrate(fresh.owned)
    assert not is_last(fresh)
    fresh.run("delete from webhook_events", AGAIN)
    migrator.migrate(fresh.owned)
    assert is_last(fresh)
