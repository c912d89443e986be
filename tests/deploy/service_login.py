"""A login for the service, made as deploy/sql/roles.sql tells."""

import contextlib
import secrets
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.deploy.tools import DEPLOY

ROLES = DEPLOY / "sql" / "roles.sql"


@contextlib.contextmanager
def made(owner: str) -> Iterator[tuple[str, str]]:
    """Name and DSN of a new member of webhook_router_service on the owner's database; dropped in the end."""
    name, password = f"router_{secrets.token_hex(4)}", secrets.token_hex(8)
    login = sql.Identifier(name)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(ROLES.read_bytes())
        connection.execute(
            sql.SQL("create role {} login password {} in role webhook_router_service").format(login, password)
        )
    try:
        yield name, make_conninfo(owner, user=name, password=password)
    finally:
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(sql.SQL("drop role {}").format(login))
