"""One number in several spellings."""

import pytest

from consumer.domain.providers import phones


@pytest.mark.parametrize(
    ("canonical", "other"),
    [("5511990000001", "551190000001"), ("525500000017", "5215500000017"), ("5491100000018", "541100000018")],
    ids=["Brazil", "Mexico", "Argentina"],
)
def test_both_spellings_are_one_number(canonical: str, other: str) -> None:
    """Each is the other's other form, and both have one canonical one."""
    assert phones.canonical(canonical) == phones.canonical(other) == canonical
    assert phones.forms(canonical) == (other,)
    assert phones.forms(other) == (canonical,)


@pytest.mark.parametrize(
    "identity",
    [
        "554133330002",  # a landline of Brazil: with a nine it is somebody else's mobile
        "5541933330002",  # and that mobile
        "15550100001",
        "55119900000",
        "5511",
        "BR.5511900000001",
        "+5511990000001",
        "",
    ],
)
def test_everything_else_is_left_alone(identity: str) -> None:
    """Landlines of Brazil, numbers of other countries and lengths, and what is no number have one spelling."""
    assert phones.spellings(identity) == (identity,)


def test_a_number_is_digits() -> None:
    """Nothing else is taken for one, digits of other scripts neither."""
    assert phones.is_phone("5511990000001")
    assert not any(map(phones.is_phone, ("BR.1", "+55119", "", "1234", "٥٥٥٥٥٥٥", "5511990000001\n")))
