"""Connections to Postgres, and its errors translated into ours."""

import asyncio
import contextlib
import re
import selectors
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consumer.adapters.postgres.database_url import with_defaults
from consumer.adapters.postgres.holders import holder_of
from consumer.adapters.postgres.refusals import SAID_BY_A_SERVER, sqlstate_of_refusal, will_go_on
from consumer.adapters.postgres.words import words_of
from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, Rejected, TooSlow, Transient

ANSWER_WITHIN = 5.0
"""Seconds in which a server that can be reached cancels a call."""

# libpq gives no SQLSTATE when a connection is refused. That of a pooler may mean anything, but its language is English;
# servers of another language are asked again, see `refusals`.
HOPELESS = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|database \".*\" does not exist"
    r"|role \".*\" does not exist|is not permitted to log in"
)
# Its SQLSTATE is also that of the statement timeout. In another language the time that has passed tells, see `Session`.
CANCELLED_BY_SOMEBODY = re.compile("user request")
CANCELLED_BY_TIMEOUT = re.compile("statement timeout")
# Routing looks again for rows that others have made while it waited for them; an older snapshot does not show them.
# Not a setting of the session: behind a transaction pooler it would stay for the next client.
BEGIN = "begin isolation level read committed"
ISOLATION = "select pg_catalog.current_setting('default_transaction_isolation')"
STATEMENT_TIMEOUT = """
    select extract(epoch from pg_catalog.current_setting('statement_timeout')::interval)::double precision
"""
WRONG_ISOLATION = {"25000", "40001"}
READ_ONLY = "25006"
OUT_OF_TIME = "25P04"  # transaction_timeout, of Postgres 17 and newer
BY_STATE: dict[str, tuple[type[ConsumerError], str]] = {
    READ_ONLY: (Transient, "; the server is a standby, or read-only by a setting"),
    OUT_OF_TIME: (TooSlow, ""),
}
UNCONFIRMED = (
    "database: a commit is done on this server, but no synchronous standby confirms it; "
    "is synchronous_standby_names right, and does the standby run?"
)
LOOK_AFTER = 0.8
"""Part of a call's time after which a look is taken at what it waits for, before its cancellation ends the wait."""
LOOK: Final = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""What costs least for a single look."""
MESSAGES = 8
"""Pieces of what a server has sent to an idle session, of which the last is its end."""
SCHEMA_IS_MISSING = (
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
    errors.UndefinedTable,
    errors.UndefinedColumn,
)


async def connect(conninfo: str) -> psycopg.AsyncConnection:
    """A connection in autocommit, without prepared statements: behind a transaction pooler others would get them.

    Of several hosts it is the one that can write, unless the URL or PGTARGETSESSIONATTRS says otherwise.

    Raises:
        Fatal: the server refuses, and will go on refusing.
        Transient: a later attempt may succeed.
    """
    complete = with_defaults(conninfo)
    if "target_session_attrs" not in conninfo_to_dict(complete) and not _libpq_is_told_which():
        complete = make_conninfo(complete, target_session_attrs="primary")
    try:
        return await psycopg.AsyncConnection.connect(complete, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise await asyncio.to_thread(refusal, error, complete) from error


def _libpq_is_told_which() -> bool:
    """Whether PGTARGETSESSIONATTRS is set."""
    wanted = {option.val for option in pq.Conninfo.get_defaults() if option.keyword == b"target_session_attrs"}
    return not wanted <= {None, b"any"}


def refusal(error: psycopg.Error, conninfo: str) -> ConsumerError:
    """Which of our errors a failed attempt to connect is; blocks while the server is asked once more."""
    found = translation(error)
    if isinstance(found, Fatal) or error.sqlstate or not SAID_BY_A_SERVER.search(str(error)):
        return found
    state = sqlstate_of_refusal(conninfo)
    if state is not None and will_go_on(state):
        return Misconfigured(f"{found} [{state}]; check the database URL")
    return found


@contextmanager
def translated() -> Iterator[None]:
    """Turns psycopg's errors into ours, around any call of the driver."""
    try:
        yield
    except psycopg.Error as error:
        raise translation(error) from error
    except UnicodeError as error:  # a lone surrogate, which no server ever sees
        raise Rejected("database: a text is not Unicode") from error


def translation(error: psycopg.Error) -> ConsumerError:
    """Which of our errors a driver's error is, in one line, with the database's words but never its data."""
    state = error.sqlstate or ""
    said, hint = words_of(error)
    kind, advice = _kind(error, state, said)
    return kind(f"database: {said}{f' ({hint})' if hint else ''}{f' [{state}]' if state else ''}{advice}")


def _kind(error: psycopg.Error, state: str, said: str) -> tuple[type[ConsumerError], str]:
    lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    if state in BY_STATE:
        return BY_STATE[state]
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
    # The rest are errors that pass, lost connections, and the unexpected: trying again is never wrong.
    return Rejected if isinstance(error, psycopg.DataError) else Transient, ""


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
        self._names_isolation = False
        """Whether each call says at which isolation level it runs, which costs two more statements."""
        self._unconfirmed = False

    @asynccontextmanager
    async def call(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """The connection for one call, which is cancelled after `call_timeout` seconds.

        The limit is kept by this process: a setting of the session would leak to other clients behind a pooler, and
        does not help when the network is gone. But the server has the last word: a call that it committed before the
        cancellation arrived has succeeded, however busy this process was meanwhile.

        Raises:
            TooSlow: the time was up, and the server has rolled the call back.
            Transient: the time was up, and the server does not answer; or the call is committed, but a synchronous
                standby does not confirm it; otherwise see `translation`.
            Fatal, Rejected: see `translation`.
        """
        connection = await self._connected()
        pid = connection.info.backend_pid
        limit = _Limit(self.call_timeout, connection, look=lambda: self._holder(pid))
        started = asyncio.get_running_loop().time()
        try:
            async with self._transaction(connection):
                yield connection
        except ConsumerError as error:
            limit.lift()
            await self._drop_unless_usable(error)
            blamed = await self._blamed(error, limit, asyncio.get_running_loop().time() - started)
            if blamed is not error:
                raise blamed from error
            raise
        finally:
            await limit.end()

    async def _blamed(self, error: ConsumerError, limit: "_Limit", seconds: float) -> ConsumerError:
        """What a call has failed with, after so many seconds, in the light of its time limit."""
        answered = await limit.answered()
        if answered is False:
            return Transient(f"database: no answer within {self.call_timeout:g} s, nor when cancelled")
        if answered and isinstance(error.__cause__, errors.QueryCanceled):
            said = f"database: not done within {self.call_timeout:g} s, the call was cancelled"
            return TooSlow(said, holder=limit.holder)
        if isinstance(error, TooSlow) and not await self._out_of_time(error, seconds):
            return Transient(str(error))
        if self.keeps_statements:
            await self.close()  # a migration may have changed what a kept statement returns; a new session knows
        return error

    async def _holder(self, pid: int) -> str:
        """Who holds the lock that our process of the server waits for; empty if nobody does, or it cannot be told."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                second = await self._connect(self._conninfo)
                try:
                    return await holder_of(second, pid)
                finally:
                    await second.close()
        except (OSError, psycopg.Error, ConsumerError):  # TimeoutError is an OSError
            return ""

    @asynccontextmanager
    async def _transaction(self, connection: psycopg.AsyncConnection) -> AsyncIterator[None]:
        """What a call does becomes one transaction at the isolation level that routing needs."""
        self._unconfirmed = False
        with translated():
            if self._names_isolation:
                await connection.execute(BEGIN, prepare=False)
            yield
            if self._names_isolation:
                await connection.execute("commit", prepare=False)
        if self._unconfirmed:
            raise Transient(UNCONFIRMED)

    async def _connected(self) -> psycopg.AsyncConnection:
        """The connection. The time that it takes to make one does not count: no event is to blame for it."""
        if self._connection is not None and (self._connection.closed or _ended_by_the_server(self._connection)):
            await self.close()
        if self._connection is None:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    self._connection = await self._opened()
            except TimeoutError:
                raise Transient(f"database: no connection within {self._connect_timeout:g} s") from None
        self._connection.prepare_threshold = 0 if self.keeps_statements else None
        return self._connection

    async def _opened(self) -> psycopg.AsyncConnection:
        """A new connection, and what has to be known about it."""
        connection = await self._connect(self._conninfo)
        try:
            with translated():
                row = await (await connection.execute(ISOLATION)).fetchone()
        except BaseException:
            await connection.close()
            raise
        self._names_isolation = row != ("read committed",)
        connection.add_notice_handler(self._noticed)
        return connection

    def _noticed(self, notice: errors.Diagnostic) -> None:
        """A wait for a synchronous standby that is cancelled ends in success, with a warning in some language."""
        self._unconfirmed |= notice.source_function == "SyncRepWaitForLSN"

    async def _out_of_time(self, error: TooSlow, seconds: float) -> bool:
        """Whether a limit of the server ended a call after so many seconds; somebody's cancellation looks alike."""
        cancelled = isinstance(error.__cause__, errors.QueryCanceled)
        if not cancelled or CANCELLED_BY_TIMEOUT.search(str(error)) or self._connection is None:
            return True
        with translated():
            row = await (await self._connection.execute(STATEMENT_TIMEOUT)).fetchone()
        return row is not None and 0 < row[0] <= seconds * 1.05  # the two clocks are not the same

    async def _drop_unless_usable(self, error: ConsumerError) -> None:
        """Keeps the connection only where it is certain to be."""
        state = getattr(error.__cause__, "sqlstate", None)
        self._names_isolation |= state in WRONG_ISOLATION
        connection = self._connection
        idle = connection is not None and connection.info.transaction_status == pq.TransactionStatus.IDLE
        if not idle or state == READ_ONLY:  # its address may lead to another server by now
            await self.close()

    async def close(self) -> None:
        """Ends the connection; a later call makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _ended_by_the_server(connection: psycopg.AsyncConnection) -> bool:
    """Whether an idle connection is closed at its other end: the server's limit for idle sessions, a restart."""
    try:
        with LOOK() as look:
            look.register(connection.fileno(), selectors.EVENT_READ)
            for _ in range(MESSAGES):
                if not look.select(0):
                    return False
                connection.pgconn.consume_input()
                connection.pgconn.is_busy()  # takes messages out of the buffer
    except psycopg.OperationalError:
        return True
    return connection.pgconn.status == pq.ConnStatus.BAD


class _Limit:
    """The time limit of a call. Shortly before its end a look is taken at what the call waits for."""

    def __init__(
        self, seconds: float, connection: psycopg.AsyncConnection, *, look: Callable[[], Coroutine[Any, Any, str]]
    ) -> None:
        self._answered = asyncio.Event()
        self._cancelling: asyncio.Task[bool] | None = None
        self._looking: asyncio.Task[str] | None = None

        def begin_look() -> None:
            self._looking = asyncio.create_task(look())

        def cancel() -> None:
            self._cancelling = asyncio.create_task(_cancelled(connection, self._answered))

        loop = asyncio.get_running_loop()
        self._timers = (loop.call_later(seconds * LOOK_AFTER, begin_look), loop.call_later(seconds, cancel))

    def lift(self) -> None:
        """The call is over: nothing is begun any more."""
        for timer in self._timers:
            timer.cancel()

    async def answered(self) -> bool | None:
        """Whether the server has answered the call that was cancelled; None if it was not cancelled."""
        self._answered.set()
        return await self._cancelling if self._cancelling is not None else None

    @property
    def holder(self) -> str:
        """What the look has found."""
        looking = self._looking
        return looking.result() if looking is not None and looking.done() and not looking.cancelled() else ""

    async def end(self) -> None:
        """Waits for the cancellation, if there is one, so that it cannot hit the next call."""
        self.lift()
        if self._looking is not None:
            self._looking.cancel()
        await self.answered()


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
