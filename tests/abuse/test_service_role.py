"""The role of the service (deploy/sql/roles.sql): it can route, and nothing else."""

import psycopg
import pytest

from tests.abuse.conftest import EVENTS, Target
from tests.cli import run
from tests.processes import running
from tests.waiting import wait_for

FORBIDDEN = (
    "select * from public.webhook_events",
    "select * from public.messages",
    "select * from public.contacts",
    "select * from router.parked_events",
    "insert into public.webhook_events (channel, type, event_id) values ('instagram', 'message', 'x')",
    "update public.webhook_events set routed_at = null",
    "delete from public.messages",
    "truncate public.conversations",
    "drop table public.messages",
    "drop function router.route_batch",
    "drop schema router cascade",
    "alter table public.messages disable trigger all",
    "alter table public.messages disable row level security",
    "alter function router.route_due(text, integer) owner to current_user",
    "create or replace function router.thread_of(text, text, text) returns text language sql as 'select null'",
    "create function router.mine() returns int language sql as 'select 1'",
    "create function public.mine() returns int language sql as 'select 1'",
    "create table public.mine (id int)",
    "create schema mine",
    "drop extension plpgsql",
    "create role mine",
    "grant webhook_router_service to anon",
    "alter role postgres password 'x'",
    "set role postgres",
    "set role webhook_router_api",
    "set session authorization postgres",
    "copy public.messages to '/tmp/messages'",
    "copy public.messages from program 'id'",
    "select pg_read_file('/etc/passwd')",
    "select pg_terminate_backend(pg_postmaster_pid) from (select 1 as pg_postmaster_pid) p where pg_reload_conf()",
    "select lo_import('/etc/passwd')",
    "alter system set fsync = off",
    "begin; lock table public.messages in access exclusive mode",
    "select router.route('{}')",
    "select router.mark_routed('{}', '{}')",
    "select router.park_event(null, 'x', 'x')",
    "select router.parked_contents('{}')",
    "select router.ingest_events('{}')",
    "select router.make_targets('{}', '{}')",
    "select router.reply(null)",
    "select router.ingest_event('instagram', '', 'secret-1', '', '', '', null, null, null, null)",
    "select router.route_event('instagram', 'secret-1')",
    "select router.raise_without_values(null)",
    "select router.grant_service()",
    "table public.contact_channels",
    "table public.conversations",
    "table public.message_analysis",
    "table router.schema_migrations",
    "delete from router.installation",
    "insert into router.parked_events default values",
    "create temporary view spy as select content from public.webhook_events; table spy",
    "create trigger mine before insert on public.messages for each row execute function router.ring_doorbell()",
    "create rule mine as on insert to public.messages do nothing",
    "create policy mine on public.messages using (true)",
    "create publication mine for table public.messages",
    "create index on public.messages (id)",
    "comment on table public.messages is 'mine'",
    "alter schema router rename to mine",
    "alter default privileges for role postgres grant select on tables to webhook_router_service",
    "set role anon",
    "set role authenticated",
    "select public.auto_reply_stub(null)",
    "select public.ingest_webhook_event('instagram', 'message', 'x', '', '', '', null, null, null, null)",
)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_what_it_must_not(fortress: Target, statement: str) -> None:
    """Refused for want of rights."""
    with fortress.connect("service") as service, pytest.raises(psycopg.Error) as refused:
        service.execute(statement.encode())
    assert refused.value.sqlstate == "42501", refused.value


def test_what_it_needs(target: Target) -> None:
    """With these rights alone the service routes everything, sweeps, counts and listens."""
    with target.connect() as owner, running(target.service_dsn, "--reconcile-interval", "0.5") as router:
        router.until_listening()
        wait_for(
            lambda: (
                owner.execute("select from public.webhook_events where routed_at is null limit 1").fetchone() is None
            ),
            what=f"a routed backlog, {router.lines}",
        )
        wait_for(lambda: router.metric("webhook_router_sweeps_total") > 1, what="sweeps")
        assert router.metric("webhook_router_loop_failures_total") == 0
    assert target.counts()["public.messages"] == EVENTS


def test_an_operator_needs_no_other_login(target: Target) -> None:
    """With the URL of the service it is found out what became of an event, and decided; nobody's words are shown."""
    dsn = target.service_dsn
    assert run(dsn, "explain", "instagram", "secret-1", "--json").json["state"] == "ready"
    assert run(dsn, "explain", "instagram", "secret-1", "--route", "--json").json["state"] == "routed"
    with target.connect() as owner:
        owner.execute(
            "update public.webhook_events set event_date = 'infinity' where event_id in ('secret-2', 'secret-3')"
        )
    assert run(dsn, "reconcile").code == 0
    shown = run(dsn, "explain", "instagram", "secret-2")
    listed = run(dsn, "parked", "list", "--event-id", "secret-2", "--json")
    grouped = run(dsn, "parked", "list", "--group", "--json")
    assert (len(listed.json), grouped.json[0]["events"]) == (1, 2)
    for done in (shown, listed, grouped, run(dsn, "parked", "show", "--event-id", "secret-2")):
        assert done.error is None
        assert not any(word in done.out for word in ("Secret Name", "secret content", "author-"))
    assert run(dsn, "parked", "discard", "--event-id", "secret-2").code == 0
    assert run(dsn, "parked", "retry", "--all").code == 0
    assert "lacks rights" in str(run(dsn, "parked", "show", "--payload", "--event-id", "secret-3").error)
