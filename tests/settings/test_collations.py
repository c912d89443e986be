"""Columns whose collations differ from each other and from the database's: the same results by the same keys."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import Database
from tests.settings.cases import Case
from tests.settings.test_matrix import database_of

NOCASE = "create collation public.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
"""By which "a" equals "A"."""


@pytest.fixture
def mixed(server_with_owner: EmbeddedPostgres) -> Iterator[Database]:
    """A database with the schema in which each text column that is compared has its own collation."""
    with database_of(Case(name="collations"), server_with_owner) as database:
        migrator.migrate(database.owned)
        one, other = "POSIX", "ucs_basic"
        if database.value("select 1 from pg_collation where collname = 'de-x-icu'"):
            one, other = "de-x-icu", "nocase"
            database.run(NOCASE)
        for table, column, collation in (
            ("webhook_events", "event_id", "C"),
            ("webhook_events", "author_id", other),
            ("webhook_events", "author_name", one),
            ("webhook_events", "channel", one),
            ("messages", "provider_message_id", one),
            ("messages", "content_text", other),
            ("messages", "channel", "C"),
            ("contact_channels", "external_id", one),
            ("contact_channels", "display_name", other),
            ("contact_channels", "channel", other),
            ("contacts", "full_name", "C"),
            ("contacts", "first_name", one),
            ("conversations", "channel", other),
            ("conversations", "status", one),
            ("conversations", "channel_conversation_id", "C"),
            ("message_analysis", "intent", other),
        ):
            database.run(f'alter table {table} alter {column} type text collate "{collation}"')
        yield database


def test_collations_may_differ(mixed: Database) -> None:
    """Each call works as ever: with names, comments, redeliveries, lanes, an analysis and a reply."""
    call = "select ingest_route_analyze(%s, %s, %s, %s, %s, %s, %s, '{}')"
    with psycopg.connect(mixed.admin, autocommit=True) as connection:
        for number, name in enumerate(["Ana", "Anna", "anna"]):
            connection.execute(
                call, ["Instagram", "message", f"m{number}", "u1", name, "Help?", f"2026-01-0{number + 1}"]
            )
        connection.execute(call, ["instagram", "comment", "c1", None, None, "hello", "2026-01-01"])
        connection.execute(call, ["instagram", "message", "m0", "u1", "Ana", "Help? again", "2026-01-01"])
        connection.execute(
            "insert into webhook_events (channel, type, event_id, author_id, author_name, content, post_id)"
            " select 'whatsapp', case when i % 5 = 0 then 'comment' else 'message' end, 'e' || i,"
            " case when i % 5 > 0 then 'p' || i % 7 end, 'Name ' || i, 'text', case when i % 10 = 0 then 'post' end"
            " from generate_series(1, 100) i"
        )
        for lane in range(4):
            connection.execute("select router.route_batch(1000, p_lane => %s, p_lanes => 4)", [lane])
        assert connection.execute("select route_unrouted_events(null, 100)").fetchone() == (0,)
        assert connection.execute("select route_unrouted_events('WhatsApp', 100)").fetchone() == (0,)
        connection.execute("update webhook_events set routed_at = null, conversation_id = null")
        assert connection.execute("select route_unrouted_events('WhatsApp', 1000)").fetchone() == (100,)
        assert connection.execute("select route_unrouted_events(null, 1000)").fetchone() == (4,)
        assert connection.execute("select count(*) from router.parked_events").fetchone() == (0,)
        assert connection.execute("select count(*) from messages").fetchone() == (104,)
        named = (
            "select c.full_name from contacts c join contact_channels k on k.contact_id = c.id"
            " where k.external_id = 'u1'"
        )
        assert connection.execute(named).fetchone() == ("anna",)
        message = connection.execute("select id from messages where provider_message_id = 'm1'").fetchone()
        assert message is not None
        connection.execute("select auto_reply_stub(%s)", message)
        assert "question" in str(connection.execute("select ai_reply_template(%s)", message).fetchone())


def test_the_keys_are_used(mixed: Database) -> None:
    """One event is routed by look-ups of the unique keys, not by reading a table or an index of the channel."""
    with psycopg.connect(mixed.admin, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "insert into webhook_events (channel, type, event_id, author_id, routed_at)"
            " select 'instagram', 'message', 'old ' || i, 'p' || i, now() from generate_series(1, 5000) i"
        )
        connection.execute(
            "insert into messages (conversation_id, channel, direction, provider_message_id)"
            " select gen_random_uuid(), 'instagram', 'inbound', 'old ' || i from generate_series(1, 5000) i"
        )
        connection.execute(
            "insert into contact_channels (contact_id, channel, external_id)"
            " select gen_random_uuid(), 'instagram', 'p' || i from generate_series(1, 5000) i"
        )
        connection.execute("reset session_replication_role")
        connection.execute("select pg_stat_force_next_flush()")
        before = _counted(connection)
        for _ in range(3):
            event = uuid.uuid4().hex
            connection.execute(
                "select ingest_route_analyze('instagram', 'message', %s, %s, 'Ana', 'hi', now(), '{}')", [event, event]
            )
            connection.execute("select route_webhook_event('INSTAGRAM', %s)", [event])
        connection.execute("select pg_stat_force_next_flush()")
        after = _counted(connection)
    read = {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
    assert max(read.values()) < 100, read
    assert {"webhook_events_channel_event_id_key"} <= set(read)


def _counted(connection: psycopg.Connection) -> dict[str, int]:
    """Entries of each index and rows of each table read by scans, so far."""
    rows = connection.execute(
        "select indexrelname::text, idx_tup_read from pg_stat_user_indexes"
        " union all select relname::text, seq_tup_read from pg_stat_user_tables where schemaname = 'public'"
    ).fetchall()
    return dict(rows)
