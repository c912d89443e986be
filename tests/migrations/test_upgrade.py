"""A database of the wild becomes ours without losing, rewriting or blocking anything."""

import itertools
import os
import threading
from collections.abc import Iterator
from typing import Self

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import TABLES, WILD, Database, brownfield_on, catalogue, empty_on
from tests.waiting import PATIENCE, wait_for

EVENTS = int(os.environ.get("WEBHOOK_ROUTER_TEST_UPGRADE_EVENTS", "200000"))

# In the order of their strength; SHARE is the first that keeps writers out.
BLOCKS_WRITERS = {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"}
LOCKS = """
    select l.relation::regclass::text as name, l.mode, l.granted, a.query
    from pg_locks l
    join pg_stat_activity a on a.pid = l.pid
    where a.application_name = 'webhook-router migrate' and a.datname = current_database() and l.locktype = 'relation'
      and l.relation::regclass::text in ('webhook_events', 'messages', 'conversations')
"""


@pytest.fixture
def large(newest_server: EmbeddedPostgres) -> Iterator[Database]:
    with brownfield_on(newest_server, events=EVENTS) as database:
        yield database


class LockSampler:
    """Looks all the time which locks the migration has or wants on the application's large tables."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: set[tuple[str, str, str]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        with self._database.session() as connection:
            while not self._stop.is_set():
                for name, mode, _, query in connection.execute(LOCKS):
                    what = "index build" if "index concurrently" in query.lower() else "other"
                    self.seen.add((what, name, mode))


def test_a_large_database_is_upgraded_in_place(large: Database) -> None:
    """No table is rewritten, no row changed; indexes are built under a lock that lets writers through, others never."""
    before = fingerprint(large)
    with LockSampler(large) as sampler:
        migrator.migrate(large.owned)
    assert migrator.check(large.owned) == []
    assert set(before) <= set(fingerprint(large)), "new tables beside them are none of the application's"
    builds = {mode for what, name, mode in sampler.seen if what == "index build" and name.endswith("webhook_events")}
    assert builds, "the builds over the large table take long enough to be seen"
    assert not builds & BLOCKS_WRITERS
    assert not {mode for _, _, mode in sampler.seen} & {"ShareLock", "ExclusiveLock"}


def fingerprint(database: Database) -> list[tuple[object, ...]]:
    """The files of the tables, and the content of the largest."""
    return [
        *database.rows(
            "select relname::text, relfilenode::bigint from pg_class where relnamespace = 'public'::regnamespace"
            " and relkind = 'r' order by 1"
        ),
        *database.rows("select count(*), sum(hashtextextended(m::text, 0)) from messages m"),
        *database.rows(
            "select count(*), sum(hashtextextended((to_jsonb(v) - 'account_id')::text, 0)) from conversations v"
        ),
        *database.rows(
            "select count(*),"
            " sum(hashtextextended((to_jsonb(w) - '{parked_until,normalized,routed_by}'::text[])::text, 0))"
            " from webhook_events w"
        ),
    ]


def test_writers_go_on_while_an_index_build_waits(brownfield_newest: Database) -> None:
    """A build waits for an old transaction that has written to the table, and hinders nobody meanwhile."""
    old = psycopg.connect(brownfield_newest.admin)
    waiting = threading.Event()

    def report(line: str) -> None:
        if "router_indexes" in line:
            old.execute("insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'old')")
            waiting.set()

    migration = threading.Thread(target=migrator.migrate, args=[brownfield_newest.owned], kwargs={"report": report})
    migration.start()
    try:
        assert waiting.wait(PATIENCE)
        with brownfield_newest.session() as writer:
            writer.execute("set lock_timeout = '60s'")
            numbers = itertools.count()

            def waits_while_others_write() -> bool:
                writer.execute(
                    "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', %s)",
                    [f"new {next(numbers)}"],
                )
                blocked = writer.execute(
                    "select cardinality(pg_blocking_pids(pid)) > 0 from pg_stat_activity"
                    " where application_name = 'webhook-router migrate' and query ilike '%create index concurrently%'"
                    " and datname = current_database()"
                ).fetchone()
                return blocked == (True,)

            wait_for(waits_while_others_write, what="the build to wait for the old transaction")
            locks = writer.execute(LOCKS.encode()).fetchall()
            assert "ShareUpdateExclusiveLock" in {mode for _, mode, _, _ in locks}
            assert not {mode for _, mode, _, _ in locks} & BLOCKS_WRITERS
            writer.execute(
                "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'during')"
            )
    finally:
        old.commit()
        old.close()
        migration.join(PATIENCE)
    assert migrator.check(brownfield_newest.owned) == []


@pytest.mark.parametrize("migrating", ["owner", "superuser"])
def test_an_upgrade_ends_where_a_fresh_installation_does(application_server: EmbeddedPostgres, migrating: str) -> None:
    """Columns, keys, indexes, functions, triggers, policies, owners and grants are the same ones."""
    with empty_on(application_server) as fresh, brownfield_on(application_server, events=100) as old:
        migrator.migrate(fresh.owned)
        migrator.migrate(old.owned if migrating == "owner" else old.admin)
        # Tables that were there before go on giving random keys.
        ours = {tuple(str(part).replace("uuidv7()", "gen_random_uuid()") for part in row) for row in catalogue(fresh)}
        assert {tuple(map(str, row)) for row in catalogue(old)} == ours


def test_columns_and_tables_that_are_missing_come_in(brownfield: Database) -> None:
    """Also where the application has only some of the tables; new ones get its owner, as whom routing writes."""
    brownfield.run(
        "alter table webhook_events drop column routed_at",
        "drop table message_analysis cascade",
        "drop function auto_reply_stub(uuid), route_unrouted_events(text, integer)",
    )
    migrator.migrate(brownfield.admin)
    assert migrator.check(brownfield.admin) == []
    owners = brownfield.rows("select distinct tableowner::text from pg_tables where schemaname in ('public', 'router')")
    assert owners == [("app_owner",)]


def test_the_backlog_is_routed_after_the_upgrade(brownfield: Database) -> None:
    """The old functions' backlog goes where they would have put it: the newest of two open conversations."""
    migrator.migrate(brownfield.admin)
    assert brownfield.value("select route_unrouted_events(null, 500)", role="authenticated") == 10
    misplaced = """
        select count(*)
        from webhook_events w
        join messages m on m.channel = w.channel and m.provider_message_id = w.event_id
        where w.conversation_id <> m.conversation_id
           or w.routed_at > now() - interval '1 hour' and m.conversation_id <> (
            select v.id from conversations v
            where v.contact_id = m.contact_id and v.channel = m.channel and v.status = 'open'
            order by v.created_at desc limit 1)
    """
    assert brownfield.value(misplaced) == 0
    assert brownfield.value("select count(*) from messages") == 1000


@pytest.mark.parametrize("schema", ["public.", ""], ids=["complete_names", "bare_names"])
def test_triggers_of_the_application_keep_working(brownfield: Database, schema: str) -> None:
    """They run with the rights of the tables' owner, as ever: one writes to his table, one calls our function."""
    brownfield.run(
        f"""
        create table leads (message_id uuid primary key, content text);
        create function make_lead() returns trigger language plpgsql as $$
        begin
            insert into {schema}leads values (new.id, new.content_text);
            return null;
        end $$;
        create trigger make_lead after insert on messages for each row execute function make_lead();
        create function read_message() returns trigger language plpgsql as $$
        begin
            perform {schema}analyze_message_simple(new.id);
            return null;
        end $$;
        create trigger read_message after insert on messages for each row execute function read_message();
        """,
        role="app_owner",
    )
    migrator.migrate(brownfield.admin)
    assert brownfield.value("select route_unrouted_events()", role="anon") == 10
    assert brownfield.value("select count(*) from leads") == 10
    assert brownfield.value("select count(*) from message_analysis") == 10
    assert brownfield.value("select count(*) from router.parked_events") == 0


def test_look_up_indexes_are_built_only_where_they_are_missing(brownfield: Database) -> None:
    """An index of another name that begins with the column is as good."""
    built = (
        "select indexname::text from pg_indexes where indexname ~ '^router_.*_by_(contact|conversation)$' order by 1"
    )
    migrator.migrate(brownfield.admin)
    assert brownfield.rows(built) == []
    brownfield.run(
        "drop index idx_conv_contact, idx_messages_conv_sent, idx_cc_contact",
        "create index on contact_channels (channel, contact_id)",
        "delete from router.schema_migrations where name like '%lookup_indexes%'",
    )
    migrator.migrate(brownfield.admin)
    assert [name for (name,) in brownfield.rows(built)] == [
        "router_channels_by_contact",
        "router_conversations_by_contact",
        "router_messages_by_conversation",
    ]


def test_every_table_of_the_contract_is_in_the_brownfield() -> None:
    """So that what these tests call the wild has all that migrations could touch."""
    text = (WILD / "brownfield.sql").read_text()
    assert all(f"create table {table} (" in text for table in TABLES)
