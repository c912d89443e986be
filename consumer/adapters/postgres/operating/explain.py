"""Where one event is: in webhook_events, set aside, in the inbox, or not here at all."""

from dataclasses import dataclass, field, replace
from typing import Final

from consumer.adapters.postgres.operating.answers import Answer, answers, refuse_superusers
from consumer.adapters.postgres.operating.deliveries import of_message
from consumer.adapters.postgres.operating.session import Connection
from consumer.domain.providers.lines import subject_of, token_of

UNKNOWN: Final = "unknown"
READY: Final = "ready"
HELD: Final = "held"
"""Ready, and an attempt has shown what keeps it so."""
# A time that is not finite has no age; the strings of JSON hold such a time all the same.
_EXPLAIN: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select e.state, e.id, e.channel, e.type, e.event_id, e.event_date, e.created_at,
               case when pg_catalog.isfinite(e.created_at)
                    then extract(epoch from pg_catalog.now() operator(pg_catalog.-) e.created_at)::pg_catalog.float8
               end as age_seconds,
               e.has_author, e.ready_before, e.error_code, e.error_message, e.attempts, e.first_parked_at,
               e.last_parked_at,
               case when pg_catalog.isfinite(e.next_attempt_at) then e.next_attempt_at end as next_attempt_at,
               case when pg_catalog.isfinite(e.next_attempt_at)
                    then greatest(extract(epoch from e.next_attempt_at operator(pg_catalog.-) pg_catalog.now()), 0)
               end::pg_catalog.float8 as due_in_seconds,
               e.discarded_at, e.routed_at,
               case when pg_catalog.isfinite(e.routed_at)
                    then extract(epoch from pg_catalog.now() operator(pg_catalog.-) e.routed_at)::pg_catalog.float8
               end as routed_seconds_ago,
               case when pg_catalog.isfinite(e.routed_at) and pg_catalog.isfinite(e.created_at)
                    then extract(epoch from e.routed_at operator(pg_catalog.-) e.created_at)::pg_catalog.float8
               end as routed_after_seconds,
               e.conversation_id, e.conversation_status, e.message_id, e.contact_id, e.channel_id, e.triggers,
               e.found_in, e.channels, e.last_event_date
        from router.explain(%(channel)s::pg_catalog.text, %(event_id)s::pg_catalog.text) e
    ) l
"""
_ROUTE: Final = "select claimed, held, held_reason from router.route_one(%s::pg_catalog.uuid, false)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The row of router.explain, which says what is null when. Times are texts: Postgres has some that Python lacks."""

    state: str
    id: str | None
    channel: str | None
    type: str | None
    event_id: str
    event_date: str | None
    created_at: str | None
    age_seconds: float | None
    """Since `created_at`; negative if that is in the future, None if it is not finite."""
    has_author: bool | None
    ready_before: int | None
    error_code: str | None
    error_message: str | None
    attempts: int | None
    first_parked_at: str | None
    last_parked_at: str | None
    next_attempt_at: str | None
    """None if there is none."""
    due_in_seconds: float | None
    discarded_at: str | None
    routed_at: str | None
    routed_seconds_ago: float | None
    routed_after_seconds: float | None
    """From `created_at` to `routed_at`."""
    conversation_id: str | None
    conversation_status: str | None
    message_id: str | None
    contact_id: str | None
    channel_id: str | None
    triggers: list[str] | None
    found_in: list[str] | None
    channels: list[str] | None
    last_event_date: str | None
    deliveries: list[Answer] = field(default_factory=list)
    """Stored deliveries that hold its text, the latest first."""
    waiting: list[Answer] = field(default_factory=list)
    """Effects that wait for its message."""
    deleted_at: str | None = None
    """When a delivery has told that its author has deleted it."""
    held_reason: str | None = None
    """Of an attempt to route it, see `route`."""
    is_busy: bool | None = None
    """Whether another session had its row locked during that attempt."""


async def explain(connection: Connection, channel: str, event_id: str) -> Explanation:
    """Looks once; changes nothing."""
    (row,) = await answers(connection, "explain", _EXPLAIN, {"channel": channel, "event_id": event_id})
    stored = await of_message(
        connection,
        subject=subject_of(channel.strip().lower(), event_id),
        channel=channel,
        message_id=event_id,
        token=token_of(event_id),
    )
    return Explanation(**row, **stored)


async def route(connection: Connection, channel: str, event_id: str) -> Explanation:
    """Routes the event, if it is ready or its next attempt is due, as the service would, and looks then."""
    before = await explain(connection, channel, event_id)
    if before.id is None or before.routed_at is not None:
        return before
    await refuse_superusers(connection, "route_one")
    ((claimed, held, reason),) = await (await connection.execute(_ROUTE, [before.id])).fetchall()
    after = await explain(connection, channel, event_id)
    if held:
        return replace(after, state=HELD, held_reason=reason)
    return replace(after, is_busy=not claimed and before.state == after.state == READY)
