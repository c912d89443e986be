"""Who is granted what, and keeps it: default privileges, what is taken back, what is decided, roles that are shared."""

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.migrations.psql_script import script
from consumer.adapters.postgres.operating.audit import audit
from consumer.adapters.shipped_files import roles_script
from consumer.embedded_postgres.server import EmbeddedPostgres, find_binaries
from tests import servers
from tests.cli import run
from tests.conftest import StartPostgres
from tests.migrations.databases import OWNER, Database, make_role
from tests.migrations.platform import ROUTE, refused
from tests.migrations.psql import run_psql
from tests.processes import running as service
from tests.waiting import wait_for

CALLERS = """
    select distinct a.grantee::regrole::text
    from pg_proc p, aclexplode(p.proacl) a
    where p.oid = 'public.route_unrouted_events(text,integer)'::regprocedure and a.grantee <> p.proowner order by 1
"""
HOLDERS = """
    select o.what, case a.grantee when 0 then 'PUBLIC' else a.grantee::regrole::text end
    from (select 'schema' as what, nspacl as acl, nspowner as owner from pg_namespace where nspname = 'router'
          union all
          select 'relation', relacl, relowner from pg_class where relnamespace = 'router'::regnamespace
          union all
          select 'type', typacl, typowner from pg_type where typnamespace = 'router'::regnamespace
          union all
          select 'table', relacl, relowner from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
          union all
          select 'column', attacl, 0 from pg_attribute where attrelid = 'router.installation'::regclass
          union all
          select 'api', proacl, proowner from pg_proc where pronamespace = 'public'::regnamespace
          union all
          select 'function', proacl, proowner from pg_proc where pronamespace = 'router'::regnamespace) o,
         aclexplode(o.acl) a
    where a.grantee <> o.owner and (a.grantee <> 0 or o.what <> 'type')
    group by 1, 2 order by 1, 2
"""
AS_IT_SHOULD_BE = [
    ("api", "anon"),
    ("api", "app_owner"),
    ("api", "authenticated"),
    ("function", "webhook_router_api"),
    ("schema", "webhook_router_api"),
    ("table", "authenticated"),
]


# ── Default privileges ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["", " in schema public", " in schema router"])
def test_default_privileges_open_nothing(empty: Database, where: str) -> None:
    """To whomever the database opens what is new: neither what an installation makes, nor what an upgrade adds."""
    kinds = ["tables", "functions", "types"] + ["schemas"] * (where == "")
    opened = [f"alter default privileges{where} grant all on {kind} to stranger, anon" for kind in kinds]
    if "router" in where:
        migrator.migrate(empty.owned)
        empty.run(*opened, role=OWNER)
        empty.run("drop function router.status(); drop type router.fault cascade")
    else:
        empty.run(*opened, role=OWNER)
    migrator.migrate(empty.owned, reapply=True)
    assert empty.rows(HOLDERS) == AS_IT_SHOULD_BE
    assert migrator.check(empty.owned) == []
    assert audit(empty.owned).ok

    # An earlier version left them open.
    empty.run(
        "grant all on schema router to stranger, public",
        "grant all on all tables in schema router to stranger with grant option",
        "grant all on all functions in schema router to stranger, public",
        "grant select (doorbell) on router.installation to cron",
        "grant usage on type router.event to stranger",
        "set role stranger; grant select on router.installation to anon",
    )
    for problem in ("table router.installation", "function router.reply(uuid)", "type router.event", "schema router"):
        assert any(problem in line and "stranger" in line for line in migrator.check(empty.owned)), problem
    assert {row.kind for row in audit(empty.owned).rows if not row.ok} == {"rights"}
    assert migrator.migrate(empty.owned).rights
    assert empty.rows(HOLDERS) == AS_IT_SHOULD_BE
    assert not migrator.migrate(empty.owned).changed


def test_the_platform_keeps_what_it_opens_to_itself(empty: Database) -> None:
    """Edge functions write as service_role, which passes row security by: tables and functions stay open to it."""
    empty.run(
        "alter default privileges in schema public grant all on tables to anon, authenticated, service_role",
        "alter default privileges in schema public grant all on functions to anon, authenticated, service_role",
        role=OWNER,
    )
    migrator.migrate(empty.owned)
    empty.run(
        "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'a')", role="service_role"
    )
    assert empty.value(ROUTE, role="service_role") == 1
    assert refused(empty, "anon", "select from contacts")
    assert migrator.check(empty.owned) == []


# ── What an operator takes away, and what a migration does ───────────────────────────────────────────────────────────


def test_what_was_revoked_stays_so(installed: Database) -> None:
    """Through every kind of run, also where an earlier version did not remember whom it had let in."""
    installed.run("revoke execute on all functions in schema public from anon")
    for forget in (False, True):
        if forget:
            installed.run("update router.installation set callers = null")
        assert migrator.check(installed.owned) == []
        migrator.migrate(installed.owned)
        migrator.migrate(installed.admin, reapply=True)
        run_psql(installed, script())
        assert refused(installed, "anon")
        assert not refused(installed, "authenticated")
    assert migrator.migrate(installed.owned, public_api=True).rights
    assert not refused(installed, "anon")


def test_a_role_that_comes_back_is_let_in_again(private_postgres: StartPostgres) -> None:
    """As if it were new, which it is; and one that is dropped leaves nothing wrong behind."""
    server = private_postgres()
    make_role(server, "anon", "nologin")
    database = Database(server=server, name="postgres", owner="postgres")
    database.run(roles_script())
    migrator.migrate(database.admin)
    for role in ("anon", "webhook_router_service"):
        database.run(f"drop owned by {role}; drop role {role}")
    assert migrator.check(database.admin) == []
    migrator.migrate(database.admin)
    database.run("create role anon nologin; create role webhook_router_service nologin")
    found = migrator.check(database.admin)
    assert any("cannot be called by anon" in line for line in found)
    assert any("does not give webhook_router_service the right EXECUTE" in line for line in found)
    migrator.migrate(database.admin)
    assert database.value(ROUTE, role="anon") == 0
    assert not refused(database, "webhook_router_service", "select router.backlog()")

    database.run("revoke usage on schema router from webhook_router_service")
    migrator.migrate(database.admin)
    assert refused(database, "webhook_router_service", "select router.backlog()")


def test_no_public_api(wild: Database) -> None:
    """Neither anon nor authenticated may call any of the functions, until it is decided otherwise; others may."""
    done = run(wild.owned, "migrate", "--no-public-api")
    assert done.code == 0, done.err
    wild.run("grant execute on function route_unrouted_events(text, integer) to cron")
    for again in range(2):
        for role in ("anon", "authenticated"):
            assert (
                wild.rows(
                    f"select proname from pg_proc where pronamespace = 'public'::regnamespace"
                    f" and has_function_privilege('{role}', oid, 'execute')"
                )
                == []
            ), again
        assert migrator.check(wild.owned) == []
        migrator.migrate(wild.owned)
        run_psql(wild, script())
        migrator.migrate(wild.admin, reapply=True)
    assert wild.value(ROUTE, role="cron") == 0
    assert wild.value(ROUTE, role=OWNER) == 0
    wild.run("grant execute on function route_unrouted_events(text, integer) to anon")
    assert migrator.check(wild.owned) == [
        "function public.route_unrouted_events(text,integer) can be called by anon; run: webhook-router migrate"
    ]
    migrator.migrate(wild.owned)
    assert refused(wild, "anon")

    assert run(wild.owned, "migrate", "--public-api").code == 0
    migrator.migrate(wild.owned)
    assert wild.value(ROUTE, role="anon") == wild.value(ROUTE, role="authenticated") == 0
    run_psql(wild, script(public_api=False))
    assert refused(wild, "anon")
    for words in (("--check", "--no-public-api"), ("--print-roles", "--grant-service-role")):
        assert run(wild.owned, "migrate", *words).code == 2


def test_who_loses_what_everybody_could_do(wild: Database) -> None:
    """They are named beforehand; the platform's own role and those with a grant of their own keep it."""
    wild.run(
        "grant execute on function route_unrouted_events(text, integer) to public",
        "grant execute on function ingest_instagram_webhook(jsonb) to cron, public",
    )
    found = [line for line in migrator.check(wild.owned) if "everybody (PUBLIC)" in line]
    assert found == [
        f"function public.{function} can be called by everybody (PUBLIC); migrate ends that, also for {losing}, unless "
        "EXECUTE is granted to them; run: webhook-router migrate"
        for function, losing in (
            ("ingest_instagram_webhook(jsonb)", "stranger"),
            ("route_unrouted_events(text,integer)", "cron, stranger"),
        )
    ]
    migrator.migrate(wild.owned)
    assert wild.value(ROUTE, role="service_role") == 0
    assert refused(wild, "cron")
    assert wild.value("select public.ingest_instagram_webhook('{}')", role="cron") == 0
    assert refused(wild, "service_role", "select public.ingest_instagram_webhook('{}')") is False
    assert [name for (name,) in wild.rows(CALLERS)] == ["anon", OWNER, "authenticated", "service_role"]
    assert migrator.check(wild.owned) == []


# ── Roles that are shared by the databases of a server ───────────────────────────────────────────────────────────────


@pytest.fixture(params=servers.tested_majors(), ids=lambda major: f"pg{major}")
def shared(request: pytest.FixtureRequest, private_postgres: StartPostgres) -> EmbeddedPostgres:
    """A server of two databases, each with an owner who makes roles and is no superuser."""
    server = private_postgres(binaries=find_binaries(major=request.param))
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create role webhook_router_api nologin noinherit")
        for name in ("one", "two"):
            make_role(server, f"owner_{name}", "login createrole")
            connection.execute(
                sql.SQL("create database {} owner {}").format(*map(sql.Identifier, (name, f"owner_{name}")))
            )
            connection.execute(sql.SQL("grant webhook_router_api to {}").format(sql.Identifier(f"owner_{name}")))
        make_role(server, "authenticator", "login noinherit")
    return server


@pytest.mark.parametrize("by", ["owner", "superuser"])
@pytest.mark.parametrize("first", ["roles", "schema"])
def test_a_service_has_one_database(shared: EmbeddedPostgres, first: str, by: str) -> None:
    """Its login cannot call anything in another database, nor connect to it once that has run the roles file."""
    one, two = (Database(server=shared, name=name, owner=f"owner_{name}") for name in ("one", "two"))
    url = one.owned if by == "owner" else one.admin

    def make_the_role(database_url: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(roles_script().encode())

    if first == "roles":
        make_the_role(url)
    migrator.migrate(url)
    if first == "schema":
        make_the_role(url)
    make_role(shared, "service_one", "login in role webhook_router_service")
    for _ in range(2):
        with psycopg.connect(shared.dsn("one", user="service_one")) as connection:
            assert connection.execute("select ready from router.backlog()").fetchone() == (0,)
        migrator.migrate(url)

    migrator.migrate(two.owned)
    two.run("insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'a')")
    with psycopg.connect(shared.dsn("two", user="service_one"), autocommit=True) as connection:
        for call in ("backlog()", "route_batch(10)", "ingest_lines('')", "status()", "doorbell()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select router.{call}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select public.route_unrouted_events()")
    make_the_role(two.admin)
    for name in ("two", "one"):
        if name == "two":
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(shared.dsn(name, user="service_one"))
        psycopg.connect(shared.dsn(name, user="authenticator")).close()  # could before, and still can
    assert two.value("select has_function_privilege('webhook_router_service', 'router.backlog()', 'execute')")


def test_the_role_of_another_database_is_granted_when_asked(shared: EmbeddedPostgres) -> None:
    """By `migrate --grant-service-role`, for good; an upgrade keeps what an earlier version has granted."""
    one = Database(server=shared, name="one", owner="owner_one")
    asked = run(one.owned, "migrate", "--grant-service-role")
    assert asked.code == 1
    assert "webhook-router migrate --print-roles | webhook-router sql -" in str(asked.error)
    one.run("create role webhook_router_service nologin")
    migrator.migrate(one.owned)
    granted = "select has_function_privilege('webhook_router_service', 'router.backlog()', 'execute')"
    assert one.value(granted) is False
    assert run(one.owned, "migrate", "--grant-service-role").code == 0
    assert one.value(granted) is True
    one.run("update router.installation set service = null, callers = null")
    one.run("delete from router.schema_migrations where version = '20260901000600'")
    migrator.migrate(one.owned)
    assert one.value(granted) is True
    assert one.value("select service from router.installation") is True


def test_a_connected_service_stays_connected(shared: EmbeddedPostgres) -> None:
    """When the roles file ends that everybody may connect, a service that runs here is not locked out."""
    one = Database(server=shared, name="one", owner="owner_one")
    migrator.migrate(one.owned)
    one.run("create role webhook_router_service nologin")
    migrator.migrate(one.owned, service=True)
    make_role(shared, "service_one", "login in role webhook_router_service")
    two = Database(server=shared, name="two", owner="owner_two")
    two.run("grant connect on database two to webhook_router_service")
    dsn = shared.dsn("one", user="service_one")
    with service(dsn) as router:
        router.until_listening()
        one.run(roles_script(), roles_script())
        one.run("insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'a')")
        wait_for(lambda: one.value("select count(*) from messages") == 1, what="a routed event")
    psycopg.connect(dsn).close()


def test_services_of_two_databases(shared: EmbeddedPostgres) -> None:
    """The roles file of the second says what keeps the logins apart, and that is enough."""
    one, two = (Database(server=shared, name=name, owner=f"owner_{name}") for name in ("one", "two"))
    notices: list[str] = []
    for database in (one, two):
        migrator.migrate(database.owned)
        with psycopg.connect(database.admin, autocommit=True) as connection:
            connection.add_notice_handler(lambda said: notices.append(str(said.message_primary)))
            connection.execute(roles_script().encode())
        make_role(shared, f"service_{database.name}", "login in role webhook_router_service")
        database.run(f"grant connect on database {database.name} to service_{database.name}")
    advice = notices[-1].rpartition(": ")[2]
    assert advice == "revoke connect on database one from webhook_router_service"
    psycopg.connect(shared.dsn("one", user="service_two")).close()
    two.run(advice)
    for name, login in (("one", "service_two"), ("two", "service_one")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(shared.dsn(name, user=login))
        psycopg.connect(shared.dsn(name, user=f"service_{name}")).close()


def test_the_roles_file_tells_what_it_may_not(shared: EmbeddedPostgres) -> None:
    """Run by one who does not own the database: everybody can still connect, and a notice says how to end that."""
    one = Database(server=shared, name="one", owner="owner_one")
    migrator.migrate(one.owned)
    make_role(shared, "maker", "login createrole")
    notices: list[str] = []
    with psycopg.connect(shared.dsn("one", user="maker"), autocommit=True) as connection:
        connection.add_notice_handler(lambda said: notices.append(str(said.message_primary)))
        connection.execute(roles_script().encode())
    assert "As the owner of the tables, run: webhook-router migrate --grant-service-role" in notices[0]
    assert notices[1].endswith("revoke connect on database one from public")
    one.run(notices[1].partition("end that: ")[2])
    migrator.migrate(one.owned, service=True)
    assert one.value("select has_function_privilege('webhook_router_service', 'router.backlog()', 'execute')")


def test_the_roles_file_calls_nothing(installed: Database) -> None:
    """What the owner has put in the place of the function that grants is not run as a superuser."""
    installed.run(
        "create sequence public.called; grant all on sequence public.called to public;"
        "create or replace function router.grant_service() returns void language plpgsql as $$"
        " begin perform nextval('public.called'); perform 'router.reply(uuid)'; end $$",
        role=OWNER,
    )
    installed.run(roles_script())
    assert installed.value("select is_called from public.called") is False
    assert installed.value("select count(*) from pg_db_role_setting where setrole <> 0") == 0
    installed.run("drop owned by webhook_router_service; drop role webhook_router_service")


def test_webhook_router_api_with_too_many_rights(installed: Database) -> None:
    """The functions that everybody may call run as it."""
    installed.run("grant cron to webhook_router_api")
    (line,) = migrator.check(installed.owned)
    assert line == "role webhook_router_api has the rights of cron; run: revoke cron from webhook_router_api;"
    assert not audit(installed.owned).ok
    migrator.migrate(installed.owned)
    installed.run(line.partition("run: ")[2])
    assert migrator.check(installed.owned) == []
