"""Tables that are not where, or not what, webhook-router works with: named and refused, never doubled by empty ones."""

import re

import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Fatal
from tests.migrations.databases import TABLES, Database, make_role
from tests.migrations.psql import psql

ROUTE = """
    insert into public.webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', 'e1', 'a1');
    select public.route_unrouted_events(null, 10000)
"""
PARTITIONED = """
    create table public.{0}_new (like public.{0} including defaults) partition by range (created_at);
    create table public.{0}_rest partition of public.{0}_new default;
    drop table public.{0} cascade;
    alter table public.{0}_new rename to {0};
    create unique index {0}_channel_event_id_key on public.{0} (channel, event_id, created_at)
"""
KINDS = {
    "a view": (
        (
            "alter table public.message_analysis rename to analysis; alter table public.analysis drop constraint"
            " message_analysis_message_id_fkey; create view public.message_analysis as select * from public.analysis"
        ),
        "message_analysis",
        "view",
    ),
    "a materialized view": (
        (
            "alter table public.contacts rename to people; alter table public.contact_channels drop constraint"
            " contact_channels_contact_id_fkey; alter table public.conversations drop constraint"
            " conversations_contact_id_fkey; alter table public.messages drop constraint messages_contact_id_fkey;"
            " create materialized view public.contacts as select * from public.people"
        ),
        "contacts",
        "materialized view",
    ),
    "a partitioned table": (PARTITIONED.format("webhook_events"), "webhook_events", "partitioned table"),
    "a foreign table": (
        (
            "create foreign data wrapper nowhere; create server nowhere foreign data wrapper nowhere; drop table"
            " public.message_analysis cascade; create foreign table public.message_analysis (id uuid) server nowhere;"
            "alter foreign table public.message_analysis owner to app_owner"
        ),
        "message_analysis",
        "foreign table",
    ),
    "an index": (
        "drop table public.message_analysis cascade; create index message_analysis on public.contacts (locale)",
        "message_analysis",
        "index",
    ),
}


def refusal(database: Database) -> list[tuple[str, str]]:
    """Problems and remedies, the same by migrate, by --check and by the script, and in the audit."""
    with pytest.raises(Fatal, match="nothing was changed") as error:
        migrator.migrate(database.owned)
    lines = [line.strip(" -") for line in str(error.value).splitlines()[1:]]
    found = [(problem.removesuffix(";"), remedy) for problem, remedy in zip(lines[::2], lines[1::2], strict=True)]
    checked = migrator.check(database.owned)
    done = psql(database, script())
    assert done.returncode == 3
    rows = {(row.name, row.detail) for row in audit(database.owned).rows if row.kind == "obstacle"}
    for problem, remedy in found:
        assert any(line.startswith(problem) and remedy in line for line in checked), problem
        assert problem in done.stderr
        assert (problem, remedy) in rows
    return found


def put_right(database: Database) -> None:
    """Does what the refusals say, until there is none."""
    for _ in range(4):
        try:
            migrator.migrate(database.owned)
            break
        except Fatal as error:
            for remedy in str(error).splitlines()[2::2]:
                database.run(remedy, role="app_owner")
    assert migrator.check(database.owned) == []
    assert audit(database.owned).ok
    database.run("delete from public.messages; update public.webhook_events set routed_at = now()", ROUTE)
    assert database.value("select count(*) from public.messages where provider_message_id = 'e1'") == 1


@pytest.mark.parametrize("first", [True, False], ids=["first run", "later run"])
def test_all_tables_in_another_schema(brownfield: Database, *, first: bool) -> None:
    """No second, empty set is made in public: the tables are to move, and take everything with them."""
    if not first:
        migrator.migrate(brownfield.owned)
    brownfield.run(
        "create schema app; alter schema app owner to app_owner",
        *(f"alter table public.{table} set schema app" for table in TABLES),
    )
    found = refusal(brownfield)
    assert {problem for problem, _ in found} == {
        f'public.{table} is missing, and app.{table} has its columns: webhook-router works with tables in "public" of'
        " these names"
        for table in TABLES
    }
    assert brownfield.value("select to_regclass('public.webhook_events')") is None
    put_right(brownfield)
    assert int(str(brownfield.value("select count(*) from public.webhook_events"))) > 900


def test_the_path_of_the_role_leads_elsewhere(brownfield_newest: Database) -> None:
    """Both sets are there: what the application writes without naming the schema is never routed, and that is noted."""
    migrator.migrate(brownfield_newest.owned)
    make_role(brownfield_newest.server, "app_writer", "login")
    brownfield_newest.run("create schema app; create table app.webhook_events (like public.webhook_events)")
    assert migrator.notes(brownfield_newest.owned) == []
    brownfield_newest.run(
        f'alter role app_writer in database {brownfield_newest.name} set search_path = "$user", app, public'
    )
    (note,) = migrator.notes(brownfield_newest.owned)
    assert 'role "app_writer" finds app.webhook_events before public.webhook_events' in note
    assert note in [row.detail for row in audit(brownfield_newest.owned).rows if row.kind == "note"]
    brownfield_newest.run(note.partition("To change it: ")[2])
    assert migrator.notes(brownfield_newest.owned) == []


def test_somebody_elses_tables_of_these_names_are_no_hindrance(fresh_newest: Database) -> None:
    """An address book and a chat in other schemas have other columns."""
    fresh_newest.run(
        "create schema crm;"
        "create table crm.contacts (id uuid, full_name text, first_name text, updated_at timestamptz);"
        "create table crm.messages (id uuid, body text); create view crm.conversations as select 1 as one",
    )
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(ROUTE)
    assert audit(fresh_newest.owned).ok


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_table_is_refused(brownfield: Database, kind: str) -> None:
    """By its kind, with statements that put it aside."""
    damage, table, word = KINDS[kind]
    brownfield.run(damage)
    brownfield.run(f"alter table if exists public.{table} owner to app_owner" if word != "index" else "select 1")
    ((problem, remedy),) = refusal(brownfield)
    assert problem == f"public.{table} is not an ordinary table: it is a {word}"
    assert re.search(rf"rename to {table}_before;", remedy)
    put_right(brownfield)


@pytest.mark.parametrize("kind", ["enum ('a')", "range (subtype = integer)"])
def test_a_type_of_the_name_of_a_table_is_refused(brownfield_newest: Database, kind: str) -> None:
    """One that no relation has: the table could not be made."""
    brownfield_newest.run(
        "drop table public.message_analysis",
        f"create type public.message_analysis as {kind}",
        "alter type public.message_analysis owner to app_owner",
    )
    ((problem, _),) = refusal(brownfield_newest)
    assert problem == "type public.message_analysis has the name of a table, which is missing"
    put_right(brownfield_newest)


@pytest.mark.parametrize("migrated", [False, True])
def test_channels_of_an_enumeration_are_refused(brownfield: Database, *, migrated: bool) -> None:
    """No function of ours compares them; as texts they are what they were."""
    if migrated:
        migrator.migrate(brownfield.owned)
    brownfield.run(
        "create type channel as enum ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube', 'webchat', 'other')",
        *(
            f"alter table {table} drop constraint if exists {table}_channel_check,"
            " alter channel type channel using channel::channel"
            for table in ("webhook_events", "messages", "conversations", "contact_channels")
        ),
        "alter table webhook_events alter channel set default 'tiktok'",
    )
    assert len(refusal(brownfield)) == 4
    put_right(brownfield)


def test_a_domain_of_texts_will_do(brownfield_newest: Database) -> None:
    """Its values are texts to every function."""
    brownfield_newest.run(
        "create domain channel as text check (value in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube'))",
        *(
            f"alter table {table} drop constraint if exists {table}_channel_check, alter channel type channel"
            for table in ("webhook_events", "messages", "conversations", "contact_channels")
        ),
    )
    put_right(brownfield_newest)


def test_a_reference_to_another_table_is_refused(brownfield_newest: Database) -> None:
    """What routing writes would violate it."""
    brownfield_newest.run(
        "create table people (id uuid primary key); alter table messages drop constraint messages_contact_id_fkey;"
        "alter table messages add constraint who foreign key (contact_id) references people (id) not valid",
        role="app_owner",
    )
    ((problem, _),) = refusal(brownfield_newest)
    assert (
        problem == "foreign key who of public.messages (contact_id) refers to public.people instead of public.contacts"
    )
    put_right(brownfield_newest)
