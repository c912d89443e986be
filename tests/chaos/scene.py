"""Where faults happen: a server of our own, a database with witnesses, replicas as processes, producers, the ledger."""

import contextlib
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.chaos.bodies import ENVIRONMENT
from tests.chaos.events import Event
from tests.chaos.kafka import Kafka
from tests.chaos.ledger import Ledger, Verdict, verdict
from tests.chaos.link import Link
from tests.chaos.relay import Relay
from tests.chaos.server import APPLICATION, SERVICE, Database, Server, prepare
from tests.kafka.broker import Cluster
from tests.pgbouncer import pooled
from tests.ports import free_port
from tests.processes import Router, clean_environment
from tests.waiting import PATIENCE, wait_for

FLAGS = (
    *("--reconcile-interval", "2", "--sample-interval", "1", "--call-timeout", "3", "--shutdown-grace", "5"),
    *("--stall-after", "60", "--summary-interval", "5"),
)
"""Of every replica: as in production, only with less patience, so that tests need not have more."""
POOL_SIZE = 10
"""Sessions of the pooler in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a replica is started."""

    name: str
    dsn: str
    flags: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Replica(Router):
    """A running `webhook-router run`, perhaps in a namespace or with another clock."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.process = subprocess.Popen(
            [*kind.prefix, sys.executable, "-m", "consumer", "run", "--http-port", "0", *FLAGS, *kind.flags],
            env={**clean_environment(), "WEBHOOK_ROUTER_DATABASE_URL": kind.dsn, "WEBHOOK_ROUTER_LOG_FORMAT": "json"}
            | dict(kind.env),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    def end(self) -> None:
        """kill -9, if it still runs."""
        if self.alive:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


class Scene:
    """Everything of one run. `close` ends what it has started, but not the server."""

    def __init__(self, server: Server, database: str, folder: Path, *, link: Link | None = None) -> None:
        self.server = server
        self.link = link
        self.relay: Relay | None = None
        """An address that moves along with the primary, where the server has a spare one."""
        self.ledger = Ledger(folder)
        self.folder = folder
        self.database = Database(server.anywhere(database))
        self.name = database
        self.replicas: list[Replica] = []
        self.chance = random.Random(0)
        self._kinds = 0
        self.kafka: Kafka | None = None
        self.pool: str | None = None
        """The DSN of a transaction pooler, once a replica is behind it."""
        self.gateways: list[int] = []
        """The ports where providers POST."""
        self._closing = contextlib.ExitStack()
        if server.spare is not None:
            self.relay = self.enter(Relay(server.port))

    def service_dsn(self) -> str:
        """The DSN of the service."""
        return self.server.anywhere(self.name, SERVICE)

    def application_dsn(self) -> str:
        """The DSN of edge functions."""
        return make_conninfo(self.server.anywhere(self.name, APPLICATION), target_session_attrs="primary")

    def moving_dsn(self) -> str:
        """The DSN of the service, at the address that moves along with the primary."""
        dsn = self.server.dsn(self.name, SERVICE)
        return dsn if self.relay is None else make_conninfo(dsn, port=self.relay.port)

    def kind(
        self,
        *flags: str,
        behind_pooler: bool = False,
        linked: bool = False,
        kafka: bool = False,
        moving: bool = False,
        gateway: bool = False,
    ) -> Kind:
        """A new kind of replica, with a name of its own in the server's list of sessions.

        Args:
            flags: more flags of `webhook-router run`.
            behind_pooler: whether PgBouncer in transaction mode is in between.
            linked: whether it lives behind the link.
            kafka: whether it reads the topic.
            moving: whether it knows one address, which moves along with the primary, and not those of both servers.
            gateway: whether providers POST to it, at a port of `gateways`.
        """
        self._kinds += 1
        name = f"webhook-router-{self._kinds}"  # anything else is taken for a stranger that silences the doorbell
        if behind_pooler and self.pool is None:
            self.pool = str(self.enter(pooled(self.moving_dsn(), size=POOL_SIZE)))
        dsn = str(self.pool) if behind_pooler else self.moving_dsn() if moving else self.service_dsn()
        dsn = make_conninfo(dsn, application_name=name)
        if kafka:
            assert self.kafka is not None
            return Kind(name=name, dsn=dsn, flags=flags, env=self.kafka.env)
        if gateway:
            self.gateways.append(free_port())  # a replica that is started again has the same address
            flags = (*flags, "--gateway", "--gateway-port", f"{self.gateways[-1]}")
        if not linked:
            return Kind(name=name, dsn=dsn, flags=flags, env=ENVIRONMENT if gateway else {})
        assert self.link is not None
        return Kind(
            name=name,
            dsn=make_conninfo(dsn, host=",".join([self.link.address] * (1 if self.server.spare is None else 2))),
            flags=("--http-host", self.link.inside, *flags),
            prefix=self.link.prefix,
        )

    def start(self, kind: Kind | None = None) -> Replica:
        """Starts a replica."""
        replica = Replica(kind or self.kind())
        self.replicas.append(replica)
        return replica

    def again(self, replica: Replica) -> Replica:
        """Restarts a replica that has ended, as a supervisor does."""
        replica.end()
        self.replicas.remove(replica)
        return self.start(replica.kind)

    def deliver(self, events: Sequence[Event], *, times: int = 1) -> None:
        """Inserts events as an edge function does, and returns when the last delivery is acknowledged."""
        for _ in range(times):
            self.ledger.enter(events)
            with psycopg.connect(self.application_dsn(), autocommit=True) as connection:
                insert(connection, events)
            self.ledger.acknowledge(events)

    def unrouted(self) -> int:
        """Number of events that wait, without parked ones."""
        return int(
            self.database.value(
                "select count(*) from public.webhook_events where routed_at is null and parked_until is null"
            )
        )

    def until_routed(self, timeout: float = PATIENCE) -> None:
        """Waits until none waits."""
        wait_for(lambda: self.unrouted() == 0, timeout=timeout, what=f"an empty backlog, {self.says()}")

    def until_taken(self, timeout: float = PATIENCE) -> None:
        """Waits until every delivery is processed, and no effect waits for a message that is there."""
        wait_for(
            lambda: (
                self.database.value(
                    """select (select count(*) from router.deliveries where processed_at is null)
                            + (select count(*) from router.waiting w join public.messages m
                               on m.channel = w.channel and m.provider_message_id = w.target)"""
                )
                == 0
            ),
            timeout=timeout,
            what=f"deliveries in effect, {self.says()}",
        )

    def says(self) -> list[list[dict[str, Any]]]:
        """The last lines of every replica."""
        return [replica.lines[-5:] for replica in self.replicas]

    def verdict(self, **seen: int) -> Verdict:
        """The ledger's verdict; AssertionError with examples when it finds anything wrong."""
        with self.database.connect() as connection:
            found, examples = verdict(self.ledger, connection, **seen)
        assert not found.violations, (found.violations, examples)
        return found

    def join(self, cluster: Cluster) -> Kafka:
        """Gives the scene a topic on a cluster; replicas of the kind `kafka` read it."""
        self.kafka = Kafka(cluster, self.ledger, topic=f"{self.name}-events", group=self.name)
        self.on_close(self.kafka.close)
        return self.kafka

    def on_close(self, end: Callable[[], object]) -> None:
        """Has this called at the end, in reverse order."""
        self._closing.callback(end)

    def enter(self, manager: contextlib.AbstractContextManager[Any]) -> Any:
        """Enters a context that ends with the scene."""
        return self._closing.enter_context(manager)

    def close(self) -> None:
        """Ends the replicas and everything else that was started."""
        for replica in self.replicas:
            replica.end()
        self._closing.close()
        self.ledger.close()


UPSERT = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id)
    select * from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                         %s::text[])
    on conflict (channel, event_id) do update
    set content = excluded.content, author_name = coalesce(excluded.author_name, webhook_events.author_name)
"""


def insert(connection: psycopg.Connection, events: Sequence[Event]) -> None:
    """Inserts into the table, as edge functions do: an upsert, each event once."""
    once = list({(event.channel, event.event_id): event for event in events}.values())
    connection.execute(
        UPSERT,
        (
            [e.channel for e in once],
            [e.type for e in once],
            [e.event_id for e in once],
            [e.author_id for e in once],
            [e.author_name for e in once],
            [e.content for e in once],
            [e.sent_at for e in once],
            [e.post_id for e in once],
        ),
    )


@contextlib.contextmanager
def scene_on(server: Server, name: str, *, link: Link | None = None, template: str | None = None) -> Iterator[Scene]:
    """A scene in a new database, which is dropped at the end."""
    if template is None:
        prepare(server, name)
    else:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
            )
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        scene = Scene(server, name, Path(folder), link=link)
        try:
            yield scene
        finally:
            scene.close()
            if not server.running:
                server.restart()
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
