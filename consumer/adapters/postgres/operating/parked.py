"""Parked events: what could not be routed, for an operator to look at and to decide about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import orjson
from psycopg.rows import class_row

from consumer.adapters.postgres.operating.answers import Answer, answers, refuse_superusers
from consumer.adapters.postgres.operating.session import Connection

_CONDITIONS: Final = """
    p_ids => %(ids)s::pg_catalog.uuid[], p_channel => %(channel)s::pg_catalog.text,
    p_error_class => %(error_class)s::pg_catalog.text,
    p_older_than => %(older_than)s::pg_catalog.interval, p_newer_than => %(newer_than)s::pg_catalog.interval,
    p_state => %(state)s::pg_catalog.text, p_limit => %(limit)s::pg_catalog.int4
"""
_LISTED: Final = f"{_CONDITIONS}, p_event_ids => %(event_ids)s::pg_catalog.text[]"
_FIND: Final = f"""
    select pg_catalog.row_to_json(l)
    from (
        select d.id, d.state, d.channel, d.type, d.event_id, d.event_date, d.created_at, d.error_code, d.error_message,
               d.attempts, d.first_parked_at,
               extract(epoch from pg_catalog.now() operator(pg_catalog.-) d.first_parked_at)::pg_catalog.float8
                   as age_seconds,
               d.last_parked_at,
               case when pg_catalog.isfinite(d.next_attempt_at) then d.next_attempt_at end as next_attempt_at,
               case when pg_catalog.isfinite(d.next_attempt_at)
                    then greatest(extract(epoch from d.next_attempt_at operator(pg_catalog.-) pg_catalog.now()), 0)
               end::pg_catalog.float8 as due_in_seconds,
               d.discarded_at
        from router.parked({_LISTED}) d
    ) l
"""  # noqa: S608 - constants only
# The most frequent first.
_GROUPS: Final = f"""
    select pg_catalog.row_to_json(l)
    from (
        select d.error_code, d.error_message, pg_catalog.count(*) as events,
               pg_catalog.count(*) filter (where d.state operator(pg_catalog.=) 'waiting') as waiting,
               pg_catalog.count(*) filter (where d.state operator(pg_catalog.=) 'dead') as dead,
               pg_catalog.count(*) filter (where d.state operator(pg_catalog.=) 'discarded') as discarded,
               pg_catalog.array_agg(distinct d.channel) as channels,
               pg_catalog.min(d.first_parked_at) as first_parked_at,
               extract(epoch from pg_catalog.now() operator(pg_catalog.-) pg_catalog.min(d.first_parked_at))
                   ::pg_catalog.float8 as age_seconds,
               pg_catalog.max(d.last_parked_at) as last_parked_at,
               (pg_catalog.array_agg(d.id order by d.last_parked_at desc))[1] as latest_id
        from router.parked({_LISTED}) d
        group by d.error_code, d.error_message
        order by 3 desc, 1, 2
    ) l
"""  # noqa: S608 - constants only
# The payload as text, whose numbers may be of a size that nothing but text holds.
_CONTENTS: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select c.id, c.author_id, c.author_name, c.content, c.post_id, c.raw_payload::pg_catalog.text as raw_payload
        from router.parked_contents(%(ids)s::pg_catalog.uuid[]) c
    ) l
"""
_RETRY: Final = f"select matched, changed, unknown from router.retry_parked({_CONDITIONS})"  # noqa: S608
_DISCARD: Final = f"select matched, changed, unknown from router.discard_parked({_CONDITIONS})"  # noqa: S608

ParkedEvent = Answer
"""The columns of router.parked, with `age_seconds` and `due_in_seconds`; no next attempt: None."""
Group = Answer
"""Events with the same error: how many `events`, of them `waiting`, `dead` and `discarded`; their `channels`."""


class State(StrEnum):
    """What an event is waiting for."""

    WAITING = "waiting"
    """Its next attempt."""
    DEAD = "dead"
    """An operator: no attempt is left."""
    DISCARDED = "discarded"
    """Nothing: an operator has given it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events; None is no condition, but discarded ones are only found by state, id or event_id."""

    ids: Sequence[UUID] | None = None
    event_ids: Sequence[str] | None = None
    """The provider's ids, in any channel; for lists, decisions are made by id."""
    channel: str | None = None
    error_class: str | None = None
    """An SQLSTATE, or its first characters."""
    older_than: timedelta | None = None
    """First parked longer ago than this."""
    newer_than: timedelta | None = None
    state: State | None = None
    limit: int | None = None
    """The latest parked ones only."""

    def parameters(self) -> dict[str, object]:
        return {
            "ids": None if self.ids is None else list(self.ids),
            "event_ids": None if self.event_ids is None else list(self.event_ids),
            "channel": self.channel,
            "error_class": self.error_class,
            "older_than": self.older_than,
            "newer_than": self.newer_than,
            "state": self.state,
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a decision did."""

    matched: int
    """Events that the selection met."""
    changed: int
    """Those of them that were not in the wanted state already."""
    unknown: list[UUID]
    """Given ids that do not belong to parked events."""


async def find(connection: Connection, selection: Selection) -> list[ParkedEvent]:
    """The parked events, latest first, without author and content."""
    return await answers(connection, "parked", _FIND, selection.parameters())


async def groups(connection: Connection, selection: Selection) -> list[Group]:
    """The parked events by their error, the most frequent first."""
    return await answers(connection, "parked", _GROUPS, selection.parameters())


async def contents(connection: Connection, ids: Sequence[UUID]) -> dict[str, ParkedEvent]:
    """Author, content and raw payload, by id; requires more rights than the service has."""
    found = await answers(connection, "parked_contents", _CONTENTS, {"ids": list(ids)})
    return {event["id"]: event | {"raw_payload": orjson.Fragment(event["raw_payload"])} for event in found}


async def retry(connection: Connection, selection: Selection) -> Outcome:
    """Has them tried again at the next sweep, as if they had never failed."""
    return await _decide(connection, "retry_parked", _RETRY, selection)


async def discard(connection: Connection, selection: Selection) -> Outcome:
    """Gives them up: they stay in the table, but are not tried again."""
    return await _decide(connection, "discard_parked", _DISCARD, selection)


async def _decide(connection: Connection, function: str, statement: str, selection: Selection) -> Outcome:
    await refuse_superusers(connection, function)
    async with connection.cursor(row_factory=class_row(Outcome)) as cursor:
        await cursor.execute(statement.encode(), selection.parameters())
        outcome = await cursor.fetchone()
    assert outcome is not None
    return outcome
