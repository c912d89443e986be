"""All of `schemas/` as one script for psql, for databases that only psql may change."""

from typing import Final

from psycopg import sql

from consumer.adapters.postgres.migrations import types
from consumer.adapters.postgres.migrations.decisions import Decisions
from consumer.adapters.postgres.migrations.migrator import LOCK_TIMEOUT
from consumer.adapters.postgres.migrations.sessions import MIGRATION_LOCK, MINIMUM_MAJOR, SETTINGS
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, Migration, SqlFile, SqlFiles

# Nothing is set or locked for longer than a transaction, which is all that a pooler promises. Index builds run in none,
# and so with the settings that psql was started with. Only the search_path is another one for as long as they take:
# functions and operators in "public" could come before those of the catalogue.
_HEAD: Final = r"""-- webhook-router: everything that `webhook-router migrate` applies, for psql:
--   PGOPTIONS='-c statement_timeout=0' psql --no-psqlrc --file <this file> <connection string>
-- Run it as the owner of the tables or a superuser, without --single-transaction, and not through a pooler that gives
-- each transaction another session. It can be run again at any time, and stops at the first error. A lock that is not
-- available within three seconds is an error as well: run it again.
\set ON_ERROR_STOP on
\set AUTOCOMMIT on

begin isolation level read committed read only;
select pg_catalog.pg_backend_pid() as webhook_router_pid \gset
commit;
begin isolation level read committed read only;
select pg_catalog.pg_backend_pid() operator(pg_catalog.=) :webhook_router_pid as webhook_router_same \gset
commit;
"""
_PREFLIGHT: Final = """do $preflight$
declare
    v_problems text;
begin
    if current_setting('server_version_num')::integer < {minimum}0000 then
        raise exception 'webhook-router needs Postgres {minimum} or newer';
    end if;
    if current_setting('webhook_router.reads')::boolean then
        raise exception 'transactions only read by default: use PGOPTIONS=''-c default_transaction_read_only=off''';
    end if;
    if not {same} then
        raise exception 'a pooler gives every transaction of this connection another session; connect directly';
    end if;
    select string_agg(p.problem || ';' || chr(10) || '    ' || p.remedy, chr(10) || '  - ') into v_problems
    from (
{queries}
    ) p;
    if v_problems is null and to_regclass('router.schema_functions') is not null then
        select string_agg(p.problem || ';' || chr(10) || '    ' || p.remedy, chr(10) || '  - ') into v_problems
        from (
{taken}
        ) p;
    end if;
    if v_problems is not null then
        raise exception '%', 'nothing was changed; first put right:' || chr(10) || '  - ' || v_problems;
    end if;
end
$preflight$;
"""
_TIMEOUT: Final = """do $timeout$
begin
    if {timeout} <> '0' then
        raise warning 'statement_timeout is %: an index build that takes longer is cancelled; run this with '
                      'PGOPTIONS=''-c statement_timeout=0'' then', {timeout};
    end if;
end
$timeout$;
"""
# The statements that the query returns are run: \\gexec.
_DROP_INVALID: Final = """select format('drop index concurrently if exists %I.%I', b.nspname, b.relname)
from (
{query}
) b
\\gexec
"""
# Not applied, or its work is missing.
_PENDING: Final = """select not exists (select from router.schema_migrations where version = {version}) or exists (
    select from (
{missing}
    ) m {of_this}
) as pending \\gset
"""
_OUTSIDE: Final = """select pg_catalog.current_setting('search_path') as webhook_router_path \\gset
set search_path = '';
{text}
select pg_catalog.set_config('search_path', :'webhook_router_path', false) as webhook_router_path \\gset
"""
_RECORD: Final = sql.SQL(
    "insert into router.schema_migrations (version, name) values ({version}, {name}) on conflict do nothing;\n"
)
_CHECKSUM: Final = sql.SQL(
    "insert into router.schema_functions (file, checksum) values ({name}, {checksum})\n"
    "    on conflict (file) do update set checksum = excluded.checksum;\n"
)
# Without waiting: a waiting session keeps a snapshot, and the index builds of the other session wait for that.
_ALONE: Final = """do $alone$
begin
    if not pg_try_advisory_xact_lock({lock}) then
        raise exception 'another session is migrating this database';
    end if;
end
$alone$;
""".replace("{lock}", "{}, {}".format(*MIGRATION_LOCK))
# Until that is done, events count as routed that are not.
_HISTORY: Final = """do $history$
begin
    if exists (select from router.history h where h.state = 'reset') then
        raise exception 'marking events as routed is half done: webhook-router migrate goes on with it';
    end if;
end
$history$;
"""


def script(
    files: SqlFiles = SHIPPED, *, doorbell: bool | None = None, public_api: bool | None = None, service: bool = False
) -> str:
    """The script, ready for `psql -f`; what is decided as for `migrator.migrate`."""
    decisions = Decisions(doorbell=doorbell, public_api=public_api, service=service)
    parts = [
        _HEAD,
        _preflight(files),
        _in_transaction(files.file("migrator", "bookkeeping.sql").text),
        _in_transaction(files.file("migrator", "found.sql").text + _HISTORY),
        *(_migration(migration, files) for migration in files.migrations()),
        _in_transaction(_functions(files, decisions)),
    ]
    return "\n".join(parts)


def _preflight(files: SqlFiles) -> str:
    queries = "\nunion all\n".join(f"({query.text}\n)" for query in files.preflight())
    return (
        "begin isolation level read committed read only;\n"
        "select pg_catalog.current_setting('statement_timeout') as webhook_router_limit \\gset\n"
        "select pg_catalog.current_setting('default_transaction_read_only') as webhook_router_reads \\gset\n"
        f"{SETTINGS}"
        "select set_config('webhook_router.reads', :'webhook_router_reads', true) as webhook_router_reads \\gset\n"
        "select set_config('webhook_router.same', :'webhook_router_same', true) as webhook_router_same \\gset\n"
        "select set_config('webhook_router.timeout', :'webhook_router_limit', true) as webhook_router_limit \\gset\n"
        + _PREFLIGHT.replace("{minimum}", str(MINIMUM_MAJOR))
        .replace("{same}", "current_setting('webhook_router.same')::boolean")
        .replace("{queries}", queries)
        .replace("{taken}", files.taken_functions().text)
        + _TIMEOUT.replace("{timeout}", "current_setting('webhook_router.timeout')")
        + "commit;\n"
    )


def _in_transaction(text: str) -> str:
    begin = "begin isolation level read committed read write;\n"
    return f"{begin}{SETTINGS}set local lock_timeout = '{LOCK_TIMEOUT:g}s';\n{_ALONE}{text}commit;\n"


def _reading(text: str) -> str:
    return f"begin isolation level read committed read only;\n{SETTINGS}{text}commit;\n"


def _migration(migration: Migration, files: SqlFiles) -> str:
    version = sql.Literal(migration.version)
    missing = "missing.sql" if migration.transactional else "missing_indexes.sql"
    of_this = sql.SQL("where m.version = {}").format(version).as_string() if migration.transactional else ""
    pending = sql.SQL(_PENDING).format(
        version=version, missing=sql.SQL(files.file("migrator", missing).text), of_this=sql.SQL(of_this)
    )
    record = _RECORD.format(version=version, name=sql.Literal(migration.name)).as_string()
    text = f"-- {migration.name}\n{migration.text}"
    if migration.transactional:
        text = _in_transaction(text + record)
    else:
        drop = _DROP_INVALID.format(query=files.file("migrator", "invalid_indexes.sql").text)
        text = _OUTSIDE.replace("{text}", f"{drop}{text}") + _in_transaction(record)
    return f"{_reading(pending.as_string())}\\if :pending\n{text}\\endif\n"


def _functions(files: SqlFiles, decisions: Decisions) -> str:
    used_types = files.types()
    return "\n".join(
        [
            files.file("migrator", "functions_begin.sql").text,
            files.file("migrator", "keep_functions.sql").text,
            decisions.remembered().text,
            *(types.in_force(file).text for file in used_types),
            *(file.text for file in files.functions()),
            files.functions_end().text,
            types.noted(used_types).text,
            files.rights().text,
            *(_checksum(file) for file in [*used_types, *files.functions(), files.rights()]),
        ]
    )


def _checksum(file: SqlFile) -> str:
    return _CHECKSUM.format(name=sql.Literal(file.name), checksum=sql.Literal(file.checksum)).as_string()
