"""Four databases share one stream of events: a shard dies, a database is away, another one goes back."""

import contextlib
import json
import signal
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest_asyncio
from psycopg import sql

from consumer.adapters.kafka.shards import shard_of
from consumer.domain.webhook import key_of
from tests.kafka.broker import Cluster
from tests.kafka.inbox import value
from tests.kafka.scene import kafka_env
from tests.kafka.topics import Topics, unique
from tests.processes import Router, command, running
from tests.servers import Server, empty_database_on
from tests.waiting import wait_for

SHARDS = 4
PARTITIONS = 3
"""Of each topic; with a divisor in common with SHARDS some would stay empty."""
EVENTS = 4_000
AUTHORS = 300
ONCE = """
    select count(*) from public.webhook_events w join public.messages m
      on (m.channel, m.provider_message_id, m.conversation_id) = (w.channel, w.event_id, w.conversation_id)
    where w.routed_at is not null"""
"""Events that are routed, each with its message."""
CHANNELS = ("instagram", "whatsapp", "facebook", "tiktok", "youtube")


def event(number: int) -> dict[str, Any]:
    """Every seventh is a comment, and some of these have no author but their post."""
    made = {
        "channel": CHANNELS[number % len(CHANNELS)],
        "event_id": f"e{number}",
        "author_id": f"author-{number % AUTHORS}",
        "content": f"text {number}",
        "event_date": "2026-01-31T09:30:00Z",
    }
    if number % 7 == 0:
        made |= {"type": "comment", "post_id": f"post-{number % 11}"}
    if number % 21 == 0:
        made.pop("author_id")
    return made


@dataclass(slots=True, kw_only=True)
class Shard:
    """A database, the topic that feeds it, and the service in between."""

    number: int
    topic: str
    dsn: str
    env: dict[str, str]
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self) -> Router:
        """Starts its service."""
        return self._running.enter_context(running(self.dsn, env=self.env))

    def end(self) -> None:
        """Kills what it has started."""
        self._running.close()

    def routed(self) -> int:
        """How many events its database has routed."""
        with psycopg.connect(self.dsn) as db:
            return value(db, "select count(*) from public.webhook_events where routed_at is not null")

    def until_routed(self, count: int) -> None:
        """Waits for so many."""
        wait_for(lambda: self.routed() >= count, what=f"{count} events in shard {self.number}")

    @property
    def database(self) -> str:
        """Its name."""
        return str(psycopg.conninfo.conninfo_to_dict(self.dsn)["dbname"])

    def remember(self, server: Server) -> None:
        """Keeps a copy of the database as it is now, as a backup does."""
        self.set_open(False, server=server)
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(
                sql.SQL("create database {} template {}").format(
                    sql.Identifier(f"{self.database}_then"), sql.Identifier(self.database)
                )
            )
        self.set_open(True, server=server)

    def go_back(self, server: Server) -> None:
        """Puts that copy in place of the database."""
        now, then = sql.Identifier(self.database), sql.Identifier(f"{self.database}_then")
        self.set_open(False, server=server)
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(now))
            admin.execute(sql.SQL("alter database {} rename to {}").format(then, now))

    def set_open(self, open_: bool, *, server: Server) -> None:
        """Lets the database be reached, or ends its sessions and lets nobody in."""
        name = self.database
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(
                sql.SQL("alter database {} allow_connections {}").format(
                    sql.Identifier(name), sql.SQL("true" if open_ else "false")
                )
            )
            if not open_:
                admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """All of them, and who writes to their topics."""

    bootstrap: str
    topic: str
    each: tuple[Shard, ...]
    sent: list[dict[str, Any]] = field(default_factory=list)

    def produce(self, count: int) -> None:
        """So many more events, as an operator sends them."""
        begin = len(self.sent)
        lines = [event(number) for number in range(begin, begin + count)]
        done = command(
            *("produce", "-", "--kafka-bootstrap-servers", self.bootstrap),
            *("--topic", self.topic, "--shards", str(len(self.each))),
            stdin="\n".join(json.dumps(line) for line in lines),
        )
        assert done.returncode == 0, done.stderr
        self.sent.extend(lines)

    def expected(self, number: int) -> set[str]:
        """The events that belong to a shard."""
        return {sent["event_id"] for sent in self.sent if shard_of(key_of(sent).encode(), len(self.each)) == number}

    def until_whole(self, *numbers: int) -> None:
        """Waits until these have routed all that they are for."""
        for number in numbers:
            self.each[number].until_routed(len(self.expected(number)))

    def check(self) -> None:
        """Each event is one message, in its own database, and no conversation is in two."""
        seen: dict[tuple[str, str], int] = {}
        for shard in self.each:
            with psycopg.connect(shard.dsn) as db:
                rows = db.execute("select event_id from public.webhook_events").fetchall()
                assert {row[0] for row in rows} == self.expected(shard.number)
                assert value(db, ONCE) == value(db, "select count(*) from public.messages") == len(rows)
                people = db.execute(
                    """select channel, external_id from public.contact_channels
                       union all
                       select channel, 'post ' || channel_conversation_id from public.conversations
                       where channel_conversation_id is not null"""
                ).fetchall()
                for person in people:
                    assert seen.setdefault((person[0], person[1]), shard.number) == shard.number
        assert len(seen) > AUTHORS


@pytest_asyncio.fixture
async def shards(kafka: Cluster, postgres_server: Server, schema_template: str) -> Any:
    """Four databases with a topic, a group and a service of their own."""
    topics, base = Topics(kafka.bootstrap), unique("events")
    with contextlib.ExitStack() as stack:
        each = []
        for number in range(SHARDS):
            topic = await topics.create(f"{base}-{number}", partitions=PARTITIONS)
            dsn = stack.enter_context(empty_database_on(postgres_server, template=schema_template))
            env = kafka_env(kafka.bootstrap, topic, f"{topic}.dead", topic)
            each.append(Shard(number=number, topic=topic, dsn=dsn, env=env))
            stack.callback(each[-1].end)
        yield Shards(bootstrap=kafka.bootstrap, topic=base, each=tuple(each))


async def test_shards_fail_each_by_itself(shards: Shards, postgres_server: Server) -> None:
    """The service of one is killed, the database of another is away, that of a third goes back to an older state.

    The others go on meanwhile, and afterwards nothing is missing, there twice, or in two databases.
    """
    dying, cut_off, restored = shards.each[1:]
    routers = [shard.start() for shard in shards.each]
    shards.produce(EVENTS // 2)
    dying.until_routed(1)
    routers[1].signal(signal.SIGKILL)
    assert routers[1].stopped() == -signal.SIGKILL
    cut_off.set_open(False, server=postgres_server)
    shards.until_whole(3)
    restored.remember(postgres_server)
    shards.produce(EVENTS // 2)
    shards.until_whole(0, 3)
    assert dying.routed() < len(shards.expected(1))
    assert [routers[number].get("/readyz")[0] for number in (0, 3)] == [200, 200]
    restored.go_back(postgres_server)
    lost = len(shards.expected(3)) - restored.routed()
    dying.start()
    cut_off.set_open(True, server=postgres_server)
    shards.until_whole(*range(SHARDS))
    shards.check()
    again = [routers[number].metric("webhook_router_kafka_records_read_again_total") for number in (0, 2, 3)]
    assert again[:2] == [0, 0]
    assert again[2] >= lost > 0
