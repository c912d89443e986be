"""Parked events: what could not be routed, for an operator to look at and to decide about."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson
from psycopg.rows import class_row

from consumer.adapters.postgres.operating.answers import answers, refuse_superusers
from consumer.adapters.postgres.operating.session import Connection
from consumer.domain.parked import Count, Decision, Found, Group, Outcome, ParkedEvent, Place, Selection

# The ages of another moment are those of now, and what has passed since.
_FILTERS: Final = """
    p_channel => %(channel)s::pg_catalog.text, p_error_class => %(error_class)s::pg_catalog.text,
    p_error_message => %(error_message)s::pg_catalog.text,
    p_older_than => case
        when %(as_of)s::pg_catalog.timestamptz is null then %(older_than)s::pg_catalog.interval
        else (pg_catalog.now() operator(pg_catalog.-) %(as_of)s::pg_catalog.timestamptz)
             operator(pg_catalog.+) coalesce(%(older_than)s::pg_catalog.interval, '0')
    end,
    p_newer_than => coalesce(pg_catalog.now() operator(pg_catalog.-) %(as_of)s::pg_catalog.timestamptz, '0')
        operator(pg_catalog.+) %(newer_than)s::pg_catalog.interval,
    p_state => %(state)s::pg_catalog.text
"""
_CONDITIONS: Final = f"{_FILTERS}, p_ids => %(ids)s::pg_catalog.uuid[], p_limit => %(limit)s::pg_catalog.int4"
_LISTED: Final = f"""{_CONDITIONS}, p_event_ids => %(event_ids)s::pg_catalog.text[],
    p_before => %(before)s::pg_catalog.timestamptz, p_before_id => %(before_id)s::pg_catalog.uuid
"""
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
# Without the ids of the latest ones, which `_GROUPS` shows, but at a cost that is bounded.
_COUNTED: Final = f"""
    select pg_catalog.row_to_json(l)
    from (
        select g.*, extract(epoch from pg_catalog.now() operator(pg_catalog.-) g.first_parked_at)::pg_catalog.float8
                   as age_seconds
        from router.parked_groups({_FILTERS}, p_most => %(most)s::pg_catalog.int4) with ordinality g
        order by g.ordinality
    ) l
"""  # noqa: S608 - constants only
_COUNT: Final = f"""
    select pg_catalog.json_build_object('events', coalesce(pg_catalog.sum(g.events), 0), 'as_of', pg_catalog.now())
    from router.parked_groups({_FILTERS}) g
"""  # noqa: S608 - constants only
_COUNT_IDS: Final = f"""
    select pg_catalog.json_build_object('events', pg_catalog.count(*), 'as_of', pg_catalog.now())
    from router.parked({_LISTED}) d
"""  # noqa: S608 - constants only
_READABLE: Final = """
    select coalesce(pg_catalog.has_function_privilege(
        pg_catalog.to_regprocedure('router.parked_contents(uuid[])')::pg_catalog.oid, 'execute'), false)
"""
# The payload as text, whose numbers may be of a size that nothing but text holds.
_CONTENTS: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select c.id, c.author_id, c.author_name, c.content, c.post_id, c.raw_payload::pg_catalog.text as raw_payload
        from router.parked_contents(%(ids)s::pg_catalog.uuid[]) c
    ) l
"""
_WRITTEN: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select c.id, c.author_id, c.author_name, c.content, c.post_id,
               pg_catalog.left(p.lines, %(most)s::pg_catalog.int4) as raw_payload,
               pg_catalog.length(p.lines) operator(pg_catalog.>) %(most)s::pg_catalog.int4 as is_cut
        from router.parked_contents(%(ids)s::pg_catalog.uuid[]) c
        cross join lateral (select pg_catalog.jsonb_pretty(c.raw_payload) as lines) p
    ) l
"""
_RETRY: Final = f"select matched, changed, unknown from router.retry_parked({_CONDITIONS})"  # noqa: S608
_DISCARD: Final = f"select matched, changed, unknown from router.discard_parked({_CONDITIONS})"  # noqa: S608


def _parameters(selection: Selection, *, before: Place | None = None) -> dict[str, object]:
    return {
        "ids": None if selection.ids is None else list(selection.ids),
        "event_ids": None if selection.event_ids is None else list(selection.event_ids),
        "channel": selection.channel,
        "error_class": selection.error_class,
        "error_message": selection.error_message,
        "older_than": selection.older_than,
        "newer_than": selection.newer_than,
        "state": selection.state,
        "limit": selection.limit,
        "as_of": selection.as_of,
        "before": None if before is None else before.parked_at,
        "before_id": None if before is None else before.id,
    }


async def find(connection: Connection, selection: Selection) -> list[ParkedEvent]:
    """The parked events, latest first, without author and content."""
    return await answers(connection, "parked", _FIND, _parameters(selection))


async def groups(connection: Connection, selection: Selection) -> list[Group]:
    """The parked events by their error, the most frequent first."""
    return await answers(connection, "parked", _GROUPS, _parameters(selection))


async def page(connection: Connection, selection: Selection, *, before: Place | None, size: int, most: int) -> Found:
    """As many parked events as a page has, from a place on, and the number of each error.

    Args:
        most: groups count no more events than this; one may have many millions.
    """
    parameters = _parameters(dataclasses.replace(selection, limit=size + 1), before=before)
    counted = await answers(connection, "parked_groups", _COUNTED, parameters | {"most": most})
    events = await answers(connection, "parked", _FIND, parameters)
    looked_at = counted[0]["looked_at"] if counted else most if events else 0
    return Found(
        groups=counted,
        events=events[:size],
        more=len(events) > size,
        counted=most if looked_at >= most else None,
    )


async def count(connection: Connection, selection: Selection) -> Count:
    """How many parked events a decision would be about; the provider's ids are no condition here."""
    function, statement = ("parked_groups", _COUNT) if selection.ids is None else ("parked", _COUNT_IDS)
    ((counted),) = await answers(connection, function, statement, _parameters(selection))
    return Count(events=counted["events"], as_of=datetime.fromisoformat(counted["as_of"]))


async def readable(connection: Connection) -> bool:
    """Whether this login may see what people wrote."""
    found = await (await connection.execute(_READABLE.encode())).fetchone()
    return found == (True,)


async def written(connection: Connection, event: UUID, *, most: int) -> ParkedEvent | None:
    """Author, content and raw payload; requires more rights than the service has.

    Args:
        most: characters of the payload's JSON, in lines; `is_cut` says whether it has more.
    """
    found = await answers(connection, "parked_contents", _WRITTEN, {"ids": [event], "most": most})
    return found[0] if found else None


async def contents(connection: Connection, ids: Sequence[UUID]) -> dict[str, ParkedEvent]:
    """The same by id, with all of the payload as JSON."""
    found = await answers(connection, "parked_contents", _CONTENTS, {"ids": list(ids)})
    return {event["id"]: event | {"raw_payload": orjson.Fragment(event["raw_payload"])} for event in found}


async def retry(connection: Connection, selection: Selection) -> Outcome:
    """Has them tried again at the next sweep, as if they had never failed."""
    return await _decide(connection, "retry_parked", _RETRY, selection)


async def discard(connection: Connection, selection: Selection) -> Outcome:
    """Gives them up: they stay in the table, but are not tried again."""
    return await _decide(connection, "discard_parked", _DISCARD, selection)


async def decide(connection: Connection, decision: Decision, selection: Selection) -> Outcome:
    """Does one or the other."""
    match decision:
        case Decision.RETRY:
            return await retry(connection, selection)
        case Decision.DISCARD:
            return await discard(connection, selection)


async def _decide(connection: Connection, function: str, statement: str, selection: Selection) -> Outcome:
    await refuse_superusers(connection, function)
    async with connection.cursor(row_factory=class_row(Outcome)) as cursor:
        await cursor.execute(statement.encode(), _parameters(selection))
        outcome = await cursor.fetchone()
    assert outcome is not None
    return outcome
