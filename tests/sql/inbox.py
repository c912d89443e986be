"""A session in a database with the schema: what applications, operators and the service do there."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.waiting import wait_for

Row = dict[str, Any]

_BATCH = "claimed, inserted, parked, dead, channels, ages, reached_at::text, reached_id, seconds, held, held_reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What route_webhook_event returns."""

    conversation_id: UUID
    message_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What router.route_batch and its like return."""

    claimed: int
    inserted: int
    parked: int
    dead: int
    channels: list[str] | None
    ages: list[float] | None
    reached_at: str
    reached_id: UUID
    seconds: float
    held: int
    held_reason: str | None


class Inbox:
    """One connection in autocommit; dictionaries for rows."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self._others = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._others.close()
        self.connection.close()

    def another(self) -> "Inbox":
        """A second session in the same database; it ends with this one."""
        return self._others.enter_context(Inbox(self.dsn))

    # ── Plain SQL ────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, statement: str, *values: Any) -> int:
        """Runs a statement and tells how many rows it touched."""
        return self.connection.execute(statement.encode(), values or None).rowcount

    def rows(self, statement: str, *values: Any) -> list[Row]:
        """All rows of a query."""
        return self.connection.execute(statement.encode(), values or None).fetchall()

    def row(self, statement: str, *values: Any) -> Row:
        """The only row of a query."""
        found = self.rows(statement, *values)
        assert len(found) == 1, f"{len(found)} rows instead of one: {found[:3]}"
        return found[0]

    def value(self, statement: str, *values: Any) -> Any:
        """The only column of the only row."""
        (answer,) = self.row(statement, *values).values()
        return answer

    def column(self, statement: str, *values: Any) -> list[Any]:
        """The only column of all rows."""
        return [answer for row in self.rows(statement, *values) for answer in row.values()]

    def count(self, table: str) -> int:
        """How many rows a table of the application has."""
        answer = self.connection.execute(
            sql.SQL("select count(*) as n from {}").format(sql.Identifier(table))
        ).fetchone()
        assert answer is not None
        return int(answer["n"])

    def counts(self) -> dict[str, int]:
        """How many rows routing has made, by table."""
        return {table: self.count(table) for table in ("contacts", "contact_channels", "conversations", "messages")}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction of this session; committed at the end."""
        with self.connection.transaction():
            yield

    # ── What applications call ───────────────────────────────────────────────────────────────────────────────────────

    def ingest(
        self,
        event_id: str | None = "e1",
        *,
        channel: str | None = "instagram",
        type_: str | None = "message",
        author_id: str | None = "a1",
        author_name: str | None = None,
        content: str | None = "hello",
        event_date: Any = "2026-01-01 12:00+00",
        post_id: str | None = None,
        conversation_id: UUID | None = None,
        raw_payload: Any = None,
    ) -> Row:
        """Calls ingest_webhook_event; the row it returns."""
        answer: Row = self.value(
            "select public.ingest_webhook_event(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            channel,
            type_,
            event_id,
            author_id,
            author_name,
            content,
            event_date,
            post_id,
            conversation_id,
            None if raw_payload is None else Jsonb(raw_payload),
        )
        return answer

    def route(self, event_id: str = "e1", *, channel: str = "instagram") -> Routed:
        """Calls route_webhook_event."""
        answer = self.value("select public.route_webhook_event(%s, %s)", channel, event_id)
        assert set(answer) == {"conversation_id", "message_id"}
        return Routed(conversation_id=UUID(answer["conversation_id"]), message_id=UUID(answer["message_id"]))

    def route_unrouted(self, channel: str | None = None, limit: int | None = 100) -> int:
        """Calls route_unrouted_events."""
        answer: int = self.value("select public.route_unrouted_events(%s, %s)", channel, limit)
        return answer

    def analyze(self, message_id: UUID) -> Row:
        """Calls analyze_message_simple."""
        answer: Row = self.value("select public.analyze_message_simple(%s)", message_id)
        return answer

    # ── What edge functions and operators do ─────────────────────────────────────────────────────────────────────────

    def insert(self, event_id: str = "e1", **columns: Any) -> UUID:
        """Inserts an event as edge functions do, and returns its id."""
        values: Row = {
            "channel": "instagram",
            "type": "message",
            "event_id": event_id,
            "author_id": "a1",
            "content": "hello",
            "event_date": "2026-01-01 12:00+00",
        } | columns
        statement = sql.SQL("insert into webhook_events ({}) values ({}) returning id").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join([sql.Placeholder()] * len(values))
        )
        answer = self.connection.execute(statement, list(values.values())).fetchone()
        assert answer is not None
        event: UUID = answer["id"]
        return event

    def insert_many(self, count: int, *, prefix: str = "e", authors: int = 10, channel: str = "instagram") -> None:
        """Inserts events <prefix>1 … <prefix><count>, a second apart, of authors a0 … in turn."""
        self.run(
            """
            insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
            select %s, 'message', %s || i, 'a' || i %% %s, 'Name ' || i %% %s, 'text ' || i,
                   timestamptz '2026-01-01 12:00+00' + i * interval '1 second'
            from generate_series(1, %s) i
            """,
            channel,
            prefix,
            authors,
            authors,
            count,
        )

    def reopen(self, *event_ids: str, keep_conversation: bool = False) -> None:
        """Sets routed_at, and conversation_id unless kept, to null."""
        self.run(
            """
            update webhook_events set routed_at = null, conversation_id = case when %s then conversation_id end
            where event_id = any (%s)
            """,
            keep_conversation,
            list(event_ids),
        )

    # ── What the service calls ───────────────────────────────────────────────────────────────────────────────────────

    def batch(self, limit: int = 1000) -> Batch:
        """Calls router.route_batch without bounds."""
        return Batch(**self.row(f"select {_BATCH} from router.route_batch(%s)", limit))

    def window(self, limit: int, after_at: Any, after_id: Any, before: Any) -> Batch:
        """Calls router.route_batch with bounds."""
        return Batch(
            **self.row(f"select {_BATCH} from router.route_batch(%s, %s, %s, %s)", limit, after_at, after_id, before)
        )

    def retry(self, channel: str | None = None, limit: int = 1000) -> Batch:
        """Calls router.route_due."""
        return Batch(**self.row(f"select {_BATCH} from router.route_due(%s, %s)", channel, limit))

    # ── What tests look at ───────────────────────────────────────────────────────────────────────────────────────────

    def event(self, event_id: str = "e1", channel: str = "instagram") -> Row:
        """The row of an event."""
        return self.row("select * from webhook_events where channel = %s and event_id = %s", channel, event_id)

    def message(self, event_id: str = "e1", channel: str = "instagram") -> Row:
        """The message of an event."""
        return self.row("select * from messages where channel = %s and provider_message_id = %s", channel, event_id)

    def conversation_of(self, event_id: str = "e1", channel: str = "instagram") -> Row:
        """The conversation that an event was routed into."""
        return self.row("select * from conversations where id = %s", self.event(event_id, channel)["conversation_id"])

    def contact_of(self, author_id: str = "a1", channel: str = "instagram") -> Row:
        """The contact of an author, with display_name of the channel."""
        return self.row(
            """
            select c.*, k.display_name, k.is_primary
            from contact_channels k join contacts c on c.id = k.contact_id
            where k.channel = %s and k.external_id = %s
            """,
            channel,
            author_id,
        )

    def wait_until_blocked(self, other: "Inbox") -> None:
        """Waits until the other session waits for a lock."""
        wait_for(
            lambda: self.value(
                "select coalesce(bool_or(wait_event_type = 'Lock'), false) from pg_stat_activity where pid = %s",
                other.connection.info.backend_pid,
            ),
            what="the other session to wait for a lock",
        )
