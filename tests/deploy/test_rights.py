"""The service runs with the rights that deploy/sql/roles.sql gives, and with these nothing else can be done."""

import re
import signal
from collections.abc import Iterator

import psycopg
import pytest

from consumer.adapters.shipped_files import schemas_folder
from tests.deploy import service_login
from tests.processes import command, running
from tests.waiting import wait_for


class Logins:
    """One database, as its owner and as the service sees it."""

    def __init__(self, owner: psycopg.Connection, service: psycopg.Connection, dsn: str) -> None:
        self.owner = owner
        self.service = service
        self.dsn = dsn

    def column(self, query: str) -> list[str]:
        """The first column of what the owner finds."""
        return [row[0] for row in self.owner.execute(query.encode()).fetchall()]

    def refused(self, statement: str) -> bool:
        """Whether the service is told that it may not."""
        try:
            self.service.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            return True
        return False


@pytest.fixture
def logins(database: str) -> Iterator[Logins]:
    """The service's login is made as the roles file tells, on a database that is migrated."""
    with (
        service_login.made(database) as (_, dsn),
        psycopg.connect(database, autocommit=True) as owner,
        psycopg.connect(dsn, autocommit=True) as service,
    ):
        yield Logins(owner, service, dsn)


RELATIONS = """
    select format('%I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'router') and c.relkind in ({kinds}) order by 1
"""
FUNCTIONS = """
    select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('public', 'router') and has_function_privilege('{role}', p.oid, 'execute') order by 1
"""


class TestService:
    def test_does_all_its_work(self, logins: Logins) -> None:
        """Hot path, sweep, retries, backlog and listener work, and so do the commands of operators."""
        with running(logins.dsn, "--sample-interval", "0.2", "--reconcile-interval", "0.3") as router:
            router.until_listening()
            logins.owner.execute(
                """insert into webhook_events (channel, type, event_id, author_id, event_date)
                   select 'whatsapp', 'message', 'e' || i, 'a' || i % 9,
                          case when i = 50 then 'infinity'::timestamptz end
                   from generate_series(1, 100) i"""
            )
            pending = "select count(*)::text from webhook_events where routed_at is null"
            wait_for(lambda: logins.column(pending) == ["1"], what="99 routed events")
            (parked,) = logins.column("select id::text from webhook_events where event_id = 'e50'")
            for words in (("list",), ("show", parked)):
                done = command("parked", *words, dsn=logins.dsn)
                assert done.returncode == 0, done.stderr
            # Not before: its next attempt, ten seconds after the first, would route it.
            logins.owner.execute("update webhook_events set event_date = now() where event_id = 'e50'")
            retried = command("parked", "retry", "--all", dsn=logins.dsn)
            assert retried.returncode == 0, retried.stderr
            wait_for(lambda: logins.column(pending) == ["0"], what="the parked one too")
            wait_for(lambda: router.metric("webhook_router_sweeps_total") > 0, what="a sweep")
            wait_for(
                lambda: router.metric("webhook_router_last_success_timestamp_seconds", loop="sampler") > 0,
                what="a sample",
            )
            assert router.metric("webhook_router_loop_failures_total") == 0
            status = command("status", "--json", dsn=logins.dsn)
            assert status.returncode == 0, status.stderr
            router.signal(signal.SIGTERM)
            assert router.stopped() == 0
        logins.owner.execute(
            "insert into webhook_events (channel, type, event_id) values ('tiktok', 'comment', 'late')"
        )
        swept = command("reconcile", dsn=logins.dsn)
        assert (swept.returncode, swept.stdout) == (0, "1\n"), swept.stderr

    def test_feeds_and_gives_up(self, logins: Logins) -> None:
        """Events can be brought in from a file, and given up when nothing will ever make them right."""
        fed = command("ingest", "-", dsn=logins.dsn, stdin='{"channel": "tiktok", "event_id": "never"}')
        assert fed.returncode == 0, fed.stderr
        logins.owner.execute("update webhook_events set event_date = 'infinity'")
        for words in (("reconcile",), ("parked", "discard", "--all")):
            done = command(*words, dsn=logins.dsn)
            assert done.returncode == 0, done.stderr
        assert '"never"' in command("parked", "list", "--state", "discarded", "--json", dsn=logins.dsn).stdout


class TestLimits:
    def test_touches_no_table(self, logins: Logins) -> None:
        """Neither reads nor writes any table, view or sequence, ours or the application's."""
        for view in logins.column(RELATIONS.format(kinds="'v', 'm', 'S'")):
            assert logins.refused(f"select * from {view}")
        tables = logins.column(RELATIONS.format(kinds="'r', 'p'"))
        assert {"public.contacts", "public.messages", "public.webhook_events", "router.parked_events"} <= set(tables)
        for relation in tables:
            for statement in (
                f"select * from {relation}",
                f"select count(*) from {relation}",
                f"delete from {relation}",
                f"truncate {relation}",
                f"insert into {relation} default values",
                f"alter table {relation} rename to mine",
                f"drop table {relation}",
            ):
                assert logins.refused(statement), statement
            columns = logins.column(
                f"select format('%I', attname) from pg_attribute where attrelid = '{relation}'::regclass and attnum > 0"
            )
            assert logins.refused(f"update {relation} set {columns[0]} = null"), relation

    def test_runs_the_listed_functions_only(self, logins: Logins) -> None:
        """The functions of the one list, which the roles file and migrations grant, are all that it can execute."""
        grants = schemas_folder().joinpath("functions", "operating", "router.grant_service.sql")
        named = re.findall(r"^\s+'(router\.\w+\([^)]*\))'", grants.read_text(encoding="utf-8"), re.MULTILINE)
        roles = service_login.ROLES.read_text(encoding="utf-8")
        assert set(re.findall(r"router\.\w+(?=\()", roles)) == {"router.grant_service"}
        listed = logins.column(f"select f::regprocedure::text from unnest(array{named}) f order by 1")
        assert logins.column(FUNCTIONS.format(role=logins.service.info.user)) == listed
        assert len(listed) == len(named) > 5
        others = [name for name in logins.column(FUNCTIONS.format(role="postgres")) if name not in listed]
        assert any(name.startswith("route_webhook_event(") for name in others)

    def test_makes_nothing_of_its_own(self, logins: Logins) -> None:
        """No table, function, schema, role or database; nothing in the way of others."""
        for statement in (
            "create table public.mine (id int)",
            "create table router.mine (id int)",
            "create function router.mine() returns int language sql as 'select 1'",
            "create or replace function router.backlog() returns int language sql as 'select 1'",
            "create schema mine",
            "create role mine",
            "create database mine",
            "create extension vector",
            "alter role postgres password 'mine'",
            "alter system set work_mem = '1GB'",
            "copy (select 1) to program 'true'",
            "select pg_read_file('postgresql.conf')",
            "grant webhook_router_api to current_user",
        ):
            assert logins.refused(statement), statement

    def test_becomes_nobody_else(self, logins: Logins) -> None:
        """It cannot take another role, nor lend its own rights."""
        roles = logins.column(
            "select quote_ident(rolname) from pg_roles where rolname in "
            "('postgres', 'webhook_router_api', 'anon', 'authenticated')"
        )
        assert len(roles) >= 2
        for role in roles:
            assert logins.refused(f"set role {role}"), role
            assert logins.refused(f"set session authorization {role}"), role
        assert logins.column(
            f"select rolname::text from pg_roles where pg_has_role('{logins.service.info.user}', oid, 'member') "
            f"and rolname <> '{logins.service.info.user}'"
        ) == ["webhook_router_service"]

    def test_the_roles_file_can_be_run_again(self, logins: Logins) -> None:
        """Again, it changes nothing; before a migration it makes the role alone."""
        before = logins.column(FUNCTIONS.format(role=logins.service.info.user))
        logins.owner.execute(service_login.ROLES.read_bytes())
        assert logins.column(FUNCTIONS.format(role=logins.service.info.user)) == before
