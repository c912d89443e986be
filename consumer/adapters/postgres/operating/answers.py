"""What functions of the schema answer, read with their owner's rights alone, whoever asks.

A superuser who calls a function of somebody else runs that one's code. A security definer function is no protection by
itself: its owner may replace it at any moment, and what it leaves for the commit (deferred triggers, cursors) runs with
the caller's rights. So a superuser asks through a function of this session that belongs to their owner, and rolls the
transaction back.
"""

import codecs
from collections.abc import Mapping
from typing import Any, Final

import orjson
import psycopg
from psycopg import sql

from consumer.adapters.postgres.encodings import encoding_of
from consumer.adapters.postgres.operating.session import Connection
from consumer.domain.errors import Misconfigured

_SUPERUSER: Final = """
    select 1
    from pg_catalog.pg_roles r
    where r.rolsuper
      and (r.rolname operator(pg_catalog.=) current_user or r.rolname operator(pg_catalog.=) session_user)
"""
# Functions of this name, since one with other arguments may be chosen as well.
_OWNERS: Final = """
    select distinct r.rolname
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace
    join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) p.proowner
    where n.nspname operator(pg_catalog.=) 'router' and p.proname operator(pg_catalog.=) %s::pg_catalog.name
      and not r.rolsuper
"""
_STANDBY: Final = "select pg_catalog.pg_is_in_recovery()"  # where no function can be made
_ASK: Final = """
    create function pg_temp.webhook_router_asks(pg_catalog.text) returns setof pg_catalog.bytea
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as 'begin return query execute $1; end'
"""
# SQL_ASCII takes any text as it is: its bytes, in the encoding of the database, and no conversion that may fail.
_BYTES: Final = "select pg_catalog.convert_to(a.answer::pg_catalog.text, 'SQL_ASCII') from ({}) as a (answer)"
_GIVE: Final = "alter function pg_temp.webhook_router_asks(pg_catalog.text) owner to {}"

Answer = dict[str, Any]
"""A row, by column: what JSON makes of it."""


async def answers(
    connection: Connection, function: str, statement: str, parameters: Mapping[str, object] | None = None
) -> list[Answer]:
    """The rows of a statement that calls `function` of the schema "router", and changes nothing.

    The statement returns rows of one column of type json: Postgres has times that Python lacks, and its strings may
    hold bytes that are no text; those become replacement characters.

    Raises:
        Misconfigured: a superuser asks, and it is not clear with whose rights.
    """
    statement = _BYTES.format(statement)
    owner = await _other_owner(connection, function)
    if owner is None:
        cursor = await connection.execute(statement.encode(), parameters)
        found = await cursor.fetchall()
    else:
        if (await (await connection.execute(_STANDBY)).fetchone()) == (True,):
            raise _refusal("ask a standby", owner)
        asked = psycopg.AsyncClientCursor(connection).mogrify(statement.encode(), parameters)
        async with connection.transaction(force_rollback=True):
            await connection.execute("set transaction read write")
            await connection.execute("set local search_path = ''")
            await connection.execute(_ASK)
            await connection.execute(sql.SQL(_GIVE).format(sql.Identifier(owner)))
            cursor = await connection.execute("select * from pg_temp.webhook_router_asks(%s::pg_catalog.text)", [asked])
            found = await cursor.fetchall()
    codec = _codec(encoding_of(connection))
    return [orjson.loads(codec.decode(answer, "replace")[0]) for (answer,) in found]


async def refuse_superusers(connection: Connection, function: str) -> None:
    """Lets nobody go on who would lend a superuser's rights to the owner of a function that changes something.

    Raises:
        Misconfigured: that would be so.
    """
    owner = await _other_owner(connection, function)
    if owner is not None:
        raise _refusal("do this", owner)


def _refusal(what: str, owner: str) -> Misconfigured:
    return Misconfigured(
        f'a superuser must not {what}: code of "{owner}", who owns the tables, would run with all rights; '
        f'give the URL of the service\'s login, or of "{owner}"'
    )


async def _other_owner(connection: Connection, function: str) -> str | None:
    """Who owns the function and is no superuser, while whoever asks is one."""
    if await (await connection.execute(_SUPERUSER)).fetchone() is None:
        return None
    owners = [owner async for (owner,) in await connection.execute(_OWNERS, [function])]
    if len(owners) > 1:
        raise Misconfigured(
            f"functions called router.{function} belong to {' and '.join(sorted(owners))}, so a superuser must not "
            "call them; give the URL of the service's login, or of the tables' owner"
        )
    return owners[0] if owners else None


def _codec(server_encoding: str) -> codecs.CodecInfo:
    """How to read the bytes of a database of this encoding; those of SQL_ASCII are UTF-8, as a rule."""
    name = {"SQL_ASCII": "utf-8", "KOI8R": "koi8-r", "KOI8U": "koi8-u"}.get(server_encoding, server_encoding)
    if name.startswith("WIN"):
        name = f"cp{name[3:]}"
    try:
        return codecs.lookup(name)
    except LookupError:
        return codecs.lookup("utf-8")
