"""What a database lacks of this version, and what stands in the way: queries that only read."""

from psycopg import sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import bookkeeping, rights, sessions
from consumer.adapters.postgres.migrations.bookkeeping import FileEntry
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, SqlFile, SqlFiles


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
        if bookkeeping.is_closed(connection, "schema_functions"):
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
    return all(doorbell != "f" for (doorbell,) in bookkeeping.rows(connection, "installation", ["doorbell"]))


def applied_versions(connection: Connection) -> set[str]:
    """The migrations that the database has recorded."""
    return {str(version) for (version,) in bookkeeping.rows(connection, "schema_migrations", ["version"])}


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
            if bookkeeping.is_closed(connection, "schema_functions")
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


def told(problems: list[tuple[str, str]]) -> str:
    """Problems and their remedies as a list, which can still be read when somebody makes one line of it."""
    return "".join(f"\n  - {problem};\n    {remedy}" for problem, remedy in problems)


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


def _listed(connection: Connection) -> list[FileEntry]:
    return [FileEntry(*row) for row in bookkeeping.rows(connection, "schema_functions", FileEntry._fields)]
