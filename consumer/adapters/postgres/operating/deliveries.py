"""Stored deliveries: what was not understood, what is not in effect yet, and each one as it came."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from consumer.adapters.bodies import shape_of, unpacked
from consumer.adapters.postgres.operating.answers import Answer, answers
from consumer.adapters.postgres.operating.session import Connection
from consumer.domain.deliveries import EXAMPLES, Example, Troubled
from consumer.domain.errors import Rejected

_KINDS: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select k.provider, k.kind, k.deliveries, k.atoms, k.last_received_at
        from router.deliveries_kinds(p_provider => %(provider)s::pg_catalog.text,
                                     p_since => %(since)s::pg_catalog.timestamptz) k
    ) l
"""
_LIST: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select d.id, d.provider, d.account, d.received_at, d.size, d.version, d.kinds, d.has_unknown, d.processed_at,
               d.error, d.attempts,
               case when pg_catalog.isfinite(d.next_attempt_at) then d.next_attempt_at end as next_attempt_at
        from router.deliveries_list(
                 p_provider => %(provider)s::pg_catalog.text, p_kind => %(kind)s::pg_catalog.text,
                 p_state => %(state)s::pg_catalog.text, p_since => %(since)s::pg_catalog.timestamptz,
                 p_limit => %(limit)s::pg_catalog.int4) d
    ) l
"""
_SHOW: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select d.id, d.provider, d.account, d.received_at,
               pg_catalog.translate(pg_catalog.encode(d.body, 'base64'), E'\\n', '') as body, d.is_compressed,
               pg_catalog.encode(d.digest, 'hex') as digest, d.version, d.kinds, d.has_unknown, d.processed_at,
               d.error, d.attempts,
               case when pg_catalog.isfinite(d.next_attempt_at) then d.next_attempt_at end as next_attempt_at
        from router.deliveries_show(%(id)s::pg_catalog.int8) d
    ) l
"""
_TROUBLED: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select t.state, t.provider, t.kinds, t.error, t.deliveries, t.atoms, t.last_received_at, t.last_id, t.is_partial
        from router.deliveries_troubled(%(since)s::pg_catalog.timestamptz) t
    ) l
"""
_EXAMPLE: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select e.id, e.received_at, pg_catalog.translate(pg_catalog.encode(e.body, 'base64'), E'\\n', '') as body,
               e.is_compressed, e.size
        from router.deliveries_example(%(provider)s::pg_catalog.text, %(kinds)s::pg_catalog.text[],
                                       %(since)s::pg_catalog.timestamptz) e
    ) l
"""
_OF: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select d.deliveries, d.waiting, d.deleted_at
        from router.deliveries_of(%(subject)s::pg_catalog.int8, %(channel)s::pg_catalog.text,
                                  %(message_id)s::pg_catalog.text, %(token)s::pg_catalog.text) d
    ) l
"""


class State(StrEnum):
    """What there is about a delivery."""

    TROUBLED = "troubled"
    """Any of the following."""
    UNKNOWN = "unknown"
    """Something in it was not understood."""
    WAITING = "waiting"
    """It is not in effect, or not all of it, and will be tried again."""
    DEAD = "dead"
    """As above, and no attempt is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which deliveries; None is no condition."""

    provider: str | None = None
    kind: str | None = None
    """Of one of their atoms."""
    state: State | None = None
    since: datetime | None = None


async def kinds(connection: Connection, selection: Selection) -> list[Answer]:
    """Provider and kind, with the number of deliveries and atoms, the most frequent first."""
    parameters = {"provider": selection.provider, "since": selection.since}
    found = await answers(connection, "deliveries_kinds", _KINDS, parameters)
    return [answer for answer in found if selection.kind in (None, answer["kind"])]


async def find(connection: Connection, selection: Selection, *, limit: int) -> list[Answer]:
    """Deliveries, the latest first, without their bodies."""
    parameters = {
        "provider": selection.provider,
        "kind": selection.kind,
        "state": None if selection.state is None else str(selection.state),
        "since": selection.since,
        "limit": limit,
    }
    return await answers(connection, "deliveries_list", _LIST, parameters)


async def show(connection: Connection, ids: Sequence[int]) -> list[tuple[Answer, bytes | None]]:
    """Deliveries with their bodies as they came; None for one that was deleted with a message, as its author asked.

    Raises:
        Rejected: a stored body is not whole.
    """
    found: list[tuple[Answer, bytes | None]] = []
    for number in ids:
        for answer in await answers(connection, "deliveries_show", _SHOW, {"id": number}):
            body = answer.pop("body")
            packed = answer.pop("is_compressed")
            try:
                raw = None if body is None else unpacked(base64.b64decode(body), is_compressed=packed)
            except ValueError as error:
                raise Rejected(f"delivery {number}: {error}") from error
            found.append((answer | {"bytes": None if raw is None else len(raw)}, raw))
    return found


async def troubled(connection: Connection, *, since: datetime) -> list[Troubled]:
    """Deliveries that are not quite in order, in groups; the first ones have an example without what people wrote."""
    found = await answers(connection, "deliveries_troubled", _TROUBLED, {"since": since})
    groups = [Troubled(**answer | {"kinds": answer["kinds"] or ()}) for answer in found]
    unknown = [group for group in groups if group.state == State.UNKNOWN]
    examples = {id(group): await _example(connection, group, since) for group in unknown[:EXAMPLES]}
    return [replace(group, example=examples.get(id(group))) for group in groups]


async def _example(connection: Connection, group: Troubled, since: datetime) -> Example | None:
    parameters = {"provider": group.provider, "kinds": list(group.kinds), "since": since}
    for answer in await answers(connection, "deliveries_example", _EXAMPLE, parameters):
        shape = f"too large to be shown: {answer['size']:,} bytes as it is stored"
        if answer["body"] is not None:
            # In a thread: what a stranger has sent may take long to read.
            body = base64.b64decode(answer["body"])
            shape = await asyncio.to_thread(shape_of, body, is_compressed=answer["is_compressed"])
        return Example(id=answer["id"], received_at=answer["received_at"], size=answer["size"], shape=shape)
    return None


async def of_message(
    connection: Connection, *, subject: int, channel: str, message_id: str, token: str | None
) -> dict[str, Any]:
    """The deliveries that hold a message, the effects that wait for it, and when its author has deleted it."""
    parameters = {"subject": subject, "channel": channel, "message_id": message_id, "token": token}
    (found,) = await answers(connection, "deliveries_of", _OF, parameters)
    return found
