"""Odd bodies of all providers in a database: each delivery is in effect in the end, and none holds up another."""

from typing import Any

import orjson
import psycopg
import pytest

from consumer.domain.providers import PROVIDERS, lines, normaliser_of
from consumer.domain.providers.atoms import Context
from tests.intake.feeding import TAKE, settle
from tests.unit.providers.mutation import mutated

EACH = 4_000
A_CALL = 50
CONTEXT = Context(bot="700001")


def deliveries(provider: str) -> list[lines.Delivery]:
    """Odd bodies; what they are as bytes does not matter here."""
    return [
        lines.Delivery(
            provider=provider,
            body=f"{provider} {number}".encode(),
            account=CONTEXT.bot if provider == "telegram" else None,
            atoms=normaliser_of(provider)(body, CONTEXT),
        )
        for number, body in enumerate(mutated(provider, seed=3, count=EACH))
    ]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_odd_bodies_take_effect(inbox: psycopg.Connection[Any], provider: str) -> None:
    """Not one line is refused, no event is left unrouted or parked, and nothing waits with an error."""
    given = deliveries(provider)
    for start in range(0, len(given), A_CALL):
        call = lines.call_of(given[start : start + A_CALL], orjson.dumps)
        answer = inbox.execute(
            TAKE,
            {"deliveries": call.deliveries, "bodies": call.bodies, "lines": call.lines, "effects": call.effects},
        ).fetchone()
        assert answer is not None
        assert not answer[1], f"refused: {answer[1:]}"
    settle(inbox)
    for left in (
        "select count(*) from router.deliveries where processed_at is null or error is not null",
        "select count(*) from webhook_events where routed_at is null",
        "select count(*) from router.parked_events",
        "select count(*) from router.waiting where error is not null",
    ):
        assert inbox.execute(left).fetchone() == (0,), left
    expected = len({(message.channel, message.id) for one in given if one.atoms for message in one.atoms.messages})
    assert inbox.execute("select count(*) from webhook_events").fetchone() == (expected,)
    assert inbox.execute("select count(*) from messages").fetchone() == (expected,)
