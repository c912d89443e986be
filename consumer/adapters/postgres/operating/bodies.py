"""Loading bodies of webhooks in bulk: the rows are those that the gateway makes of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from consumer.adapters import bodies
from consumer.adapters.bodies import BodyReader
from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.connection import translated
from consumer.adapters.postgres.encodings import encoding_of, fitting
from consumer.adapters.postgres.operating.ingest import Loader, Stored
from consumer.domain.errors import Fatal, Rejected, TooSlow
from consumer.domain.providers.lines import Call, Delivery

# Columns of the batch by their bare names, as in record_store.
_TAKE: Final = """
    select inserted, parked, held, held_reason, effects, refused
    from router.take_deliveries(
             %(deliveries)s::pg_catalog.jsonb, %(bodies)s::pg_catalog.bytea[], %(lines)s::pg_catalog.text,
             %(effects)s::pg_catalog.text, %(store_only)s::pg_catalog.bool, 'call'
         ) as r (batch, effects, refused, codes, reasons)
    cross join lateral (select (r.batch).*) b
"""
_SWEEP: Final = """
    select place::pg_catalog.text, applied from router.sweep_waiting(1000, %s::pg_catalog.jsonb, 'call')
"""
_REFUSED: Final = """
    select reason, remedy from router.refused_channels() where provider operator(pg_catalog.=) %s::pg_catalog.text
"""
_NOW: Final = "select pg_catalog.clock_timestamp()"
_MOST: Final = 200
_MOST_BYTES: Final = 256 * 1024
_TICK: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class Taken:
    """What came of deliveries so far."""

    messages: int = 0
    """Made."""
    effects: Counter[str] = field(default_factory=Counter)
    """Changes of messages, by what became of them: applied, waiting, known."""
    swept: int = 0
    """Changes that had waited, applied at the end."""
    unknown: int = 0
    """Bodies that hold something that is not understood."""
    failed: int = 0
    """Bodies of which something was refused, or that were only stored; the service tries them again."""
    parked: int = 0
    """Messages that were refused by the application, and are tried again."""
    held_reason: str | None = None
    """Why messages could not be routed for a fault of the schema."""

    def add(self, other: "Taken") -> None:
        """What came of further deliveries."""
        self.messages += other.messages
        self.effects.update(other.effects)
        self.swept += other.swept
        self.unknown += other.unknown
        self.failed += other.failed
        self.parked += other.parked
        self.held_reason = other.held_reason or self.held_reason


def _as_it_is(call: Call) -> Call:
    return call


def take(
    connection: Connection,
    deliveries: Sequence[Delivery],
    taken: Taken,
    *,
    store_only: bool = False,
    change: Callable[[Call], Call] = _as_it_is,
) -> int:
    """One call; adds what came of it, and returns the number of messages made.

    `change` is made to the arguments first.
    """
    call = change(bodies.call(deliveries))
    encoding = encoding_of(connection)
    parameters = {
        "deliveries": fitting(call.deliveries, encoding),
        "bodies": call.bodies,
        "lines": fitting(call.lines, encoding) or None,
        "effects": fitting(call.effects, encoding) or None,
        "store_only": store_only,
    }
    row = connection.execute(_TAKE, parameters).fetchone()
    assert row is not None
    inserted, parked, held, held_reason, effects, refused = row
    taken.messages += inserted
    taken.parked += parked
    taken.held_reason = held_reason if held else taken.held_reason
    for outcomes in (effects or {}).values():
        taken.effects.update(outcomes)
    failed = sorted(
        {*(place - 1 for place in refused), *(place for place, delivery in enumerate(deliveries) if delivery.error)}
    )
    taken.failed += len(deliveries) if store_only else len(failed)
    taken.unknown += sum(
        any(atom.kind == "unknown" for atom in delivery.atoms.recorded) for delivery in deliveries if delivery.atoms
    )
    made: int = inserted
    return made


class BodyLoader(Loader):
    """Takes each line as the body of a webhook. Taking one twice changes nothing, but stores its bytes twice."""

    def __init__(
        self, conninfo: str, *, provider: str, account: str | None, own_app_ids: frozenset[str] = frozenset()
    ) -> None:
        """`account`: the bot that bodies of Telegram are for."""
        super().__init__(conninfo)
        self._provider = provider
        self._account = account
        self._reader = BodyReader(own_app_ids)
        self._last: datetime | None = None
        self.taken = Taken()

    def open(self) -> None:
        """Connects.

        Raises:
            Misconfigured, Transient: no connection can be made.
            Fatal: the tables refuse the channel of the provider.
        """
        super().open()
        assert self._connection is not None
        with translated():
            refused = self._connection.execute(_REFUSED, [self._provider]).fetchall()
        if refused:
            raise Fatal("; ".join(f"{reason}: {remedy}" for reason, remedy in refused))

    def store(self, lines: Sequence[bytes]) -> Stored:
        """Takes bodies, in small transactions: the service may work beside this, and one body may hold much."""
        stored = Stored()
        start = size = 0
        for end, line in enumerate(lines):
            if end > start and (end - start >= _MOST or size + len(line) > _MOST_BYTES):
                stored = stored.followed_by(self._take(lines[start:end]), offset=start)
                start, size = end, 0
            size += len(line)
        return stored.followed_by(self._take(lines[start:]), offset=start) if lines else stored

    def _take(self, lines: Sequence[bytes]) -> Stored:
        try:
            return super().store(lines)
        except (Rejected, TooSlow) as error:
            if self.given_up:
                raise
            if len(lines) == 1:
                return self._keep(lines[0], str(error))
        half = len(lines) // 2
        return self._take(lines[:half]).followed_by(self._take(lines[half:]), offset=half)

    def _keep(self, line: bytes, error: str) -> Stored:
        """Only stores a body: the service, which is patient, tries to take it apart."""
        if self._connection is None or self._connection.closed:
            return Stored(refused=((0, error),))
        delivery = Delivery(provider=self._provider, body=line, atoms=None, account=self._account, error=error)
        try:
            with translated():
                take(self._connection, [delivery], self.taken, store_only=True)
        except Rejected:
            return Stored(refused=((0, error),))
        return Stored()

    def _once(self, connection: Connection, lines: Sequence[bytes]) -> Stored:
        return Stored(new=take(connection, self._read(connection, lines), self.taken))

    def _read(self, connection: Connection, lines: Sequence[bytes]) -> list[Delivery]:
        """The lines taken apart. Each arrives a moment after the one before it: what has no time of its own, and
        what is of one time, is in the order of the file."""
        row = connection.execute(_NOW).fetchone()
        assert row is not None
        now: datetime = row[0]
        if self._last is not None and now <= self._last:
            now = self._last + _TICK
        self._last = now + len(lines) * _TICK
        return [
            replace(
                self._reader.read(self._provider, self._account, line), received_at=(now + number * _TICK).isoformat()
            )
            for number, line in enumerate(lines)
        ]

    def sweep(self) -> None:
        """Applies what waits and has what it changes now: a message that another program has stored meanwhile.

        Raises:
            Transient, Fatal: the database does not do it; nothing is lost, the service does it as well.
        """
        if self._connection is not None:
            with translated():
                sweep(self._connection, self.taken)


def sweep(connection: Connection, taken: Taken) -> None:
    """One round over all that waits, in steps of a transaction each."""
    place: str | None = None
    while True:
        row = connection.execute(_SWEEP, [place]).fetchone()
        assert row is not None
        place, applied = row
        taken.swept += applied
        if place is None:
            return
