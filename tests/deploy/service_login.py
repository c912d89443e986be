"""A login for the service, made as deploy/sql/roles.sql tells."""

import contextlib
import secrets
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.deploy.tools import DEPLOY

ROLES = DEPLOY / "sql" / "roles.sql"
FORGET_OTHERS = """
    do $others$
    declare
        v_role text;
    begin
        for v_role in
            select a.grantee::regrole::text from pg_database d, aclexplode(d.datacl) a
            where d.datname = current_database() and a.grantee not in (0, d.datdba)
              and not pg_has_role(a.grantee, 'webhook_router_service', 'member')
        loop
            execute format('revoke connect on database %I from %s', current_database(), v_role);
        end loop;
    end
    $others$
"""
"""Logins of other tests on this server keep their right to connect, and could not be dropped because of it."""


@contextlib.contextmanager
def made(owner: str) -> Iterator[tuple[str, str]]:
    """Name and DSN of a new member of webhook_router_service on the owner's database; dropped in the end."""
    name, password = f"router_{secrets.token_hex(4)}", secrets.token_hex(8)
    login = sql.Identifier(name)
    with psycopg.connect(owner, autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        with connection.transaction():
            connection.execute(ROLES.read_bytes())
            connection.execute(FORGET_OTHERS)
        connection.execute(
            sql.SQL("create role {} login password {} in role webhook_router_service").format(login, password)
        )
        connection.execute(sql.SQL("grant connect on database {} to {}").format(database, login))
    try:
        yield name, make_conninfo(owner, user=name, password=password)
    finally:
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(sql.SQL("revoke connect on database {} from {}").format(database, login))
            connection.execute(sql.SQL("drop role {}").format(login))
