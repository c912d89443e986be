"""What the migrator remembers, read without running any code that the tables' owner may have left for a superuser."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import sql

from consumer.adapters.postgres.blocking import Connection


class FileEntry(NamedTuple):
    """A row of router.schema_functions."""

    file: str
    checksum: str | None
    signature: str | None
    fingerprint: str | None


def rows(connection: Connection, name: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows of a table of the migrator's, in texts; none if it is missing, damaged or closed to this role.

    By COPY, which takes no view in the place of a table and evaluates nothing. A query plans, and the planner computes
    what it can of the predicates of indexes, as whoever asks: a superuser would run functions of the table's owner.
    """
    if not _columns(connection, name) >= set(columns) or is_closed(connection, name):
        return []
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("copy {} ({}) to stdout").format(sql.Identifier("router", name), listed)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return list(copy.rows())


def is_closed(connection: Connection, name: str) -> bool:
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
    """Those of a table, if it is one, whose types are the catalogue's."""
    found = connection.execute(
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
    return {str(column) for (column,) in found}
