"""What is missing is found by what is there, whatever is recorded, and the next run makes it again."""

from collections.abc import Iterator

import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Fatal
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import TABLES, Database, catalogue, empty_on
from tests.migrations.psql import run_psql

ROUTE = """
    insert into public.webhook_events (channel, type, event_id, author_id) values ('tiktok', 'message', '{0}', 'a1');
    select public.route_unrouted_events(null, 10000)
"""
OBJECTS = """
    select format('%s router.%I', case when c.relkind in ('r', 'p') then 'table' else 'index' end, c.relname)
    from pg_class c
    where c.relnamespace = 'router'::regnamespace
      and (c.relkind in ('r', 'p')
           or c.relkind in ('i', 'I') and not c.relispartition
              and not exists (select from pg_constraint k where k.conindid = c.oid))
    union all
    select format('column router.%I.%I', c.relname, a.attname)
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    where c.relnamespace = 'router'::regnamespace and c.relkind = 'r'
      and c.relname in ('parked_events', 'installation', 'schema_migrations', 'schema_functions')
    union all
    select format('primary key of router.%I (%I)', c.relname, a.attname)
    from pg_class c
    join pg_index i on i.indrelid = c.oid and i.indisprimary
    join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
    where c.relnamespace = 'router'::regnamespace
      and c.relname in ('parked_events', 'installation', 'schema_migrations', 'schema_functions')
    union all
    select 'index public.' || c.relname
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'i' and starts_with(c.relname, 'router_')
    union all
    select unnest(array['column public.webhook_events.routed_at', 'column public.webhook_events.parked_until',
                        'column public.contact_channels.display_name_at', 'column public.webhook_events.normalized',
                        'column public.conversations.account_id', 'column public.webhook_events.routed_by',
                        'table public.message_delivery', 'table public.message_reactions',
                        'table public.message_revisions'])
    order by 1
"""


@pytest.fixture(scope="module")
def migrated(newest_server: EmbeddedPostgres) -> Iterator[Database]:
    with empty_on(newest_server) as database:
        migrator.migrate(database.owned)
        database.run(ROUTE.format("before"))
        yield database


def dropping(what: str) -> str:
    """The statement that makes something of that kind missing."""
    kind, name = what.split(" ", 1)
    if kind == "column":
        table, column = name.rsplit(".", 1)
        return f"alter table {table} drop column {column} cascade"
    if kind == "primary":
        table = name.split()[2]
        return f"alter table {table} drop constraint {table.split('.')[1]}_pkey"
    # Functions may take rows of it; and a table that went before may have taken this along.
    return f"drop {kind} if exists {name}{' cascade' if kind == 'table' and name.startswith('router.') else ''}"


def differences(database: Database, installed: set[tuple[object, ...]]) -> set[tuple[object, ...]]:
    """But for the application's index of a column, which goes with it: it is no index of ours."""
    return {row for row in catalogue(database) ^ installed if not str(row[2]).endswith("btree (routed_at)")}


def required(database: Database) -> list[str]:
    return [f"{row.name} {row.detail}" for row in audit(database.owned).rows if row.required and not row.ok]


def test_each_object_that_is_dropped_is_made_again(migrated: Database) -> None:
    """Named by the check and by the audit; afterwards the schema is that of a fresh installation, and events pass."""
    installed = catalogue(migrated)
    objects = [str(what) for (what,) in migrated.rows(OBJECTS)]
    assert len(objects) > 25
    for what in objects:
        migrated.run(dropping(what))
        assert any(what in line for line in migrator.check(migrated.owned) or [""]) or "schema_migrations" in what, what
        assert any(what.split(" ", 1)[1].split(" (")[0] in line for line in required(migrated)), what
        assert migrator.migrate(migrated.owned).changed, what
        assert migrator.check(migrated.owned) == [], what
        assert differences(migrated, installed) == set(), what
    assert required(migrated) == []
    migrated.run(ROUTE.format("after"))
    assert migrated.value("select count(*) from messages") == 2


def test_each_function_and_type_that_is_dropped_is_made_again(migrated: Database) -> None:
    """One after the other is named; one run brings them all back."""
    installed = catalogue(migrated)
    for file in [*SHIPPED.functions(), *SHIPPED.types()]:
        schema, name, _ = file.name.split(".")
        kind = "type" if file in SHIPPED.types() else "function"
        migrated.run(f"drop {kind} if exists {schema}.{name} cascade")
        assert any(line.startswith(f"{file.name} is applied, but was") for line in migrator.check(migrated.owned))
    named = {line.removesuffix(" run: webhook-router migrate") for line in required(migrated)}
    assert set(migrator.check(migrated.owned)) <= named
    migrator.migrate(migrated.owned)
    assert differences(migrated, installed) == set()
    assert required(migrated) == []


@pytest.mark.parametrize("with_psql", [False, True], ids=["migrate", "psql"])
def test_all_at_once(migrated: Database, *, with_psql: bool) -> None:
    """By the migrator, or by its script: what has been parked is lost with its table, and nothing else."""
    installed = catalogue(migrated)
    objects = [str(what) for (what,) in migrated.rows(OBJECTS)]
    tables = [what for what in objects if what.startswith("table") and "schema_" not in what]
    indexes = [what for what in objects if what.startswith("index public.")]
    columns = [what for what in objects if what.startswith("column public.")]
    for what in [*tables, *indexes, *columns]:
        migrated.run(dropping(what))
    if with_psql:
        run_psql(migrated, script())
    else:
        migrator.migrate(migrated.owned)
    assert migrator.check(migrated.owned) == []
    assert differences(migrated, installed) == set()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_the_contract_that_was_dropped(fresh_newest: Database, table: str) -> None:
    """It is named and made again; what pointed to it does so no longer, since its rows are gone."""
    migrator.migrate(fresh_newest.owned)
    installed = {row for row in catalogue(fresh_newest) if "FOREIGN KEY" not in str(row[2])}
    fresh_newest.run(f"drop table {table} cascade")
    assert f"table public.{table} is missing" in migrator.check(fresh_newest.owned)
    assert any(line.startswith(f"public.{table} missing") for line in required(fresh_newest))
    migrator.migrate(fresh_newest.owned)
    assert migrator.check(fresh_newest.owned) == []
    assert {row for row in catalogue(fresh_newest) if "FOREIGN KEY" not in str(row[2])} ^ installed == set()
    fresh_newest.run(ROUTE.format("after"))
    assert fresh_newest.value("select count(*) from messages") == 1


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_the_contract_that_was_renamed(fresh_newest: Database, table: str) -> None:
    """It is not made again, empty, beside its rows: it is named, with the statement that takes the name back."""
    migrator.migrate(fresh_newest.owned)
    installed = catalogue(fresh_newest)
    fresh_newest.run(ROUTE.format("before"), f"alter table {table} rename to elsewhere")
    found = [line for line in migrator.check(fresh_newest.owned) if line.startswith(f"public.{table} is missing")]
    assert len(found) == 1
    assert "public.elsewhere" in found[0]
    assert found[0] in [f"{row.name}; run: {row.detail}" for row in audit(fresh_newest.owned).rows]
    with pytest.raises(Fatal, match=rf"public\.{table} is missing"):
        migrator.migrate(fresh_newest.owned)
    fresh_newest.run(found[0].rpartition("; run: ")[2], role="app_owner")
    migrator.migrate(fresh_newest.owned)
    assert migrator.check(fresh_newest.owned) == []
    assert catalogue(fresh_newest) ^ installed == set()
    fresh_newest.run(ROUTE.format("after"))
    assert fresh_newest.value("select count(*) from messages") == 2


def test_a_new_table_in_the_place_of_a_renamed_one(fresh_newest: Database) -> None:
    """The indexes and the doorbell stay with the old one: they are named, and made for the new one."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run(
        "alter table webhook_events rename to events_before; create table webhook_events (like events_before including"
        " defaults, primary key (id), unique (channel, event_id))",
        role="app_owner",
    )
    assert not audit(fresh_newest.owned).ok
    with pytest.raises(Fatal) as error:
        migrator.migrate(fresh_newest.owned)
    remedies = str(error.value).splitlines()[2::2]
    assert len(remedies) == 3
    fresh_newest.run(*remedies, role="app_owner")
    migrator.migrate(fresh_newest.owned)
    assert migrator.check(fresh_newest.owned) == []
    assert required(fresh_newest) == []
    fresh_newest.run(ROUTE.format("after"))
    assert fresh_newest.value("select count(*) from messages") == 1


def test_a_private_table_that_was_renamed(fresh_newest: Database) -> None:
    """What is parked stays known."""
    migrator.migrate(fresh_newest.owned)
    fresh_newest.run("alter table router.parked_events rename to parked_before")
    with pytest.raises(Fatal, match=r"router\.parked_events is missing, and router\.parked_before has its") as error:
        migrator.migrate(fresh_newest.owned)
    assert not audit(fresh_newest.owned).ok
    fresh_newest.run(str(error.value).splitlines()[-1], role="app_owner")
    assert not migrator.migrate(fresh_newest.owned).changed
    assert migrator.check(fresh_newest.owned) == []
