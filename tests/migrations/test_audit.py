"""The readiness audit, on databases in every state."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import class_row

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.adapters.postgres.operating.audit import Audit, AuditRow, audit
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import run
from tests.conftest import StartPostgres
from tests.migrations.databases import NO_DOORBELL, TABLES, Database, brownfield_on, make_application_roles, make_role

AUDIT = SHIPPED.file("audit", "audit_phase9_readiness.sql").text.encode()


def found(report: Audit, kind: str, part: str) -> AuditRow:
    """The one row of that kind whose name contains the part."""
    (row,) = [row for row in report.rows if row.kind == kind and part in row.name]
    return row


def test_an_empty_database_lacks_everything(fresh: Database) -> None:
    """Each thing is a row that is not ok, none is an error, and nothing is in the way."""
    report = audit(fresh.admin)
    assert not report.ok
    assert {row.name for row in report.rows if row.kind == "table"} == {f"public.{table}" for table in TABLES}
    assert not any(row.ok for row in report.rows)
    assert not any(row.kind == "obstacle" for row in report.rows)
    assert sum(row.kind == "function" for row in report.rows) == 4
    assert sum(row.kind == "optional function" for row in report.rows) == 4
    assert not found(report, "events", "unrouted").required


def test_a_database_of_the_wild_has_tables_and_functions(brownfield: Database) -> None:
    """What the original has is ok, what only we bring is missing."""
    report = audit(brownfield.owned)
    for kind in ("table", "column", "function", "optional function", "unique key", "look-up index"):
        assert all(row.ok for row in report.rows if row.kind == kind), kind
    assert found(report, "events", "unrouted").detail == "10"
    assert not report.ok
    assert not found(report, "doorbell", "webhook_events").ok


def test_a_migrated_database_is_ready(brownfield: Database) -> None:
    """Every row is ok, again and again, and whether names are printed in quotes or not."""
    migrator.migrate(brownfield.owned)
    quoting = audit(f"{brownfield.owned}?options=-cquote_all_identifiers%3Don")
    assert [row for row in quoting.rows if not row.ok] == []
    reports = [audit(brownfield.owned) for _ in range(2)]
    assert reports[0] == reports[1]
    assert all(row.ok for row in reports[0].rows), [row for row in reports[0].rows if not row.ok]
    assert reports[0].ok


def test_an_operator_of_the_application_is_not_asked(brownfield_newest: Database) -> None:
    """One whose argument types match better than the catalogue's; no name is looked up in the application's schemas."""
    migrator.migrate(brownfield_newest.owned)
    brownfield_newest.run(
        "create function never(oid, regclass) returns boolean language sql as 'select false'",
        "create operator public.= (leftarg = oid, rightarg = regclass, function = never)",
        f"alter database {brownfield_newest.name} set default_transaction_isolation = serializable",
    )
    assert [row for row in audit(brownfield_newest.owned).rows if not row.ok] == []


@pytest.mark.parametrize(
    ("damage", "kind", "part", "detail"),
    [
        ("drop table message_analysis", "table", "message_analysis", "missing"),
        ("alter table webhook_events drop column routed_at cascade", "column", "routed_at", "missing"),
        ("drop function route_webhook_event(text, text)", "function", "route_webhook_event", "missing"),
        (
            (
                "drop function route_unrouted_events(text, integer);"
                "create function route_unrouted_events(p_limit text, p_channel integer) returns text"
                " language sql as 'select null'"
            ),
            "function",
            "route_unrouted_events",
            "wanted (p_channel, p_limit) returns integer",
        ),
        ("drop index ux_messages_provider", "unique key", "messages (channel, provider", "missing"),
        ("drop index router_ready_by_arrival", "index", "router_ready_by_arrival", "missing"),
        (
            "update pg_index set indisvalid = false where indexrelid = 'router_ready_by_arrival'::regclass",
            "index",
            "router_ready_by_arrival",
            "invalid",
        ),
        ("alter table webhook_events disable trigger webhook_router_doorbell", "doorbell", "", "disabled"),
        ("drop trigger webhook_router_doorbell on webhook_events", "doorbell", "", "missing"),
        ("grant execute on function auto_reply_stub(uuid) to public", "rights", "public", "everybody"),
        ("alter function auto_reply_stub(uuid) reset all", "rights", "public", "no pinned search_path"),
        ("alter function auto_reply_stub(uuid) owner to app_owner", "rights", "public", "belongs to app_owner"),
        ("alter function auto_reply_stub(uuid) security invoker", "rights", "public", "no security definer"),
        ("grant execute on function router.reply(uuid) to public", "rights", "router", "everybody"),
        ("alter table messages add column tenant text not null", "mandatory column", "messages.tenant", "neither"),
        ("alter table webhook_events add tenant text not null", "mandatory column", "webhook_events.tenant", "neither"),
        (
            "alter table webhook_events force row level security",
            "row security",
            "webhook_events",
            "hides rows from app_owner",
        ),
    ],
)
def test_damage_is_found(damaged: psycopg.Connection, damage: str, kind: str, part: str, detail: str) -> None:
    """One required thing less, and the audit says which."""
    damaged.execute(damage.encode())
    with damaged.cursor(row_factory=class_row(AuditRow)) as cursor:
        report = Audit(rows=tuple(cursor.execute(AUDIT)))
    row = found(report, kind, part)
    assert (row.required, row.ok) == (True, False)
    assert detail in row.detail
    assert not report.ok


@pytest.fixture(scope="module")
def ready(newest_server: EmbeddedPostgres) -> Iterator[Database]:
    with brownfield_on(newest_server) as database:
        migrator.migrate(database.owned)
        yield database


@pytest.fixture
def damaged(ready: Database) -> Iterator[psycopg.Connection]:
    """A transaction that is undone."""
    with psycopg.connect(ready.admin) as connection:
        yield connection
        connection.rollback()


def test_what_only_informs_is_told(brownfield_newest: Database) -> None:
    """Triggers of the application, columns that they must fill, row security that lets the owner through."""
    migrator.migrate(brownfield_newest.owned)
    brownfield_newest.run(
        "create function noop() returns trigger language plpgsql as 'begin return new; end'",
        "create trigger leads before insert on messages for each row execute function noop()",
        "alter table messages add column tenant text not null",
        "alter table messages force row level security",
        "create policy own on messages to app_owner using (true)",
        "create function route_unrouted_events(p_limit integer) returns integer language sql as 'select 0'",
        "drop index idx_conv_contact",
    )
    report = audit(brownfield_newest.owned)
    assert found(report, "application trigger", "messages.leads").detail.endswith("with the rights of whoever writes")
    assert "so a trigger must" in found(report, "mandatory column", "messages.tenant").detail
    assert "policies that let app_owner through" in found(report, "row security", "messages").detail
    assert not found(report, "look-up index", "conversations").ok
    assert found(report, "overload", "route_unrouted_events(integer)").detail.startswith("stands beside")
    assert report.ok


def test_who_may_not_read_still_gets_an_answer(brownfield_newest: Database) -> None:
    """The count is unknown then, and nothing else."""
    migrator.migrate(brownfield_newest.owned)
    with psycopg.connect(brownfield_newest.admin) as connection:
        connection.execute("set role anon")
        rows = connection.execute(AUDIT).fetchall()
    assert [row[1] for row in rows if not row[3]] == ["unrouted"]


def test_the_audit_knows_all_indexes_of_the_migrations(fresh_newest: Database) -> None:
    """A migration that adds one must add it here."""
    migrator.migrate(fresh_newest.owned)
    names = fresh_newest.rows(
        "select 'public.' || indexname from pg_indexes where indexname like 'router\\_%' order by 1"
    )
    assert [row.name for row in audit(fresh_newest.owned).rows if row.kind == "index"] == [name for (name,) in names]


def test_the_audit_reports_obstacles_and_notes(brownfield: Database) -> None:
    """An obstacle is required and not ok, with the remedy as its detail; a note is neither."""
    migrator.migrate(brownfield.owned)
    brownfield.run(
        "alter table webhook_events alter parked_until set default now()", "create publication p for all tables"
    )
    report = audit(brownfield.owned)
    (obstacle,) = [row for row in report.rows if row.kind == "obstacle"]
    assert (obstacle.required, obstacle.ok, report.ok) == (True, False, False)
    assert "webhook_events.parked_until" in obstacle.name
    ran = run(brownfield.owned, "audit")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "1 required thing is not as needed; put the obstacles right" in ran.err
    (note,) = [row for row in report.rows if row.kind == "note"]
    assert (note.required, note.ok) == (False, False)
    brownfield.run(obstacle.detail)
    assert audit(brownfield.owned).ok


def test_no_doorbell_by_choice(damaged: psycopg.Connection) -> None:
    """It is as it should be then, and nothing is noted of it."""

    def doorbell() -> tuple[object, ...]:
        (row,) = [row for row in damaged.execute(AUDIT) if row[0] == "doorbell"]
        return row[3:]

    assert doorbell() == (True, "wakes the service at each commit")
    damaged.execute(NO_DOORBELL.encode())
    assert doorbell() == (False, "off by choice, but the trigger is there")
    damaged.execute("drop trigger webhook_router_doorbell on webhook_events")
    assert doorbell() == (True, "off by choice: the service polls")
    damaged.execute("update router.installation set doorbell = true")
    assert doorbell() == (False, "missing: the service only polls")


def test_the_audit_knows_all_gates(brownfield_newest: Database) -> None:
    """What is granted to the service, or to the owner of the public functions, is a row."""
    migrator.migrate(brownfield_newest.owned)
    rows = {row.name: row.detail for row in audit(brownfield_newest.owned).rows if row.kind == "gate"}
    grants = SHIPPED.file("functions", "operating", "router.grant_service.sql").text
    assert {name for name, detail in rows.items() if detail == "for the service"} == set(
        re.findall(r"'(router\.\w+)\(", grants)
    )
    wrapped = brownfield_newest.rows(
        "select 'router.' || p.proname from pg_proc p where p.pronamespace = 'router'::regnamespace"
        " and has_function_privilege('webhook_router_api', p.oid, 'execute')"
    )
    assert {name for (name,) in wrapped} <= set(rows)


def test_what_is_no_plain_table_is_not_called_missing(damaged: psycopg.Connection) -> None:
    """But by its kind."""
    damaged.execute("alter table contacts rename to people; create view contacts as select * from people")
    rows = {str(row[1]): row for row in damaged.execute(AUDIT) if row[0] == "table"}
    assert rows["public.contacts"][3:] == (False, "is a view: webhook-router needs a plain table there")


@pytest.mark.parametrize(
    "damage",
    [
        "alter function router.status() security invoker",
        "drop function router.route_due(text, integer)",
        "drop table router.parked_events cascade",
        "alter table router.installation drop column doorbell",
        "drop index router.parked_events_by_time",
        "alter table webhook_events drop column parked_until cascade",
        "alter table conversations rename to talks; create table conversations (like talks)",
        "alter index router_threads rename to other; create index router_threads on messages (content_text)",
    ],
)
def test_damage_of_what_is_private_is_found(damaged: psycopg.Connection, damage: str) -> None:
    """By the query alone, as psql runs it."""
    assert all(row[3] for row in damaged.execute(AUDIT) if row[2])
    damaged.execute(damage.encode())
    assert not all(row[3] for row in damaged.execute(AUDIT) if row[2])


def test_rights_that_the_service_lacks(private_postgres: StartPostgres) -> None:
    """Only where it was given some; elsewhere the role is another database's."""
    server = private_postgres()
    make_application_roles(server)
    make_role(server, "webhook_router_service", "nologin")
    with brownfield_on(server) as database:
        migrator.migrate(database.owned)
        database.run("select router.grant_service()")
        assert audit(database.owned).ok
        database.run("revoke all on all functions in schema router from webhook_router_service")
        lacking, missing = (row for row in audit(database.owned).rows if "webhook_router_service" in row.name)
        assert (lacking.required, lacking.ok) == (True, False)
        assert (missing.ok, missing.detail) == (False, "webhook-router migrate")
        database.run("revoke all on schema router from webhook_router_service")
        foreign = found(audit(database.owned), "rights", "webhook_router_service")
        assert (foreign.required, foreign.ok) == (False, True)
        assert "--grant-service-role" in foreign.detail
