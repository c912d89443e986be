"""What is checked during a run: states that must never be visible, not even for a moment."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping

import psycopg

from tests.chaos.ledger import Ledger, unfinished

EVERY = 0.5
REMEMBERED = 20_000
LOOKS = 300

NEWLY = """
    select w.id::text, w.conversation_id::text, w.routed_at from public.webhook_events w
    where w.routed_at > %s order by w.routed_at limit 200
"""
STILL = """
    select count(*) from unnest(%s::uuid[], %s::uuid[]) as k (id, conversation_id)
    left join public.webhook_events w on w.id = k.id
    where w.routed_at is null or w.conversation_id is distinct from k.conversation_id
"""
BEHIND = """
    select count(*) from public.conversations v
    where v.id = any (%s::uuid[])
      and v.last_message_at is distinct from
          (select max(m.sent_at) from public.messages m where m.conversation_id = v.id)
"""
# Stored is enough for an event that the schema alone keeps from being routed or parked: see faults.application.
AHEAD = """
    select k.channel, k.event_id from unnest(%s::text[], %s::text[]) as k (channel, event_id)
    left join public.webhook_events w on w.channel = k.channel and w.event_id = k.event_id
    where w.routed_at is null and w.parked_until is null
      and (w.id is null or not (w.event_id like '%%77' or w.content like 'refused by the application%%'))
"""
Offsets = Callable[[], Mapping[str, Mapping[int, int]]]
"""What the group has committed: by topic and partition. Raises OSError when nobody knows."""


class Watcher(threading.Thread):
    """Samples the database and the group's offsets from outside, twice a second, and remembers what it saw."""

    def __init__(self, dsn: str, ledger: Ledger, *, offsets: Offsets | None = None) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._ledger = ledger
        self._offsets = offsets
        self._ended = threading.Event()
        self._chance = random.Random(0)
        self._routed: list[tuple[str, str]] = []
        self._until = "-infinity"
        self.samples = 0
        self.unrouted_again = 0
        self.behind = 0
        self.offsets_ahead = 0
        self.examples: list[object] = []

    def run(self) -> None:
        """Until told to stop."""
        connection: psycopg.Connection | None = None
        while not self._ended.wait(EVERY):
            try:
                if connection is None:
                    connection = psycopg.connect(self._dsn, autocommit=True, application_name="watcher")
                self._sample(connection)
                self.samples += 1
            except (psycopg.Error, OSError):
                if connection is not None:
                    with contextlib.suppress(psycopg.Error):
                        connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def stop(self) -> dict[str, int]:
        """Ends it, and returns what it saw, as `verdict` takes it."""
        self._ended.set()
        self.join()
        return {"unrouted_again": self.unrouted_again, "behind": self.behind, "offsets_ahead": self.offsets_ahead}

    def _sample(self, connection: psycopg.Connection) -> None:
        new = connection.execute(NEWLY, (self._until,)).fetchall()
        if new:
            # A transaction that took long commits behind this; others of its events stand for those missed.
            self._until = new[-1][2]
        self._routed += [(event, conversation) for event, conversation, _ in new]
        if len(self._routed) > REMEMBERED:
            self._routed = self._chance.sample(self._routed, REMEMBERED // 2)
        seen = self._chance.sample(self._routed, min(LOOKS, len(self._routed)))
        events, conversations = [event for event, _ in seen], [conversation for _, conversation in seen]
        self.unrouted_again += self._count(connection, STILL, events, conversations)
        self.behind += self._count(connection, BEHIND, conversations)
        if self._offsets is not None:
            for topic, committed in self._offsets().items():  # first the offsets: what they stand for is older
                below = self._ledger.below(topic, committed)
                ahead = connection.execute(AHEAD, ([key[0] for key in below], [key[1] for key in below])).fetchall()
                self.offsets_ahead += len(ahead)
                self.examples += ahead[:5]

    @staticmethod
    def _count(connection: psycopg.Connection, query: str, *arrays: list[str]) -> int:
        row = connection.execute(query.encode(), arrays).fetchone()
        assert row is not None
        return int(row[0])


def until_caught_up(
    dsn: str, *, latest: Callable[[], list[tuple[str, str]]] = list, timeout: float = 120
) -> tuple[float, bool]:
    """How long it takes to process everything that has arrived by now; and whether it was within the timeout.

    Args:
        dsn: of the database.
        latest: the newest records of each partition of a topic, which stand for those before them.
        timeout: seconds to wait at most.
    """
    begun = time.monotonic()
    deadline = begun + timeout
    moment = None
    keys = latest()
    while time.monotonic() < deadline:
        try:
            with psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="watcher") as connection:
                while time.monotonic() < deadline:
                    if moment is None:
                        moment = connection.execute("select clock_timestamp()").fetchone()
                    left = connection.execute(
                        """select exists (select from public.webhook_events w where w.routed_at is null
                           and w.parked_until is null
                           and (w.created_at <= %s or w.created_at > clock_timestamp() + interval '1 minute'))""",
                        moment,
                    ).fetchone()
                    keys = unfinished(connection, keys) if keys else []
                    if left == (False,) and not keys:
                        return time.monotonic() - begun, True
                    time.sleep(0.02)
        except psycopg.Error:
            time.sleep(0.1)
    return time.monotonic() - begun, False
