"""Producers: they deliver events in every possible way, up to five times each, out of order, until acknowledged."""

import contextlib
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import psycopg
from psycopg.conninfo import make_conninfo

from tests.chaos.events import Event, made
from tests.chaos.ledger import Ledger
from tests.chaos.scene import insert
from tests.waiting import PATIENCE

DELIVERIES = 5
"""Of one event at most."""
AGAIN = 0.1
"""Share of events that are delivered more than once."""
PAUSE = 0.2
"""Seconds between attempts of a delivery that failed."""


class Topic(Protocol):
    """Where records can be sent."""

    def send(self, events: Sequence[Event]) -> None:
        """Returns when all are acknowledged; raises OSError when one is not."""
        ...


LEFT = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.QueryCanceled,
)
"""The application itself has broken its schema, or has waited too long: it has delivered, and leaves the rest to the
service."""
Way = Callable[[psycopg.Connection, Sequence[Event]], None]


def by_function(connection: psycopg.Connection, events: Sequence[Event]) -> None:
    """Each through `ingest_webhook_event`."""
    for e in events:
        connection.execute(
            "select public.ingest_webhook_event(%s, %s, %s, %s, %s, %s, %s, %s, null, '{}')",
            (e.channel, e.type, e.event_id, e.author_id, e.author_name, e.content, e.sent_at, e.post_id),
        )


def by_application(connection: psycopg.Connection, events: Sequence[Event]) -> None:
    """Inserted, and routed by the application itself at the same time as by the service."""
    insert(connection, events)
    for e in events:
        if not e.faulty:
            with contextlib.suppress(*LEFT):
                connection.execute("select public.route_webhook_event(%s, %s)", (e.channel, e.event_id))


def by_cron(connection: psycopg.Connection, events: Sequence[Event]) -> None:
    """Inserted; then everything that waits is routed, as a cron job does."""
    insert(connection, events)
    with contextlib.suppress(*LEFT):
        connection.execute("select public.route_unrouted_events(null, 50)")


WAYS: tuple[tuple[Way, float, int], ...] = (
    (insert, 0.85, 100),
    (by_function, 0.09, 10),
    (by_application, 0.04, 5),
    (by_cron, 0.02, 20),
)
"""Ways into the database, how often each is taken, and the events it takes at once at most."""


class Plan:
    """What one producer does, from a seed alone: batches of events, each with its way."""

    def __init__(
        self, seed: int | str, *, name: str, topic: float = 0.0, faulty: float = 0.0005, raw: bool = False
    ) -> None:
        """`topic` is the share of batches that go to a topic, some of them to the table as well; see `made`."""
        self._chance = random.Random(f"{seed} {name} plan")
        self._events = made(seed, prefix=name, faulty=faulty, authors=200 if raw else 2000, raw=raw)
        self._topic = topic

    def batches(self) -> Iterator[tuple[Way | None, bool, list[Event]]]:
        """Way into the database or None, whether also to the topic, and the events, redeliveries among them."""
        chance = self._chance
        later: list[tuple[int, Event]] = []
        number = 0
        while True:
            number += 1
            way, size = self._way()
            events = [next(self._events) for _ in range(chance.randint(1, size))]
            for event in events:
                if chance.random() < AGAIN:
                    later += [(number + chance.randrange(40), event) for _ in range(chance.randrange(1, DELIVERIES))]
            due = [event for at, event in later if at <= number]
            later = [(at, event) for at, event in later if at > number]
            events += due
            chance.shuffle(events)
            to_topic = chance.random() < self._topic
            yield (None if to_topic and chance.random() < 0.8 else way), to_topic, events

    def _way(self) -> tuple[Way, int]:
        (chosen,) = self._chance.choices(WAYS, [share for _, share, _ in WAYS])
        return chosen[0], chosen[2]


class Producer(threading.Thread):
    """Delivers what a plan says, at a rate; a delivery is repeated until it is acknowledged."""

    def __init__(self, plan: Plan, ledger: Ledger, dsn: str, *, rate: float, topic: Topic | None = None) -> None:
        super().__init__(daemon=True)
        self._plan = plan
        self._ledger = ledger
        self._dsn = make_conninfo(dsn, connect_timeout=5, tcp_user_timeout=5000, application_name="application")
        self._rate = rate
        self._topic = topic
        self._ended = threading.Event()
        self._give_up = math.inf
        self._connection: psycopg.Connection | None = None
        self.delivered = 0
        """Deliveries that were acknowledged."""
        self.refused = 0
        """Attempts that were not."""
        self.last_error = ""

    def run(self) -> None:
        """Until told to stop."""
        begun = time.monotonic()
        for way, to_topic, events in self._plan.batches():
            if self._ended.is_set():
                break
            self._ledger.enter(events)
            if not self._deliver(way, self._topic if to_topic else None, events):
                break
            self._ledger.acknowledge(events)
            self.delivered += len(events)
            # After an outage it catches up at twice the rate and no faster: providers pace their retries too.
            behind = begun + self.delivered / self._rate - time.monotonic()
            self._ended.wait(max(behind, 0.5 * len(events) / self._rate))
        self._drop()

    def stop(self) -> None:
        """Ends it when the current delivery is acknowledged; eventually gives up on one that never is."""
        self._give_up = time.monotonic() + PATIENCE
        self._ended.set()

    def _deliver(self, way: Way | None, topic: Topic | None, events: Sequence[Event]) -> bool:
        """Whether all requested ways have acknowledged them."""
        assert way is not None or topic is not None
        return (way is None or self._until_done(lambda: self._to_database(way, events))) and (
            topic is None or self._until_done(lambda: topic.send(events))
        )

    def _until_done(self, deliver: Callable[[], None]) -> bool:
        """Whether it was acknowledged."""
        while True:
            try:
                deliver()
            except (psycopg.Error, OSError) as error:
                self.refused += 1
                self.last_error = str(error)
                self._drop()
                if time.monotonic() > self._give_up:
                    return False
                time.sleep(PAUSE)
            else:
                return True

    def _to_database(self, way: Way, events: Sequence[Event]) -> None:
        if self._connection is None:
            self._connection = psycopg.connect(self._dsn, autocommit=True)
        way(self._connection, events)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
