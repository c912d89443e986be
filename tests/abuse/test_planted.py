"""What somebody has put into "public" for us to use by mistake: functions, operators, types, relations. We use none.

A function whose arguments suit a call better comes before the catalogue's wherever "public" is on the search_path, and
one with the same arguments does where "public" comes first. See planting.sql.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from consumer.adapters.postgres.delivery_store import PostgresDeliveryStore
from consumer.adapters.postgres.migrations import migrator, psql_script
from consumer.adapters.postgres.record_store import PostgresRecordStore
from consumer.adapters.postgres.store import PostgresStore
from consumer.cli.app import ALIASES
from consumer.cli.app import COMMANDS as BY_NAME
from consumer.domain.errors import ConsumerError
from consumer.domain.providers.atoms import Context
from consumer.domain.providers.lines import Delivery
from consumer.domain.routing import BEGINNING, Cursor, Window
from consumer.domain.webhook import Intake
from consumer.embedded_postgres.cluster import SUPERUSER
from consumer.embedded_postgres.server import all_binaries
from tests import cli, servers
from tests.intake import feeding
from tests.intake.cases import cases
from tests.migrations.databases import Database
from tests.migrations.psql import psql
from tests.processes import running
from tests.servers import Server, empty_database_on
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
PLANTING = (Path(__file__).parent / "planting.sql").read_text()
TEMPLATE = "planted_template"
SERVICE, ANON, PLANTER = "planted_service", "planted_anon", "planter"
COMMANDS = {*BY_NAME, *ALIASES}
PATHS = {
    "default": "default",
    "public first": "public, pg_catalog",
}
# A trigger that runs before a row is inserted has events go through the careful paths, too. Its own names are safe.
CAREFUL = """
    create function public.shout() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
    begin
        case tg_table_name
            when 'messages' then new.provider_message_id := upper(new.provider_message_id);
            when 'webhook_events' then new.event_id := lower(new.event_id);
            when 'contact_channels' then new.external_id := lower(new.external_id);
            else null;
        end case;
        return new;
    end $$;
    create trigger shout before insert on public.messages for each row execute function public.shout();
    create trigger shout before insert on public.webhook_events for each row execute function public.shout();
    create trigger shout before insert on public.contact_channels for each row execute function public.shout();
    create trigger shout before insert on public.contacts for each row execute function public.shout();
    create trigger shout before insert on public.conversations for each row execute function public.shout();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minefield:
    """A database full of plants."""

    server: Server
    name: str

    def dsn(self, who: str | None = None) -> str:
        """As a superuser who owns the tables, or as somebody else."""
        return self.server.dsn(self.name, who) if who else self.server.dsn(self.name)

    def connect(self) -> psycopg.Connection[Any]:
        """A session of the test itself, that steps on no plant."""
        return psycopg.connect(self.dsn(), autocommit=True, options="-c search_path=pg_catalog")

    def set_path(self, path: str) -> None:
        """For every session from now on."""
        with self.connect() as connection:
            for what in ("database {0}", "role {1} in database {0}", "role {2} in database {0}"):
                statement = sql.SQL(f"alter {what} set search_path = {path}")
                connection.execute(statement.format(*map(sql.Identifier, (self.name, SERVICE, ANON))))

    def called(self) -> list[str]:
        """Which plant was called last; empty if none ever was."""
        with self.connect() as connection:
            return [
                what
                for (what,) in connection.execute(
                    """select coalesce(p.what, 'a type, relation or cast') from planted.calls c
                       cross join planted.last l left join planted.plants p on p.number = l.last_value
                       where c.is_called"""
                )
            ]


def function_names() -> list[str]:
    """What our SQL may call: each name before a parenthesis."""
    files = [*(ROOT / "schemas").rglob("*.sql"), *(ROOT / "consumer").rglob("*.py")]
    text = "\n".join(file.read_text() for file in files)
    return sorted(set(re.findall(r"\b([a-z_][a-z0-9_]*)\s*\(", text)))


def plant(dsn: str) -> None:
    """As a role that may create in public, and nothing else."""
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=pg_catalog") as connection:
        connection.execute(
            f"""grant create on database {conninfo_to_dict(dsn)["dbname"]} to {PLANTER};
                grant create on schema public to {PLANTER};
                do $$ begin
                    if to_regnamespace('router') is not null then
                        grant usage on schema router to {PLANTER};
                        grant select on router.parked_events to {PLANTER};
                    end if;
                end $$;
                set session authorization {PLANTER}""".encode()
        )
        connection.execute("select set_config('planted.functions', %s, false)", [",".join(function_names())])
        connection.execute(PLANTING.encode())
        connection.execute("reset session authorization")
        if connection.execute("select to_regnamespace('router') is not null").fetchone() == (True,):
            connection.execute(f"revoke all on schema router from {PLANTER}".encode())
            connection.execute(f"revoke all on router.parked_events from {PLANTER}".encode())


@pytest.fixture(scope="session", params=servers.tested_majors(), ids=lambda major: f"pg{major}")
def planted_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """With the roles of service and application, and a template that is planted."""
    binaries = next(binaries for binaries in all_binaries() if binaries.major == request.param)
    with servers.running(binaries) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("create role anon nologin; create role authenticated nologin")
            connection.execute((ROOT / "deploy" / "sql" / "roles.sql").read_bytes())
            for login, group in ((SERVICE, "webhook_router_service"), (ANON, "anon")):
                connection.execute(
                    sql.SQL("create role {} login password {} in role {}").format(
                        sql.Identifier(login), sql.Literal(server.password), sql.Identifier(group)
                    )
                )
            connection.execute(f"create role {PLANTER} nologin".encode())
            connection.execute(f"create database {TEMPLATE}".encode())
        migrator.migrate(server.dsn(TEMPLATE), service=True)
        plant(server.dsn(TEMPLATE))
        yield server


@pytest.fixture
def minefield(planted_server: Server) -> Iterator[Minefield]:
    """A copy of the template."""
    with empty_database_on(planted_server, template=TEMPLATE) as dsn:
        yield Minefield(server=planted_server, name=str(conninfo_to_dict(dsn)["dbname"]))


CARELESS = {
    "default": (
        "select 'pg_catalog.pg_class'::pg_catalog.regclass = 1::pg_catalog.oid",
        "select pg_catalog.count(*) from unnest(array[null::pg_catalog.uuid])",
        "select array_agg('x'::pg_catalog.text)",
        "select cardinality(array[null::pg_catalog.uuid])",
        "select '{}'::pg_catalog.jsonb ->> 'x'::pg_catalog.name",
    ),
    "public first": (
        "select 1 > 0",
        "select pg_catalog.now() - pg_catalog.make_interval(secs => 1.0)",
        "select now()",
        "select pg_catalog.count(*) from pg_class",
        "select 'x'::text",
        "select 2 is not distinct from 1",
        "select nullif(2, 1)",
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_the_plants_are_alive(minefield: Minefield, path: str) -> None:
    """Whoever writes like this steps on one."""
    minefield.set_path(PATHS[path])
    for statement in CARELESS[path]:
        with minefield.connect() as gardener, psycopg.connect(minefield.dsn(), autocommit=True) as careless:
            gardener.execute("select setval('planted.calls', 1, false)")
            with contextlib.suppress(psycopg.errors.WrongObjectType):  # a plant may be no aggregate, say
                careless.execute(statement.encode())
        assert minefield.called(), statement


@pytest.mark.parametrize(("path", "careful"), [("default", True), ("public first", False)])
def test_no_call_of_service_or_application_meets_them(minefield: Minefield, path: str, careful: bool) -> None:
    """Routing, storing, parking and the public functions, whatever the search_path of their caller."""
    with minefield.connect() as owner:
        if careful:
            owner.execute(CAREFUL)
    minefield.set_path(PATHS[path])
    live(minefield)
    assert minefield.called() == []


@pytest.mark.parametrize("careful", [False, True], ids=["plain", "careful"])
def test_writing_statements_name_all_they_use(minefield: Minefield, careful: bool) -> None:
    """Even if the path for the application's triggers began with public: they look nothing up by its bare name."""
    with minefield.connect() as owner:
        if careful:
            owner.execute(CAREFUL)
        owner.execute(
            """create or replace function router.application_path() returns text language sql immutable
               as $$ select 'public, extensions, pg_catalog, pg_temp' $$"""
        )
    live(minefield)
    assert minefield.called() == []


@pytest.mark.parametrize("path", PATHS)
def test_no_command_meets_them(minefield: Minefield, path: str, tmp_path: Path) -> None:
    """Neither with a superuser's rights nor with the service's."""
    minefield.set_path(PATHS[path])
    owner, service = minefield.dsn(), minefield.dsn(SERVICE)
    lines = tmp_path / "events.ndjson"
    lines.write_text("".join(json.dumps({**event(f"line-{n}"), "content": "x"}) + "\n" for n in range(20)))
    assert cli.run(service, "ingest", str(lines)).code == 0
    fail(minefield)
    assert cli.run(service, "reconcile").code == 0
    assert minefield.called() == []
    for dsn in (service, owner):
        assert cli.run(dsn, "status").code == 0
        assert len(cli.run(dsn, "parked", "list", "--json").out.splitlines()) >= 1
        assert cli.run(dsn, "parked", "retry", "--all", "--channel", "instagram").code == 0
        assert cli.run(dsn, "parked", "discard", "--all", "--channel", "instagram").code == 0
        assert minefield.called() == []
    assert (done := cli.run(owner, "migrate", "--check")).code == 0, done
    assert minefield.called() == []
    with minefield.connect() as connection:  # so that there is something to do again
        connection.execute("update router.schema_functions set checksum = null; drop index public.router_threads")
        connection.execute("delete from router.schema_migrations where version >= '20260901000200'")
    assert (done := cli.run(owner, "migrate")).code == 0, done
    assert minefield.called() == []
    assert (done := cli.run(owner, "audit")).code == 0, done
    assert minefield.called() == []


@pytest.mark.parametrize("path", PATHS)
def test_no_command_for_one_event_meets_them(minefield: Minefield, path: str) -> None:
    """Nor one about a parked event."""
    minefield.set_path(PATHS[path])
    fail(minefield)
    with minefield.connect() as connection:
        found = connection.execute("select id::text from public.webhook_events where event_id = 'bad-1'").fetchone()
    assert found is not None
    owner, service = minefield.dsn(), minefield.dsn(SERVICE)
    commands: list[tuple[str, ...]] = [
        (owner, "parked", "show", found[0]),
        *((dsn, "explain", "instagram", "bad-1") for dsn in (owner, service)),
    ]
    for dsn, *arguments in commands:
        if arguments[0] in COMMANDS:
            assert (done := cli.run(dsn, *arguments)).code == 0, done
            assert minefield.called() == [], arguments


@pytest.mark.skipif("uninstall" not in COMMANDS, reason="there is no such command")
@pytest.mark.parametrize("path", PATHS)
def test_the_way_out_meets_none(minefield: Minefield, path: str) -> None:
    """Once nothing of the application depends on a type of ours."""
    minefield.set_path(PATHS[path])
    owner = minefield.dsn()
    for arguments in (("uninstall", "--check"), ("uninstall",)):
        assert cli.run(owner, *arguments).code == 1
        assert minefield.called() == []
    with minefield.connect() as connection:
        connection.execute(
            """do $$
               declare
                   v_function regprocedure;
               begin
                   for v_function in
                       select p.oid
                       from pg_proc p
                       where p.proowner = 'planter'::regrole
                         and exists (select from unnest(p.proargtypes) a (id) join pg_type t on t.oid = a.id
                                     where t.typnamespace = 'router'::regnamespace)
                   loop
                       execute format('drop routine %s cascade', v_function);
                   end loop;
               end $$"""
        )
    for arguments in (("uninstall", "--check"), ("uninstall",)):
        assert (done := cli.run(owner, *arguments)).code == 0, done
        assert minefield.called() == []


def test_a_missing_column_is_no_function(minefield: Minefield) -> None:
    """An older schema lacks what a newer program asks for; what somebody has given that name is not called instead."""
    with minefield.connect() as owner:
        columns = owner.execute(
            """select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a
               where a.attrelid = 'router.batch'::regclass and a.attnum > 0 and not a.attisdropped"""
        ).fetchall()
        for column, type_ in columns:
            owner.execute(
                sql.SQL(
                    f"create function public.{{}}(anyelement) returns {type_} language plpgsql as"
                    " $$ begin perform planted.fires(1); return null; end $$"
                ).format(sql.Identifier(column))
            )
            owner.execute(
                sql.SQL("alter type router.batch rename attribute {} to {}").format(
                    sql.Identifier(column), sql.Identifier(f"old_{column}")
                )
            )
        owner.execute(
            """create or replace function router.ingest_and_route(
                   p_lines text, p_channels text[], p_event_ids text[], p_keep boolean[],
                   p_untried boolean default false,
                   out batch router.batch, out refused integer[], out codes text[], out reasons text[]
               ) language sql security definer set search_path = pg_catalog, pg_temp
               as $$ select null::router.batch, '{}'::int4[], '{}'::text[], '{}'::text[] $$"""
        )
    named = [Intake(channel="instagram", event_id="unheard-of", line=None)]

    async def ask() -> None:
        routes = PostgresStore(minefield.dsn(SERVICE), call_timeout=60)
        records = PostgresRecordStore(minefield.dsn(SERVICE), group="g", call_timeout=60)
        with pytest.raises(ConsumerError):
            await routes.route_due(limit=1)
        with pytest.raises(ConsumerError):
            await records.ingest_and_route(named)
        await routes.close()
        await records.close()

    asyncio.run(ask())
    assert minefield.called() == []


def test_no_script_meets_them(minefield: Minefield) -> None:
    """What `migrate --print-sql` writes, in a session of psql where public comes first."""
    minefield.set_path(PATHS["public first"])
    with minefield.connect() as connection:
        connection.execute("update router.schema_functions set checksum = null; drop index public.router_threads")
        connection.execute("delete from router.schema_migrations")
    done = psql(Database(server=minefield.server, name=minefield.name, owner=SUPERUSER), psql_script.script())
    assert (done.returncode, minefield.called()) == (0, []), done.stderr


def test_a_first_migration_meets_none(planted_server: Server) -> None:
    """Whoever may create in public was there before us."""
    with empty_database_on(planted_server) as dsn:
        minefield = Minefield(server=planted_server, name=str(conninfo_to_dict(dsn)["dbname"]))
        plant(dsn)
        minefield.set_path(PATHS["public first"])
        migrator.migrate(minefield.dsn(), service=True)
        live(minefield)
        assert minefield.called() == []


def test_no_running_service_meets_them(minefield: Minefield) -> None:
    """The process, with its listener, its sweep and its metrics."""
    minefield.set_path(PATHS["public first"])
    with running(minefield.dsn(SERVICE), "--reconcile-interval", "0.5") as router, minefield.connect() as owner:
        router.until_listening()
        store(owner, *(event(f"run-{n}") for n in range(10)))
        wait_for(
            lambda: owner.execute("select from public.webhook_events where routed_at is null").fetchone() is None,
            what=f"routed events, {router.lines}",
        )
        wait_for(lambda: router.metric("webhook_router_sweeps_total") > 1, what="sweeps")
        assert router.metric("webhook_router_loop_failures_total") == 0
    assert minefield.called() == []


def test_no_path_of_ours_has_public(minefield: Minefield) -> None:
    """No function of ours is told to look there, or anywhere else but into the catalogue."""
    with minefield.connect() as connection:
        paths = connection.execute(
            """select distinct c.setting
               from pg_proc p
               join pg_namespace n on n.oid = p.pronamespace
               cross join unnest(p.proconfig) as c (setting)
               where n.nspname = 'router' or p.proowner = 'webhook_router_api'::regrole"""
        ).fetchall()
    assert [path for (path,) in paths if path.startswith("search_path=")] == ["search_path=pg_catalog, pg_temp"]


def event(event_id: str, **more: Any) -> dict[str, Any]:
    """A row of webhook_events."""
    return {"channel": "instagram", "type": "message", "event_id": event_id, "author_id": "a1"} | more


def store(connection: psycopg.Connection[Any], *events: dict[str, Any]) -> None:
    """As edge functions do: straight into the table."""
    for row in events:
        columns = sql.SQL(", ").join(map(sql.Identifier, row))
        values = sql.SQL(", ").join([sql.Placeholder()] * len(row))
        statement = sql.SQL("insert into public.webhook_events ({}) values ({})").format(columns, values)
        connection.execute(statement, list(row.values()))


def fail(minefield: Minefield) -> None:
    """Has two events parked."""
    with minefield.connect() as owner:
        owner.execute("alter table public.messages add constraint only_good check (content_text <> 'bad')")
        store(owner, event("bad-1", content="bad"), event("bad-2", content="bad"))
        owner.execute("select router.route_oldest(null, 100)")
        assert owner.execute("select count(*) from router.parked_events").fetchone() == (2,)


def live(minefield: Minefield) -> None:
    """All that the service, Kafka's consumer and the application call, with events of every kind."""
    with minefield.connect() as owner:
        store(
            owner,
            *(event(f"many-{n}", author_id=f"a{n % 3}", author_name=f"Name {n}", content="x") for n in range(12)),
            event("no-author", author_id=None),
            event("comment", type="comment", author_id=None, post_id="p1"),
            event("comment-2", type="comment", author_id=None, post_id="p1"),
            event("comment-3", type="comment", author_id="a1", post_id="p1"),
        )
    asyncio.run(serve(minefield))
    with minefield.connect() as owner:
        assert owner.execute("select event_id from public.webhook_events where routed_at is null").fetchall() == []
        owner.execute("update public.webhook_events set routed_at = null where event_id like 'many%'")
    asyncio.run(serve(minefield))
    asyncio.run(deliver(minefield))
    fail(minefield)
    with psycopg.connect(minefield.dsn(ANON), autocommit=True) as anon:
        call(anon)
    with minefield.connect() as owner:
        owner.execute("set constraints all immediate")
        owner.execute("update router.parked_events set next_attempt_at = now()")
        # As if they had come a while ago: an answer to a comment waits some seconds for it.
        owner.execute(
            """update public.webhook_events
               set parked_until = now(), created_at = created_at - interval '1 minute' where parked_until is not null"""
        )
    asyncio.run(serve(minefield))
    with minefield.connect() as owner:
        found = owner.execute("select event_id from public.webhook_events where routed_at is null order by 1")
        assert [name for (name,) in found] == ["bad-1", "bad-2"]
        assert owner.execute("select max(attempts) > 1 from router.parked_events").fetchone() == (True,)
        assert owner.execute("select count(*) > 0 from public.message_analysis").fetchone() == (True,)


async def deliver(minefield: Minefield) -> None:
    """What the gateway and the intake loop do, with bodies of every kind, some of them twice."""
    store = PostgresDeliveryStore(minefield.dsn(SERVICE), call_timeout=60)
    every: list[Delivery] = []
    names: dict[str, str] = {}
    for case in cases():
        if case.flattened:
            continue
        read = [feeding.read(case.provider, body, Context(bot=case.setup.get("bot"))) for body in case.bodies()]
        ids = [message.id for delivery in read if delivery.atoms for message in delivery.atoms.messages]
        # Of two that differ in upper and lower case only, CAREFUL makes one.
        if all(names.setdefault(name.upper(), name) == name for name in ids):
            every += read
    for start in range(0, len(every), 40):
        assert not (await store.take(every[start : start + 40])).refusals
    await store.take(every[:40])
    await store.take(every[40:60], store_only=True)
    for deferred in await store.claim(limit=100, size=10_000_000):
        assert deferred.body is not None
        await store.take(
            [deferred.known(feeding.read(deferred.provider, deferred.body, Context(bot=deferred.account)))]
        )
    await store.keep(days=7)
    await store.refused()
    await store.sample()
    place = (await store.sweep(limit=100, place=None)).place
    while place is not None:
        place = (await store.sweep(limit=100, place=place)).place
    await store.close()


async def serve(minefield: Minefield) -> None:
    """What the service does, and Kafka's consumer."""
    routes = PostgresStore(minefield.dsn(SERVICE), call_timeout=60)
    records = PostgresRecordStore(minefield.dsn(SERVICE), group="g", call_timeout=60)
    moment = Cursor(at=BEGINNING.at, id=BEGINNING.id)
    for keep in (False, True):
        routes.keep_statements(keep=keep)
        await routes.route(limit=1, window=Window())
        await routes.route(limit=5, window=Window(after=moment, overlap=1, margin=0.5, until=moment, lane=0, lanes=2))
        for due in (None, Window()):
            if found := await routes.next_event(window=due):
                await routes.route_one(found)
        await routes.route(limit=100, window=Window())
        await routes.route_due(limit=100)
        await routes.route_oldest(channel="instagram", limit=100, after=moment)
        await routes.backlog()
        await routes.backlog(within=60)
    lines = [
        Intake(channel="Instagram", event_id=str(row["event_id"]), line=json.dumps(row), keep=keep)
        for keep in (False, True)
        for row in (
            event("record-1", author_name="Name", raw_payload={"x": 1}),
            event("record-1", author_name="Other name", content="later", event_date="2026-01-01T00:00:00Z"),
            event("record-2", type="comment", post_id="p1", author_id=None),
            event("record-3", author_id="x" * 600),
            event("record-4", conversation_id="no uuid"),
        )
    ]
    named = [Intake(channel="instagram", event_id=name, line=None) for name in ("many-1", "unheard-of")]
    outcome = await records.ingest_and_route([*lines, *named])
    assert len(outcome.refusals) == 5
    await records.ingest_and_route(lines[:1])
    await records.ingest_and_park([Intake(channel="instagram", event_id="late", line=json.dumps(event("late")))])
    await routes.close()
    await records.close()
    with minefield.connect() as owner:
        owner.execute("update public.webhook_events set parked_until = null where event_id = 'late'")
        owner.execute("select router.route_oldest(null, 100)")


def call(connection: psycopg.Connection[Any]) -> None:
    """The public functions."""

    def answer(statement: str, *values: Any) -> Any:
        row = connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row[0]

    store_call = "select public.ingest_webhook_event(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    for content in ("first?", "help!"):
        answer(store_call, "Instagram", "message", "call-1", "a1", "Called", content, None, None, None, "{}")
        routed = answer("select public.route_webhook_event('Instagram', 'call-1')")
    answer(store_call, "instagram", "comment", "call-2", None, None, "x", "2026-01-01", "p2", None, None)
    answer(store_call, "instagram", "message", "call-3", "a9", "Ninth", "x", "2026-01-01", None, None, None)
    assert answer("select public.route_unrouted_events('instagram', 50)") == 2
    answer("select public.route_unrouted_events()")
    for function in ("analyze_message_simple", "ai_reply_template", "auto_reply_stub", "analyze_message_simple"):
        answer(f"select public.{function}(%s)", routed["message_id"])
    answer(
        "select public.ingest_route_analyze('instagram', 'message', 'call-4', 'a10', 'Tenth', 'urgent?', null, null)"
    )
    body = {
        "object": "instagram",
        "entry": [
            {"messaging": [{"sender": {"id": "a1"}, "timestamp": 1767225600000, "message": {"mid": "m", "text": "x"}}]},
            {
                "changes": [
                    {"value": {"messages": [{"id": "n", "from": {"id": "a2"}, "timestamp": "1767225600", "text": "x"}]}}
                ]
            },
        ],
    }
    assert answer("select public.ingest_instagram_webhook(%s)", json.dumps(body)) >= 1
    answer("select public.route_unrouted_events(null, 10)")
