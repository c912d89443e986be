"""Reading stored deliveries once more: what was missed takes effect, what an earlier version got wrong is corrected."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import orjson

from consumer.adapters import bodies
from consumer.adapters.bodies import BodyReader
from consumer.adapters.postgres.blocking import Connection, connect
from consumer.adapters.postgres.connection import translated
from consumer.adapters.postgres.encodings import encoding_of, fitting
from consumer.adapters.postgres.operating.bodies import Taken, sweep, take
from consumer.domain.backoff import Backoff
from consumer.domain.errors import Rejected, TooSlow, Transient
from consumer.domain.providers.atoms import VERSION
from consumer.domain.providers.lines import Call, Delivery

_PAGE: Final = """
    select id, account, received_at, body, is_compressed, version
    from router.deliveries_since(
             p_provider => %(provider)s::pg_catalog.text, p_since => %(since)s::pg_catalog.timestamptz,
             p_before => %(before)s::pg_catalog.timestamptz, p_after => %(after)s::pg_catalog.timestamptz,
             p_after_id => %(after_id)s::pg_catalog.int8, p_limit => 100, p_bytes => 1048576)
"""
_CORRECT: Final = "select lines, corrected from router.correct_events(%s::pg_catalog.text)"
_NOW: Final = "select pg_catalog.clock_timestamp()"
_PATIENCE_SECONDS: Final = 60.0

Result = TypeVar("Result")
Stored = tuple[int, str | None, datetime, bytes, bool, int | None]
"""Id, account, arrival, body as it is stored, whether it is compressed, and which version has read it."""


@dataclass(slots=True)
class Replayed:
    """How far a replay is, and what came of it."""

    deliveries: int = 0
    corrected: int = 0
    """Messages with fields that an earlier version wrote, and that are as this one has them now."""
    taken: Taken = field(default_factory=Taken)


class Replay:
    """Replays what came from a provider in a span of time, in the order of arrival, in small transactions."""

    def __init__(
        self,
        conninfo: str,
        *,
        provider: str,
        own_app_ids: frozenset[str] = frozenset(),
        dry: bool = False,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        """`dry`: everything is rolled back; what would be changed twice then counts twice."""
        self._conninfo = conninfo
        self._provider = provider
        self._reader = BodyReader(own_app_ids)
        self._dry = dry
        self._patience = patience
        self._backoff = Backoff(maximum=2.0)
        self._connection: Connection | None = None
        self.done = Replayed()

    def run(self, *, since: datetime, progress: Callable[[], None] = lambda: None) -> Replayed:
        """Replays all that came since then and before now; calls `progress` after each transaction.

        Raises:
            Transient: the database was away for longer than the patience lasts; what `done` counts is in effect.
            Misconfigured, Fatal: it cannot be done.
        """
        try:
            before = self._persistently(self._now)
            after: tuple[datetime, int] | None = None
            while page := self._persistently(partial(self._page, since, before, after)):
                self._take([(self._read(stored), stored[-1] != VERSION) for stored in page])
                after = page[-1][2], page[-1][0]
                progress()
            if not self._dry:
                self._persistently(lambda: sweep(self._open(), self.done.taken))
        finally:
            if self._connection is not None:
                self._connection.close()
        return self.done

    def _now(self) -> datetime:
        row = self._open().execute(_NOW).fetchone()
        assert row is not None
        now: datetime = row[0]
        return now

    def _page(self, since: datetime, before: datetime, after: tuple[datetime, int] | None) -> list[Stored]:
        parameters = {
            "provider": self._provider,
            "since": since,
            "before": before,
            "after": after and after[0],
            "after_id": after and after[1],
        }
        return self._open().execute(_PAGE, parameters, binary=True).fetchall()

    def _read(self, stored: Stored) -> Delivery:
        number, account, received_at, body, packed, _ = stored
        try:
            whole = bodies.unpacked(body, is_compressed=packed)
        except ValueError as error:
            return Delivery(
                provider=self._provider, account=account, id=number, body=None, atoms=None, error=str(error)
            )
        read = self._reader.read(self._provider, account, whole)
        return replace(read, id=number, received_at=received_at.isoformat(), body=None)

    def _take(self, deliveries: Sequence[tuple[Delivery, bool]]) -> None:
        """Takes deliveries, each with whether an earlier version has read it."""
        try:
            corrected, taken = self._persistently(lambda: self._once(deliveries))
        except (Rejected, TooSlow):
            if len(deliveries) == 1:
                self.done.deliveries += 1
                self.done.taken.failed += 1
                return
        else:
            self.done.deliveries += len(deliveries)
            self.done.corrected += corrected
            self.done.taken.add(taken)
            return
        middle = len(deliveries) // 2
        self._take(deliveries[:middle])
        self._take(deliveries[middle:])

    def _once(self, deliveries: Sequence[tuple[Delivery, bool]]) -> tuple[int, Taken]:
        connection = self._open()
        taken = Taken()
        corrected = 0

        def corrects(call: Call) -> Call:
            nonlocal corrected
            if not call.lines:
                return call
            lines = [orjson.loads(line) for line in call.lines.split("\n")]
            asked = [orjson.dumps(line | {"correct": deliveries[line["delivery"]][1]}).decode() for line in lines]
            row = connection.execute(_CORRECT, [fitting("\n".join(asked), encoding_of(connection))]).fetchone()
            assert row is not None
            told, corrected = row
            return replace(call, lines=told)

        with connection.transaction(force_rollback=self._dry):
            take(connection, [delivery for delivery, _ in deliveries], taken, change=corrects)
        return corrected, taken

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._conninfo, name="replay")
        return self._connection

    def _persistently(self, work: Callable[[], Result]) -> Result:
        deadline = time.monotonic() + self._patience
        attempt = 0
        while True:
            try:
                with translated():
                    return work()
            except TooSlow:
                raise
            except Transient:
                attempt += 1
                delay = self._backoff.delay(attempt, jitter=1.0)
                if time.monotonic() + delay > deadline:
                    raise
                time.sleep(delay)
