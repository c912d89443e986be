"""The readiness audit: what this program needs in a database, and which of it is there."""

from dataclasses import dataclass
from typing import Final

from psycopg.rows import class_row

from consumer.adapters.postgres.blocking import session
from consumer.adapters.postgres.migrations import checks, rights
from consumer.adapters.postgres.migrations.sql_files import SHIPPED

# For the transaction alone, since the session may be one of a pool. With a search_path, a function or operator of the
# application could take the place of the catalogue's; the catalogue is searched in any case.
_TRANSACTION: Final = """
    set transaction isolation level repeatable read, read only;
    set local search_path = '';
    set local quote_all_identifiers = off;
    set local jit = off;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One thing that was checked; `required`: the program does not work without it."""

    kind: str
    name: str
    required: bool
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All rows, in the order of the report."""

    rows: tuple[AuditRow, ...]

    @property
    def ok(self) -> bool:
        """Whether everything required is there."""
        return all(row.ok for row in self.rows if row.required)


def audit(conninfo: str) -> Audit:
    """The rows of `audit_phase9_readiness.sql`, then what the migrator would change, complain about and note. Blocks.

    An obstacle's detail is the remedy, as a rule SQL. Everything here only reads.

    Raises:
        Fatal, Transient: the database cannot be queried.
    """
    readiness, risks = (
        SHIPPED.file("audit", name).text.encode() for name in ("audit_phase9_readiness.sql", "rights_risks.sql")
    )
    with session(conninfo, name="audit") as connection, connection.transaction():
        connection.execute(_TRANSACTION)
        rows = connection.cursor(row_factory=class_row(AuditRow)).execute(readiness).fetchall()
        rows += [
            AuditRow(kind="schema", name=finding, required=True, ok=False, detail="run: webhook-router migrate")
            for finding in checks.differences(connection, SHIPPED)
        ]
        rows += [
            AuditRow(kind="obstacle", name=problem, required=True, ok=False, detail=remedy)
            for problem, remedy in checks.obstacles(connection, SHIPPED)
        ]
        rows += [
            AuditRow(kind="rights", name=wrong, required=True, ok=False, detail=remedy)
            for wrong, remedy in rights.differences(connection, SHIPPED)
        ]
        rows += [
            AuditRow(kind="rights", name=name, required=required, ok=False, detail=detail)
            for name, required, detail in connection.execute(risks)
        ]
        rows += [
            AuditRow(kind="note", name="database", required=False, ok=False, detail=note)
            for note in checks.notes_on(connection, SHIPPED)
        ]
    return Audit(rows=tuple(rows))
