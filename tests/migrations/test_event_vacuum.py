"""Vacuum comes sooner to webhook_events, where nobody has decided when it comes, and not after uninstalling."""

import pytest

from consumer.adapters.postgres.migrations import migrator, uninstaller
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.conftest import StartPostgres
from tests.migrations.databases import Database, brownfield_on, make_application_roles

OPTIONS = "select reloptions::text from pg_class where oid = 'public.webhook_events'::regclass"
AGAIN = "delete from router.schema_migrations where name like '%event_vacuum%'"
DONE = "setting autovacuum_vacuum_scale_factor of public.webhook_events is what it was"


def test_it_is_set_and_reset(brownfield: Database) -> None:
    """What else the application has set for the table stays as it is."""
    brownfield.run("alter table webhook_events set (fillfactor = 80)")
    migrator.migrate(brownfield.owned)
    assert brownfield.value(OPTIONS) == "{fillfactor=80,autovacuum_vacuum_scale_factor=0.02}"
    assert DONE in uninstaller.uninstall(brownfield.owned).done
    assert brownfield.value(OPTIONS) == "{fillfactor=80}"


@pytest.mark.parametrize("option", ["autovacuum_enabled=off", "autovacuum_vacuum_scale_factor=0.02"])
def test_what_somebody_has_decided_stays(brownfield: Database, option: str) -> None:
    """Before the migration, also if it is what the migration would have set."""
    brownfield.run(f"alter table webhook_events set ({option})")
    migrator.migrate(brownfield.owned)
    assert DONE not in uninstaller.uninstall(brownfield.owned).done
    assert brownfield.value(OPTIONS) == f"{{{option}}}"


def test_what_is_decided_later_stays(brownfield: Database) -> None:
    """Whatever runs again."""
    migrator.migrate(brownfield.owned)
    brownfield.run("alter table webhook_events set (autovacuum_vacuum_scale_factor = 0.1)", AGAIN)
    migrator.migrate(brownfield.owned)
    assert DONE not in uninstaller.uninstall(brownfield.owned).done
    assert brownfield.value(OPTIONS) == "{autovacuum_vacuum_scale_factor=0.1}"


def test_a_server_that_somebody_has_tuned(private_postgres: StartPostgres) -> None:
    """Its setting holds."""
    server: EmbeddedPostgres = private_postgres(settings={"autovacuum_vacuum_scale_factor": "0.05"})
    make_application_roles(server)
    with brownfield_on(server) as database:
        migrator.migrate(database.owned)
        assert database.value(OPTIONS) is None
