"""What a database lacks of this version, and what stands in the way: queries that only read."""

from typing import Final

from psycopg import sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import sessions
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, SqlFile, SqlFiles

_FINGERPRINTS: Final = """
    select s.file, s.checksum, s.signature is null or s.fingerprint is not distinct from f.fingerprint
    from router.schema_functions s
    left join (
    {fingerprints}
    ) f using (file, signature)
"""


def check(conninfo: str, *, files: SqlFiles = SHIPPED) -> list[str]:
    """What `migrate` would do, and what prevents it, a line each; empty if the database is up to date.

    Raises:
        Fatal, Transient: as `migrate`.
    """
    with sessions.connected(conninfo) as connection, sessions.reading(connection):
        obstacles = problems(connection, files)
        found = [f"{problem}; run: {remedy}" for problem, remedy in obstacles]
        if any('the schema "router" is there already' in problem for problem, _ in obstacles):
            return found  # nothing in it is ours
        applied = applied_versions(connection)
        return [
            *found,
            *(f"migration {file.name} is pending" for file in files.migrations() if file.version not in applied),
            *(f"migration {version} belongs to a newer release" for version in newer_versions(applied, files)),
            *outdated_functions(connection, files),
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
    if not found and _readable(connection, "schema_functions"):
        found = _found(connection, [files.taken_functions()])
    return found


def _found(connection: Connection, queries: list[SqlFile]) -> list[tuple[str, str]]:
    return [
        (str(problem), str(remedy))
        for query in queries
        for problem, remedy in connection.execute(query.text.encode()).fetchall()
    ]


def notes_on(connection: Connection, files: SqlFiles) -> list[str]:
    """As `notes`, on a connection."""
    rows = connection.execute(files.file("migrator", "notes.sql").text.encode()).fetchall()
    return [str(note) for (note,) in rows]


def rings(connection: Connection) -> bool:
    """What was decided about the doorbell."""
    row = connection.execute("select doorbell from router.installation").fetchone()
    return row is None or bool(row[0])


def _readable(connection: Connection, name: str) -> bool:
    """Whether the relation exists, and is no secret to this role; the look-ups by name fail if the schema is one."""
    row = connection.execute(
        """
        select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'router' and c.relname = %s
        """,
        [name],
    ).fetchone()
    return bool(row and row[0])


def applied_versions(connection: Connection) -> set[str]:
    """The migrations that the database has recorded."""
    if not _readable(connection, "schema_migrations"):
        return set()
    return {version for (version,) in connection.execute("select version from router.schema_migrations")}


def newer_versions(applied: set[str], files: SqlFiles) -> list[str]:
    """Those of them that this release does not know."""
    newest = max(migration.version for migration in files.migrations())
    return sorted(version for version in applied if version > newest)


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
    """Types, functions and rights that are not what their files say, a line each."""
    wanted = {file.name: file.checksum for file in [*files.types(), *files.functions(), files.rights()]}
    if not _readable(connection, "schema_functions"):
        return [f"{len(wanted)} files of types, functions and rights are not applied"]
    found = sql.SQL(_FINGERPRINTS).format(fingerprints=sql.SQL(files.fingerprints().text))
    rows = connection.execute(found).fetchall()
    known = {file: (checksum, intact) for file, checksum, intact in rows}
    findings = []
    for name, checksum in wanted.items():
        applied, intact = known.get(name, (None, True))
        if applied != checksum:
            findings.append(f"{name} differs from what is applied" if applied else f"{name} is not applied")
        elif not intact:
            findings.append(f"{name} is applied, but was changed or dropped in the database")
    return findings + [f"{name} is left over from another release" for name in known if name not in wanted]
