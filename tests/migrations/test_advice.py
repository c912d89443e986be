"""Whatever is advised is enough: with it done, migrations go through and events are routed."""

import re
from typing import Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Fatal
from consumer.embedded_postgres.server import EmbeddedPostgres, all_binaries
from tests.cli import run
from tests.conftest import StartPostgres
from tests.migrations.databases import TABLES, Database, brownfield_on, empty_on, make_role

ROUTE: Final = """
    insert into public.webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', '{0}', 'a1');
    select public.route_unrouted_events(null, 10000)
"""
ADVICE: Final = {
    "test_rights": {
        'role "webhook_router_api" is missing, and "%s" may not make roles',
        '"%s" may not act as role "webhook_router_api", which owns the public functions',
    },
    "test_sessions": {"the server is a read-only standby"},
    "test_advice": {
        '"%s" does not inherit the rights of the roles it is a member of',
        '"%s" may not create the schema "router" in database "%s"',
        'the schema "router" belongs to "%s", which "%s" is no member of',
        'public.%s belongs to "%s", which "%s" is no member of',
        'function %s belongs to "%s", which "%s" is no member of',
        '"%s" is a login of the service, a member of webhook_router_service, which may not change the schema',
    },
    "test_migrate": {
        '"%s" may not create in the schema "public", or not pass that right on',
        "column public.%s.%s is missing",
        "public.%s has no unique key on (%s), by which one event is told from another",
        'function %s returns %s instead of %s, which "create or replace" cannot change',
        'the arguments of function %s are named %s instead of %s, which "create or replace" cannot change',
        'public.%s belongs to "%s", but public.webhook_events to "%s", with whose rights routing writes',
    },
    "test_neighbours": {
        'the schema "router" is there already, and webhook-router, which keeps its own things in a schema of ',
        "%s router.%I does not belong to webhook-router, which needs the name",
        "%s %s does not belong to webhook-router, which needs the name",
        "type %s does not belong to webhook-router, which needs the name",
    },
    "test_channel_checks": {
        "constraint %I of public.%s does not allow the channel %s: what %s sends is not taken, until it is added there",
    },
    "test_owners": {
        'public.%s belongs to "%s", who owns neither the database nor its schema public, and ',
        'public.%s belongs to "%s", but public.webhook_events to the superuser "%s", with whose rights routing writes',
        '%s in the schema "router" belong to "%s", which "%s" is no member of',
        "trigger %I on %s runs code of others when webhook-router writes there",
        "rule %I on %s runs code of others when webhook-router reads or writes there",
        "policy %I on %s decides what webhook-router reads there",
        "%s is a child of %s",
        "%s has the child %s",
        "%s refers to %s by foreign key %I, and its triggers run code of others when webhook-router writes there",
        "column %s.%I is of type %s, which is not one of Postgres",
    },
    "test_uninstall": {
        "column public.webhook_events.routed_by is there already: routing writes there by which path it "
    },
    "test_missing": {"table router.parked_events is missing, and router."},
    "test_other_schemas": {
        "public.%s is not an ordinary table: it is a %s",
        "type public.%s has the name of a table, which is missing",
        'public.%s is missing, and %I.%I has its columns: webhook-router works with tables in "public" of these names',
        "public.%s has a name that webhook-router needs for an index of public.%s, which is missing",
        "foreign key %I of public.%s (%s) refers to %s instead of public.%s",
        'role "%s" finds %I.webhook_events before public.webhook_events: what it writes without naming the schema is ',
    },
    "test_preflight": {
        "column public.%s.%s is of type %s instead of %s",
        "column public.%s.%s is generated, and %s writes it",
        "column public.%s.%s is not null, but null means: %s",
        "column public.%s.%s has a default, but null means: %s",
        "constraint %I of public.%s does not allow what routing writes to the column %s",
        "column public.%s.%s is not null and has no default: webhook-router does not fill it, and no trigger does",
        "the key column public.%s.%s has no default: webhook-router does not fill it, and no trigger does",
        '"%s", with whose rights routing writes, may not use the schema "public"',
        '"%s", with whose rights routing writes, may not read and write public.%s',
        'row security of public.%s is forced: it hides rows from "%s", with whose rights routing writes',
        "rule %I on %s of public.%s: what routing writes there is refused, or lost",
        "publication %I publishes updates of public.%s, which has no replica identity: updates fail",
        "the column list of publication %I lacks columns of the replica identity of public.%s: updates fail",
        "the row filter of publication %I uses columns that are not in the replica identity of public.%s: updates fail",
        "trigger %s calls function %s, which has no search_path of its own and needs %s",
        "public.%s has a name that webhook-router needs for an index on public.%s (%s)%s",
        "trigger webhook_router_doorbell on public.webhook_events calls %I.%I() %s: webhook-router needs this name",
        "max_prepared_transactions is %s: PREPARE TRANSACTION fails in a transaction that has inserted into ",
        "the doorbell is %s, so the service polls. To enable it: alter table public.webhook_events enable trigger ",
        "unrouted events have no created_at, the time of their arrival: they are routed, but their age is ",
    },
    "test_preflight: no more than notes": {
        'publication %I publishes the tables of the private schema "router" too: a subscriber without them stops at ',
        "public.webhook_events is filled by a subscription: rows that replication writes do not ring the doorbell, ",
        'session_replication_role is "replica" by default for %s: inserts do not ring the doorbell, and no trigger or ',
        'synchronous_standby_names is "%s", and no standby is connected: every commit waits for one',
        "column public.%s.%s is not null: an event %s cannot be %s, unless a trigger fills it",
        "column public.messages.id has no default, and auto_reply_stub does not fill it, unless a trigger does",
        "rule %I on public.%s works on what routing writes, and not on what triggers make of it",
        "public.%s has child tables (%s): no key covers their rows, and their inserts do not ring the doorbell",
        "public.webhook_events is a child of %s: what is inserted there does not ring the doorbell, so the service ",
        "public.%s is unlogged: a crash of the server empties it, and a standby does not have it",
    },
}
"""Where each is executed. Add a test before you add a line."""


def told() -> set[str]:
    """The first literal of each problem and note in the queries."""
    found = set()
    for query in [*SHIPPED.preflight(), SHIPPED.taken_functions(), SHIPPED.file("migrator", "notes.sql")]:
        text = re.sub(r"--[^\n]*", "", query.text)
        for branch in re.split(r"\nunion all\n|\n\n(?=select)|as \(\n(?=select ')", text):
            literals = re.match(r"\s*select (?:format\()?('(?:[^']|'')*'(?:\n\s*'(?:[^']|'')*')*)", branch)
            if literals:
                found.add("".join(re.findall(r"'((?:[^']|'')*)'", literals[1])).replace("''", "'"))
    return found


def test_every_advice_is_executed_by_a_test() -> None:
    """One that is added is added to the list, with the name of its test."""
    listed = {line for lines in ADVICE.values() for line in lines}
    unknown = {line for line in told() if not any(line.startswith(known) for known in listed)}
    assert unknown == set()
    assert {known for known in listed if not any(line.startswith(known) for line in told())} == set()


def follow(database: Database, dsn: str) -> list[str]:
    """Does what the errors say, as a superuser, until the migration goes through; what they said."""
    said: list[str] = []
    for _ in range(4):
        try:
            migrator.migrate(dsn)
            break
        except Fatal as error:
            lines = [line.strip(" -") for line in str(error).splitlines()[1:]]
            problems = [line.removesuffix(";") for line in lines[::2]]
            said += problems
            for problem in problems:
                assert any(finding.startswith(problem) for finding in migrator.check(dsn)), problem
            database.run(*(remedy.rpartition(", or: ")[2] for remedy in lines[1::2]))
    assert migrator.check(dsn) == []
    database.run(ROUTE.format("advised"))
    assert database.value("select count(*) from public.messages where provider_message_id = 'advised'") == 1
    return said


STATES: Final = {
    "create schema": (
        "alter database {database} owner to postgres",
        '"app_owner" may not create the schema "router"',
    ),
    "tables of a superuser": (
        "".join(f"alter table public.{table} owner to postgres;" for table in TABLES),
        'public.contacts belongs to "postgres", which "app_owner" is no member of',
    ),
    "tables of another": (
        "".join(f"alter table public.{table} owner to another_owner;" for table in TABLES),
        'public.contacts belongs to "another_owner", which "app_owner" is no member of',
    ),
    "functions of another": (
        "alter function public.route_webhook_event(text, text) owner to another_owner",
        'function public.route_webhook_event(text,text) belongs to "another_owner"',
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_what_the_migrating_role_lacks(application_server: EmbeddedPostgres, state: str) -> None:
    """It is named before anything is changed, and the statements are enough."""
    another = f"another_owner_{uuid4().hex}"  # others use the same server at the same moment
    make_role(application_server, another, "nologin")
    damage, problem = (text.replace("another_owner", another) for text in STATES[state])
    with brownfield_on(application_server) as database:
        database.run(damage.replace("{database}", database.name))
        said = follow(database, database.owned)
        assert any(line.startswith(problem) for line in said), said
    with psycopg.connect(application_server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(another)))


def test_a_schema_of_another_role(fresh: Database) -> None:
    """As after a restore by somebody else."""
    migrator.migrate(fresh.owned)
    fresh.run("alter schema router owner to postgres; grant all on schema router to app_owner")
    assert 'the schema "router" belongs to "postgres", which "app_owner" is no member of' in follow(fresh, fresh.owned)


def test_a_role_that_does_not_inherit(private_postgres: StartPostgres) -> None:
    """Before 16, where a membership cannot say so itself."""
    binaries = min(all_binaries(), key=lambda binaries: binaries.major)
    if binaries.major >= 16:
        pytest.skip("not with this version")
    server = private_postgres(binaries=binaries)
    make_role(server, "app_owner", "login createrole noinherit")
    with empty_on(server) as database:
        assert '"app_owner" does not inherit the rights of the roles it is a member of' in follow(
            database, database.owned
        )


@pytest.mark.parametrize("migrated", [False, True])
def test_the_login_of_the_service_is_told_whose_url_to_use(private_postgres: StartPostgres, *, migrated: bool) -> None:
    """Nothing of the owner's is to be granted to it, and one line says so."""
    server = private_postgres()
    make_role(server, "webhook_router_service", "nologin")
    make_role(server, "app_owner", "login createrole")
    make_role(server, "my_service", "login in role webhook_router_service")
    with empty_on(server) as database:
        if migrated:
            migrator.migrate(database.owned)
        login = server.dsn(database.name, user="my_service")
        line, *others = migrator.check(login)
        assert line.startswith('"my_service" is a login of the service, a member of webhook_router_service, which may')
        assert line.endswith('; use the URL of "app_owner", or of a superuser')
        assert all(other.startswith(("migration ", "index ")) or "not applied" in other for other in others)
        assert not (migrated and others)
        with pytest.raises(Fatal) as error:
            migrator.migrate(login)
        assert [part in str(error.value) for part in ('of "app_owner"', "owner to", "grant ")] == [True, False, False]
        audit(login)
        follow(database, database.owned)


def test_a_doorbell_that_was_disabled(fresh_newest: Database) -> None:
    """The audit has the statement, which `migrate` does not run: somebody has switched it off."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run("alter table webhook_events disable trigger webhook_router_doorbell")
    ran = run(fresh_newest.owned, "audit")
    assert (ran.code, "run what the details say" in ran.err) == (1, True)
    (row,) = [row for row in audit(fresh_newest.owned).rows if row.required and not row.ok]
    assert not migrator.migrate(fresh_newest.owned).changed
    fresh_newest.run(row.detail.rpartition("; run: ")[2], role="app_owner")
    assert audit(fresh_newest.owned).ok
    assert fresh_newest.value("select router.doorbell()") == "rings"


def test_a_doorbell_that_is_there_by_mistake(fresh_newest: Database) -> None:
    """`migrate` takes it away: it was decided to do without."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run("update router.installation set doorbell = false")
    assert migrator.check(fresh_newest.owned) == ["the doorbell is there, although it was decided to do without it"]
    assert not audit(fresh_newest.owned).ok
    migrator.migrate(fresh_newest.owned)
    assert migrator.check(fresh_newest.owned) == []
    assert audit(fresh_newest.owned).ok


def test_what_the_audit_misses_is_made_by_migrating(brownfield_newest: Database) -> None:
    """When it says so: on a database that was never migrated, and on one that has lost things."""
    for damage in ("select 1", "drop index router_threads; drop function router.reply(uuid)"):
        brownfield_newest.run(damage)
        ran = run(brownfield_newest.owned, "audit")
        assert (ran.code, "missing; webhook-router migrate makes them" in ran.err) == (1, True)
        migrator.migrate(brownfield_newest.owned)
        assert run(brownfield_newest.owned, "audit").code == 0
