"""The LISTEN session: reports that events have arrived, and whether such reports get through at all."""

import asyncio
import secrets
from collections.abc import Callable

import psycopg
from psycopg import sql

from consumer.adapters.postgres.connection import connect, translated
from consumer.adapters.postgres.pooling import is_pooled
from consumer.domain.backoff import Backoff
from consumer.domain.doorbell import RINGS
from consumer.domain.errors import ConsumerError, Transient
from consumer.domain.facts import (
    LISTENER,
    DoorbellChecked,
    ListenerLost,
    ListenerUnavailable,
    ListenerUp,
    LoopFailed,
    Notified,
    Progress,
)
from consumer.ports import Clock, Observer

CHANNEL = "webhook_router"
ECHO_WITHIN = 5.0
"""Seconds in which a notification from another connection must arrive, on a busy server too."""
CHECK_EVERY = 10.0
"""Seconds between tests of a silent session: a network that was cut reports nothing."""
CHECK_WITHIN = 5.0
TRY_AGAIN_AFTER = 60.0
"""Seconds between attempts where notifications do not get through; the pooler may be removed some day."""
# A server may end sessions that are idle for so long; older ones have no such limit.
IDLE_LIMIT = """
    select extract(epoch from pg_catalog.current_setting('idle_session_timeout', true)::interval)::double precision
"""
CHECK = """
    select exists (select from pg_catalog.pg_listening_channels()), pg_catalog.pg_is_in_recovery(),
           case when not pg_catalog.pg_is_in_recovery() then router.doorbell() end
"""


class Listener:
    """Keeps a LISTEN session up, and calls `on_up` when notifications arrive, `on_down` when they no longer do.

    That they arrive does not mean that inserts send them: `on_up` is told whether they do, and called again when that
    has changed.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        ring: Callable[[], None],
        on_up: Callable[[bool], None],
        on_down: Callable[[], None],
        observer: Observer,
        clock: Clock,
        apart: float = 0.0,
    ) -> None:
        """`apart`: seconds between two things that it asks of the server, at least; 0 for what is right by itself."""
        self._conninfo = conninfo
        self._ring = ring
        self._on_up = on_up
        self._on_down = on_down
        self._observer = observer
        self._clock = clock
        self._apart = apart
        self._listening = False
        self._state: str | None = None
        """The doorbell's, at the last check of any session."""

    async def run(self, backoff: Backoff) -> None:
        """Listens until cancelled; comes back by itself after every loss."""
        failures = 0
        while True:
            self._listening = False
            try:
                delay = await self._session()
                failures = 0
            except ConsumerError as error:  # the hot path decides what is fatal; it can do without this
                failures = 1 if self._listening else failures + 1
                delay = backoff.delay(failures, jitter=self._clock.jitter())
                if self._listening:
                    self._observer(ListenerLost(reason=str(error)))
                else:
                    self._observer(LoopFailed(loop=LISTENER, reason=str(error), attempt=failures, delay=delay))
            finally:
                self._on_down()
            self._observer(Progress(loop=LISTENER, ok=False))
            await asyncio.sleep(max(delay, self._apart))

    async def _session(self) -> float:
        """One session, until it is lost (Transient). Where listening does not work, returns the seconds to wait."""
        connection = await connect(self._conninfo)
        try:
            with translated():
                # Before anything is asked for: the next client of a pooled session would go on listening.
                if await is_pooled(connection, lambda: connect(self._conninfo)):
                    self._observer(ListenerUnavailable())
                    return TRY_AGAIN_AFTER
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                if not await self._hears(connection):
                    self._observer(ListenerUnavailable())
                    return TRY_AGAIN_AFTER
                every = await self._check_every(connection)
                state = await self._check(connection)
                self._listening = True
                self._observer(ListenerUp())
                self._tell(state)
                self._on_up(state == RINGS)  # has the table looked at: what came before was not reported
                while True:
                    async for notification in connection.notifies(timeout=every):
                        if not notification.payload:
                            self._observer(Notified())
                            self._ring()
                    before, state = state, await self._check(connection)
                    self._tell(state)
                    if (state == RINGS) != (before == RINGS):
                        self._on_up(state == RINGS)
                    self._observer(Progress(loop=LISTENER, ok=True))
        finally:
            await connection.close()

    def _tell(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._observer(DoorbellChecked(state=state))

    async def _check_every(self, connection: psycopg.AsyncConnection) -> float:
        """Seconds between tests: often enough that the server does not end the session for being idle."""
        row = await (await connection.execute(IDLE_LIMIT)).fetchone()
        idle = (row[0] if row else None) or float("inf")
        return min(max(CHECK_EVERY, self._apart), idle / 2)

    async def _hears(self, connection: psycopg.AsyncConnection) -> bool:
        """Whether a notification from another session arrives.

        A transaction pooler accepts LISTEN and delivers nothing. A notification to oneself proves nothing there, since
        it comes back with the answer to the statement that sent it.
        """
        token = secrets.token_hex(8)
        sender = await connect(self._conninfo)
        try:
            await sender.execute("select pg_catalog.pg_notify(%s, %s)", (CHANNEL, token))
        finally:
            await sender.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ECHO_WITHIN
        heard = False
        while not heard and (left := deadline - loop.time()) > 0:
            async for notification in connection.notifies(timeout=left, stop_after=1):
                heard = heard or notification.payload == token
        return heard

    async def _check(self, connection: psycopg.AsyncConnection) -> str:
        """The doorbell's state; Transient when the session does not answer, or nothing is to be heard on it."""
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                row = await (await connection.execute(CHECK)).fetchone()
        except TimeoutError:
            raise Transient(f"listener: no answer within {CHECK_WITHIN:g} s") from None
        listens, standby, state = row or (False, False, None)
        if standby:
            raise Transient("listener: the server has become a standby")
        if not listens:
            raise Transient("listener: the session no longer listens")
        return str(state)
