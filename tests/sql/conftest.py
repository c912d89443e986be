"""Databases with the schema applied, for tests of the SQL."""

import contextlib
from collections.abc import Callable, Iterator

import psycopg
import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import TEMPLATE, empty_database_on
from tests.sql.inbox import Inbox

DatabaseOn = Callable[[EmbeddedPostgres], str]

EMPTY = """
set lock_timeout = '90s';
truncate public.contacts, public.contact_channels, public.conversations, public.messages, public.message_analysis,
         public.webhook_events, public.message_delivery, public.message_reactions, public.message_revisions,
         router.parked_events, router.deliveries, router.waiting, router.watermarks, router.referrals,
         router.silent_edits, router.open_replies, router.deleted_messages, router.kafka_positions,
         router.erasures;
update router.installation set payloads_pruned = null;
do $do$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.proowner <> 'webhook_router_api'::regrole
    loop
        execute format('drop function %s cascade', v_function);
    end loop;
end
$do$;
reset lock_timeout;
"""
"""Clears the shared database of the last test's rows, and of what played the application: functions, triggers."""


@pytest.fixture(scope="session")
def template_on() -> DatabaseOn:
    """Tells the name of a database with the schema on one of the shared servers."""
    return lambda server: TEMPLATE


@pytest.fixture(scope="session")
def shared_on(template_on: DatabaseOn) -> Iterator[DatabaseOn]:
    """Makes one more database with the schema once a server, and tells its DSN; each worker has its own."""
    made: dict[str, str] = {}
    # A server of this process that was started later has ended before, and its databases with it.
    with contextlib.suppress(psycopg.OperationalError), contextlib.ExitStack() as ending:

        def shared(server: EmbeddedPostgres) -> str:
            if server.dsn() not in made:
                made[server.dsn()] = ending.enter_context(empty_database_on(server, template=template_on(server)))
            return made[server.dsn()]

        yield shared


@pytest.fixture
def any_database(any_postgres: EmbeddedPostgres, template_on: DatabaseOn) -> Iterator[str]:
    """The DSN of a new database with the schema, on the newest and on the oldest Postgres in turn."""
    with empty_database_on(any_postgres, template=template_on(any_postgres)) as dsn:
        yield dsn


@pytest.fixture
def inbox(postgres_server: EmbeddedPostgres, shared_on: DatabaseOn) -> Iterator[Inbox]:
    """A session in an empty database on the newest Postgres.

    Tests share it one after the other. They may add functions and triggers; who alters tables takes `database`.
    """
    with Inbox(shared_on(postgres_server)) as opened:
        opened.run(EMPTY)
        yield opened


@pytest.fixture
def any_inbox(any_postgres: EmbeddedPostgres, shared_on: DatabaseOn) -> Iterator[Inbox]:
    """As `inbox`, on the newest and on the oldest Postgres in turn."""
    with Inbox(shared_on(any_postgres)) as opened:
        opened.run(EMPTY)
        yield opened
