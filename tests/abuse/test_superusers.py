"""A superuser who only looks lends no rights to the owner of the tables, whatever that one has planted."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from consumer.adapters.postgres.migrations import migrator
from consumer.domain.errors import ConsumerError
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import run
from tests.migrations.databases import TABLES, make_role
from tests.servers import TEMPLATE, empty_database_on

EVENT = """
    insert into public.webhook_events (channel, type, event_id, event_date)
    values ('instagram', 'message', 'e1', 'infinity')
"""
# Counts each time that it runs with a superuser's rights, or can get them; a sequence survives a rollback.
TRAP = """
    create sequence public.trapped;
    create function public.trap() returns boolean language plpgsql as $$
    begin
        begin
            execute 'reset role';
            execute 'reset session authorization';
        exception when others then null;
        end;
        if (select bool_or(rolsuper) from pg_catalog.pg_roles where rolname = current_user) then
            perform pg_catalog.nextval('public.trapped');
        end if;
        return true;
    end $$;
    create function public.trap_of_trigger() returns trigger language plpgsql as
        'begin perform public.trap(); return null; end';
    create table public.bait (id integer);
    create constraint trigger trap after insert on public.bait deferrable initially deferred
        for each row execute function public.trap_of_trigger();
"""
COLUMNS = """
    id uuid, state text, channel text, type text, event_id text, event_date timestamptz, created_at timestamptz,
    attempts integer, error_code text, error_message text, first_parked_at timestamptz, last_parked_at timestamptz,
    next_attempt_at timestamptz, discarded_at timestamptz
"""
PARKED = "router.parked(uuid[],text,text,interval,interval,text,integer,text[],text,timestamptz,uuid)"
NAMED = """
    p_ids uuid[], p_channel text, p_error_class text, p_older_than interval, p_newer_than interval, p_state text,
    p_limit integer, p_event_ids text[], p_error_message text, p_before timestamptz, p_before_id uuid
"""
VALUES = """
    gen_random_uuid(), 'waiting', 'instagram', 'message', 'e1', now(), now(), 1, '22008', 'x', now(), now(), now(),
    null::timestamptz
"""
PLANTS = {
    "invoker": f"""
        drop function {PARKED};
        create function router.parked({NAMED}) returns table ({COLUMNS}) language sql as
            $$ select {VALUES} where public.trap() $$;
    """,
    "left for the commit": f"""
        drop function {PARKED};
        create function router.parked({NAMED}) returns table ({COLUMNS}) language plpgsql security definer as $$
        begin
            insert into public.bait values (1);
            return query select {VALUES};
        end $$;
    """,
    "default of an argument": f"""
        drop function {PARKED};
        create function router.parked({NAMED}, p_more boolean default public.trap()) returns table ({COLUMNS})
        language sql security definer as $$ select {VALUES} $$;
    """,
    "cast of a result": f"""
        drop function {PARKED};
        create type public.poisoned as enum ('x');
        create function public.poisoned_json(public.poisoned) returns json language sql as
            $$ select case when public.trap() then '"x"'::json end $$;
        create cast (public.poisoned as json) with function public.poisoned_json(public.poisoned);
        create function router.parked({NAMED})
        returns table ({COLUMNS.replace("error_message text", "error_message public.poisoned")})
        language sql security definer as $$ select {VALUES.replace("'x'", "'x'::public.poisoned")} $$;
    """,
    "status": """
        create or replace function router.doorbell() returns text language sql security invoker as
            $$ select 'rings' where public.trap() $$;
        drop function router.status();
        create function router.status(
            ready bigint default (public.trap())::int, out oldest_seconds double precision, out parked bigint
        ) language sql as $$ select 1.0::double precision, 1::bigint where public.trap() $$;
    """,
    "policy": """
        create policy trap on public.webhook_events using (public.trap());
        alter table public.webhook_events force row level security, enable row level security;
    """,
}


@pytest.fixture
def owned(any_postgres: EmbeddedPostgres) -> Iterator[tuple[str, psycopg.Connection[TupleRow]]]:
    """A database whose tables belong to a login that is no superuser: the superuser's DSN, and the owner's session."""
    owner = f"owner_{uuid4().hex}"
    make_role(any_postgres, owner, "login")
    try:
        with empty_database_on(any_postgres, template=TEMPLATE) as dsn:
            with psycopg.connect(dsn, autocommit=True) as admin:
                admin.execute(sql.SQL("grant create on schema public to {}").format(sql.Identifier(owner)))
                for table in (*TABLES, "message_delivery", "message_reactions", "message_revisions"):
                    admin.execute(
                        sql.SQL("alter table {} owner to {}").format(
                            sql.Identifier("public", table), sql.Identifier(owner)
                        )
                    )
            migrator.migrate(dsn)  # gives the schema "router" to the owner of the tables
            with psycopg.connect(dsn, user=owner, autocommit=True) as session:
                session.execute(EVENT)
                session.execute("select router.route_batch(10)")
                session.execute(TRAP)
                yield dsn, session
    finally:
        with psycopg.connect(any_postgres.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(owner)))


def trapped(session: psycopg.Connection[TupleRow]) -> bool:
    """Whether planted code had a superuser's rights."""
    return session.execute("select is_called from public.trapped").fetchone() != (False,)


def ask_everything(dsn: str) -> None:
    """Commands that look; what has been planted may fail them."""
    for arguments in (
        ("status",),
        ("parked", "list"),
        ("parked", "list", "--group"),
        ("parked", "show", "--payload", "--event-id", "e1"),
        ("explain", "instagram", "e1"),
        ("explain", "instagram", "e2"),
    ):
        run(dsn, *arguments)


@pytest.mark.parametrize("plant", PLANTS)
def test_looking(owned: tuple[str, psycopg.Connection[TupleRow]], plant: str) -> None:
    """No function of the owner runs with the superuser's rights: neither in the call, nor in its result, nor later."""
    dsn, session = owned
    session.execute(PLANTS[plant].encode())
    ask_everything(dsn)
    assert not trapped(session)


@pytest.mark.parametrize("plant", ["invoker", "left for the commit", "default of an argument", "cast of a result"])
def test_the_trap_works(owned: tuple[str, psycopg.Connection[TupleRow]], plant: str) -> None:
    """What the other tests rely on: a superuser who simply calls such a function is trapped."""
    dsn, session = owned
    session.execute(PLANTS[plant].encode())
    with psycopg.connect(dsn) as superuser:
        superuser.execute(f"select row_to_json(p) from router.parked({', '.join(['null'] * 11)}) p".encode())
        runs_deferred_triggers_as_the_owner = superuser.info.server_version >= 180000
    assert trapped(session) or (plant == "left for the commit" and runs_deferred_triggers_as_the_owner)


def test_looking_works(owned: tuple[str, psycopg.Connection[TupleRow]]) -> None:
    """As with any other login."""
    dsn, session = owned
    assert run(dsn, "status", "--json").json["parked"] == 1
    (event,) = run(dsn, "parked", "list", "--json").json
    (shown,) = run(dsn, "parked", "show", event["id"], "--payload", "--json").json
    assert (shown["event_id"], shown["raw_payload"]) == ("e1", {})
    assert run(dsn, "parked", "list", "--group", "--json").json[0]["events"] == 1
    assert run(dsn, "explain", "instagram", "e1", "--json").json["state"] == "parked"
    read_only = psycopg.conninfo.make_conninfo(dsn, options="-c default_transaction_read_only=on")
    assert run(read_only, "explain", "instagram", "e1", "--json").json["state"] == "parked"
    assert run(dsn, "explain", "instagram", "it's \\ e2", "--json").json["event_id"] == "it's \\ e2"
    assert session.execute("select count(*) from pg_proc where proname = 'webhook_router_asks'").fetchone() == (0,)


@pytest.mark.parametrize("decision", ["retry", "discard"])
def test_deciding(owned: tuple[str, psycopg.Connection[TupleRow]], decision: str) -> None:
    """It writes, so the owner's triggers run, at the commit some of them: a superuser is told to give another URL."""
    dsn, session = owned
    session.execute(
        "create constraint trigger trap after update on public.webhook_events deferrable initially deferred"
        " for each row execute function public.trap_of_trigger()"
    )
    for which in (["--all"], ["--event-id", "e1"]):
        refused = run(dsn, "parked", decision, *which)
        assert isinstance(refused.error, ConsumerError)
        assert "give the URL of the service's login" in str(refused.error)
    assert run(dsn, "explain", "instagram", "e1", "--route").error is not None
    owner = session.info.user
    assert run(psycopg.conninfo.make_conninfo(dsn, user=owner), "parked", decision, "--all").error is None
    assert not trapped(session)
