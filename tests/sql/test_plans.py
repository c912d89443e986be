"""Speed must not depend on statistics: what each call reads, on databases that mislead the planner.

The server's counters say which index was used and how much of it was read, by all statements inside the functions, by
triggers and foreign keys too. A plan that reads a table, or an index, from one end to the other shows on a large table,
whatever it is called.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import empty_database_on
from tests.sql.conftest import DatabaseOn
from tests.sql.inbox import Inbox
from tests.waiting import wait_for

START = ("-infinity", "00000000-0000-0000-0000-000000000000")
TABLES = ("webhook_events", "messages", "conversations", "contact_channels", "contacts")
EVENTS = 100_000
PEOPLE = 50_000
THREADS = 30_000

# Foreign keys and the doorbell are left out of the load, and the load is what it would have been with them.
LOAD = f"""
set session_replication_role = replica;
insert into contacts (id, full_name)
select md5(i::text)::uuid, 'Name ' || i from generate_series(1, {PEOPLE}) i;
insert into contact_channels (contact_id, channel, external_id, display_name, display_name_at)
select md5(i::text)::uuid, (array['instagram', 'whatsapp'])[1 + i % 2], 'p' || i, 'Name ' || i, '2026-01-01'
from generate_series(1, {PEOPLE}) i;
insert into conversations (id, contact_id, channel, status, last_message_at)
select md5('c' || i)::uuid, md5(i::text)::uuid, (array['instagram', 'whatsapp'])[1 + i % 2], 'open', '2026-01-01'
from generate_series(1, {PEOPLE}) i;
insert into conversations (id, channel, status, channel_conversation_id, last_message_at)
select md5('t' || i)::uuid, 'instagram', 'open', 'post ' || i, '2026-01-01' from generate_series(1, {THREADS}) i;
insert into webhook_events (channel, type, event_id, author_id, content, event_date, created_at, routed_at,
                            conversation_id)
select (array['instagram', 'whatsapp'])[1 + i % 2], 'message', 'old ' || i, 'p' || 1 + i % {PEOPLE}, 'hello',
       timestamptz '2026-01-01' + i * interval '1 second', timestamptz '2026-01-01' + i * interval '1 second',
       '2026-01-02', md5('c' || 1 + i % {PEOPLE})::uuid
from generate_series(1, {EVENTS}) i;
insert into messages (conversation_id, channel, direction, content_text, provider_message_id, sent_at)
select conversation_id, channel, 'inbound', content, event_id, event_date
from webhook_events where event_id like 'old %';
reset session_replication_role;
"""

# New events: of strangers, of known people with a new name, without an author, into a conversation chosen beforehand.
PENDING = """
insert into webhook_events (channel, type, event_id, author_id, author_name, content, post_id, conversation_id,
                            event_date)
select (array['instagram', 'whatsapp'])[1 + i % 2],
       case when i % 10 in (0, 1) then 'comment' else 'message' end,
       '{0} ' || i,
       case i % 10 when 0 then null when 2 then null when 3 then 'stranger ' || i % 70 else 'p' || {2} + i end,
       case when i % 10 < 7 then 'Name ' || i else 'Newer name ' || i end,
       'hello?',
       case when i % 10 in (0, 1) then 'post ' || i end,
       case when i % 10 = 9 then (select v.id from conversations v where v.id = md5('c' || i)::uuid) end,
       timestamptz '2026-02-01' + i * interval '1 millisecond'
from generate_series(1, {1}) i;
"""


# Where two indexes seem equally good the planner takes the older one. In the wild the keys may be younger than indexes
# like (channel, event_date), which serve the same look-ups badly.
YOUNGER_KEYS = """
alter table webhook_events drop constraint webhook_events_channel_event_id_key,
    add constraint webhook_events_channel_event_id_key unique (channel, event_id);
alter table contact_channels drop constraint contact_channels_channel_external_id_key,
    add constraint contact_channels_channel_external_id_key unique (channel, external_id);
drop index messages_channel_provider_message_id_key;
create unique index messages_channel_provider_message_id_key
    on messages (channel, provider_message_id) where provider_message_id is not null;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a call has read."""

    scans_of_tables: dict[str, int]
    """Table → sequential scans."""
    entries: dict[str, int]
    """Index → entries read, the default of none left out."""
    pages: dict[str, int]
    """Table or index → pages touched, in memory or not."""


class Meter:
    """Counts what one session reads, looked at from another one."""

    def __init__(self, watcher: Inbox) -> None:
        self._watcher = watcher

    def _look(self) -> list[dict[str, int]]:
        counters = (
            "select relname as name, seq_scan as n from pg_stat_user_tables",
            "select indexrelname as name, idx_tup_read as n from pg_stat_user_indexes",
            """
            select relname as name, heap_blks_read + heap_blks_hit as n from pg_statio_user_tables
            union all
            select indexrelname, idx_blks_read + idx_blks_hit from pg_statio_user_indexes
            """,
        )
        return [{row["name"]: row["n"] for row in self._watcher.rows(counter)} for counter in counters]

    def during(self, session: Inbox, work: Callable[[], Any]) -> Usage:
        """Does the work and tells what it read."""
        for each in (self._watcher, session):
            each.run("select pg_stat_force_next_flush()")
        before = self._look()
        work()
        session.run("select pg_stat_force_next_flush()")
        more = [
            {name: n - then[name] for name, n in now.items() if n > then[name]}
            for then, now in zip(before, self._look(), strict=True)
        ]
        return Usage(scans_of_tables=more[0], entries=more[1], pages=more[2])


def calls(session: Inbox, prefix: str, size: int, message_id: UUID) -> dict[str, tuple[int, Callable[[], Any]]]:
    """Each call of the functions with the number of events it handles; `PENDING` events of the prefix must be there."""
    return {
        "route_batch": (size, lambda: session.batch(size)),
        "route_batch in a lane": (4 * size, lambda: session.run("select router.route_batch(%s, p_lanes => 4)", size)),
        "route_unrouted_events": (size, lambda: session.route_unrouted(None, size)),
        "route_unrouted_events, one channel": (2 * size, lambda: session.route_unrouted("whatsapp", size)),
        "route_due": (size, lambda: session.retry(None, size)),
        "route_batch of re-opened events": (size, lambda: session.batch(size)),
        "ingest_webhook_event": (1, lambda: session.ingest(f"{prefix} new")),
        "ingest_webhook_event again": (1, lambda: session.ingest(f"{prefix} new", content="other")),
        "route_webhook_event": (1, lambda: session.route(f"{prefix} new")),
        "analyze_message_simple": (1, lambda: session.analyze(message_id)),
        "restore_lines": (2 * size, lambda: session.run("select router.restore_lines(%s)", archive_of(prefix, size))),
        "auto_reply_stub": (1, lambda: session.value("select public.auto_reply_stub(%s)", message_id)),
        "backlog": (6 * size, lambda: session.row("select * from router.backlog()")),
        "recent_backlog": (6 * size, lambda: session.row("select * from router.recent_backlog(60)")),
        "backlog_by_channel": (6 * size, lambda: session.rows("select * from router.backlog_by_channel()")),
        "status": (6 * size, lambda: session.row("select * from router.status()")),
    }


def archive_of(prefix: str, size: int) -> str:
    """Lines of an archive: of events that are there and have lost their payload, and of others that are gone."""
    return "\n".join(
        json.dumps({"webhook_router_archive": 1, "channel": ("instagram", "whatsapp")[number % 2], "type": "message",
                    "event_id": f"{prefix} {gone}{number}", "raw_payload": {"gone": gone}})
        for number in range(1, size + 1) for gone in ("", "gone ")
    )  # fmt: skip


def make_pending(inbox: Inbox, prefix: str, count: int, *, first: int = 0) -> None:
    """Inserts new events; those of known people begin with this one."""
    inbox.run(PENDING.format(prefix, count, first))


def a_message(inbox: Inbox, prefix: str) -> UUID:
    """A message to analyse."""
    inbox.ingest(f"{prefix} question", content="help?")
    return inbox.route(f"{prefix} question").message_id


def check(inbox: Inbox, session: Inbox, prefix: str, *, size: int, first: int = 0, dead: int = 0) -> None:
    """No call may scan a table, or read more of any index than a few entries for each event.

    Dead entries that have been found so are skipped: that many events leave some pages of them in each of our indexes.
    """
    meter = Meter(inbox)
    make_pending(inbox, prefix, 6 * size, first=first)
    message = a_message(inbox, prefix)
    inbox.run("update webhook_events set parked_until = 'infinity' where event_id like %s", f"{prefix} %3")
    inbox.run("update webhook_events set parked_until = now() where event_id like %s", f"{prefix} %4")
    for name, (events, call) in calls(session, prefix, size, message).items():
        if "re-opened" in name:
            inbox.run(
                """
                update webhook_events w set routed_at = null, conversation_id = null
                from (select id from webhook_events where routed_at is not null and event_id like %s limit %s) r
                where w.id = r.id
                """,
                f"{prefix} %",
                size,
            )
        usage = meter.during(session, call)
        assert not set(usage.scans_of_tables) & set(TABLES), f"{name}: {usage.scans_of_tables}"
        # Conversations are found, locked, moved on, referred to by a message and by its event; the rest is allowance
        # for versions of rows that were updated in this very test.
        greedy = {index: entries for index, entries in usage.entries.items() if entries > 12 * events + 200}
        assert not greedy, f"{name} with {events} events read {greedy}"
        wide = {
            relation: pages
            for relation, pages in usage.pages.items()
            if pages > 40 * events + 200 + (dead // 100 if relation.startswith("router_ready_") else 0)
        }
        assert not wide, f"{name} with {events} events touched pages {wide}"


@pytest.fixture
def bare(any_postgres: EmbeddedPostgres, template_on: DatabaseOn) -> Iterator[Inbox]:
    """A database of its own in which nobody analyses tables but the test."""
    if any_postgres.major < 15:
        pytest.skip("Postgres 14 has no way to write the counters out at once")
    with ExitStack() as stack:
        dsn = stack.enter_context(empty_database_on(any_postgres, template=template_on(any_postgres)))
        inbox = stack.enter_context(Inbox(dsn))
        for table in TABLES:
            inbox.run(f"alter table {table} set (autovacuum_enabled = off)")
        inbox.run(YOUNGER_KEYS)
        yield inbox


def warm(session: Inbox, prefix: str) -> None:
    """Plans all statements, and keeps the plans, on tables of a handful of rows: of two people."""
    for number in range(3):
        tag = f"{prefix}{number}"
        for event in range(4):
            session.insert(f"{tag} {event}", author_id=f"tiny {event % 2}", author_name=f"Name {number}")
        message = a_message(session, tag)
        for _, call in calls(session, tag, 1, message).values():
            call()
        session.reopen(f"{tag} 1", f"{tag} 2", keep_conversation=True)
        session.batch(2)
    for table in ("webhook_events", "messages", "message_analysis"):
        session.run(f"delete from {table} where id not in (select id from {table} limit 5)")
    session.run("select pg_stat_force_next_flush()")  # or it does so when idle for ten seconds, in a look


def analyze(inbox: Inbox) -> None:
    """Analyses the tables."""
    for table in TABLES:
        inbox.run(f"vacuum analyze {table}")


def test_never_analysed(bare: Inbox) -> None:
    """Empty; then freshly loaded without an analysis, with new and with old plans; then analysed."""
    early = bare.another()
    check(bare, early, "empty", size=20, first=PEOPLE)
    warm(early, "warm")
    bare.run(LOAD)
    check(bare, bare.another(), "fresh", size=100)
    check(bare, early, "kept", size=100)
    analyze(bare)
    check(bare, bare.another(), "analysed", size=100)
    check(bare, bare.another(), "thousand", size=1000)


def test_analysed_while_tiny(bare: Inbox) -> None:
    """Analysed with a handful of rows, then loaded, with plans made after and before."""
    early = bare.another()
    warm(early, "tiny")
    analyze(bare)
    warm(early, "again")
    bare.run(LOAD)
    check(bare, early, "kept", size=100)
    check(bare, bare.another(), "fresh", size=100)


def test_planned_while_empty(bare: Inbox) -> None:
    """The first batches of a new installation plan on tables known to be empty, and their session keeps the plans."""
    analyze(bare)
    early, meter = bare.another(), Meter(bare)
    people = """
        insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
        select 'instagram', 'message', '{0} ' || i, 'p' || i, 'Name ' || i, 'hello',
               timestamptz '{0}' + i * interval '1 second'
        from generate_series(1, {1}) i
    """
    for day, count in ((1, 50), (2, 50), (3, 3000)):
        bare.run(people.format(f"2026-01-0{day}", count))
        while early.batch(500).claimed:
            pass
    bare.run(people.format("2026-01-09", 500))
    usage = meter.during(early, lambda: early.batch(500))
    assert not set(usage.scans_of_tables) & set(TABLES), usage.scans_of_tables
    greedy = {index: entries for index, entries in usage.entries.items() if entries > 12 * 500 + 200}
    assert not greedy, greedy


def until_known_as_dead(inbox: Inbox, session: Inbox) -> None:
    """Waits while some session of the server has an old snapshot: until then entries cannot be told to be dead."""
    meter = Meter(inbox)

    def read() -> int:
        entries = 0
        for claim in ("by arrival", "by event_date"):
            usage = meter.during(session, partial(pages_of_claim, session, CLAIMS[claim]))
            entries += sum(usage.entries.values())
        return entries

    wait_for(lambda: read() < 3000, what="the dead entries to be known as such")


def test_over_dead_entries(bare: Inbox) -> None:
    """Routed events that nobody has vacuumed cost no call anything once it has found them dead."""
    early = bare.another()
    warm(early, "warm")
    bare.run(LOAD)
    bare.run(
        """
        update webhook_events set routed_at = null where event_id like 'old 1%';
        update webhook_events set routed_at = '2026-01-02' where event_id like 'old 1%'
        """
    )
    for session, name in ((early, "kept"), (bare.another(), "fresh")):
        make_pending(bare, f"first {name}", 12)
        message = a_message(bare, f"first {name}")
        for _, call in calls(session, f"first {name}", 1, message).values():
            call()
        until_known_as_dead(bare, session)
        check(bare, session, name, size=100, first=1000, dead=EVENTS // 9)


def pages_of_claim(session: Inbox, claim: str, *values: Any) -> int:
    """Pages that a claim touches, those of the statements inside the function included; the claim is undone.

    It is the second claim that counts: the first one plans, and leaves the hints that a first reader leaves.
    """
    for _ in range(2):
        with session.connection.transaction(force_rollback=True):
            (plan,) = session.value(f"explain (analyze, buffers, timing off, format json) select {claim}", *values)
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


CLAIMS = {
    "by arrival": "router.claim_by_arrival(100, '-infinity', '00000000-0000-0000-0000-000000000000', 'infinity', 0, 1)",
    "by event_date": "router.claim_by_event_date(null, 100)",
    "by event_date, one channel": "router.claim_by_event_date('whatsapp', 100)",
}


@pytest.mark.parametrize("until", ["now() + interval '1 hour'", "'infinity'"])
def test_parked_events_cost_a_claim_nothing(any_inbox: Inbox, until: str) -> None:
    """With ten thousand parked events, older than all others, a claim touches as many pages as without."""
    make_pending(any_inbox, "pending", 2000)
    any_inbox.run("vacuum webhook_events")
    without = {name: pages_of_claim(any_inbox, claim) for name, claim in CLAIMS.items()}
    any_inbox.run(
        """
        insert into webhook_events (channel, type, event_id, author_id, event_date, created_at)
        select (array['instagram', 'whatsapp'])[1 + i % 2], 'message', 'parked ' || i, 'x', '2020-01-01', '2020-01-01'
        from generate_series(1, 10000) i
        """
    )
    any_inbox.run(f"update webhook_events set parked_until = {until} where event_id like 'parked %'")
    any_inbox.run("vacuum webhook_events")  # parking leaves one dead entry an event, as routing does
    for name, claim in CLAIMS.items():
        assert pages_of_claim(any_inbox, claim) <= 1.2 * without[name] + 5, name


def test_old_snapshots_cost_a_claim_nothing(any_inbox: Inbox) -> None:
    """While an old transaction keeps dead entries alive, a claim from the watermark touches as many pages as before."""
    claim = "router.claim_by_arrival(100, %s, %s, 'infinity', 0, 1)"
    make_pending(any_inbox, "first", 200)
    before = pages_of_claim(any_inbox, claim, *START)
    any_inbox.batch(1000)
    reader = any_inbox.another()
    with reader.transaction():
        reader.run("set transaction isolation level repeatable read")
        assert reader.count("messages") == 200
        watermark = START
        for number in range(10):
            make_pending(any_inbox, f"more {number}", 500)
            while (batch := any_inbox.window(500, *watermark, "infinity")).claimed:
                watermark = (batch.reached_at, str(batch.reached_id))
        make_pending(any_inbox, "last", 200)
        from_watermark = pages_of_claim(any_inbox, claim, *watermark)
        from_the_beginning = pages_of_claim(any_inbox, claim, *START)
    assert from_watermark <= 1.2 * before + 5
    assert from_the_beginning > 2 * from_watermark, "the snapshot has kept nothing alive: the test shows nothing"
