"""Bodies on their way into a database, as the service hands them in, but for HTTP."""

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg

from consumer.domain.providers import lines, normaliser_of, shapes
from consumer.domain.providers.atoms import Context

TAKE = """
    select effects, refused, codes, reasons
    from router.take_deliveries(%(deliveries)s, %(bodies)s, %(lines)s, %(effects)s)
"""
SWEEP = "select * from router.sweep_waiting()"
CLEAR = """
    delete from webhook_events; delete from messages; delete from conversations; delete from contacts;
    delete from router.parked_events; delete from router.waiting; delete from router.deliveries;
    delete from router.watermarks; delete from router.referrals; delete from router.silent_edits;
    delete from router.open_replies; delete from router.deleted_messages;
"""


def read(provider: str, body: bytes, context: Context = Context()) -> lines.Delivery:  # noqa: B008 - frozen
    """A body, normalised."""
    return lines.Delivery(
        provider=provider, body=body, account=context.bot, atoms=normaliser_of(provider)(shapes.loads(body), context)
    )


def take(connection: psycopg.Connection[Any], deliveries: Sequence[lines.Delivery]) -> None:
    """One call, one transaction; nothing may be refused."""
    call = lines.call_of(deliveries, orjson.dumps)
    parameters = {
        "deliveries": call.deliveries,
        "bodies": call.bodies,
        "lines": call.lines,
        "effects": call.effects,
    }
    row = connection.execute(TAKE, parameters).fetchone()
    assert row is not None
    assert not row[1], f"refused: {row[1:]}"


def settle(connection: psycopg.Connection[Any]) -> None:
    """What the service does every few seconds, with everything that is due already."""
    connection.execute(
        "update webhook_events set parked_until = now() where parked_until > now() and routed_at is null"
    )
    connection.execute(SWEEP)
