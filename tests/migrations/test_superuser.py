"""A superuser who asks about a database runs nothing that its owner, or a stranger, has put there."""

from collections.abc import Iterator
from typing import Final

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Fatal
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import Database, brownfield_on

SENTINEL: Final = """
    create sequence public.called;
    create function public.trap(integer) returns boolean language plpgsql immutable cost 0.0001
        as $$ begin perform nextval('public.called'); return $1 > 0; end $$;
    create function public.trap_text(boolean) returns text language plpgsql immutable
        as $$ begin perform nextval('public.called'); return $1::text; end $$;
    create function public.trap_trigger() returns trigger language plpgsql
        as $$ begin perform nextval('public.called'); return null; end $$
"""
VIEW: Final = """
    alter table {0} rename to before; create view {0} as select b.* from {1}.before b where public.trap(1)
"""
PLANTS: Final = {
    "predicates of indexes": "".join(
        f"create index on {table} ({column}) where public.trap(1);"
        for table, column in (
            ("public.webhook_events", "routed_at"),
            ("router.installation", "doorbell"),
            ("router.schema_functions", "file"),
            ("router.schema_migrations", "version"),
        )
    ),
    "expressions of indexes": "create index on public.webhook_events (public.trap(2), routed_at);"
    "create index on router.installation (public.trap(2))",
    "constraints that the planner looks at": "alter database {database} set constraint_exclusion = on;"
    "alter table public.webhook_events add check (public.trap(1)) not valid;"
    "alter table router.installation add check (public.trap(1)) not valid;"
    "alter table router.schema_functions add check (public.trap(1)) not valid",
    "statistics": "create statistics public.s on (public.trap(3)), (routed_at is null) from public.webhook_events;"
    "create statistics public.t on (public.trap(3)), (doorbell is null) from router.installation",
    "defaults and triggers": "alter table router.installation add extra boolean default public.trap(0);"
    "create trigger t before insert or update or delete on router.installation execute function public.trap_trigger();"
    "create trigger t after insert or update on public.webhook_events execute function public.trap_trigger()",
    "policies": "alter table public.webhook_events force row level security;"
    "create policy all_of_them on public.webhook_events using (public.trap(1));"
    "alter table router.installation enable row level security;"
    "create policy all_of_them on router.installation using (public.trap(1))",
    "children": "create table public.child () inherits (public.webhook_events);"
    "create index on public.child (id) where public.trap(1);"
    "create table public.other () inherits (router.installation);"
    "create index on public.other (doorbell) where public.trap(1)",
    "a cast": "create type public.flag as enum ('true', 'false');"
    "create function public.flag_text(public.flag) returns text language plpgsql"
    " as $$ begin perform nextval('public.called'); return 'true'; end $$;"
    "create cast (public.flag as text) with function public.flag_text(public.flag);"
    "alter table router.installation alter doorbell drop default,"
    " alter doorbell type public.flag using doorbell::text::public.flag",
    "a view of events": VIEW.format("public.webhook_events", "public"),
    "a view of the installation": VIEW.format("router.installation", "router"),
    "a view of migrations": VIEW.format("router.schema_migrations", "router"),
    "a view of functions": VIEW.format("router.schema_functions", "router"),
    "a view of fingerprints": "create view router.function_fingerprints as"
    " select 'router.status.sql' as file, 'x' as signature, public.trap(1) as made_now, 'x' as fingerprint",
    "functions": "create or replace function router.doorbell() returns text language plpgsql"
    " as $$ begin perform nextval('public.called'); return 'rings'; end $$;"
    "create or replace function public.route_unrouted_events(p_channel text default null, p_limit integer default 1)"
    " returns integer language plpgsql as $$ begin perform nextval('public.called'); return 1; end $$",
    "operators": "alter database {database} set search_path = public, pg_catalog;"
    "create function public.o(oid, regclass) returns boolean language plpgsql"
    " as $$ begin perform nextval('public.called'); return true; end $$;"
    "create operator public.= (leftarg = oid, rightarg = regclass, function = public.o);"
    "create function public.n(name, unknown_text text) returns boolean language plpgsql"
    " as $$ begin perform nextval('public.called'); return true; end $$;"
    "create operator public.= (leftarg = name, rightarg = text, function = public.n);"
    "create function public.cardinality(text[]) returns integer language plpgsql"
    " as $$ begin perform nextval('public.called'); return 1; end $$;"
    "create function public.array_agg(text) returns text[] language plpgsql"
    " as $$ begin perform nextval('public.called'); return null; end $$",
}


@pytest.fixture(scope="module")
def ready(newest_server: EmbeddedPostgres) -> Iterator[str]:
    with brownfield_on(newest_server, events=100) as database:
        migrator.migrate(database.owned)
        database.run(SENTINEL, role="app_owner")
        yield database.name


@pytest.fixture
def planted(newest_server: EmbeddedPostgres, ready: str) -> Iterator[Database]:
    """A copy for each, since what is planted must be committed to be seen by others."""
    name = f"{ready}_copy"
    with psycopg.connect(newest_server.dsn(), autocommit=True) as connection:
        connection.execute(f"create database {name} template {ready} owner app_owner".encode())
        try:
            yield Database(server=newest_server, name=name)
        finally:
            connection.execute(f"drop database {name} with (force)".encode())


def ask(conninfo: str) -> None:
    audit(conninfo)
    migrator.check(conninfo)
    migrator.notes(conninfo)


@pytest.mark.parametrize("plant", PLANTS)
def test_nothing_of_the_owner_runs(planted: Database, plant: str) -> None:
    """Neither by the audit nor by the check; what cannot be read safely is left out, and the rest is answered."""
    planted.run(PLANTS[plant].replace("{database}", planted.name), role="app_owner")
    planted.run("select setval('public.called', 1, false)")
    ask(planted.admin)
    assert planted.value("select is_called from public.called") is False


def test_the_plants_would_run(planted: Database) -> None:
    """A query that is only planned runs what the predicate of an index calls."""
    planted.run(PLANTS["predicates of indexes"], role="app_owner")
    planted.run("select setval('public.called', 1, false)")
    planted.run("explain select count(*) from public.webhook_events where routed_at is null")
    assert planted.value("select is_called from public.called") is True


def test_what_a_superuser_is_not_told(planted: Database) -> None:
    """The count, where an index could run what its owner likes; the row says so."""

    def count() -> str:
        return next(row.detail for row in audit(planted.admin).rows if row.name == "unrouted")

    planted.run("create index on webhook_events (id) where public.trap(1)", role="app_owner")
    assert count().endswith("use the URL of the owner")
    planted.run("drop index webhook_events_id_idx")
    assert count() == "1"


def test_a_view_in_the_place_of_the_bookkeeping_is_refused(planted: Database) -> None:
    """With the statement that puts it aside."""
    planted.run(PLANTS["a view of functions"], role="app_owner")
    with pytest.raises(Fatal, match=r"view router\.schema_functions does not belong to webhook-router") as error:
        migrator.migrate(planted.owned)
    planted.run(str(error.value).splitlines()[-1], role="app_owner")
    migrator.migrate(planted.owned)
    assert migrator.check(planted.owned) == []
