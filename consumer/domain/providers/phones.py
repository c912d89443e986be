"""One number, several spellings: WhatsApp writes mobiles of Brazil, Mexico and Argentina with a digit more or less."""

import re
from functools import lru_cache
from typing import Final

# 55, two digits of the area, the nine that came in 2012, and a subscriber: those of mobiles begin with 6 to 9.
# A landline has eight digits as well, and with a nine it would be somebody else's mobile.
_BRAZIL: Final = re.compile(r"55([0-9]{2})9?([6-9][0-9]{7})")
# 52, the one that mobiles had until 2019, and ten digits.
_MEXICO: Final = re.compile(r"521?([0-9]{10})")
# 54, the nine that mobiles have when they are called from abroad, and ten digits.
_ARGENTINA: Final = re.compile(r"549?([0-9]{10})")
_PHONE: Final = re.compile(r"[0-9]{5,20}")


def is_phone(identity: str) -> bool:
    """Whether it is written as WhatsApp writes a number: digits and nothing else."""
    return _PHONE.fullmatch(identity) is not None


@lru_cache(maxsize=4096)  # asked several times of each identity, and the same people write again
def spellings(identity: str) -> tuple[str, ...]:
    """All spellings of a number, the canonical one first; of anything else only itself."""
    if found := _BRAZIL.fullmatch(identity):
        return f"55{found[1]}9{found[2]}", f"55{found[1]}{found[2]}"
    if found := _MEXICO.fullmatch(identity):
        return f"52{found[1]}", f"521{found[1]}"
    if found := _ARGENTINA.fullmatch(identity):
        return f"549{found[1]}", f"54{found[1]}"
    return (identity,)


def canonical(identity: str) -> str:
    """The form that all spellings of a number share."""
    return spellings(identity)[0]


def forms(identity: str) -> tuple[str, ...]:
    """The other spellings of a number."""
    return tuple(form for form in spellings(identity) if form != identity)
