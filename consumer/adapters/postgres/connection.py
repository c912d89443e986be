"""Connections to Postgres, and its errors translated into ours."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, Rejected, TooSlow, Transient

DEFAULTS = {
    "application_name": "webhook-router",
    "connect_timeout": "10",
    # A network that drops packets reports nothing: without these a session waits for hours.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
ALWAYS = {"client_encoding": "utf8"}
"""Whatever the database, the role and the environment say; the server then converts to its own encoding and back."""

NAMED_BY = ("host", "hostaddr", "dbname", "service")
"""Parameters of which one must say which database is meant."""
ANSWER_WITHIN = 5.0
"""Seconds in which a server that can be reached cancels a call."""

# libpq gives no SQLSTATE when the server refuses a connection, so its message has to do.
HOPELESS = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|database \".*\" does not exist"
    r"|role \".*\" does not exist|is not permitted to log in"
)
# libpq's errors about a connection string quote it, password included.
QUOTED = re.compile(r'".*"', re.DOTALL)
# Its lines are sentences, not all of them with an end.
LINE_END = re.compile(r"(?<=[^.:?])\n")
# Its SQLSTATE is also that of the statement timeout. From a server of another language it counts as that one.
CANCELLED_BY_SOMEBODY = re.compile("user request")
# Routing looks again for rows that others have made while it waited for them; an older snapshot does not show them.
READ_COMMITTED = """
    select set_config('default_transaction_isolation', 'read committed', false)
    where current_setting('default_transaction_isolation') <> 'read committed'
"""
SCHEMA_IS_MISSING = (
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
    errors.UndefinedTable,
    errors.UndefinedColumn,
)


def with_defaults(conninfo: str) -> str:
    """The connection string, completed with our settings.

    Raises:
        Misconfigured: it is not a connection string, or it leaves to libpq's defaults which database is meant.
    """
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        said = QUOTED.sub('"…"', str(error).strip())
        raise Misconfigured(
            f"the database URL is not a libpq URL or DSN ({said}); "
            "it looks like postgresql://user:password@host:5432/database"
        ) from None
    if not (any(given.get(name) for name in NAMED_BY) or _libpq_is_told_where()):
        raise Misconfigured(
            "the database URL names neither a host nor a database; "
            "it looks like postgresql://user:password@host:5432/database"
        )
    return make_conninfo("", **{**DEFAULTS, **given, **ALWAYS})


def place_of(conninfo: str) -> tuple[str, str]:
    """Host (with port; several with commas in between; or a socket's folder) and name of the database, for the log.

    What the string leaves open comes from where libpq takes it: PGHOST and the like, or its own defaults.
    """
    given = conninfo_to_dict(with_defaults(conninfo))
    if "service" in given and "host" not in given:
        return f"service {given['service']}", str(given.get("dbname", ""))
    defaults = {option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val}
    given = {**defaults, **given}
    hosts = str(given.get("host") or given.get("hostaddr") or "local").split(",")
    ports = str(given.get("port", "")).split(",")
    # A password with an @ that is not escaped ends up as the beginning of a host.
    hosts = [host.rpartition("@")[2] for host in hosts]
    places = [
        f"{host}:{port}".rstrip(":") for host, port in zip(hosts, ports * (len(hosts) // len(ports)), strict=False)
    ]
    return ",".join(places), str(given.get("dbname") or given.get("user") or "")


def _libpq_is_told_where() -> bool:
    """Whether PGHOST, PGDATABASE or PGSERVICE is set; the default without them is whatever runs on this machine."""
    return any(option.val for option in pq.Conninfo.get_defaults() if option.keyword.decode() in NAMED_BY)


async def connect(conninfo: str) -> psycopg.AsyncConnection:
    """A connection in autocommit, without prepared statements: behind a transaction pooler others would get them.

    Raises:
        Fatal: the server refuses, and will go on refusing.
        Transient: a later attempt may succeed.
    """
    with translated():
        connection = await psycopg.AsyncConnection.connect(
            with_defaults(conninfo), autocommit=True, prepare_threshold=None
        )
        try:
            await connection.execute(READ_COMMITTED)
        except BaseException:
            await connection.close()
            raise
        return connection


@contextmanager
def translated() -> Iterator[None]:
    """Turns psycopg's errors into ours, around any call of the driver."""
    try:
        yield
    except psycopg.Error as error:
        raise translation(error) from error


def translation(error: psycopg.Error) -> ConsumerError:
    """Which of our errors a driver's error is, with the database's words but never its data.

    The detail and context fields are left out: they quote rows.
    """
    state = error.sqlstate or ""
    said = error.diag.message_primary or LINE_END.sub(". ", str(error).strip())
    said = " ".join(said.split())
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    if _raised_by_the_application(error.diag):
        said, hint = "a trigger or function of the application raised an error", " (its words are in the server's log)"
    kind, advice = _kind(error, state, said)
    return kind(f"database: {said}{hint}{f' [{state}]' if state else ''}{advice}")


def _raised_by_the_application(about: errors.Diagnostic) -> bool:
    """Whether PL/pgSQL code that is not ours raised this: such code quotes the row that it refuses.

    The context begins with the innermost function; source_function is the server's own C function, in no language.
    """
    ours = (about.context or "").startswith("PL/pgSQL function router.")
    return about.source_function == "exec_stmt_raise" and not ours


def _kind(error: psycopg.Error, state: str, said: str) -> tuple[type[ConsumerError], str]:
    lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    if isinstance(error, errors.QueryCanceled):
        return (Transient if CANCELLED_BY_SOMEBODY.search(said) else TooSlow), ""
    if isinstance(error, SCHEMA_IS_MISSING):
        return Fatal, "; the schema is missing or older than this program: run `webhook-router migrate`"
    if isinstance(error, errors.InsufficientPrivilege):
        return Fatal, (
            "; the role of the database URL lacks rights: with the URL of the tables' owner, run "
            "`webhook-router migrate --print-roles | webhook-router sql -`"
        )
    if lost and not state and HOPELESS.search(said):
        return Misconfigured, "; check the database URL"
    if isinstance(error, psycopg.DataError):
        return Rejected, ""
    # The rest are errors that pass, lost connections, and the unexpected: trying again is never wrong.
    return Transient, ""


Connect = Callable[[str], Awaitable[psycopg.AsyncConnection]]


class Session:
    """One connection, made when it is needed and again after it was lost. Calls must not overlap."""

    def __init__(
        self, conninfo: str, *, call_timeout: float, connect_timeout: float = 30.0, connect: Connect = connect
    ) -> None:
        """Times in seconds; `connect_timeout` is for all addresses together, the connection string's for each."""
        self._conninfo = conninfo
        self.call_timeout = call_timeout
        self._connect_timeout = connect_timeout
        self._connect = connect
        self._connection: psycopg.AsyncConnection | None = None
        self.keeps_statements = False
        """Whether statements stay prepared, which saves a small call half its time on the server. Only where this
        connection is a session of the server: behind a transaction pooler they would turn up in another client's."""

    @asynccontextmanager
    async def call(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """The connection for one call, which is cancelled after `call_timeout` seconds.

        The limit is kept by this process: a setting of the session would leak to other clients behind a pooler, and
        does not help when the network is gone. But the server has the last word: a call that it committed before the
        cancellation arrived has succeeded, however busy this process was meanwhile.

        Raises:
            TooSlow: the time was up, and the server has rolled the call back.
            Transient: the time was up, and the server does not answer; otherwise see `translation`.
            Fatal, Rejected: see `translation`.
        """
        connection = await self._connected()
        answered = asyncio.Event()
        cancelling: asyncio.Task[bool] | None = None

        def cancel() -> None:
            nonlocal cancelling
            cancelling = asyncio.create_task(_cancelled(connection, answered))

        timer = asyncio.get_running_loop().call_later(self.call_timeout, cancel)
        try:
            with translated():
                yield connection
        except (Transient, Fatal, Rejected) as error:
            await self._drop_unless_idle()
            answered.set()
            if cancelling is not None and not await cancelling:
                raise Transient(f"database: no answer within {self.call_timeout:g} s, nor when cancelled") from error
            if cancelling is not None and isinstance(error.__cause__, errors.QueryCanceled):
                raise TooSlow(f"database: not done within {self.call_timeout:g} s, the call was cancelled") from error
            if self.keeps_statements:
                await self.close()  # a migration may have changed what a kept statement returns; a new session knows
            raise
        finally:
            timer.cancel()
            answered.set()
            if cancelling is not None:
                await cancelling  # so that it cannot hit the next call

    async def _connected(self) -> psycopg.AsyncConnection:
        """The connection. The time that it takes to make one does not count: no event is to blame for it."""
        if self._connection is None or self._connection.closed:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    self._connection = await self._connect(self._conninfo)
            except TimeoutError:
                raise Transient(f"database: no connection within {self._connect_timeout:g} s") from None
        self._connection.prepare_threshold = 0 if self.keeps_statements else None
        return self._connection

    async def _drop_unless_idle(self) -> None:
        """Keeps the connection only where it is certain to be usable."""
        connection = self._connection
        if connection is not None and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            await self.close()

    async def close(self) -> None:
        """Ends the connection; a later call makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _cancelled(connection: psycopg.AsyncConnection, answered: asyncio.Event) -> bool:
    """Asks the server to cancel the connection's call; returns whether the call was answered.

    If it was not, the connection is cut off, so that the caller gets an error at once.
    """
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            with contextlib.suppress(psycopg.Error):
                await connection.cancel_safe(timeout=ANSWER_WITHIN)
            await answered.wait()
    except TimeoutError:
        if not answered.is_set():
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as wire,
            ):
                wire.shutdown(socket.SHUT_RDWR)
            return False
    return True
