"""Any order, any repetition, any split into batches, any interleaving of two sessions end in the same state."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus

from tests.sql.history import START, Conversation, Event, Message, Outcome, Step, expected, histories, order, schedules
from tests.sql.inbox import Inbox

_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
PROFILES = {
    "ci": settings(max_examples=400, derandomize=True, database=None, **_COMMON),
    "long": settings(max_examples=5000, print_blob=True, **_COMMON),
}
PROFILE = PROFILES.get(os.environ.get("HYPOTHESIS_PROFILE", "ci"), PROFILES["ci"])

PATIENCE = 90.0


class Arena:
    """Two sessions with a thread each, and a third that looks whether they wait for each other."""

    def __init__(self, dsn: str) -> None:
        self.watcher = Inbox(dsn)
        self.sessions = [self.watcher.another(), self.watcher.another()]
        self.threads = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]
        self.seen: Counter[str] = Counter()
        self._running: list[list[Future[None]]] = [[], []]
        self._preset: Any = None
        for session in self.sessions:
            session.run("set deadlock_timeout = '20ms'")

    def close(self) -> None:
        """Ends sessions and threads."""
        for thread in self.threads:
            thread.shutdown()
        self.watcher.__exit__(None, None, None)

    def begin(self, events: list[Event]) -> None:
        """An empty database but for what is there from the beginning."""
        self.watcher.run(
            """
            delete from webhook_events; delete from messages; delete from conversations; delete from contacts;
            delete from router.parked_events;
            """
        )
        add = """
        insert into conversations (channel, channel_conversation_id, status) values ('instagram', %s, %s) returning id
        """
        self._preset = self.watcher.value(add, "preset", "pending")
        answered = self.watcher.value(add, "answered", "closed")
        self.watcher.run(
            """
            with person as (insert into contacts default values returning id)
            insert into contact_channels (contact_id, channel, external_id) select id, 'instagram', 'known' from person
            """
        )
        for event in events:
            if event.answered:
                self.watcher.run(
                    """
                    insert into messages (conversation_id, channel, direction, content_text, provider_message_id,
                                          sent_at)
                    values (%s, %s, 'outbound', 'answered', %s, %s)
                    """,
                    answered,
                    event.channel,
                    event.event_id,
                    START,
                )

    def play(self, events: list[Event], steps: list[Step]) -> None:
        """Lets the sessions take the steps: the next one starts when the last is done, or waits for a lock."""
        for step in steps:
            self._start(step, events)
        for session in (0, 1):
            self._start(Step(session=session, action="commit"), events)
        deadline = time.monotonic() + PATIENCE
        for future in [*self._running[0], *self._running[1]]:
            future.result(timeout=max(0.0, deadline - time.monotonic()))
        self._running = [[], []]

    def _start(self, step: Step, events: list[Event]) -> None:
        number = step.session
        session = self.sessions[number]
        future = self.threads[number].submit(self._take, session, step, events[step.event])
        self._running[number].append(future)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return future.result(timeout=0.003)
            except TimeoutError:
                assert time.monotonic() < deadline, f"{step} does not end"
            if self.watcher.value(
                "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s",
                session.connection.info.backend_pid,
            ):
                self.seen["waited"] += 1
                return None

    def _take(self, session: Inbox, step: Step, event: Event) -> None:
        self.seen[step.action] += 1
        try:
            self._act(session, step, event)
        except psycopg.errors.DeadlockDetected:
            # Two transactions of several calls each have no common order. Whoever is the victim does it again later.
            self.seen["deadlock"] += 1
            if session.connection.info.transaction_status != TransactionStatus.IDLE:
                session.run("rollback")

    def _act(self, session: Inbox, step: Step, event: Event) -> None:
        idle = session.connection.info.transaction_status == TransactionStatus.IDLE
        match step.action:
            case "begin" | "commit" | "rollback":
                if idle == (step.action == "begin"):
                    session.run(step.action)
            case "arrive":
                self.arrive(session, event)
            case "again":
                self._again(session, event)
            case "batch":
                session.batch(step.limit)
            case "oldest":
                session.route_unrouted(step.channel, step.limit)
            case "one":
                session.rows(
                    "select public.route_webhook_event(channel, event_id) from webhook_events where event_id = %s",
                    event.event_id,
                )
            case "reopen":
                session.run(
                    """
                    update webhook_events
                    set routed_at = null, conversation_id = case when %s then conversation_id end
                    where event_id = %s and routed_at is not null
                    """,
                    step.keep_conversation,
                    event.event_id,
                )

    def _again(self, session: Inbox, event: Event) -> None:
        if not session.rows("select from webhook_events where event_id = %s", event.event_id):
            return self.arrive(session, event)  # a first delivery without a date would be dated now
        session.ingest(
            event.event_id,
            channel=event.channel.upper(),
            type_=event.type,
            author_id=event.author,
            author_name=event.name,
            content=f"text of {event.event_id}",
            event_date=event.date,
            post_id=event.post,
            conversation_id=self._preset if event.preset else None,
        )
        return None

    def arrive(self, session: Inbox, event: Event) -> None:
        """What an edge function does with a delivery."""
        session.run(
            """
            insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                        conversation_id, created_at)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (channel, event_id) do nothing
            """,
            event.channel,
            event.type,
            event.event_id,
            event.author,
            event.name,
            f"text of {event.event_id}",
            event.date,
            event.post,
            self._preset if event.preset else None,
            event.arrived_at,
        )

    def finish(self, events: list[Event]) -> None:
        """Lets the events arrive that have not yet, and routes what is pending."""
        for event in events:
            self.arrive(self.watcher, event)
        for _ in range(100):
            if self.watcher.batch(5).claimed == 0:
                return
        raise AssertionError("there is always something to route")

    def outcome(self) -> Outcome:
        """What the tables say."""
        rows = self.watcher.rows
        assert rows("select * from router.parked_events") == []
        assert rows("select * from webhook_events where routed_at is null or parked_until is not null") == []
        people = rows(
            """
            select k.channel, k.external_id, k.contact_id, c.full_name, k.display_name
            from contacts c left join contact_channels k on k.contact_id = c.id
            """
        )
        authors: dict[Any, tuple[str, str] | None] = {p["contact_id"]: (p["channel"], p["external_id"]) for p in people}
        authors[None] = None
        messages = rows("select * from messages order by provider_message_id")
        inside: dict[Any, set[str]] = {}
        for message in messages:
            inside.setdefault(message["conversation_id"], set()).add(message["provider_message_id"])
        conversations = [
            Conversation(
                author=authors[row["contact_id"]],
                channel=row["channel"],
                thread=row["channel_conversation_id"],
                status=row["status"],
                last_message_at=row["last_message_at"],
                messages=frozenset(inside.get(row["id"], ())),
            )
            for row in rows("select * from conversations")
        ]
        return Outcome(
            people={(p["channel"], p["external_id"]): (p["full_name"], p["display_name"]) for p in people},
            conversations=sorted(conversations, key=order),
            messages=[
                Message(
                    event_id=row["provider_message_id"],
                    channel=row["channel"],
                    author=authors[row["contact_id"]],
                    direction=row["direction"],
                    content=row["content_text"],
                    sent_at=row["sent_at"],
                )
                for row in messages
            ],
            events={
                row["event_id"]: frozenset(inside[row["conversation_id"]])
                for row in rows("select event_id, conversation_id from webhook_events")
            },
        )


@pytest.fixture
def arena(database: str) -> Iterator[Arena]:
    """Two sessions and a watcher in a fresh database."""
    opened = Arena(database)
    yield opened
    opened.close()


def test_every_way_ends_in_the_same_state(arena: Arena) -> None:
    """However events arrive, arrive again, are split, re-opened, undone and interleaved, the outcome is the model's."""

    @PROFILE
    @given(st.data())
    def converges(data: st.DataObject) -> None:
        events = data.draw(histories(), label="events")
        early = data.draw(st.permutations(range(len(events))), label="arrival")[
            : data.draw(st.integers(0, len(events)))
        ]
        steps = data.draw(schedules(len(events)), label="steps")
        arena.begin(events)
        for number in early:
            arena.arrive(arena.watcher, events[number])
        arena.play(events, steps)
        arena.finish(events)
        outcome, model = arena.outcome(), expected(events)
        note(f"{arena.seen}")
        assert outcome.messages == model.messages
        assert outcome.people == model.people
        assert outcome.conversations == model.conversations
        assert outcome.events == model.events

    converges()
    assert arena.seen["waited"] > 10, "the sessions have hardly met"
