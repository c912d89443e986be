"""A server with the roles of an application on a platform, and databases on it that belong to the application."""

import contextlib
import uuid
from collections.abc import Iterator

import psycopg
from psycopg import sql

from consumer.adapters.postgres.operating.audit import AuditRow, audit
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import OWNER, Database

ROUTE = "select public.route_unrouted_events()"


@contextlib.contextmanager
def database_on(server: EmbeddedPostgres, *, owner: str = OWNER) -> Iterator[Database]:
    """An empty database of that owner, dropped in the end."""
    name = f"owned_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(owner)))
    try:
        yield Database(server=server, name=name, owner=owner)
    finally:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def refused(database: Database, role: str, statement: str = ROUTE) -> bool:
    """Whether that role lacks the right to do this."""
    try:
        database.run(statement, role=role)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def wrong_rights(database: Database) -> list[AuditRow]:
    """What the audit says about rights that are not as they should be."""
    return [row for row in audit(database.admin).rows if row.kind == "rights" and not row.ok]
