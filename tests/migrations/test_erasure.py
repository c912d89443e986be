"""Erasing and exporting a person in databases of the wild, by the login that owns the tables."""

import json

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from consumer.adapters.postgres.migrations import migrator
from tests.cli import run
from tests.migrations.databases import Database

ANA, BEN = "4915112345678", "4915187654321"
TABLES = (
    *("contacts", "contact_channels", "conversations", "messages", "message_analysis", "webhook_events"),
    *("message_delivery", "message_reactions", "message_revisions"),
)
OURS = """
    select n.nspname::text, c.relname::text
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'router') and c.relkind = 'r'
"""
WILD = {
    "as it is": "select",
    "varchar": """
        alter table contacts alter full_name type varchar(60), alter whatsapp_phone type varchar(20);
        alter table messages alter content_text type varchar(4000);
        alter table webhook_events alter author_id type varchar(64);
        """,
    "row security": """
        alter table messages enable row level security;
        alter table contacts enable row level security;
        alter table webhook_events enable row level security;
        """,
    "triggers": """
        create function touched() returns trigger language plpgsql as
        $$ begin new.updated_at := now(); return new; end $$;
        create trigger touched before update on conversations for each row execute function touched();
        create trigger touched before update on contacts for each row execute function touched();
        """,
    "keys that refuse": """
        alter table conversations drop constraint conversations_contact_id_fkey,
            add foreign key (contact_id) references contacts;
        alter table messages drop constraint messages_contact_id_fkey, drop constraint messages_conversation_id_fkey,
            add foreign key (contact_id) references contacts,
            add foreign key (conversation_id) references conversations;
        """,
}


MANY = """
    with person as (
        insert into contacts (full_name) values ('Somebody') returning id
    ), channel as (
        insert into contact_channels (contact_id, channel, external_id) select id, 'whatsapp', %(who)s from person
    ), thread as (
        insert into conversations (contact_id, channel) select id, 'whatsapp' from person returning id, contact_id
    ), message as (
        insert into messages (conversation_id, contact_id, channel, direction, provider_message_id)
        select id, contact_id, 'whatsapp', 'inbound', %(who)s || '-' || i from thread, generate_series(1, 40000) i
    )
    insert into webhook_events (channel, type, event_id, author_id, conversation_id, routed_at)
    select 'whatsapp', 'message', %(who)s || '-' || i, %(who)s, id, now() from thread, generate_series(1, 40000) i
"""
"""One of whom there is very much."""


def write(database: Database) -> None:
    """Ana and Ben have written."""
    migrator.migrate(database.owned)
    with database.session("app_owner") as connection:
        for who, name in ((ANA, "Ana"), (BEN, "Ben")):
            for number in range(3):
                connection.execute(
                    "select public.ingest_route_analyze('whatsapp', 'message', %s, %s, %s, %s, now(), %s)",
                    [f"{name}-{number}", who, f"{name} Secret", f"{name} says {number}", json.dumps({"from": who})],
                )


def mentions(database: Database, word: str) -> dict[str, int]:
    """In how many rows it stands, by table."""
    found = {}
    with database.session() as connection:
        for schema, table in connection.execute(OURS).fetchall():
            count = sql.SQL("select count(*) from {} t where position(%s in t::text) > 0").format(
                sql.Identifier(schema, table)
            )
            row = connection.execute(count, [word]).fetchone()
            if row is not None and row[0]:
                found[f"{schema}.{table}"] = row[0]
    return found


@pytest.mark.parametrize("made", WILD.values(), ids=WILD)
def test_a_person_of_the_wild_goes(brownfield: Database, made: str) -> None:
    """Nothing is left of Ana, and nothing of Ben has gone."""
    brownfield.run(made, role="app_owner")
    write(brownfield)
    kept = {word: mentions(brownfield, word) for word in (BEN, "Ben")}
    exported = run(brownfield.owned, "export", "whatsapp", f"+{ANA}").json
    assert {table: len(rows) for table, rows in exported.items() if table != "contact_channels"} == {
        "contacts": 1,
        "conversations": 1,
        "messages": 3,
        "message_analysis": 3,
        "webhook_events": 3,
    }
    done = run(brownfield.owned, "erase", "whatsapp", f"+{ANA}")
    assert (done.code, done.err) == (0, "")
    for word in (ANA, "Ana"):
        assert mentions(brownfield, word) == {}
    assert {word: mentions(brownfield, word) for word in (BEN, "Ben")} == kept


@pytest.mark.parametrize("table", TABLES)
def test_rows_that_are_hidden_are_not_taken_for_none(brownfield_newest: Database, table: str) -> None:
    """It would be said of everybody that nothing is known. The advice helps."""
    write(brownfield_newest)
    brownfield_newest.run(f"alter table {table} enable row level security, force row level security")
    for command in ("erase", "export"):
        refused = run(brownfield_newest.owned, command, "whatsapp", ANA)
        assert refused.code == 1
        assert f"row level security hides rows of public.{table} from their owner" in str(refused.error)
    advice = f"alter table public.{table} no force row level security;"
    assert advice in str(refused.error)
    brownfield_newest.run(advice, role="app_owner")
    assert run(brownfield_newest.owned, "erase", "whatsapp", ANA).code == 0
    assert mentions(brownfield_newest, ANA) == {}


@pytest.mark.parametrize("indexes", [False, True], ids=["plain", "deletion indexes"])
def test_a_person_with_many_messages(fresh_newest: Database, indexes: bool) -> None:
    """Each row is looked up by its key, whatever indexes make the planner think of: not each with all others."""
    migrator.migrate(fresh_newest.owned, deletion_indexes=indexes)
    with fresh_newest.session("app_owner") as connection:
        for who in (ANA, BEN):
            connection.execute(MANY, {"who": who})
        connection.execute("analyze")
    bounded = make_conninfo(fresh_newest.owned, options="-c statement_timeout=60s -c work_mem=64kB")
    assert len(run(bounded, "export", "whatsapp", ANA).json["webhook_events"]) == 40_000
    assert run(bounded, "erase", "whatsapp", ANA, "--json").json["gone"]["messages"] == 40_000
    assert mentions(fresh_newest, ANA) == {}
