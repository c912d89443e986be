"""Loading events in bulk: one statement a batch, the next batch read while one is being stored.

The lines travel as they are, as one text: the database takes them apart, so that numbers keep all their digits, and
stores them by the same function that `ingest_webhook_event` uses. That is as fast as COPY into the table, which knows
nothing of redeliveries, and needs neither a temporary table nor a right on any table.
"""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import psycopg

from consumer.adapters.ndjson import ARCHIVED, Line, LineReader, RejectedLines, Rejection
from consumer.adapters.postgres.blocking import Connection, connect
from consumer.adapters.postgres.connection import translated
from consumer.adapters.postgres.encodings import encoding_of, fitting
from consumer.domain.backoff import Backoff
from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, TooSlow, Transient

_INGEST: Final = "select inserted, refused, codes, reasons from router.ingest_lines(%s)"
_RESTORE: Final = "select inserted, refused, codes, reasons from router.restore_lines(%s)"
_BATCH_BYTES: Final = 4 * 1024 * 1024
_PATIENCE_SECONDS: Final = 60.0
_CANCEL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of a batch: how many of its lines were new, and why some were refused, by their index."""

    new: int = 0
    refused: tuple[tuple[int, str], ...] = ()

    def followed_by(self, other: "Stored", *, offset: int) -> "Stored":
        """Both together; `offset`: where the other one's lines begin."""
        moved = tuple((index + offset, reason) for index, reason in other.refused)
        return Stored(new=self.new + other.new, refused=self.refused + moved)


class Loader(ABC):
    """Stores lines over one connection of its own, made anew when it is lost. Storing a line twice is harmless."""

    def __init__(self, conninfo: str, *, patience: float = _PATIENCE_SECONDS, backoff: Backoff | None = None) -> None:
        """`patience`: seconds to go on trying while the database is away."""
        self._conninfo = conninfo
        self._patience = patience
        self._backoff = backoff or Backoff(maximum=2.0)
        self._connection: Connection | None = None
        self._given_up = threading.Event()

    def open(self) -> None:
        """Connects, so that a wrong address shows before anything is read.

        Raises:
            Misconfigured, Transient: no connection can be made.
        """
        self._connection = connect(self._conninfo, name="ingest")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def give_up(self) -> None:
        """Ends the call of `store` in another thread, as soon as possible."""
        self._given_up.set()
        connection = self._connection
        if connection is not None and not connection.closed:
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_SECONDS)

    @property
    def given_up(self) -> bool:
        """Whether `give_up` was called."""
        return self._given_up.is_set()

    def store(self, lines: Sequence[bytes]) -> Stored:
        """Stores lines, each batch in one transaction, or in several if it is too slow.

        Raises:
            Transient: the database was away for longer than `patience`.
            Fatal: the schema or a right is missing.
        """
        if not lines:
            return Stored()
        try:
            return self._persistently(lines)
        except TooSlow:
            if len(lines) == 1 or self._given_up.is_set():
                raise
        half = len(lines) // 2
        return self.store(lines[:half]).followed_by(self.store(lines[half:]), offset=half)

    def _persistently(self, lines: Sequence[bytes]) -> Stored:
        deadline = time.monotonic() + self._patience
        attempt = 0
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = self._reconnected()
                with translated():
                    return self._once(self._connection, lines)
            except TooSlow:
                raise
            except Transient:
                attempt += 1
                delay = self._backoff.delay(attempt, jitter=1.0)
                if time.monotonic() + delay > deadline or self._given_up.wait(delay):
                    raise

    @abstractmethod
    def _once(self, connection: Connection, lines: Sequence[bytes]) -> Stored:
        """Stores lines; the driver's errors are translated outside."""

    def _reconnected(self) -> Connection:
        try:
            return connect(self._conninfo, name="ingest")
        except Misconfigured as error:  # it worked a moment ago; a starting server gives strange reasons
            raise Transient(str(error)) from error


class EventLoader(Loader):
    """Stores lines that were found to be events, or lines of an archive."""

    def _once(self, connection: Connection, lines: Sequence[bytes]) -> Stored:
        places = [place for place, line in enumerate(lines) if line.startswith(ARCHIVED)]
        if not places:
            return _stored(connection, _INGEST, lines)
        others = [place for place, line in enumerate(lines) if not line.startswith(ARCHIVED)]
        try:
            restored = _stored(connection, _RESTORE, [lines[place] for place in places])
        except psycopg.errors.InsufficientPrivilege as error:
            raise Fatal(
                "events of an archive are read back by the owner of the tables, since they set any column: "
                f"give the owner's URL as WEBHOOK_ROUTER_DATABASE_URL ({error.diag.message_primary})"
            ) from error
        refused = [(places[index], reason) for index, reason in restored.refused]
        new = restored.new
        if others:
            stored = _stored(connection, _INGEST, [lines[place] for place in others])
            refused += [(others[index], reason) for index, reason in stored.refused]
            new += stored.new
        return Stored(new=new, refused=tuple(sorted(refused)))


def _stored(connection: Connection, statement: str, lines: Sequence[bytes]) -> Stored:
    text = fitting(b"\n".join(lines).decode(), encoding_of(connection))
    row = connection.execute(statement.encode(), [text]).fetchone()
    assert row is not None
    new, places, codes, reasons = row
    refused = tuple(
        (place - 1, f"the database says: {reason} [{code}]")
        for place, code, reason in zip(places, codes, reasons, strict=True)
    )
    return Stored(new=new, refused=refused)


@dataclass(slots=True)
class Figures:
    """How far an ingestion is: every line that was read is one of inserted, duplicates and rejected, once stored."""

    lines: int = 0
    """Read and dealt with, without blank ones."""
    inserted: int = 0
    duplicates: int = 0
    """Events that were there already, before or in an earlier line; what they add is kept."""
    rejected: int = 0
    last_line: int = 0
    """Number of the line up to which all are dealt with."""


@dataclass(slots=True)
class _Batch:
    good: list[Line] = field(default_factory=list)
    bad: list[Rejection] = field(default_factory=list)
    size: int = 0

    def full(self, most: int) -> bool:
        return len(self.good) + len(self.bad) >= most or self.size >= _BATCH_BYTES


class Ingestion:
    """Reads lines, checks them and stores them. `figures` says how far it is, also after an error."""

    def __init__(
        self,
        *,
        reader: LineReader,
        refusal: Callable[[bytes], str | None],
        loader: Loader,
        rejected: RejectedLines,
        batch_size: int,
    ) -> None:
        """`refusal` says why a line is not an event; None if it is one."""
        self._reader = reader
        self._refusal = refusal
        self._loader = loader
        self._rejected = rejected
        self._batch_size = batch_size
        self._under_way: tuple[_Batch, Future[Stored]] | None = None
        self.figures = Figures()

    def run(self, progress: Callable[[], None] = lambda: None) -> Figures:
        """Runs to the end of the source; calls `progress` after each block.

        Raises:
            Fatal, Transient: the rest could not be stored; what `figures` counts is.
        """
        with ThreadPoolExecutor(max_workers=1) as pool:
            batch = _Batch()
            try:
                for block in self._reader.blocks():
                    for line in block:
                        self._add(batch, line)
                        if batch.full(self._batch_size):
                            self._submit(pool, batch)
                            batch = _Batch()
                    if not block:  # nothing to read for the moment: what was read is stored at once
                        self._submit(pool, batch)
                        batch = _Batch()
                        self._settle()
                    progress()
                self._submit(pool, batch)
                self._settle()
            except BaseException:
                self._loader.give_up()
                with contextlib.suppress(ConsumerError):
                    self._settle()
                raise
            finally:
                progress()
        return self.figures

    def _add(self, batch: _Batch, line: Line) -> None:
        if line.cut:
            reason: str | None = f"longer than {self._reader.longest // 1024**2} MiB"
        else:
            reason = self._refusal(line.text)
            batch.size += len(line.text)
        if reason is None:
            batch.good.append(line)
        else:
            batch.bad.append(Rejection(line, reason))

    def _submit(self, pool: ThreadPoolExecutor, batch: _Batch) -> None:
        self._settle()
        if batch.good or batch.bad:
            lines = [line.text for line in batch.good]
            self._under_way = batch, pool.submit(self._loader.store, lines)

    def _settle(self) -> None:
        """Waits for the batch under way and counts it."""
        if self._under_way is None:
            return
        batch, future = self._under_way
        stored = future.result()
        self._under_way = None  # not before: a batch whose wait was interrupted is still to be counted
        refused = [Rejection(batch.good[index], reason) for index, reason in stored.refused]
        rejections = sorted(batch.bad + refused, key=lambda rejection: rejection.line.number)
        self._rejected.write(rejections)
        figures = self.figures
        figures.lines += len(batch.good) + len(batch.bad)
        figures.inserted += stored.new
        figures.duplicates += len(batch.good) - stored.new - len(refused)
        figures.rejected += len(rejections)
        numbers = (batch.good[-1:] or [Line(0, b"")]) + [rejection.line for rejection in batch.bad[-1:]]
        figures.last_line = max(line.number for line in numbers)
