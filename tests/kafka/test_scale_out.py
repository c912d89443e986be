"""Replicas over one topic: many events, six partitions, members that come, go and are killed, offsets under watch.

It takes a minute; WEBHOOK_ROUTER_TEST_EVENTS sets another number of events for whoever works on it.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import orjson
import psycopg

from tests.kafka.inbox import assert_one_message_each, value
from tests.kafka.scene import Scene
from tests.kafka.topics import event
from tests.processes import Router, running
from tests.waiting import await_for, wait_for

EVENTS = int(os.environ.get("WEBHOOK_ROUTER_TEST_EVENTS", "100000"))
PARTITIONS = 6
REPLICAS = 3
CHANGES = max(6, EVENTS // 10_000)
"""Changes of the group, spread over the run: one every few seconds."""


class Offsets:
    """Checks that the group's offsets are never ahead of the database."""

    def __init__(
        self, scene: Scene, committed: Callable[[], Awaitable[dict[int, int]]], db: psycopg.Connection
    ) -> None:
        self._scene = scene
        self._committed = committed
        self._db = db
        self._topic: dict[int, list[str]] = {}
        self._checked = dict.fromkeys(range(PARTITIONS), 0)

    async def look(self) -> None:
        """Notes at which offset each event is."""
        known = {partition: len(ids) for partition, ids in self._topic.items()}
        for record in await self._scene.topics.read(self._scene.topic, known):
            ids = self._topic.setdefault(record.partition, [])
            assert record.offset == len(ids)
            ids.append(orjson.loads(record.value)["event_id"])

    @property
    def total(self) -> int:
        """How many records are committed and were found to be in the database."""
        return sum(self._checked.values())

    async def check(self) -> int:
        """The events of all records that have been committed since the last check are routed; returns the total."""
        for partition, offset in (await self._committed()).items():
            if offset == self._checked[partition]:
                continue
            ids = self._topic[partition][self._checked[partition] : offset]
            routed = value(
                self._db,
                """select count(*) from public.webhook_events
                   where channel = 'instagram' and event_id = any (%s) and routed_at is not null""",
                ids,
            )
            assert routed == len(set(ids)), f"partition {partition} is committed up to {offset}, ahead of the database"
            self._checked[partition] = max(offset, self._checked[partition])
        return self.total


class Replicas:
    """The members of the group, as processes."""

    def __init__(self, database: str, scene: Scene, stack: AsyncExitStack) -> None:
        self._database = database
        self._scene = scene
        self._stack = stack
        self.members = [self._start() for _ in range(REPLICAS)]

    def _start(self) -> Router:
        # Small batches, so that every change meets some of them on the way.
        return self._stack.enter_context(running(self._database, "--kafka-batch-size", "200", env=self._scene.env))

    def change(self, number: int) -> None:
        """One more, one less, one killed, one restarted, again and again; every change is a rebalance."""
        match number % 4:
            case 0:
                self.members.append(self._start())
            case 1:
                self._end(self.members.pop(0), signal.SIGTERM)
            case 2:
                self._end(self.members.pop(0), signal.SIGKILL)
                self.members.append(self._start())
            case 3:
                self._end(self.members.pop(0), signal.SIGTERM)
                self.members.append(self._start())

    def until_settled(self) -> None:
        """Waits until every member has come out of a rebalance, and all partitions are assigned."""

        def settled() -> bool:
            counts = [member.metric("webhook_router_kafka_rebalances_total") for member in self.members]
            shares = [member.metric("webhook_router_kafka_assigned_partitions") for member in self.members]
            return min(counts) >= 1 and sum(shares) == PARTITIONS

        wait_for(settled, timeout=120, what=f"a settled group, {[member.lines for member in self.members]}")

    def _end(self, router: Router, number: signal.Signals) -> None:
        assert router.address, "it has started"
        router.signal(number)
        assert router.stopped() == (-number if number is signal.SIGKILL else 0), router.lines


async def test_each_event_is_one_message_whatever_happens_to_the_replicas(
    scene: Scene, database: str, db: psycopg.Connection
) -> None:
    """None is missing, none is there twice, and no offset was ever ahead of the database."""
    events = [event(number, author_id=f"author-{number % 997}", author_name=None) for number in range(EVENTS)]
    portion = EVENTS // (CHANGES + 1) + 1
    total = 0
    async with AsyncExitStack() as stack:
        committed = await stack.enter_async_context(scene.topics.offsets(scene.group, scene.topic))
        offsets = Offsets(scene, committed, db)
        replicas = Replicas(database, scene, stack)
        for number, begin in enumerate(range(0, EVENTS, portion)):
            part = events[begin : begin + portion]
            repeated = events[: begin + portion : 97]
            await scene.topics.send(scene.topic, [*part, *repeated])
            total += len(part) + len(repeated)
            await offsets.look()
            await _until(offsets, total - len(part) // 2)
            if number < CHANGES:
                await asyncio.to_thread(replicas.change, number)
        await _until(offsets, total)
        await asyncio.to_thread(replicas.until_settled)
    assert_one_message_each(db, EVENTS)
    assert await scene.topics.read(scene.dead) == []
    assert await scene.committed() == total


async def _until(offsets: Offsets, count: int) -> None:
    async def enough() -> bool:
        return await offsets.check() >= count

    await await_for(enough, timeout=120 + EVENTS / 300, what=f"{count} records committed and in the database")
