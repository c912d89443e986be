"""Where a body mentions somebody: whole ids, in all their spellings and in any way that JSON writes them."""

import json

import pytest

from consumer.domain.forgetting import Identity, all_spellings, given, mention

WHATSAPP = Identity("whatsapp", "5215512345678")


@pytest.mark.parametrize(
    ("external_id", "body"),
    [
        ("4915112345678", '{"from":"4915112345678"}'),
        ("4915112345678", '{"to":"+4915112345678","x":1}'),
        ("9000001", '{"from":{"id":9000001,"is_bot":false}}'),
        ("42", '{"from":{"id": 42}}'),
        ("42", '{"from":{"id":"42"}}'),
        ("größe", json.dumps({"user": "größe"})),
        ("größe", json.dumps({"user": "größe"}, ensure_ascii=False)),
        ('a"b', json.dumps({"user": 'a"b'})),
        ("a.b+c", '{"user":"a.b+c"}'),
    ],
)
def test_an_id_is_found(external_id: str, body: str) -> None:
    """As a string, as a number, escaped or not."""
    assert mention([Identity("x", external_id)]).search(body.encode())


@pytest.mark.parametrize(
    ("external_id", "body"),
    [
        ("4915112345678", '{"from":"49151123456789"}'),
        ("4915112345678", '{"from":"14915112345678"}'),
        ("9000001", '{"id":90000011}'),
        ("42", '{"timestamp":42,"count":"142"}'),
        ("42", '{"id":421}'),
        ("a.b+c", '{"user":"axb+c"}'),
    ],
)
def test_longer_ids_are_somebody_else(external_id: str, body: str) -> None:
    """Nor is every number of two digits a person."""
    assert not mention([Identity("x", external_id)]).search(body.encode())


def test_a_number_has_several_spellings() -> None:
    """All of them are looked for, whichever was given; ids of other kinds have one."""
    assert {identity.id for identity in all_spellings([WHATSAPP])} == {"5215512345678", "525512345678"}
    typed = {identity.id for identity in given("WhatsApp", "+52 55 1234 5678")}
    assert typed >= {"525512345678", "5215512345678"}
    assert all_spellings([Identity("instagram", "abc"), Identity("instagram", "abc")]) == [Identity("instagram", "abc")]


def test_elsewhere_another_spelling_is_somebody_else() -> None:
    """Ids of other channels may look like numbers of Mexico."""
    telegram = Identity("telegram", "5215512345678")
    assert all_spellings([telegram]) == given("telegram", "5215512345678") == [telegram]
