"""Where one event is: in webhook_events, set aside, in the inbox, or not here at all; and events by other ids."""

from dataclasses import replace
from typing import Any, Final

from consumer.adapters.postgres.operating.answers import answers, refuse_superusers
from consumer.adapters.postgres.operating.deliveries import of_message
from consumer.adapters.postgres.operating.session import Connection
from consumer.domain.explaining import HELD, READY, Explanation, Findings, Hit, spellings
from consumer.domain.providers.lines import subject_of, token_of
from consumer.domain.webhook import CHANNELS

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
               e.routed_by,
               e.conversation_id, e.conversation_status, e.message_id, e.contact_id, e.channel_id, e.triggers,
               e.found_in, e.channels, e.last_event_date
        from router.explain(%(channel)s::pg_catalog.text, %(event_id)s::pg_catalog.text) e
    ) l
"""
_ROUTE: Final = "select claimed, held, held_reason from router.route_one(%s::pg_catalog.uuid, false, 'call')"
_EFFECTS: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select e.kind, e.at, e.number, e.codes from router.effects_told(%(message_id)s::pg_catalog.uuid) e
    ) l
"""
_FIND: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select f.hits, f.channels, f.is_partial
        from router.find_events(%(channel)s::pg_catalog.text, %(texts)s::pg_catalog.text[],
                                %(limit)s::pg_catalog.int4) f
    ) l
"""
HITS: Final = 20
"""Of a search, at most."""


async def explain(connection: Connection, channel: str, event_id: str) -> Explanation:
    """Looks once; changes nothing."""
    (row,) = await answers(connection, "explain", _EXPLAIN, {"channel": channel, "event_id": event_id})
    stored = await _stored(connection, channel, event_id)
    message = row["message_id"]
    told = await answers(connection, "effects_told", _EFFECTS, {"message_id": message}) if message is not None else []
    return Explanation(**row, **stored, effects=told)


async def search(connection: Connection, channel: str | None, text: str) -> Findings:
    """Looks for events by any of the ids that router.find_events takes, in one channel, or in all of them."""
    asked = {"channel": channel, "texts": spellings(text), "limit": HITS}
    (row,) = await answers(connection, "find_events", _FIND, asked)
    hits = [Hit(**hit) for hit in row["hits"]]
    story = None
    if not hits:
        story = await _nothing(connection, channel, text, known=row["channels"])
    elif len(hits) == 1 and hits[0].event_id is not None:
        story = await explain(connection, hits[0].channel, hits[0].event_id)
    return Findings(hits=hits, is_partial=row["is_partial"], story=story)


async def _nothing(connection: Connection, channel: str | None, text: str, *, known: list[str]) -> Explanation:
    """What is known of an event that has neither a row nor a message."""
    if channel is not None:
        return await explain(connection, channel, text)
    for each in dict.fromkeys([*known[:HITS], *CHANNELS]):
        stored = await _stored(connection, each, text)
        if any(stored.values()):  # deliveries hold it, effects wait for it, or it is deleted
            return await explain(connection, each, text)
    return replace(await explain(connection, "", text), channel=None)


async def _stored(connection: Connection, channel: str, event_id: str) -> dict[str, Any]:
    return await of_message(
        connection,
        subject=subject_of(channel.strip().lower(), event_id),
        channel=channel,
        message_id=event_id,
        token=token_of(event_id),
    )


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
