"""Whose rights a migration may use: neither owners that anybody could be, nor code that waits for whoever migrates."""

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Fatal
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import OWNER, Database
from tests.migrations.platform import ROUTE, database_on, wrong_rights

# ── Owners ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stranger_does_not_come_to_own_the_rest(empty: Database) -> None:
    """Who may create in "public" makes contacts beforehand, and waits for what belongs to it."""
    empty.run("grant create on schema public to stranger")
    empty.run("create table public.contacts (id uuid primary key)", role="stranger")
    for dsn in (empty.admin, empty.owned):
        with pytest.raises(Fatal, match=r'public\.contacts belongs to "stranger"') as error:
            migrator.migrate(dsn)
        assert any('public.contacts belongs to "stranger"' in line for line in migrator.check(dsn))
        assert empty.value("select to_regclass('public.webhook_events')") is None
        if dsn == empty.admin:
            problem, remedy = next(
                (line, after)
                for line, after in zip(str(error.value).splitlines(), str(error.value).splitlines()[1:], strict=False)
                if "owns neither" in line
            )
            assert problem
    empty.run(remedy, "drop table public.contacts")
    migrator.migrate(empty.admin)
    owners = empty.rows(
        "select distinct relowner::regrole::text from pg_class where relnamespace = 'router'::regnamespace"
    )
    assert owners == [("postgres",)]  # nothing was there to tell another


def test_a_table_of_a_stranger_among_those_of_a_superuser(platform: EmbeddedPostgres) -> None:
    """Its triggers would run with a superuser's rights."""
    with database_on(platform, owner="postgres") as database:
        migrator.migrate(database.admin)
        assert audit(database.admin).ok
        (note,) = wrong_rights(database)
        assert (note.required, "create role webhook_router_owner" in note.detail) == (False, True)
        database.run("alter table public.contacts owner to stranger")
        with pytest.raises(Fatal, match=r'public\.contacts belongs to "stranger"') as error:
            migrator.migrate(database.admin)
        database.run(str(error.value).splitlines()[-1])
        migrator.migrate(database.admin)

        database.run(note.detail.partition("of its own: ")[2].partition(" -- then")[0])
        migrator.migrate(database.admin)
        database.run("insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'a')")
        assert database.value(ROUTE, role="anon") == 1
        assert wrong_rights(database) == []
        for table in (
            "webhook_events",
            "contacts",
            "contact_channels",
            "conversations",
            "messages",
            "message_analysis",
            "message_delivery",
            "message_reactions",
            "message_revisions",
        ):
            database.run(f"alter table public.{table} owner to postgres")
        migrator.migrate(database.admin)
    with psycopg.connect(platform.dsn(), autocommit=True) as connection:
        connection.execute("drop role webhook_router_owner")


def test_objects_of_a_former_owner(installed: Database) -> None:
    """What the tables' owner does not own any more comes back by a superuser's run, as the message says."""
    installed.run("alter function router.reply(uuid) owner to stranger", "alter type router.event owner to stranger")
    (line,) = migrator.check(installed.admin)
    what = "2 things: belongs to stranger instead of app_owner: function router.reply(uuid), type router.event"
    assert line == f"{what}; run: webhook-router migrate"
    with pytest.raises(Fatal, match=r'belong to "stranger".*\n.*migrate, once, as a superuser or as "stranger"'):
        migrator.migrate(installed.owned)
    migrator.migrate(installed.admin)
    assert migrator.check(installed.owned) == []


# ── Code that waits for whoever migrates ─────────────────────────────────────────────────────────────────────────────

CALL = "public.caught()"
PLANTED = {
    "trigger": (
        "create function public.catching() returns trigger language plpgsql as $$"
        f" begin perform {CALL}; return new; end $$;"
        "create trigger mine before insert or update on router.{table} for each row execute function public.catching()"
    ),
    "rule": f"create rule mine as on insert to router.{{table}} do also select {CALL}",
    "default": f"alter table router.{{table}} alter column {{column}} set default ({CALL})::text::{{type}}",
    "check": f"alter table router.{{table}} add constraint mine check ({CALL} is not null)",
    "index": "create index mine on router.{table} ((public.caught_always()))",
    "predicate": "create index mine on router.{table} ({column}) where public.caught_always() > 0",
    "policy": f"create policy mine on router.{{table}} using ({CALL} > 0);"
    "alter table router.{table} enable row level security; alter table router.{table} force row level security",
    "domain": "create domain public.picky as {type} check (public.caught() > 0);"
    "alter table router.{table} alter column {column} type public.picky",
    "statistics": "create statistics public.mine on (public.caught_always()), ({column} is null) from router.{table}",
    "cascade": "create unique index on router.{table} ({column});"
    "create table public.child (x {type} references router.{table} ({column}) on update cascade);"
    "insert into public.child select {column} from router.{table} where {column} is not null;"
    "create function public.catching() returns trigger language plpgsql as $$"
    f" begin perform {CALL}; return null; end $$;"
    "create trigger mine after update on public.child for each row execute function public.catching()",
    "child": "create table public.child () inherits (router.{table})",
}
COLUMNS = {
    "installation": ("doorbell", "boolean"),
    "schema_migrations": ("applied_at", "timestamptz"),
    "schema_functions": ("checksum", "text"),
    "parked_events": ("attempts", "integer"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_nothing_planted_in_the_books_is_run(platform: EmbeddedPostgres, kind: str) -> None:
    """Neither by migrate, which refuses and says what to do, nor by --check."""
    for table, (column, type_name) in COLUMNS.items():
        if kind == "domain" and type_name != "text":
            continue  # a column that has a default cannot become of that type, or back
        with database_on(platform) as database:
            migrator.migrate(database.owned)
            database.run(
                "create sequence public.calls",
                "create function public.caught() returns bigint language plpgsql as"
                " $$ begin return nextval('public.calls'); end $$",
                "create function public.caught_always() returns bigint language plpgsql immutable as"
                " $$ begin return nextval('public.calls'); end $$",
                PLANTED[kind].format(table=table, column=column, type=type_name),
                "alter sequence public.calls restart",
                role=OWNER,
            )
            with pytest.raises(Fatal, match="nothing was changed") as error:
                migrator.migrate(database.admin)
            assert any(f"router.{table}" in line for line in migrator.check(database.admin))
            assert database.value("select is_called from public.calls") is False, (kind, table)
            for remedy in str(error.value).splitlines()[2::2]:
                database.run(remedy, role=OWNER)
            if kind == "policy":
                database.run(f"alter table router.{table} disable row level security")
            migrator.migrate(database.admin)
            assert migrator.check(database.admin) == []


@pytest.mark.parametrize("column", ["event_id", "next_attempt_at"])
def test_events_are_touched_with_the_rights_of_their_owner(platform: EmbeddedPostgres, column: str) -> None:
    """A superuser who makes a lost column again runs neither the owner's triggers nor the functions of its indexes."""
    with database_on(platform) as database:
        migrator.migrate(database.owned)
        database.run(
            "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'a')",
            "insert into router.parked_events (event_id, channel, error_code, error_message, next_attempt_at)"
            " select id, channel, 'XX000', '', 'infinity' from webhook_events",
            "update webhook_events set parked_until = 'infinity'",
            "create sequence public.calls",
            "create function public.super() returns boolean language plpgsql immutable as $$ begin"
            " if (select rolsuper from pg_roles where rolname = current_user) then"
            " perform nextval('public.calls'); end if; return true; end $$",
            "create function public.catching() returns trigger language plpgsql as"
            " $$ begin perform public.super(); return new; end $$",
            "create trigger b before update on webhook_events for each row execute function public.catching()",
            "create trigger a after update on webhook_events for each row execute function public.catching()",
            "create constraint trigger c after update on webhook_events deferrable initially deferred"
            " for each row execute function public.catching()",
            "create index mine on webhook_events (id) where public.super()",
            f"alter table router.parked_events drop column {column}",
            role=OWNER,
        )
        database.run("alter sequence public.calls restart")
        assert f"column router.parked_events.{column} is missing" in migrator.check(database.admin)
        migrator.migrate(database.admin)
        assert database.value("select is_called from public.calls") is False
        waits = database.value("select coalesce(parked_until::text, 'no longer') from webhook_events")
        assert waits == ("no longer" if column == "event_id" else "infinity")
        if column == "next_attempt_at":
            assert database.value("select next_attempt_at::text from router.parked_events") == "infinity"


def test_a_trigger_of_whoever_migrates_is_no_strangers(installed: Database) -> None:
    """The owner of the tables may watch what is parked, and goes on migrating; a superuser is told whose code it is."""
    installed.run(
        "create function public.watching() returns trigger language plpgsql as $$ begin return null; end $$",
        "create trigger mine after insert on router.parked_events for each row execute function public.watching()",
        role=OWNER,
    )
    migrator.migrate(installed.owned)
    assert migrator.check(installed.owned) == []
    with pytest.raises(Fatal, match=r"trigger mine on router\.parked_events runs code of others"):
        migrator.migrate(installed.admin)
