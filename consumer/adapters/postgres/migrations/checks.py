"""What a database lacks of this version, and what stands in the way: queries that only read."""

from typing import Any, Final, NamedTuple

from psycopg import sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import rights, sessions
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, SqlFile, SqlFiles

_BOOKKEEPING: Final = {
    "schema_migrations": ("version",),
    "schema_functions": ("file", "checksum", "signature", "fingerprint"),
    "installation": ("doorbell",),
}
"""What is read of the tables that the migrator keeps."""


class Bookkeeping(NamedTuple):
    """A row of router.schema_functions."""

    file: str
    checksum: str | None
    signature: str | None
    fingerprint: str | None


def check(conninfo: str, *, files: SqlFiles = SHIPPED) -> list[str]:
    """What `migrate` would do, and what prevents it, a line each; empty if the database is up to date.

    Raises:
        Fatal, Transient: as `migrate`.
    """
    with sessions.connected(conninfo) as connection, sessions.reading(connection):
        wrong = problems(connection, files)
        found = [f"{problem}; {_told(remedy)}" for problem, remedy in wrong]
        if any('the schema "router" is there already' in problem for problem, _ in wrong):
            return found  # nothing in it is ours
        if _closed(connection, "schema_functions"):
            return found or ["this role may not read router.schema_functions; use the URL of the owner of the tables"]
        if _found(connection, [files.file("migrator", "planted.sql")]):
            return found  # our tables cannot be read without running code of others
        applied = applied_versions(connection)
        return [
            *found,
            *(f"migration {file.name} is pending" for file in files.migrations() if file.version not in applied),
            *(f"{what} is missing" for _, what in missing(connection, files, applied)),
            *(f"migration {version} belongs to a newer release" for version in newer_versions(applied, files)),
            *outdated_functions(connection, files),
            *(f"{wrong}; run: {remedy}" for wrong, remedy in rights.differences(connection, files)),
            *(f"index {schema}.{index} is invalid" for schema, index in invalid_indexes(connection, files)),
            *(f"index {schema}.{index} is missing" for schema, index in missing_indexes(connection, files, applied)),
        ]


def notes(conninfo: str, *, files: SqlFiles = SHIPPED) -> list[str]:
    """What should be known about the database, a line each; nothing of it keeps the migrator from its work.

    Raises:
        Fatal, Transient: as `migrate`.
    """
    with sessions.connected(conninfo) as connection, sessions.reading(connection):
        return notes_on(connection, files)


def problems(connection: Connection, files: SqlFiles) -> list[tuple[str, str]]:
    """What must be put right by hand before anything can be migrated, and how."""
    found = _found(connection, files.preflight())
    if not found and (listed := _listed(connection)):
        rows = sql.SQL("select * from unnest({}::text[], {}::text[]) as l (file, signature)").format(
            sql.Literal([row.file for row in listed]), sql.Literal([row.signature for row in listed])
        )
        found = _found(connection, [files.taken_functions(rows.as_string(connection))])
    return found


def differences(connection: Connection, files: SqlFiles) -> list[str]:
    """What is not as this version has made it, or would: tables and columns, types and functions."""
    gone = missing(connection, files, applied_versions(connection))
    return [*(f"{what} is missing" for _, what in gone), *outdated_functions(connection, files)]


def obstacles(connection: Connection, files: SqlFiles) -> list[tuple[str, str]]:
    """Those of the problems that do not depend on who asks."""
    return _found(connection, [files.file("migrator", name) for name in ("taken_names.sql", "obstacles.sql")])


def notes_on(connection: Connection, files: SqlFiles) -> list[str]:
    """As `notes`, on a connection."""
    rows = connection.execute(files.file("migrator", "notes.sql").text.encode()).fetchall()
    return [str(note) for (note,) in rows]


def rings(connection: Connection) -> bool:
    """What was decided about the doorbell."""
    return all(doorbell != "f" for (doorbell,) in _rows(connection, "installation"))


def applied_versions(connection: Connection) -> set[str]:
    """The migrations that the database has recorded."""
    return {str(version) for (version,) in _rows(connection, "schema_migrations")}


def newer_versions(applied: set[str], files: SqlFiles) -> list[str]:
    """Those of them that this release does not know."""
    newest = max(migration.version for migration in files.migrations())
    return sorted(version for version in applied if version > newest)


def missing(connection: Connection, files: SqlFiles, applied: set[str]) -> list[tuple[str | None, str]]:
    """What is not there although a migration that has been applied made it: its version, and what it is."""
    known = {migration.version for migration in files.migrations()} & applied
    if applied:
        known |= files.migrator()
    rows = connection.execute(files.file("migrator", "missing.sql").text.encode()).fetchall()
    return [(version, str(what)) for version, what in rows if version in known or (version is None and applied)]


def invalid_indexes(connection: Connection, files: SqlFiles) -> list[tuple[str, str]]:
    """Schema and name of each that an interrupted build has left behind."""
    rows = connection.execute(files.file("migrator", "invalid_indexes.sql").text.encode()).fetchall()
    return [(str(schema), str(name)) for schema, name in rows]


def missing_indexes(connection: Connection, files: SqlFiles, applied: set[str]) -> list[tuple[str, str]]:
    """Those that a migration has made which is not run again by itself."""
    if not all(migration.transactional or migration.version in applied for migration in files.migrations()):
        return []
    rows = connection.execute(files.file("migrator", "missing_indexes.sql").text.encode()).fetchall()
    return [(str(schema), str(name)) for schema, name in rows]


def outdated_functions(connection: Connection, files: SqlFiles) -> list[str]:
    """Types, functions and rights that are not what their files say, a line each; none if this role may not know."""
    wanted = {file.name: file.checksum for file in [*files.types(), *files.functions(), files.rights()]}
    listed = {row.file: row for row in _listed(connection)}
    if not listed:
        return (
            []
            if _closed(connection, "schema_functions")
            else [f"{len(wanted)} files of types, functions and rights are not applied"]
        )
    query = sql.SQL("select f.file, f.signature, f.fingerprint from (\n{}\n) f where f.file = any (%s)")
    found = connection.execute(query.format(sql.SQL(files.fingerprints().text)), [list(listed)]).fetchall()
    prints = {(file, signature): fingerprint for file, signature, fingerprint in found}
    findings = _doorbell(connection)
    for name, checksum in wanted.items():
        row = listed.get(name)
        if row is None or row.checksum is None:
            findings.append(f"{name} is not applied")
        elif row.checksum != checksum:
            findings.append(f"{name} differs from what is applied")
        elif row.signature is not None and row.fingerprint != prints.get((name, row.signature)):
            findings.append(f"{name} is applied, but was changed or dropped in the database")
    return findings + [f"{name} is left over from another release" for name in listed if name not in wanted]


def _told(remedy: str) -> str:
    return f"run: {remedy}" if remedy.partition(" -- ")[0].endswith(";") else remedy


def _doorbell(connection: Connection) -> list[str]:
    """The trigger that is there although it was decided to do without it; one that is missing shows by its function."""
    row = connection.execute(
        """
        select count(*)
        from pg_trigger g
        join pg_proc p on p.oid = g.tgfoid
        where g.tgrelid = to_regclass('public.webhook_events') and g.tgname = 'webhook_router_doorbell'
          and p.pronamespace = to_regnamespace('router')
        """
    ).fetchone()
    if row and row[0] and not rings(connection):
        return ["the doorbell is there, although it was decided to do without it"]
    return []


def _found(connection: Connection, queries: list[SqlFile]) -> list[tuple[str, str]]:
    return [
        (str(problem), str(remedy))
        for query in queries
        for problem, remedy in connection.execute(query.text.encode()).fetchall()
    ]


def _listed(connection: Connection) -> list[Bookkeeping]:
    return [Bookkeeping(*row) for row in _rows(connection, "schema_functions")]


def _rows(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    """The rows of a table of the migrator's, in texts; none if it is missing, damaged or closed to this role.

    By COPY, which takes no view in the place of a table and evaluates nothing. A query plans, and the planner computes
    what it can of the predicates of indexes, as whoever asks: a superuser would run functions of the table's owner.
    """
    if not _readable(connection, name):
        return []
    columns = sql.SQL(", ").join(map(sql.Identifier, _BOOKKEEPING[name]))
    statement = sql.SQL("copy {} ({}) to stdout").format(sql.Identifier("router", name), columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return list(copy.rows())


def _readable(connection: Connection, name: str) -> bool:
    """Whether the table is there with its columns, of types of the catalogue, and no secret to this role."""
    return _columns(connection, name) >= set(_BOOKKEEPING[name]) and not _closed(connection, name)


def _closed(connection: Connection, name: str) -> bool:
    """Whether the relation is there, and a secret to this role; the look-ups by name fail if the schema is one."""
    row = connection.execute(
        """
        select not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'router' and c.relname = %s
        """,
        [name],
    ).fetchone()
    return bool(row and row[0])


def _columns(connection: Connection, name: str) -> set[str]:
    rows = connection.execute(
        """
        select a.attname::text
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        join pg_type t on t.oid = a.atttypid
        where n.nspname = 'router' and c.relname = %s and c.relkind = 'r'
          and t.typnamespace = 'pg_catalog'::regnamespace
        """,
        [name],
    ).fetchall()
    return {str(column) for (column,) in rows}
