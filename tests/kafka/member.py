"""One member of a group in the test's own process: the Kafka loop over a real source and a real database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from consumer.adapters.bodies import BodyReader
from consumer.adapters.clock import SystemClock
from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.adapters.kafka.source import KafkaSource
from consumer.adapters.postgres.delivery_store import PostgresDeliveryStore
from consumer.adapters.postgres.record_store import PostgresRecordStore
from consumer.domain.backoff import Backoff
from consumer.domain.facts import Fact
from consumer.domain.positions import Positions
from consumer.pipeline.bodies import Bodies
from consumer.pipeline.kafka_loop import KafkaLoop, KafkaLoopSettings
from consumer.pipeline.parts import Closing
from tests.kafka.scene import Scene

F = TypeVar("F")


class Member:
    """A loop that runs, and the facts that it reports."""

    def __init__(self, dsn: str, scene: Scene, *, lanes: int = 1, batch_size: int = 1000, **options: Any) -> None:
        self.facts: list[Fact] = []
        positions, clock = Positions(), SystemClock()
        stores = [PostgresRecordStore(dsn, group=scene.group, call_timeout=10) for _ in range(lanes)]
        inbox = PostgresDeliveryStore(dsn, call_timeout=10)
        chosen = {"session_timeout": 6.0, "sample_interval": 0.2, "commit_timeout": 2.0} | options
        source = KafkaSource(
            KafkaConnection(bootstrap_servers=scene.topics.bootstrap),
            KafkaOptions(topics=(scene.topic,), group_id=scene.group, dead_letter_topic=scene.dead, **chosen),
            positions=positions,
            noted=stores[0].noted,
            observer=self.facts.append,
            clock=clock,
        )
        self.parts: list[Closing] = [source, *stores, inbox]
        self.loop = KafkaLoop(
            source=source,
            stores=stores,
            positions=positions,
            bodies=Bodies(
                store=inbox, read=BodyReader(frozenset()).read, deferred=lambda: None, observer=self.facts.append
            ),
            observer=self.facts.append,
            clock=clock,
            settings=KafkaLoopSettings(batch_size=batch_size, poll_timeout=0.1),
        )

    def seen(self, kind: type[F]) -> list[F]:
        """Facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]


@contextlib.asynccontextmanager
async def member(dsn: str, scene: Scene, **options: Any) -> AsyncIterator[Member]:
    """A member at work; it is stopped in order in the end."""
    made, stop = Member(dsn, scene, **options), asyncio.Event()
    task = asyncio.create_task(made.loop.run(stop, Backoff(first=0.05, maximum=0.2)))
    try:
        yield made
    finally:
        stop.set()
        await task
        for part in made.parts:
            await part.close()


class Backups:
    """Takes copies of a database that is in use, and puts them in its place."""

    def __init__(self, admin: str, dsn: str) -> None:
        self._admin = admin
        self._name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])

    def take(self) -> None:
        """Whoever is connected has to connect again."""
        with self.closed() as connection:
            connection.execute(self._sql("drop database if exists {copy}"))
            connection.execute(self._sql("create database {copy} template {name}"))

    def restore(self) -> None:
        """As a failover to a standby that had not received everything."""
        with self.closed() as connection:
            connection.execute(self._sql("alter database {name} rename to {old}"))
            connection.execute(self._sql("create database {name} template {copy} allow_connections false"))
            connection.execute(self._sql("drop database {old}"))

    def drop(self) -> None:
        """Deletes the copy."""
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(self._sql("drop database if exists {copy}"))

    @contextlib.contextmanager
    def closed(self) -> Iterator[psycopg.Connection]:
        """Nobody can connect to the database; gives a session that can work on it from outside."""
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(self._sql("alter database {name} allow_connections false"))
            try:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (self._name,)
                )
                yield connection
            finally:
                connection.execute(self._sql("alter database {name} allow_connections true"))

    def _sql(self, statement: str) -> sql.Composed:
        names = {"name": self._name, "copy": f"{self._name}_copy", "old": f"{self._name}_old"}
        return sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()})
