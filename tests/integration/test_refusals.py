"""Servers that refuse a connection: the SQLSTATE tells whether trying again helps, in whatever language they are."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.connection import Session
from consumer.domain.errors import Misconfigured, Transient
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.conftest import StartPostgres
from tests.processes import command

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


@contextlib.asynccontextmanager
async def refusing(severity: str, code: str, message: str) -> AsyncIterator[str]:
    """The URL of a server that refuses everybody like this."""
    fields = {"S": severity, "V": "FATAL", "C": code, "M": message}
    body = b"".join(name.encode() + text.encode() + b"\0" for name, text in fields.items()) + b"\0"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length, request = struct.unpack("!II", await reader.readexactly(8))
                if request not in {SSL_REQUEST, GSS_REQUEST}:
                    break
                writer.write(b"N")
            await reader.readexactly(length - 8)
            writer.write(b"E" + struct.pack("!I", len(body) + 4) + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://ana@127.0.0.1:{server.sockets[0].getsockname()[1]}/app"


@pytest.mark.parametrize(
    ("severity", "code", "message", "kind"),
    [
        ("FATAL", "28P01", "Passwort-Authentifizierung für Benutzer »ana« fehlgeschlagen", Misconfigured),
        ("FATAL", "28000", "pg_hba.conf rejects connection for host", Misconfigured),
        ("ВАЖНО", "3D000", 'база данных "app" не существует', Misconfigured),
        ("FATALE", "42501", "permesso negato per il database", Misconfigured),
        ("FATAL", "53300", "Verbindungen sind erschöpft", Transient),
        ("FATAL", "57P03", "das Datenbanksystem startet", Transient),
    ],
)
async def test_what_helps_is_told_by_the_sqlstate(
    severity: str, code: str, message: str, kind: type[Exception]
) -> None:
    """A wrong password ends the service in any language; a server that starts is waited for."""
    async with refusing(severity, code, message) as url:
        session = Session(url, call_timeout=60)
        with pytest.raises(kind) as caught:
            async with session.call():
                pass
        assert type(caught.value) is kind
        assert message in str(caught.value)


def test_a_login_that_pg_hba_rejects(private_postgres: StartPostgres) -> None:
    """`run` ends with exit code 2 and the server's words, without a traceback."""
    server = private_postgres()
    with psycopg.connect(server.dsn(), autocommit=True) as owner:
        owner.execute(sql.SQL("create role ana login password {}").format(server.password))
        hba = owner.execute("show hba_file").fetchone()
        assert hba is not None
        rules = (server.folder / "data" / "pg_hba.conf").read_text()
        (server.folder / "data" / "pg_hba.conf").write_text(f"host all ana all reject\n{rules}")
        owner.execute("select pg_reload_conf()")
    assert_misconfigured(server, "ana", "pg_hba.conf rejects connection")


def test_a_role_that_may_not_connect(postgres_server: EmbeddedPostgres, empty_database: str) -> None:
    """The database exists, the password is right, and the right to connect is missing."""
    with psycopg.connect(empty_database, autocommit=True) as owner:
        name = f"guest_{owner.info.dbname}"
        owner.execute(sql.SQL("revoke connect on database {} from public").format(sql.Identifier(owner.info.dbname)))
        owner.execute(
            sql.SQL("create role {} login password {}").format(sql.Identifier(name), postgres_server.password)
        )
        try:
            assert_misconfigured(postgres_server, name, "permission denied for database", owner.info.dbname)
        finally:
            owner.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def assert_misconfigured(server: EmbeddedPostgres, user: str, words: str, dbname: str = "postgres") -> None:
    """Every way to connect says the same."""
    for arguments in (["run", "--http-port", "0"], ["status"], ["migrate"]):
        done = command(*arguments, dsn=server.dsn(dbname, user))
        assert done.returncode == 2, done
        assert words in done.stderr
        assert "Traceback" not in done.stderr
