"""The readiness audit: what this program needs in a database, and which of it is there."""

from dataclasses import dataclass

from psycopg.rows import class_row

from consumer.adapters.postgres.blocking import session
from consumer.adapters.postgres.migrations.sql_files import SHIPPED


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
    """Runs `audit_phase9_readiness.sql`, which only reads. Blocks.

    Raises:
        Fatal, Transient: the database cannot be queried.
    """
    statement = SHIPPED.file("audit", "audit_phase9_readiness.sql").text.encode()
    with (
        session(conninfo, name="audit") as connection,
        connection.cursor(row_factory=class_row(AuditRow)) as cursor,
    ):
        return Audit(rows=tuple(cursor.execute(statement)))
