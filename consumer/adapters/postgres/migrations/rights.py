"""How owners and rights differ from what they should be, told from the catalogue alone.

A superuser may ask this in a database of others: none of their code is run, and their tables are not read. Only what
router.installation remembers is, where that is a plain table.
"""

from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations.sql_files import SqlFiles

BY_MIGRATING: Final = "webhook-router migrate"
"""The remedy for what a migration puts right."""

# Columns of a table that can be read without running anybody's code: no rule, policy or child, no index but ours.
_REMEMBERED: Final = """
    select a.attname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    join (values ('public_api', 'bool'::regtype), ('service', 'bool'), ('callers', '_text'), ('made', '_text')
         ) as w (name, type) on w.name = a.attname and w.type = a.atttypid
    where n.nspname = 'router' and c.relname = 'installation' and c.relkind = 'r'
      and not c.relhasrules and not c.relhassubclass and not c.relispartition and not c.relrowsecurity
      and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
      and not exists (select from pg_index i
                      where i.indrelid = c.oid and (i.indexprs is not null or i.indpred is not null))
"""


def differences(connection: Connection, files: SqlFiles) -> list[tuple[str, str]]:
    """What deviates, a line for each way of deviating, and what puts it right; in the order of mending."""
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
        made=sql.Literal(decided.get("made") or []),
    )
    query = files.rights_differences(values.as_string()).text + "\norder by 1, 2, 3"
    return connection.execute(query.encode()).fetchall()


def _decided(connection: Connection) -> dict[str, object]:
    """What was decided about this database, as far as it is known."""
    columns = [str(name) for (name,) in connection.execute(_REMEMBERED.encode())]
    if not columns:
        return {}
    names = sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        cursor.execute(sql.SQL("select {} from router.installation limit 1").format(names))
        return cursor.fetchone() or {}


def _line(what: str, things: list[str]) -> str:
    if len(things) == 1:
        return f"{things[0]} {what}"
    return f"{len(things)} things: {what}: {', '.join(things)}"
