"""Kafka in a scene: a topic, its producer, its group, and what faults do to them."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from consumer.adapters.kafka.client import make_consumer
from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.domain.webhook import key_of
from tests.chaos.events import Event
from tests.chaos.ledger import Ledger
from tests.kafka.broker import Broker, Cluster
from tests.kafka.topics import Topics
from tests.waiting import PATIENCE, wait_for

PARTITIONS = 6
ANSWER = 30.0
"""Seconds for anything that brokers are asked."""
SETTINGS = {"auto.create.topics.enable": "false", "group.max.session.timeout.ms": "60000"}
T = TypeVar("T")


class Kafka:
    """A topic with its group. Methods may be called from any thread; they raise OSError when brokers do not answer."""

    def __init__(self, cluster: Cluster, ledger: Ledger, *, topic: str, group: str) -> None:
        self.cluster = cluster
        self.topic = topic
        self.group = group
        self._ledger = ledger
        self._copies = 3 if len(cluster.brokers) >= 3 else 1
        self._topics = Topics(cluster.bootstrap)
        self._producer: AIOKafkaProducer | None = None
        self._quiet = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.create()

    def close(self) -> None:
        """Ends the producer and the thread."""
        self._drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def env(self) -> dict[str, str]:
        """The settings of a replica that reads it."""
        return {
            "WEBHOOK_ROUTER_SOURCE": "kafka",
            "WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap,
            "WEBHOOK_ROUTER_KAFKA_TOPICS": self.topic,
            "WEBHOOK_ROUTER_KAFKA_GROUP_ID": self.group,
            "WEBHOOK_ROUTER_KAFKA_DEAD_LETTER_TOPIC": f"{self.topic}.dead",
            "WEBHOOK_ROUTER_KAFKA_POLL_TIMEOUT": "0.2",
            "WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT": "3",
        }

    # --- The topic ---

    def create(self) -> None:
        """Makes the topic."""
        self._ask(self._topics.create(self.topic, partitions=PARTITIONS, copies=self._copies))

    def delete(self) -> None:
        """Deletes it, and returns when it is gone."""
        self._ask(self._topics.delete(self.topic))
        wait_for(lambda: self.topic not in self._ask(self._topics.names()), timeout=ANSWER, what="a deleted topic")

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Meanwhile no producer sends, and everything sent before has been processed."""
        with self._quiet:
            self.until_done()
            self._drop()
            yield

    def send(self, events: Sequence[Event], *, held: bool = False) -> None:
        """Returns when all are acknowledged and in the ledger; `held`: the caller has made it `quiet`."""
        with contextlib.nullcontext() if held else self._quiet:
            self._ask(self._send(events))

    async def _send(self, events: Sequence[Event]) -> None:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.cluster.bootstrap, enable_idempotence=True, acks="all", linger_ms=2,
                request_timeout_ms=5_000, metadata_max_age_ms=2_000,
            )  # fmt: skip
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        values = [record_of(event) for event in events]
        sent = [
            await self._producer.send(self.topic, orjson.dumps(value), key=key_of(value).encode()) for value in values
        ]
        places = await asyncio.gather(*sent)
        self._ledger.record(
            self.topic, [(place.partition, place.offset, e) for place, e in zip(places, events, strict=True)]
        )

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(OSError):
                self._ask(producer.stop())

    # --- The group ---

    def committed(self) -> dict[str, Mapping[int, int]]:
        """The committed offsets, in the watcher's form."""
        return {self.topic: self._ask(self._topics.committed(self.group, self.topic))}

    def until_done(self, timeout: float = PATIENCE) -> None:
        """Waits until the group has committed everything that was acknowledged."""
        ends = self._ledger.ends(self.topic)

        def done() -> bool:
            try:
                committed = self.committed()[self.topic]
            except OSError:
                return False
            return all(committed.get(partition, 0) >= end for partition, end in ends.items())

        wait_for(done, timeout=timeout, what=f"the group at {ends}")

    def coordinator(self) -> Broker:
        """The broker that looks after the group."""

        async def find() -> int:
            async with _admin(self.cluster.bootstrap) as admin:
                return int(await admin.find_coordinator(self.group))

        node = self._ask(find())
        return next(broker for broker in self.cluster.brokers if broker.node == node)

    def expire(self) -> None:
        """Deletes every record, as retention does, and sets the offsets of the empty group to expired ones."""

        async def delete() -> None:
            ends = await self._topics.ends(self.topic)
            places = {TopicPartition(self.topic, number): end for number, end in ends.items()}
            async with _admin(self.cluster.bootstrap) as admin:
                await admin.delete_records({place: RecordsToDelete(end) for place, end in places.items()})
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.cluster.bootstrap, group_id=self.group, enable_auto_commit=False
            )
            await consumer.start()
            try:
                consumer.assign(list(places))
                await consumer.commit(dict.fromkeys(places, 0))
            finally:
                await consumer.stop()

        deadline = time.monotonic() + 30
        while True:
            try:
                return self._ask(delete())
            except OSError:  # members that were killed count until their session ends
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def visit(self, seconds: float) -> None:
        """A member joins the group and leaves it without reading or committing anything."""

        async def come_and_go() -> None:
            consumer = make_consumer(
                KafkaConnection(bootstrap_servers=self.cluster.bootstrap),
                KafkaOptions(topics=(self.topic,), group_id=self.group, dead_letter_topic="none", session_timeout=3),
            )
            try:
                await consumer.start()
                consumer.subscribe([self.topic])
                with contextlib.suppress(TimeoutError, errors.KafkaError):
                    async with asyncio.timeout(seconds):
                        await consumer.getmany(timeout_ms=int(seconds * 1000), max_records=1)
            finally:
                await consumer.stop()

        self._ask(come_and_go())

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        answer = asyncio.run_coroutine_threadsafe(asyncio.wait_for(question, ANSWER), self._loop)
        try:
            return answer.result(ANSWER + 5)
        except (errors.KafkaError, TimeoutError, AssertionError) as error:
            raise OSError(f"kafka: {error!r}") from error


@contextlib.asynccontextmanager
async def _admin(bootstrap: str) -> Any:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def record_of(event: Event) -> dict[str, Any]:
    """The event in the form of the topic's JSON schema."""
    return {
        "channel": event.channel,
        "type": event.type,
        "event_id": event.event_id,
        "author_id": event.author_id,
        "author_name": event.author_name,
        "content": event.content,
        "event_date": event.sent_at.isoformat(),
        "post_id": event.post_id,
    }
