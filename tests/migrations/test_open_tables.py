"""What the audit says about rights around the six tables that are not for migrations to change."""

import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.audit import audit
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import Database
from tests.migrations.platform import database_on, wrong_rights


@pytest.mark.parametrize(
    ("damage", "name", "required"),
    [
        ("grant select on contacts to anon", "public.contacts", True),
        ("grant truncate on messages to anon", "public.messages", True),
        ("grant select (content) on webhook_events to anon", "public.webhook_events", True),
        ("grant stranger to anon; grant update on contacts to stranger", "public.contacts", True),
        ("grant select on contact_channels to public", "public.contact_channels", True),
        ("alter table messages disable row level security", "public.messages", True),
        ("grant select on contacts to authenticated", "public.contacts", False),
        ("grant create on schema public to public", "schema public", True),
        ("grant create on schema public to stranger", "schema public", False),
    ],
)
def test_open_tables_are_told(wild: Database, damage: str, name: str, required: bool) -> None:
    """With the statement that closes them."""
    migrator.migrate(wild.owned)
    assert [row for row in audit(wild.owned).rows if not row.ok] == []
    wild.run(damage)
    (row,) = wrong_rights(wild)
    assert (row.name, row.required) == (name, required)
    wild.run(row.detail.partition(": ")[2])
    wild.run("revoke stranger from anon")
    assert [row for row in audit(wild.owned).rows if not row.ok] == []


def test_a_trigger_function_that_its_owner_changes_as_a_superuser(platform: EmbeddedPostgres) -> None:
    """Where a superuser owns the tables, whoever owns a trigger's function acts as one."""
    with database_on(platform, owner="postgres") as database:
        database.run(
            "create function public.leads() returns trigger language plpgsql as 'begin return new; end'",
            "alter function public.leads() owner to stranger",
        )
        migrator.migrate(database.admin)
        database.run("create trigger leads after insert on messages for each row execute function leads()")
        (row,) = [row for row in wrong_rights(database) if row.name != "tables"]
        assert (row.name, row.required) == ("public.messages.leads", True)
        database.run(row.detail.partition(": ")[2])
        assert audit(database.admin).ok
