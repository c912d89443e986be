"""The LISTEN session: reports that events have arrived, and whether such reports get through at all."""

import asyncio
import secrets
from collections.abc import Callable

import psycopg
from psycopg import sql

from consumer.adapters.postgres.connection import connect, translated
from consumer.domain.backoff import Backoff
from consumer.domain.errors import Fatal, Transient
from consumer.domain.facts import (
    LISTENER,
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


class Listener:
    """Keeps a LISTEN session up, and calls `on_up` when notifications arrive, `on_down` when they no longer do."""

    def __init__(
        self,
        conninfo: str,
        *,
        ring: Callable[[], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._conninfo = conninfo
        self._ring = ring
        self._on_up = on_up
        self._on_down = on_down
        self._observer = observer
        self._clock = clock
        self._listening = False

    async def run(self, backoff: Backoff) -> None:
        """Listens until cancelled; comes back by itself after every loss."""
        failures = 0
        while True:
            self._listening = False
            try:
                delay = await self._session()
                failures = 0
            except (Transient, Fatal) as error:  # the hot path decides what is fatal; it can do without this
                failures = 1 if self._listening else failures + 1
                delay = backoff.delay(failures, jitter=self._clock.jitter())
                if self._listening:
                    self._observer(ListenerLost(reason=str(error)))
                else:
                    self._observer(LoopFailed(loop=LISTENER, reason=str(error), attempt=failures, delay=delay))
            finally:
                self._on_down()
            self._observer(Progress(loop=LISTENER, ok=False))
            await asyncio.sleep(delay)

    async def _session(self) -> float:
        """One session, until it is lost (Transient). Where listening does not work, returns the seconds to wait."""
        connection = await connect(self._conninfo)
        try:
            with translated():
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                if not await self._hears(connection):
                    self._observer(ListenerUnavailable())
                    return TRY_AGAIN_AFTER
                self._listening = True
                self._observer(ListenerUp())
                self._on_up()  # has the table looked at: what came before was not reported
                while True:
                    async for notification in connection.notifies(timeout=CHECK_EVERY):
                        if not notification.payload:
                            self._observer(Notified())
                            self._ring()
                    await self._check(connection)
                    self._observer(Progress(loop=LISTENER, ok=True))
        finally:
            await connection.close()

    async def _hears(self, connection: psycopg.AsyncConnection) -> bool:
        """Whether a notification from another session arrives.

        A transaction pooler accepts LISTEN and delivers nothing. A notification to oneself proves nothing there, since
        it comes back with the answer to the statement that sent it.
        """
        token = secrets.token_hex(8)
        sender = await connect(self._conninfo)
        try:
            await sender.execute("select pg_notify(%s, %s)", (CHANNEL, token))
        finally:
            await sender.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ECHO_WITHIN
        heard = False
        while not heard and (left := deadline - loop.time()) > 0:
            async for notification in connection.notifies(timeout=left, stop_after=1):
                heard = heard or notification.payload == token
        return heard

    async def _check(self, connection: psycopg.AsyncConnection) -> None:
        """Raises Transient when the session does not answer, or has forgotten what it listens to."""
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                row = await (await connection.execute("select count(*) from pg_listening_channels()")).fetchone()
        except TimeoutError:
            raise Transient(f"listener: no answer within {CHECK_WITHIN:g} s") from None
        if row is None or row[0] == 0:
            raise Transient("listener: the session no longer listens")
