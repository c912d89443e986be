"""All of `schemas/` as one script for psql, for databases that only psql may change."""

from typing import Final

from psycopg import sql

from consumer.adapters.postgres.migrations import types
from consumer.adapters.postgres.migrations.migrator import LOCK_TIMEOUT, MIGRATION_LOCK, MINIMUM_MAJOR
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, Migration, SqlFile, SqlFiles

_LOCK: Final = "{}, {}".format(*MIGRATION_LOCK)
_HEAD: Final = r"""-- webhook-router: everything that `webhook-router migrate` applies, for psql:
--   psql --no-psqlrc --file <this file> <connection string>
-- Run it as the owner of the tables or a superuser, without --single-transaction. It can be run again at any time, and
-- stops at the first error. A lock that is not available within three seconds is an error as well: run it again.
\set ON_ERROR_STOP on
\set AUTOCOMMIT on
set search_path = '';
set statement_timeout = 0;
set idle_in_transaction_session_timeout = 0;
set client_min_messages = warning;
set client_encoding = 'utf8';

do $version$
begin
    if current_setting('server_version_num')::integer < {minimum}0000 then
        raise exception 'webhook-router needs Postgres {minimum} or newer';
    end if;
    -- Without waiting: a waiting session keeps a snapshot, and the index builds of the other session wait for that.
    if not pg_try_advisory_lock({lock}) then
        raise exception 'another session is migrating this database';
    end if;
end
$version$;
""".replace("{lock}", _LOCK).replace("{minimum}", str(MINIMUM_MAJOR))
_PREFLIGHT: Final = """do $preflight$
declare
    v_problems text;
begin
    select string_agg(p.problem || E'\\n    ' || p.remedy, E'\\n  - ') into v_problems
    from (
(
{query}
) union all (
{obstacles}
)
    ) p;
    if v_problems is not null then
        raise exception E'nothing was changed; first put right:\\n  - %', v_problems;
    end if;
end
$preflight$;
"""
# The statements that the query returns are run: \\gexec.
_DROP_INVALID: Final = """select format('drop index concurrently if exists %I.%I', b.nspname, b.relname)
from (
{query}
) b
\\gexec
"""
_RECORD: Final = sql.SQL(
    "insert into router.schema_migrations (version, name) values ({version}, {name}) on conflict do nothing;\n"
)
_CHECKSUM: Final = sql.SQL(
    "insert into router.schema_functions (file, checksum) values ({name}, {checksum})\n"
    "    on conflict (file) do update set checksum = excluded.checksum;\n"
)
_TAIL: Final = f"select pg_advisory_unlock({_LOCK}) as done;\n"


def script(files: SqlFiles = SHIPPED) -> str:
    """The script, ready for `psql -f`."""
    parts = [
        _HEAD,
        _PREFLIGHT.format(
            query=files.file("migrator", "preflight.sql").text, obstacles=files.file("migrator", "obstacles.sql").text
        ),
        _in_transaction(files.file("migrator", "bookkeeping.sql").text),
        *(_migration(migration, files) for migration in files.migrations()),
        _in_transaction(_functions(files)),
        _TAIL,
    ]
    return "\n".join(parts)


def _in_transaction(text: str) -> str:
    return f"begin;\nset local lock_timeout = '{LOCK_TIMEOUT:g}s';\n{text}commit;\n"


def _migration(migration: Migration, files: SqlFiles) -> str:
    version = sql.Literal(migration.version)
    pending = sql.SQL(
        "select not exists (select from router.schema_migrations where version = {version}) as pending \\gset\n"
    ).format(version=version)
    record = _RECORD.format(version=version, name=sql.Literal(migration.name))
    text = f"-- {migration.name}\n{migration.text}{record.as_string()}"
    if migration.transactional:
        text = _in_transaction(text)
    else:
        text = _DROP_INVALID.format(query=files.file("migrator", "invalid_indexes.sql").text) + text
    return f"{pending.as_string()}\\if :pending\n{text}\\endif\n"


def _functions(files: SqlFiles) -> str:
    used_types = files.types()
    return "\n".join(
        [
            files.file("migrator", "functions_begin.sql").text,
            *(types.in_force(file).text for file in used_types),
            *(file.text for file in files.functions()),
            files.file("migrator", "functions_end.sql").text,
            types.noted(used_types).text,
            files.rights().text,
            *(_checksum(file) for file in [*used_types, *files.functions(), files.rights()]),
        ]
    )


def _checksum(file: SqlFile) -> str:
    return _CHECKSUM.format(name=sql.Literal(file.name), checksum=sql.Literal(file.checksum)).as_string()
