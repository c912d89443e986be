"""The worked cases of tests/cases: which atoms a body is taken apart into."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from consumer.domain.providers import PROVIDERS, normaliser_of
from consumer.domain.providers.atoms import Atoms, Context
from consumer.domain.providers.shapes import loads

CASES = Path(__file__).parents[2] / "cases"
# A watermark is a kind of its own: it finds its messages in another way.
KINDS = {"read_until": "read", "delivered_until": "delivery"}

Atom: TypeAlias = tuple[str, str, str | None]


def cases() -> Iterator[Any]:
    """Each case of a provider whose normaliser is there."""
    for provider in PROVIDERS:
        if find_spec(f"consumer.domain.providers.{provider}") is None:
            continue
        for path in sorted((CASES / provider).glob("*.json")):
            yield pytest.param(provider, json.loads(path.read_bytes()), id=f"{provider}/{path.stem}")


def context_of(case: dict[str, Any]) -> Context:
    """What the route and the settings of a case tell."""
    setup = case.get("setup", {})
    return Context(bot=setup.get("bot"), own_app_ids=frozenset(map(str, setup.get("own_app_ids", ()))))


def body_of(case: dict[str, Any]) -> object:
    """The body under test, decoded."""
    body = case["body"]
    return loads(body) if case.get("raw") else body


def found_in(atoms: Atoms) -> list[Atom]:
    """Kind, effect, and the id of a message or what an effect is about."""
    found: list[Atom] = [(message.kind, "M", message.id) for message in atoms.messages]
    for effect in atoms.effects:
        person = effect.person.id if effect.person else None
        found.append((KINDS.get(effect.kind, effect.kind), "U", effect.target or person))
    return found + [(recorded.kind, "L", None) for recorded in atoms.recorded]


@pytest.mark.parametrize(("provider", "case"), list(cases()))
def test_a_body_is_taken_apart_as_its_case_says(provider: str, case: dict[str, Any]) -> None:
    """The atoms are those of the case: none is missing, and none is there besides."""
    found = found_in(normaliser_of(provider)(body_of(case), context_of(case)))
    expected = [
        (atom["kind"], atom["effect"], atom.get("id") if atom["effect"] == "M" else atom.get("target"))
        for atom in case["expect"]["atoms"]
    ]
    known = {atom for atom in expected if atom[2] is not None}
    # Ids that a case leaves open are hashes.
    named = [atom if atom in known else (*atom[:2], None) for atom in found]
    assert sorted(named, key=str) == sorted(expected, key=str)
