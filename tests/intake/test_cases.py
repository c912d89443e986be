"""Each worked case ends in the rows that it names, and those of any order do so in any order."""

import random
from itertools import pairwise
from typing import Any

import orjson
import psycopg
import pytest

from consumer.domain.providers.atoms import Context
from tests.intake import feeding
from tests.intake.cases import Case, cases, named
from tests.intake.rows import Inbox

ALL = cases()
ORDERLESS = [case for case in ALL if case.any_order]
ROUNDS = 12


def context_of(case: Case) -> Context:
    """The configuration that a case asks for."""
    setup = case.setup
    return Context(bot=setup.get("bot"), own_app_ids=frozenset(setup.get("own_app_ids", [])))


def feed(connection: psycopg.Connection[Any], case: Case, bodies: list[bytes], *, together: bool = False) -> None:
    """Hands in the bodies, one a call or all in one, and lets what waits find its target."""
    if case.flattened:
        for body in bodies:
            connection.execute("select router.ingest_lines(%s)", (body.decode(),))
        connection.execute("select public.route_unrouted_events()")
        return
    deliveries = [feeding.read(case.provider, body, context_of(case)) for body in bodies]
    if together:
        feeding.take(connection, deliveries)
    else:
        for delivery in deliveries:
            feeding.take(connection, [delivery])
    feeding.settle(connection)


@pytest.mark.parametrize("case", ALL, ids=named(ALL))
def test_the_rows_of_a_case(case: Case, inbox: psycopg.Connection[Any]) -> None:
    """In the order of the case, a body after the other."""
    feed(inbox, case, case.bodies())

    assert Inbox(inbox).differences(case.expect) == []


@pytest.mark.parametrize("case", ALL, ids=named(ALL))
def test_the_bodies_of_a_case_in_one_call(case: Case, inbox: psycopg.Connection[Any]) -> None:
    """Deliveries that share a transaction count in their order."""
    feed(inbox, case, case.bodies(), together=True)

    assert Inbox(inbox).differences(case.expect) == []


@pytest.mark.parametrize("case", ORDERLESS, ids=named(ORDERLESS))
def test_any_order_and_repetition(case: Case, inbox: psycopg.Connection[Any]) -> None:
    """Shuffled, repeated, and cut into calls anywhere."""
    chance = random.Random(str(case))
    for _ in range(ROUNDS):
        bodies = case.bodies()
        bodies += chance.choices(bodies, k=2)
        chance.shuffle(bodies)
        cuts = [0, *sorted(chance.sample(range(1, len(bodies)), min(2, len(bodies) - 1))), len(bodies)]
        inbox.execute(feeding.CLEAR)
        for start, end in pairwise(cuts):
            feed(inbox, case, bodies[start:end], together=True)

        assert Inbox(inbox).differences(case.expect) == [], orjson.dumps(
            [body.decode(errors="replace") for body in bodies]
        )


@pytest.mark.parametrize("case", ALL, ids=named(ALL))
def test_what_waits_and_what_is_recorded(case: Case, inbox: psycopg.Connection[Any]) -> None:
    """Atoms that found nothing to change are rows of router.waiting, and those that are only recorded are counted."""
    if case.flattened:
        pytest.skip("not a body of a provider")
    bodies = [feeding.read(case.provider, body, context_of(case)) for body in case.bodies()]
    given = len(case.content.get("given", []))
    for delivery in bodies[: given + 1]:
        feeding.take(inbox, [delivery])

    waiting = sum(bool(atom.get("waits")) for atom in case.expect["atoms"])
    row = inbox.execute("select count(*) from router.waiting").fetchone()
    assert row == (waiting,)
    counted = inbox.execute(
        "select coalesce(sum(value::integer), 0) from router.deliveries, jsonb_each(kinds) where id ="
        " (select max(id) from router.deliveries)"
    ).fetchone()
    atoms = bodies[given].atoms
    assert atoms is not None
    assert counted == (len(atoms.messages) + len(atoms.effects) + len(atoms.recorded),)
