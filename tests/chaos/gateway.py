"""Providers that POST over real HTTP, each body until it gets 200: some cut off half way, some slow, some forged."""

import contextlib
import http.client
import itertools
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg.conninfo import make_conninfo

from tests.chaos.bodies import Item, Post, follows, is_postable, posts_of, signature
from tests.chaos.events import Event
from tests.chaos.ledger import Ledger
from tests.chaos.traffic import by_function

CONNECTIONS = 12
ANSWER = 10.0
"""Seconds that an answer may take; no provider waits much longer."""
CUT, SLOW, FORGED, AGAIN = 0.005, 0.005, 0.002, 0.01
"""Shares of bodies that are cut off half way first, that come slowly, before which somebody else's comes, and that are
sent again although they got 200."""
PIECES = 8
"""Of a slow body, with a pause of `PAUSE` seconds before each."""
PAUSE = 0.05


class Gateway:
    """A `Topic`: what is sent here goes to the gateways of two replicas, and to the ledger.

    What no provider could tell of goes into the database by a function. It is used by one producer.
    """

    def __init__(self, ports: Sequence[int], ledger: Ledger, dsn: str, *, seed: int | str) -> None:
        """`dsn` is that of edge functions."""
        self._ports = ports
        self._ledger = ledger
        self._dsn = make_conninfo(dsn, connect_timeout=5, tcp_user_timeout=5000, application_name="application")
        self._chance = random.Random(f"{seed} gateway")
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._mine = threading.local()
        self._turns = itertools.count()
        self._connections: set[http.client.HTTPConnection] = set()
        self._events: Sequence[Event] = ()
        self._left: list[Post] = []
        self._others: list[Event] = []

    def close(self) -> None:
        """Ends the threads and their connections."""
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def send(self, events: Sequence[Event]) -> None:
        """Returns when all have got 200; raises OSError when one has not: the next call goes on with what is left."""
        if events is not self._events:
            self._prepare(events)
        if self._others:
            self._by_function(self._others)
            self._others = []
        posts, self._left = self._left, []
        self._enter(posts)
        trouble = threading.Event()
        errors = list(self._pool.map(lambda post: self._try(post, trouble), posts))
        taken = [post for post, error in zip(posts, errors, strict=True) if error is None]
        self._left = [post for post, error in zip(posts, errors, strict=True) if error is not None]
        self._ledger.answer_posts([post.digest for post in taken])
        self._ledger.acknowledge([event for post in taken for event in post.events])
        self._ledger.acknowledge_effects([effect for post in taken for effect in post.effects])
        if self._left:
            self._left += [post for post in taken if self._chance.random() < AGAIN]
            raise OSError(f"{len(self._left)} of {len(posts)} deliveries: {next(filter(None, errors))}")

    def _prepare(self, events: Sequence[Event]) -> None:
        self._events = events
        self._others = [event for event in events if not is_postable(event)]
        items: list[Item] = []
        for event in events:
            if is_postable(event):
                items += [event, *follows(event)]
        self._left = posts_of(items, self._chance)
        self._left += [post for post in self._left if self._chance.random() < AGAIN]
        # The producer has entered its own events already.
        self._ledger.enter([e for post in self._left for e in post.events if e.direction == "outbound"])

    def _enter(self, posts: Sequence[Post]) -> None:
        self._ledger.enter_effects([effect for post in posts for effect in post.effects])
        self._ledger.enter_posts([post.digest for post in posts])

    def _by_function(self, events: Sequence[Event]) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            by_function(connection, events)
        self._ledger.acknowledge(events)

    def _try(self, post: Post, trouble: threading.Event) -> str | None:
        """Why it did not get 200. After a failure nothing more is tried: the producer rests first."""
        if trouble.is_set():
            return "not tried"
        chance = random.Random(post.body)
        try:
            if chance.random() < FORGED:
                self._forge(post)
            if chance.random() < CUT:
                self._cut_off(post)
            status = self._post(post, slowly=chance.random() < SLOW)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            trouble.set()
            return repr(error)
        if status != 200:
            self._drop()  # the other replica may take it
            trouble.set()
            return f"status {status}"
        return None

    def _connection(self) -> http.client.HTTPConnection:
        """Of this thread, kept; to the other replica when the one before has failed."""
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is None:
            turn = getattr(self._mine, "turn", None)
            if turn is None:
                turn = next(self._turns)
            self._mine.turn = turn + 1
            found = http.client.HTTPConnection("127.0.0.1", self._ports[turn % len(self._ports)], timeout=ANSWER)
            self._mine.connection = found
            self._connections.add(found)
        return found

    def _drop(self) -> None:
        found = getattr(self._mine, "connection", None)
        if found is not None:
            self._mine.connection = None
            self._connections.discard(found)
            with contextlib.suppress(OSError):
                found.close()

    def _begin(self, post: Post) -> http.client.HTTPConnection:
        """Sends the head of a request."""
        connection = self._connection()
        connection.putrequest("POST", _path(post))
        for name, value in (_headers(post) | {"Content-Length": str(len(post.body))}).items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection

    def _post(self, post: Post, *, slowly: bool) -> int:
        if not slowly:
            connection = self._connection()
            connection.request("POST", _path(post), post.body, _headers(post))
            return self._status(connection)
        connection = self._begin(post)
        size = -(-len(post.body) // PIECES)
        for start in range(0, len(post.body), size):
            time.sleep(PAUSE)
            connection.send(post.body[start : start + size])
        return self._status(connection)

    def _status(self, connection: http.client.HTTPConnection) -> int:
        answer = connection.getresponse()
        answer.read()
        if answer.will_close:
            self._drop()
        return answer.status

    def _cut_off(self, post: Post) -> None:
        """The connection ends in the middle of the body."""
        self._begin(post).send(post.body[: len(post.body) // 2])
        self._drop()

    def _forge(self, post: Post) -> None:
        """Somebody else changes the body, and cannot sign it: the ledger knows no such body."""
        connection = self._connection()
        connection.request("POST", _path(post), post.body + b" ", _headers(post))
        self._status(connection)


def _path(post: Post) -> str:
    return f"/webhooks/{post.provider}"


def _headers(post: Post) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Hub-Signature-256": signature(post.provider, post.body)}
