"""The account of every event, kept outside the system, and the verdict: the database compared with it.

The ledger is a SQLite file that no part of the system can reach. An event is entered before it is sent for the first
time, acknowledged when the producer's call has returned, and counted each time it is delivered.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.events import Event

SCHEMA = """
    create table events (
        channel text not null, event_id text not null, type text not null, author_id text, content text not null,
        sent_at text not null, post_id text, faulty integer not null,
        direction text not null, deliveries integer not null default 0, acknowledged integer not null default 0,
        primary key (channel, event_id)
    ) without rowid;
    create table effects (
        channel text not null, target text not null, kind text not null, actor text not null, value text not null,
        at text not null, acknowledged integer not null default 0,
        primary key (channel, target, kind, actor, value, at)
    ) without rowid;
    create table posts (
        digest text primary key, attempts integer not null default 0, answered integer not null default 0
    ) without rowid;
    create table records (
        topic text not null, partition integer not null, "offset" integer not null,
        channel text not null, event_id text not null,
        primary key (topic, partition, "offset")
    ) without rowid;
"""

# Triggers of the application: what may never happen is written down by the transaction in which it does.
WITNESSES = """
    create schema witness;
    create table witness.parked (event_id uuid not null, channel text, error_code text, error_message text,
                                 at timestamptz not null default clock_timestamp());
    create table witness.unrouted (channel text not null, event_id text not null,
                                   at timestamptz not null default clock_timestamp());
    create function witness.note_parked() returns trigger language plpgsql security definer as
        $$ begin insert into witness.parked values (new.event_id, new.channel, new.error_code, new.error_message);
           return null; end $$;
    create function witness.note_unrouted() returns trigger language plpgsql security definer as
        $$ begin insert into witness.unrouted values (old.channel, old.event_id); return null; end $$;
    create trigger witness after insert or update of attempts on router.parked_events
        for each row execute function witness.note_parked();
    create trigger witness after update of routed_at on public.webhook_events
        for each row when (old.routed_at is not null and new.routed_at is null)
        execute function witness.note_unrouted();
    create function witness.refuse() returns trigger language plpgsql as
        $$ begin raise exception 'refused by the application'; end $$;
    create trigger witness_refuse before insert on public.messages
        for each row when (new.content_text like 'refused by the application%')
        execute function witness.refuse();
    -- Whoever holds lock 4242 stops routing in the middle of its transaction.
    create function witness.gate() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(4242); return null; end $$;
    create trigger witness_gate before insert on public.messages for each statement execute function witness.gate();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An effect that a provider tells of: a reaction to a message, or how far one of ours has come."""

    kind: str
    """reaction or status."""
    channel: str
    target: str
    """The id of the message."""
    actor: str = ""
    """Who reacts."""
    value: str
    """The emoji, empty if it is taken back; the status."""
    at: datetime


class Ledger:
    """What the producers sent and were acknowledged; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._file = sqlite3.connect(folder / "ledger.sqlite", check_same_thread=False, isolation_level=None)
        self._file.executescript(f"pragma journal_mode = wal; pragma synchronous = off; {SCHEMA}")

    def close(self) -> None:
        """Closes it; the file stays."""
        self._file.close()

    def enter(self, events: Iterable[Event]) -> None:
        """Before a delivery: whatever becomes of it, these events may be in the system from now on."""
        rows = [
            (
                e.channel,
                e.event_id,
                e.type,
                e.person,
                e.content,
                _text(e.sent_at),
                e.post_id,
                int(e.faulty),
                e.direction,
            )
            for e in events
        ]
        with self._lock, self._transaction():
            self._file.executemany(
                """insert into events (channel, event_id, type, author_id, content, sent_at, post_id, faulty,
                                       direction, deliveries)
                   values (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
                   on conflict (channel, event_id) do update set deliveries = deliveries + 1""",
                rows,
            )

    def acknowledge(self, events: Iterable[Event]) -> None:
        """After a delivery: from now on these events must not be lost."""
        keys = [(e.channel, e.event_id) for e in events]
        with self._lock, self._transaction():
            self._file.executemany("update events set acknowledged = 1 where channel = ? and event_id = ?", keys)

    def enter_effects(self, effects: Iterable[Told]) -> None:
        """Before a delivery: they may be in the system from now on."""
        with self._lock, self._transaction():
            self._file.executemany(
                """insert into effects (channel, target, kind, actor, value, at) values (?, ?, ?, ?, ?, ?)
                   on conflict do nothing""",
                [_row(effect) for effect in effects],
            )

    def acknowledge_effects(self, effects: Iterable[Told]) -> None:
        """After a delivery: from now on they must not be lost."""
        with self._lock, self._transaction():
            self._file.executemany(
                """update effects set acknowledged = 1
                   where channel = ? and target = ? and kind = ? and actor = ? and value = ? and at = ?""",
                [_row(effect) for effect in effects],
            )

    def enter_posts(self, digests: Iterable[str]) -> None:
        """Before bodies are POSTed: their SHA-256."""
        with self._lock, self._transaction():
            self._file.executemany(
                """insert into posts (digest, attempts) values (?, 1)
                   on conflict (digest) do update set attempts = attempts + 1""",
                [(digest,) for digest in digests],
            )

    def answer_posts(self, digests: Iterable[str]) -> None:
        """After that: they got 200."""
        with self._lock, self._transaction():
            self._file.executemany(
                "update posts set answered = answered + 1 where digest = ?", [(digest,) for digest in digests]
            )

    def posts(self) -> int:
        """How many POSTs got 200."""
        with self._lock:
            (count,) = self._file.execute("select coalesce(sum(answered), 0) from posts").fetchone()
        return int(count)

    def effects(self) -> dict[str, int]:
        """How many were acknowledged, by kind."""
        with self._lock:
            return dict(self._file.execute("select kind, sum(acknowledged) from effects group by kind").fetchall())

    def record(self, topic: str, places: Iterable[tuple[int, int, Event]]) -> None:
        """After a delivery to Kafka: partition and offset that the broker gave to each."""
        rows = [(topic, partition, offset, e.channel, e.event_id) for partition, offset, e in places]
        with self._lock, self._transaction():
            self._file.executemany("insert or replace into records values (?, ?, ?, ?, ?)", rows)

    def forget_records(self, topic: str) -> None:
        """The topic was deleted: its offsets have lost their meaning."""
        with self._lock:
            self._file.execute("delete from records where topic = ?", (topic,))

    def below(self, topic: str, committed: Mapping[int, int]) -> list[tuple[str, str]]:
        """Channel and event id of the records whose offset the group has committed, the latest thousand a partition."""
        with self._lock:
            return [
                (channel, event_id)
                for partition, offset in committed.items()
                for channel, event_id in self._file.execute(
                    """select channel, event_id from records where topic = ? and partition = ? and "offset" < ?
                       order by "offset" desc limit 1000""",
                    (topic, partition, offset),
                )
            ]

    def ends(self, topic: str) -> dict[int, int]:
        """Where each partition ends, as far as was acknowledged."""
        with self._lock:
            return dict(
                self._file.execute(
                    'select partition, max("offset") + 1 from records where topic = ? group by partition', (topic,)
                ).fetchall()
            )

    def latest(self, topic: str) -> list[tuple[str, str]]:
        """Channel and event id of the last acknowledged record of each partition."""
        with self._lock:
            return self._file.execute(
                """select channel, event_id from records r where topic = ? and "offset" =
                   (select max("offset") from records s where s.topic = r.topic and s.partition = r.partition)""",
                (topic,),
            ).fetchall()

    def counts(self) -> tuple[int, int, int]:
        """Events entered, acknowledged, and deliveries of all of them."""
        with self._lock:
            row = self._file.execute("select count(*), sum(acknowledged), sum(deliveries) from events").fetchone()
        return row[0], row[1] or 0, row[2] or 0

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Everything of a table, for `verdict`, one by one: there may be millions."""
        with self._lock:
            yield from self._file.execute(_ROWS[table])

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._file)


class _Transaction:
    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._file.execute("begin")

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.execute("commit" if kind is None else "rollback")


_ROWS = {
    "told": """select channel, event_id, type, author_id, content, sent_at, post_id, faulty <> 0, direction,
                      acknowledged <> 0
               from events""",
    "told_effects": "select channel, target, kind, actor, value, at, acknowledged <> 0 from effects",
    "told_posts": "select digest, answered from posts",
}


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _row(effect: Told) -> tuple[str, ...]:
    return effect.channel, effect.target, effect.kind, effect.actor, effect.value, _text(effect.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the comparison found. Each field from `lost` on must be 0."""

    events: int
    acknowledged: int
    deliveries: int
    parked: int
    """Events that are parked through their own fault, as they should be."""
    posts: int
    """POSTs that were answered with 200."""
    reactions: int
    statuses: int
    """Of those that were acknowledged."""
    lost: int
    """Acknowledged, neither faulty nor parked, and without their message, or not marked as routed."""
    altered: int
    """Messages whose content, time, contact or channel is not what was sent."""
    unknown: int
    """Events, messages or bodies that nobody has sent."""
    messages_doubled: int
    contacts_doubled: int
    conversations_doubled: int
    last_message_at_behind: int
    unrouted_again: int
    """Events that were routed and then were not."""
    offsets_ahead: int
    """Records whose offset was committed before their effect."""
    parked_without_cause: int
    """Events that were parked, if only for a moment, although nothing is wrong with them."""
    posts_lost: int
    """Bodies that got 200 more often than the raw inbox has them, or that are there and not processed."""
    effects_lost: int
    """Reactions and statuses, acknowledged as their message is, without their trace."""
    effects_altered: int
    """Reactions and states of messages that are not what the provider has told."""

    @property
    def violations(self) -> dict[str, int]:
        """The counts that should be 0 and are not."""
        return {name: count for name, count in asdict(self).items() if name in MUST_BE_ZERO and count}


COUNTED = frozenset({"events", "acknowledged", "deliveries", "parked", "posts", "reactions", "statuses"})
MUST_BE_ZERO = frozenset(field.name for field in fields(Verdict)) - COUNTED

# Each query gives the keys of what is wrong. `told` is the ledger.
COMPARISONS = {
    "lost": """
        select t.channel, t.event_id from told t
        left join public.webhook_events w on w.channel = t.channel and w.event_id = t.event_id
        left join public.messages m on m.channel = t.channel and m.provider_message_id = t.event_id
        where t.acknowledged and not t.faulty
          and (w.id is null or w.parked_until is null)  -- what is parked is counted there
          and (m.id is null or w.routed_at is null or w.conversation_id is distinct from m.conversation_id)""",
    "altered": """
        select t.channel, t.event_id from told t
        join public.messages m on m.channel = t.channel and m.provider_message_id = t.event_id
        left join public.conversations v on v.id = m.conversation_id
        left join public.contact_channels k on k.channel = t.channel and k.external_id = t.author_id
        where t.faulty or m.direction <> t.direction or m.content_text is distinct from t.content
           or m.sent_at <> t.sent_at or v.channel is distinct from t.channel
           or m.contact_id is distinct from k.contact_id or v.contact_id is distinct from k.contact_id
           or (t.author_id is null) <> (m.contact_id is null)""",
    "unknown": """
        select w.channel, w.event_id from public.webhook_events w
        where not exists (select from told t where t.channel = w.channel and t.event_id = w.event_id)
        union all
        select m.channel, m.provider_message_id from public.messages m
        where not exists (select from told t where t.channel = m.channel and t.event_id = m.provider_message_id)
        union all
        select d.provider, encode(d.digest, 'hex') from router.deliveries d
        where not exists (select from told_posts t where t.digest = encode(d.digest, 'hex'))""",
    "messages_doubled": """
        select m.channel, m.provider_message_id from public.messages m group by 1, 2 having count(*) > 1
        union all
        select m.channel, m.content_text from public.messages m group by 1, 2 having count(*) > 1""",
    "contacts_doubled": """
        select k.channel, k.external_id from public.contact_channels k group by 1, 2 having count(*) > 1
        union all
        select 'contact', c.id::text from public.contacts c
        where (select count(*) from public.contact_channels k where k.contact_id = c.id) <> 1""",
    "conversations_doubled": """
        select v.channel, coalesce(v.contact_id::text, v.channel_conversation_id) from public.conversations v
        where v.status = 'open'
        group by v.channel, v.contact_id, v.channel_conversation_id having count(*) > 1
        union all
        select v.channel, v.id::text from public.conversations v
        where not exists (select from public.messages m where m.conversation_id = v.id)""",
    "last_message_at_behind": """
        select 'conversation', v.id::text from public.conversations v
        where v.last_message_at is distinct from
              (select max(m.sent_at) from public.messages m where m.conversation_id = v.id)""",
    "unrouted_again": "select channel, event_id from witness.unrouted",
    "parked_without_cause": """
        select distinct w.channel, w.event_id || ' [' || p.error_code || '] ' || p.error_message
        from witness.parked p
        join public.webhook_events w on w.id = p.event_id
        left join told t on t.channel = w.channel and t.event_id = w.event_id
        where t.faulty is not true""",
    "posts_lost": """
        select 'POST', t.digest || ': ' || t.answered || ' times, ' || coalesce(d.count, 0) || ' kept' from told_posts t
        left join (select encode(digest, 'hex') as digest, count(*) from router.deliveries group by 1) d
               on d.digest = t.digest
        where coalesce(d.count, 0) < t.answered
        union all
        select d.provider, d.id || ': ' || d.attempts || ' attempts, ' || coalesce(d.error, 'no error')
        from router.deliveries d where d.processed_at is null""",
    "effects_lost": """
        select e.channel, e.kind || ' ' || e.value || ' of ' || e.target from told_effects e
        join told t on t.channel = e.channel and t.event_id = e.target
        left join public.webhook_events w on w.channel = t.channel and w.event_id = t.event_id
        left join public.messages m on m.channel = t.channel and m.provider_message_id = t.event_id
        left join public.message_reactions r on r.message_id = m.id and r.actor = e.actor
        left join public.message_delivery d on d.message_id = m.id
        where e.acknowledged and t.acknowledged and not t.faulty and (w.id is null or w.parked_until is null)
          and case e.kind when 'reaction' then r.reacted_at is null or r.reacted_at < e.at
                          else coalesce(to_jsonb(d) ->> (e.value || '_at'), '') = '' end""",
    "effects_altered": """
        select m.channel, 'reaction to ' || m.provider_message_id from public.message_reactions r
        join public.messages m on m.id = r.message_id
        left join told_effects e on e.channel = m.channel and e.target = m.provider_message_id and e.kind = 'reaction'
                                and e.actor = r.actor and e.at = r.reacted_at
        where e.value is null or r.emoji <> array_remove(array[e.value], '')
        union all
        select m.channel, 'state of ' || m.provider_message_id from public.message_delivery d
        join public.messages m on m.id = d.message_id
        left join (
            select channel, target, min(at) filter (where value = 'sent') as sent_at,
                   min(at) filter (where value = 'delivered') as delivered_at,
                   min(at) filter (where value = 'read') as read_at
            from told_effects where kind = 'status' group by channel, target
        ) e on e.channel = m.channel and e.target = m.provider_message_id
        where d.sent_at <> e.sent_at or (d.sent_at is not null and e.sent_at is null)
           or d.delivered_at <> e.delivered_at or (d.delivered_at is not null and e.delivered_at is null)
           or d.read_at <> e.read_at or (d.read_at is not null and e.read_at is null)
           or d.played_at is not null or d.failed_at is not null or d.errors is not null or m.direction <> 'outbound'
           or d.status is distinct from case when d.read_at is not null then 'read'
                                             when d.delivered_at is not null then 'delivered'
                                             when d.sent_at is not null then 'sent' end""",
}
TOLD = """
    create temporary table told (channel text, event_id text, type text, author_id text, content text,
                                 sent_at timestamptz, post_id text, faulty boolean, direction text,
                                 acknowledged boolean);
    create temporary table told_effects (channel text, target text, kind text, actor text, value text, at timestamptz,
                                         acknowledged boolean);
    create temporary table told_posts (digest text, answered integer);
"""
PARKED = "select count(*) from public.webhook_events where routed_at is null and parked_until is not null"


def verdict(
    ledger: Ledger, connection: psycopg.Connection, *, unrouted_again: int = 0, behind: int = 0, offsets_ahead: int = 0
) -> tuple[Verdict, dict[str, Sequence[object]]]:
    """Compares the database with the ledger, once nothing is in flight.

    Args:
        ledger: what was sent.
        connection: to the database; temporary tables of its session are used.
        unrouted_again, behind, offsets_ahead: what was seen of these during the run.

    Returns:
        The verdict, and up to ten examples of each thing that is wrong.
    """
    connection.execute("set enable_nestloop = off")  # whole tables are compared, and nobody has analysed them
    connection.execute("drop table if exists told, told_effects, told_posts")
    connection.execute(TOLD)
    for table in _ROWS:
        with connection.cursor() as cursor, cursor.copy(f"copy {table} from stdin".encode()) as copy:
            for row in ledger.rows(table):
                copy.write_row(row)
        connection.execute(f"analyze {table}".encode())
    found: dict[str, int] = {}
    examples: dict[str, Sequence[object]] = {}
    for name, query in COMPARISONS.items():
        rows = connection.execute(query).fetchall()
        found[name] = len(rows)
        if rows:
            examples[name] = rows[:10]
    parked = connection.execute(PARKED).fetchone()
    assert parked is not None
    events, acknowledged, deliveries = ledger.counts()
    effects = ledger.effects()
    found["unrouted_again"] += unrouted_again
    found["last_message_at_behind"] += behind
    return (
        Verdict(
            events=events,
            acknowledged=acknowledged,
            deliveries=deliveries,
            parked=parked[0],
            posts=ledger.posts(),
            reactions=effects.get("reaction", 0),
            statuses=effects.get("status", 0),
            offsets_ahead=offsets_ahead,
            **found,
        ),
        examples,
    )


def unfinished(connection: psycopg.Connection, keys: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Which of these events are neither routed nor parked: not there yet, or waiting."""
    return connection.execute(
        """select k.channel, k.event_id from unnest(%s::text[], %s::text[]) as k (channel, event_id)
           left join public.webhook_events w on w.channel = k.channel and w.event_id = k.event_id
           where w.routed_at is null and w.parked_until is null""",
        ([channel for channel, _ in keys], [event_id for _, event_id in keys]),
    ).fetchall()
