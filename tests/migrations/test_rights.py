"""Who may do what, read from the catalogue and tried out."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Fatal
from consumer.embedded_postgres.server import EmbeddedPostgres, all_binaries
from tests.conftest import StartPostgres
from tests.migrations.databases import TABLES, Database, brownfield_on, empty_on, make_brownfield, make_role

ROLES_SQL = (Path(__file__).parents[2] / "deploy" / "sql" / "roles.sql").read_text()

API = {
    "ingest_webhook_event(text,text,text,text,text,text,timestamp with time zone,text,uuid,jsonb)",
    "route_webhook_event(text,text)",
    "route_unrouted_events(text,integer)",
    "analyze_message_simple(uuid)",
    "ingest_route_analyze(text,text,text,text,text,text,timestamp with time zone,jsonb)",
    "ingest_instagram_webhook(jsonb)",
    "ai_reply_template(uuid)",
    "auto_reply_stub(uuid)",
}
GATES = {"ingest_event", "route_event", "route_oldest", "analyze_message", "ingest_route_analyze", "ingest_instagram"}
GATES |= {"compose_reply", "reply"}
SERVICE = {
    "route_batch",
    "route_due",
    "route_oldest",
    "next_event",
    "route_one",
    "ingest_and_route",
    "take_records",
    "note_positions",
    "noted_positions",
    "skip_record",
    "ingest_lines",
    "backlog",
    "doorbell",
    "recent_backlog",
    "backlog_by_channel",
    "status",
}
SERVICE |= {"parked", "parked_groups", "retry_parked", "discard_parked", "explain", "find_events", "effects_told"}
SERVICE |= {"take_deliveries", "claim_deliveries", "keep_deliveries", "sweep_waiting", "refused_channels"}
SERVICE |= {"deliveries_kinds", "deliveries_list", "deliveries_of", "intake_backlog", "correct_events"}
SERVICE |= {"deliveries_troubled", "deliveries_example", "routed_within", "prune"}
OPERATORS = {"parked_contents", "deliveries_show", "deliveries_since", "grant_service"}
OPERATORS |= {"take_due", "drop_taken", "note_pruned", "restore_lines"}
OPERATORS |= {"erase", "person_of", "export_person", "scrub_deliveries"}
"""What people wrote, and rights: for the owner alone."""

FUNCTIONS = """
    select p.oid::regprocedure::text as signature, p.proname::text as name, p.proowner::regrole::text as owner,
           p.prosecdef as definer, l.lanname::text as language, pg_get_functiondef(p.oid) as definition,
           (select substr(c, 13) from unnest(p.proconfig) c where c like 'search_path=%') as search_path,
           array(select case when a.grantee = 0 then 'PUBLIC' else a.grantee::regrole::text end
                 from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a order by 1) as callers
    from pg_proc p
    join pg_language l on l.oid = p.prolang
    where p.pronamespace = '{schema}'::regnamespace
    order by 1
"""


@pytest.fixture(scope="module")
def migrated(application_server: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh installation by app_owner, who is no superuser, beside anon and authenticated; tests only add rows."""
    with empty_on(application_server) as database:
        migrator.migrate(database.owned)
        yield database


def functions(database: Database, schema: str) -> list[dict[str, object]]:
    with psycopg.connect(database.admin, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(FUNCTIONS.format(schema=schema).encode()).fetchall()


def test_public_functions_are_thin_and_belong_to_nobody(migrated: Database) -> None:
    """Security definers with a pinned search_path; called by whom the contract names and by the tables' owner."""
    found = functions(migrated, "public")
    assert {function["signature"] for function in found} == API
    for function in found:
        assert function["owner"] == "webhook_router_api"
        assert function["definer"]
        assert function["search_path"]
        assert function["callers"] == ["anon", "app_owner", "authenticated", "webhook_router_api"]


def test_private_functions_are_closed(migrated: Database) -> None:
    """Only the gates that the public functions wrap can be called by their owner; nobody else calls anything."""
    for function in functions(migrated, "router"):
        assert function["owner"] == "app_owner"
        assert function["callers"] == (["app_owner"] + ["webhook_router_api"] * (function["name"] in GATES))
        assert function["definer"] == (function["name"] in GATES | SERVICE | OPERATORS), function["name"]


def test_search_paths_are_pinned(migrated: Database) -> None:
    """In all but what runs with its caller's rights and names nothing that a search_path could lead elsewhere."""
    for function in functions(migrated, "router"):
        if function["search_path"] is None:
            assert not function["definer"]
            body = str(function["definition"]).partition("AS $function$")[2].lower()
            sources = re.findall(r"\b(?:from|join)\s+(?:lateral\s+)?([\w.(]+)", body.replace("distinct from", ""))
            assert all(source.startswith(("pg_catalog.", "router.", "(")) for source in sources), sources
            if function["language"] != "sql":  # a setting would keep SQL from inlining
                calls = re.findall(r"([\w.]+)\(", re.sub(r"--.*", "", body).replace("operator(", ""))
                assert calls
                assert all(call.startswith("pg_catalog.") or call == "coalesce" for call in calls), calls
                plain = re.sub(r"operator\(pg_catalog\.[^)\w]+\)", "", body)
                assert not re.search(r"[<>+*/~!@#%^&|`?]|(?<!:)=", plain)
        else:
            assert str(function["search_path"]).startswith("pg_catalog, ")
            assert str(function["search_path"]).endswith("pg_temp")


def test_the_owner_of_the_public_functions_can_do_nothing_else(migrated: Database) -> None:
    """It cannot log in, owns nothing but them, and has no right on any table or to make anything."""
    assert migrated.rows(
        "select rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolinherit from pg_roles"
        " where rolname = 'webhook_router_api'"
    ) == [(False, False, False, False, False, False)]
    assert migrated.rows("select relname from pg_class where relowner = 'webhook_router_api'::regrole") == []
    assert table_rights(migrated, "webhook_router_api") == set()
    assert migrated.rows(
        "select has_schema_privilege('webhook_router_api', 'public', 'create'),"
        " has_schema_privilege('webhook_router_api', 'router', 'create'),"
        " has_schema_privilege('webhook_router_api', 'router', 'usage')"
    ) == [(False, False, True)]


def table_rights(database: Database, role: str) -> set[tuple[object, ...]]:
    return set(
        database.rows(
            "select c.relname::text, p.privilege from pg_class c,"
            " unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'])"
            " as p (privilege)"
            " where c.relnamespace in ('public'::regnamespace, 'router'::regnamespace) and c.relkind in ('r', 'v', 'm')"
            f" and has_table_privilege('{role}', c.oid, p.privilege)"
        )
    )


def test_readers_of_the_application(migrated: Database) -> None:
    """anon has nothing, authenticated reads the inbox, nobody sees the router's own tables."""
    assert table_rights(migrated, "anon") == set()
    inbox = {"webhook_events", "conversations", "messages", "message_analysis"}
    inbox |= {"message_delivery", "message_reactions", "message_revisions"}
    assert table_rights(migrated, "authenticated") == {(table, "select") for table in inbox}
    migrated.run("select ingest_webhook_event('tiktok', 'message', 'a', 'b', 'c', 'd', null, null, null, null)")
    assert migrated.value("select count(*) from webhook_events where event_id = 'a'", role="authenticated") == 1
    with migrated.session("anon") as connection:
        for table in (*TABLES, "router.parked_events", "router.schema_migrations"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("select from {}").format(sql.Identifier(*table.split("."))))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select router.route_oldest(null, 1)")


def test_rights_by_default_are_taken_back(newest_server: EmbeddedPostgres) -> None:
    """Where every new table and function is open to anon and everybody by default, ours are not."""
    with empty_on(newest_server) as database:
        database.run(
            "alter default privileges in schema public grant all on tables to anon, authenticated",
            "alter default privileges in schema public grant all on functions to anon, authenticated",
            role="app_owner",
        )
        migrator.migrate(database.owned)
        assert table_rights(database, "anon") == set()
        assert {right for _, right in table_rights(database, "authenticated")} == {"select"}


@pytest.mark.parametrize("role", ["anon", "authenticated", "app_owner"])
def test_public_functions_with_positional_and_named_arguments(migrated: Database, role: str) -> None:
    """As PostgREST and SQL call them."""
    with migrated.session(role) as connection:

        def value(call: str) -> object:
            row = connection.execute(f"select {call}".encode()).fetchone()
            assert row is not None
            return row[0]

        value(f"ingest_webhook_event('Instagram', 'message', '{role} 1', 'a', 'A', 'help?', now(), null, null, '{{}}')")
        value(
            "ingest_webhook_event(p_raw_payload => '{}', p_conversation_id => null, p_post_id => null,"
            f" p_event_date => null, p_content => 'x', p_author_name => 'A', p_author_id => 'a',"
            f" p_event_id => '{role} 2', p_type => 'message', p_channel => 'instagram')"
        )
        routed = value(f"route_webhook_event('instagram', '{role} 1')")
        assert routed == value(f"route_webhook_event(p_event_id => '{role} 1', p_channel => 'instagram')")
        assert isinstance(routed, dict)
        message = routed["message_id"]
        assert value("route_unrouted_events(p_channel => 'youtube')") == 0
        assert value("route_unrouted_events(p_limit => 5)")
        assert value("route_unrouted_events()") == value("route_unrouted_events(null, 50)") == 0
        assert value(f"analyze_message_simple('{message}')") == value(
            f"analyze_message_simple(p_message_id => '{message}')"
        )
        assert str(value(f"ai_reply_template('{message}')")).startswith("Bonjour")
        assert value(f"ai_reply_template(p_message_id => '{message}')")
        assert value(f"auto_reply_stub('{message}')") != value(f"auto_reply_stub(p_message_id => '{message}')")
        assert value("ingest_instagram_webhook('{}')") == value("ingest_instagram_webhook(p_body => '{}')") == 0
        assert value(f"ingest_route_analyze('tiktok', 'message', '{role} 3', 'a', 'A', 'x', now(), '{{}}')") == value(
            f"ingest_route_analyze(p_channel => 'tiktok', p_type => 'message', p_event_id => '{role} 3',"
            " p_author_id => 'a', p_author_name => 'A', p_content => 'x', p_event_date => null, p_raw_payload => null)"
        )


def test_jobs_of_the_former_owner_go_on(brownfield: Database) -> None:
    """A role that owned a function and not the tables could call it without any grant, and still can."""
    make_role(brownfield.server, "jobs", "login")
    brownfield.run("alter function route_unrouted_events(text, integer) owner to jobs")
    migrator.migrate(brownfield.admin)
    migrator.migrate(brownfield.admin)
    assert brownfield.value("select route_unrouted_events()", role="jobs") == 10
    assert brownfield.value("select route_unrouted_events()", role="app_owner") == 0


# ── Servers of their own: roles belong to the whole server ───────────────────────────────────────────────────────────


@pytest.fixture(params=sorted(binaries.major for binaries in all_binaries()), ids=lambda major: f"pg{major}")
def bare_server(request: pytest.FixtureRequest, private_postgres: StartPostgres) -> EmbeddedPostgres:
    """A server without any role of ours; every version at hand, since what CREATEROLE may do changed in 16."""
    return private_postgres(binaries=next(found for found in all_binaries() if found.major == request.param))


def own_database(server: EmbeddedPostgres, name: str, owner: str) -> Database:
    """As hosting providers set it up: the role owns the database and by that its schema public; it is no superuser."""
    make_role(server, owner, "login createrole")
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(owner)))
    return Database(server=server, name=name, owner=owner)


def test_an_owner_who_is_no_superuser(bare_server: EmbeddedPostgres) -> None:
    """Everything works with CREATEROLE and the ownership of the tables: upgrade, again, with roles that come later."""
    make_role(bare_server, "anon", "nologin")
    make_role(bare_server, "authenticated", "nologin")
    database = own_database(bare_server, "hosted", "postgres-like")  # a name that must be quoted
    make_brownfield(database)
    migrator.migrate(database.owned)
    assert not migrator.migrate(database.owned).changed
    assert migrator.migrate(database.owned, reapply=True).functions
    assert audit(database.owned).ok
    assert migrator.check(database.owned) == []
    database.run(
        "select ingest_webhook_event('tiktok', 'message', 'a', 'b', 'c', 'd', null, null, null, null)", role="anon"
    )
    assert database.value("select route_unrouted_events()", role="postgres-like") == 1

    # The superuser may take over, and the owner again after him.
    assert migrator.migrate(database.admin, reapply=True).functions
    assert migrator.migrate(database.owned, reapply=True).functions
    assert audit(database.owned).ok

    # Another owner's database on the same server: the role that owns the public functions is there, but not his.
    other = own_database(bare_server, "other", "newcomer")
    if bare_server.major >= 16:
        with pytest.raises(Fatal, match='"newcomer" may not act as role "webhook_router_api"') as error:
            migrator.migrate(other.owned)
        other.run(str(error.value).splitlines()[-1])
    migrator.migrate(other.owned)
    assert audit(other.owned).ok


def test_roles_that_are_there_first(private_postgres: StartPostgres) -> None:
    """The service's is made beforehand; ours by somebody who may, since the owner may not, and the error has how."""
    server = private_postgres()
    database = own_database(server, "hosted", "modest")
    database.run("alter role modest nocreaterole", ROLES_SQL, ROLES_SQL)
    with pytest.raises(Fatal, match='"modest" may not make roles') as error:
        migrator.migrate(database.owned)
    database.run(str(error.value).splitlines()[-1])
    migrator.migrate(database.owned)
    assert audit(database.owned).ok
    check_service(database)


def test_roles_that_come_after_the_schema(private_postgres: StartPostgres) -> None:
    """The next run gives them what they would have got; what has been decided meanwhile stays."""
    database = own_database(private_postgres(), "hosted", "app_owner")
    migrator.migrate(database.owned)
    database.run(ROLES_SQL, role="app_owner")
    check_service(database)

    make_role(database.server, "anon", "nologin")
    make_role(database.server, "authenticated", "nologin")
    migrator.migrate(database.owned)
    assert database.value("select route_unrouted_events()", role="anon") == 0
    assert database.value("select count(*) from messages", role="authenticated") == 1
    assert table_rights(database, "anon") == set()
    check_service(database)

    database.run("drop policy messages_select_authenticated on messages; revoke select on messages from authenticated")
    migrator.migrate(database.owned)
    assert ("messages", "select") not in table_rights(database, "authenticated")


def check_service(database: Database) -> None:
    """A member of webhook_router_service may call the gates of the service and nothing else."""
    make_role(database.server, "my_service", "login in role webhook_router_service")
    database.run(f"grant connect on database {database.name} to my_service")
    callable_ones = database.rows(
        "select p.proname::text from pg_proc p where p.pronamespace in ('public'::regnamespace, 'router'::regnamespace)"
        " and has_function_privilege('my_service', p.oid, 'execute')"
    )
    assert {name for (name,) in callable_ones} == SERVICE
    assert table_rights(database, "my_service") == set()
    with psycopg.connect(database.server.dsn(database.name, user="my_service"), autocommit=True) as connection:
        connection.execute("listen webhook_router")
        database.run(
            "delete from messages; delete from webhook_events",
            "insert into webhook_events (channel, type, event_id) values ('tiktok', 'message', 'a')",
        )
        row = connection.execute("select claimed, inserted, parked from router.route_batch(10)").fetchone()
        assert row == (1, 1, 0)
        connection.execute("select router.route_due(null, 10), router.route_oldest(null, 10)")
        assert connection.execute("select ready from router.backlog()").fetchone() == (0,)


def test_an_upgrade_by_a_superuser_of_an_owner_without_rights(application_server: EmbeddedPostgres) -> None:
    """Routing writes as the owner of the tables, whoever migrates."""
    with brownfield_on(application_server, events=100) as database:
        migrator.migrate(database.admin)
        owners = database.rows(
            "select distinct proowner::regrole::text from pg_proc where pronamespace = 'router'::regnamespace"
        )
        assert owners == [("app_owner",)]
        assert database.value("select route_unrouted_events()", role="anon") == 1


def test_an_upgrade_by_a_member_of_the_owner(brownfield: Database) -> None:
    """A login for deployments migrates with the owner's rights, and what it makes belongs to the owner."""
    make_role(brownfield.server, "deployer", "login in role app_owner")
    deployer = brownfield.server.dsn(brownfield.name, user="deployer")
    migrator.migrate(deployer)
    assert migrator.check(deployer) == []
    assert audit(deployer).ok
    assert brownfield.value("select count(*) from pg_class where relowner = 'deployer'::regrole") == 0
    assert not migrator.migrate(brownfield.owned).changed
    assert migrator.migrate(deployer, reapply=True).functions
