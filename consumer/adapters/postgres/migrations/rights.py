"""How owners and rights differ from what they should be, told from the catalogue alone.

A superuser may ask this in a database of others: none of their code is run, and their tables are not read. Only what
router.installation remembers is, where that is a plain table.
"""

from collections.abc import Mapping
from typing import Final

from psycopg import sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import bookkeeping
from consumer.adapters.postgres.migrations.sql_files import SqlFiles

BY_MIGRATING: Final = "webhook-router migrate"
"""The remedy for what a migration puts right."""
FROM_THE_OWNER: Final = "use the URL of the owner of the tables"

_DECIDED: Final = ("public_api", "service", "callers", "made")


def differences(connection: Connection, files: SqlFiles) -> list[tuple[str, str]]:
    """What deviates, a line for each way of deviating, and what puts it right; in the order of mending."""
    if _hides_names(connection):
        return [("the schema router is closed to this role, so that its rights cannot be compared", FROM_THE_OWNER)]
    decided = _decided(connection)
    found: dict[tuple[str, str], list[str]] = {}
    for _, thing, what, _, remedy in _rows(connection, files, decided):
        found.setdefault((str(what), str(remedy)), []).append(str(thing))
    return [(_line(what, things), remedy) for (what, remedy), things in found.items()]


def _rows(
    connection: Connection, files: SqlFiles, decided: Mapping[str, object]
) -> list[tuple[int, str, str, str | None, str]]:
    values = sql.SQL(
        "select {public_api}::boolean as public_api, {service}::boolean as service,"
        " {callers}::text[] as callers, {made}::text[] as made"
    ).format(
        public_api=sql.Literal(decided.get("public_api", True)),
        service=sql.Literal(decided.get("service")),
        callers=sql.Literal(decided.get("callers")),
        made=sql.Literal(decided.get("made") or "{}"),
    )
    query = files.rights_differences(values.as_string()).text + "\norder by 1, 2, 3"
    return connection.execute(query.encode()).fetchall()


def _hides_names(connection: Connection) -> bool:
    """Whether the schema is there and this role may not use it: looking up a name in it would be an error."""
    row = connection.execute(
        "select not has_schema_privilege(n.oid, 'usage') from pg_namespace n where n.nspname = 'router'"
    ).fetchone()
    return bool(row and row[0])


def _decided(connection: Connection) -> dict[str, object]:
    """What was decided about this database, in texts, as far as it is known."""
    for row in bookkeeping.rows(connection, "installation", _DECIDED):
        return dict(zip(_DECIDED, row, strict=True))
    return {}


def _line(what: str, things: list[str]) -> str:
    if len(things) == 1:
        return f"{things[0]} {what}"
    return f"{len(things)} things: {what}: {', '.join(things)}"
