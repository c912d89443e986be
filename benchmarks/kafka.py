"""The Kafka source: records to routed events a second, beside the Postgres source and beside a bare consumer.

The bare consumer reads with getmany and writes the final rows, all ids known beforehand, by bare SQL: what is left when
nothing is decided, checked or made safe on the way.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console

from benchmarks import bare
from benchmarks.harness import Bench, Drain, Service, committed, connect, drain, median, value
from tests.kafka import broker
from tests.kafka.topics import Topics, unique

PARTITIONS = 6
BATCH = 1000
SECONDS = 300.0
"""Until a drain of the topic is given up."""
# As text, so that the records carry what the rows have, to the last digit.
EVENTS = """
    select jsonb_strip_nulls(jsonb_build_object(
               'id', w.id, 'channel', w.channel, 'type', w.type, 'event_id', w.event_id, 'author_id', w.author_id,
               'author_name', w.author_name, 'content', w.content, 'event_date', w.event_date, 'post_id', w.post_id,
               'raw_payload', w.raw_payload))::text,
           w.channel || ':' || coalesce(w.author_id, w.post_id, w.event_id)
    from public.webhook_events w
    order by w.created_at, w.id
"""
STORE = """
    insert into public.webhook_events
        (id, channel, type, event_id, author_id, author_name, content, event_date, post_id, raw_payload)
    select * from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                         %b::text[]::timestamptz[], %b::text[], %b::text[]::jsonb[])
"""


async def measure(*, quick: bool) -> dict[str, Any]:
    """Figures of each way over the same events, in turns; "skipped" with the reason where there is no Kafka."""
    count, rounds = (20_000, 1) if quick else (40_000, 2)
    try:
        cluster = broker.prepare(settings={"log.retention.ms": "-1"})
    except broker.KafkaUnavailable as missing:
        return {"skipped": str(missing)}
    try:
        cluster.start()
        with Bench(quick=quick, console=Console(quiet=True)) as bench:
            roads = _Roads(bench, Topics(cluster.bootstrap), count)
            await roads.prepare()
            roads.by_notification()  # Python's files come into the cache
            turns = [(roads.by_notification(), await roads.by_topic(), await roads.bare()) for _ in range(rounds)]
    finally:
        cluster.stop()
    rates, ours, limits = ([turn[number] for turn in turns] for number in range(3))
    return {
        "events": count,
        "events_per_second": median(ours),
        "postgres_source_per_second": median(rates),
        "bare_per_second": median(limits),
        "of_postgres_source": median([mine / other for mine, other in zip(ours, rates, strict=True)]),
        "of_bare": median([mine / other for mine, other in zip(ours, limits, strict=True)]),
        "rounds": {"kafka": ours, "postgres": rates, "bare": limits},
    }


class _Roads:
    """The same events in a backlog, in a topic for the service, and, in one partition, for the bare consumer."""

    def __init__(self, bench: Bench, topics: Topics, count: int) -> None:
        self._bench = bench
        self._topics = topics
        self._count = count
        self._shared = unique("shared")
        self._ordered = unique("ordered")

    async def prepare(self) -> None:
        """Writes the topics."""
        await self._topics.create(self._shared, partitions=PARTITIONS)
        await self._topics.create(self._ordered, partitions=1)
        with connect(self._bench.dsn(self._bench.backlog(self._count))) as connection:
            events = connection.execute(EVENTS).fetchall()
        producer = AIOKafkaProducer(
            bootstrap_servers=self._topics.bootstrap, acks="all", linger_ms=20, max_batch_size=262_144
        )
        await producer.start()
        for topic in (self._shared, self._ordered):
            for begin in range(0, len(events), 5000):
                part = events[begin : begin + 5000]
                sent = [await producer.send(topic, text.encode(), key=key.encode()) for text, key in part]
                await asyncio.gather(*sent)
        await producer.stop()

    def by_notification(self) -> float:
        """The Postgres source over a backlog of the events."""
        with self._bench.scratch(self._bench.backlog(self._count)) as dsn:
            return drain(dsn).rate

    async def by_topic(self) -> float:
        """The Kafka source over the topic, from the first commit to the last."""
        with self._bench.scratch() as dsn:
            settings = {
                "source": "kafka",
                "kafka_bootstrap_servers": self._topics.bootstrap,
                "kafka_topics": self._shared,
                "kafka_group_id": unique("bench"),
            }
            with Service(dsn, **settings) as service:
                service.await_ready()
                async with asyncio.timeout(SECONDS):
                    while service.series("webhook_router_events_routed_total") < self._count:
                        service.check()
                        await asyncio.sleep(0.1)
            done: Drain = committed(dsn)
        return done.rate

    async def bare(self) -> float:
        """getmany, decoding, the events and the final rows in one transaction a poll, then the offset."""
        with self._bench.scratch(self._bare_template()) as dsn, connect(dsn) as connection:
            connection.execute("set enable_seqscan = off")
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._topics.bootstrap,
                group_id=unique("bare"),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
            )
            await consumer.start()
            place = TopicPartition(self._ordered, 0)
            consumer.assign([place])
            done, began = 0, 0.0
            while done < self._count:
                for records in (await consumer.getmany(timeout_ms=1000, max_records=BATCH)).values():
                    _write(connection, [orjson.loads(record.value) for record in records], done)
                    await consumer.commit({place: records[-1].offset + 1})
                    if not done:  # the first batch is not counted with the service either
                        began, first = time.perf_counter(), len(records)
                    done += len(records)
            seconds = time.perf_counter() - began
            await consumer.stop()
            assert value(connection, "select count(*) from public.messages") == self._count
        return (self._count - first) / seconds

    def _bare_template(self) -> str:
        """The final rows worked out, and nothing in the tables."""

        def fill(dsn: str) -> None:
            with connect(dsn) as connection:
                connection.execute("truncate public.webhook_events")

        return self._bench.template(f"bare_kafka_{self._count}", fill, source=bare.template(self._bench, self._count))


def _write(connection: psycopg.Connection, events: Sequence[dict[str, Any]], done: int) -> None:
    columns: list[list[Any]] = [
        [event.get(name) for event in events]
        for name in (
            "id",
            "channel",
            "type",
            "event_id",
            "author_id",
            "author_name",
            "content",
            "event_date",
            "post_id",
        )
    ]
    columns.append([orjson.dumps(event.get("raw_payload")).decode() for event in events])
    with connection.transaction():
        connection.execute(STORE, columns)
        connection.execute("call bare.steps(%s, %s)", (done, done + len(events)))
