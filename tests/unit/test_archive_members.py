"""Members of an archive's files: what any gzip reads, and what is left of a file that a crash has torn."""

import gzip
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.archive.members import SIGNATURE, Unpacking, header_of, packed, unpacked
from consumer.domain.errors import Fatal

FIRST, SECOND, THIRD = b"first\n", b"second\nsecond\n", b"third\n" * 3


class Bytes(io.BytesIO):
    """A source without a descriptor."""

    def fileno(self) -> int:
        raise OSError


def member(text: bytes) -> bytes:
    return packed(text, text.count(b"\n"))


def read(content: bytes) -> tuple[bytes, Unpacking]:
    file = Unpacking(Bytes(content), name="x")
    out = b""
    while piece := file.read(7):
        out += piece
    assert file.position == len(content)
    return out, file


@given(texts=st.lists(st.binary(max_size=300).map(lambda text: text + b"\n"), max_size=6))
def test_members_are_one_file_to_any_gzip(texts: list[bytes]) -> None:
    """Whatever reads gzip reads what we write, and so do we."""
    content = b"".join(member(text) for text in texts)
    assert gzip.decompress(content) == b"".join(texts)
    assert read(content)[0] == b"".join(texts)


def test_a_member_says_its_length_and_lines() -> None:
    """In its header."""
    said = header_of(member(SECOND))
    assert said is not None
    assert (said.length, said.lines) == (len(member(SECOND)), 2)


def test_others_members_are_read_too() -> None:
    """A file that somebody packed anew, with another gzip or in part."""
    assert read(gzip.compress(FIRST) + member(SECOND) + gzip.compress(THIRD))[0] == FIRST + SECOND + THIRD
    assert read(gzip.compress(FIRST * 1_000_000))[0] == FIRST * 1_000_000


@pytest.mark.parametrize("content", [b"", b"plain\nlines\n", b"\x1f"], ids=["empty", "lines", "one byte"])
def test_what_is_not_packed_passes_as_it_is(content: bytes) -> None:
    """Lines that nobody compressed."""
    out, file = read(content)
    assert out == content
    assert not file.is_packed


@pytest.mark.parametrize("zeros", [0, 1, 5000], ids=["cut", "a zero", "zeros"])
def test_a_torn_end_takes_nothing_with_it(zeros: int) -> None:
    """Wherever a crash tears the last member, those before it are whole, and of the torn one there is nothing."""
    last = member(THIRD)
    for cut in range(1, len(last)):
        out, file = read(member(FIRST) + member(SECOND) + last[:cut] + bytes(zeros))
        if last[cut:] == bytes(zeros)[: len(last) - cut]:
            assert (out, file.torn) == (FIRST + SECOND + THIRD, zeros > 1), cut  # nothing of it is missing
        else:
            assert out.strip(b"\n") == (FIRST + SECOND).strip(b"\n"), cut
            assert file.torn or file.damaged, cut
        assert zeros or not file.damaged


def test_a_torn_member_in_the_middle_takes_nothing_with_it() -> None:
    """What was appended after it is found."""
    last = member(SECOND)
    for cut in range(len(SIGNATURE), len(last)):
        out, file = read(member(FIRST) + last[:cut] + member(THIRD))
        assert (out, file.torn, file.damaged) == (FIRST + THIRD, False, 1)


def test_damage_takes_its_own_member_alone() -> None:
    """Whichever byte of a file is another one: no line is made up, none of the other members is missing."""
    pieces = [member(FIRST), member(SECOND), member(THIRD)]
    whole = b"".join(pieces)
    begins = [0, len(pieces[0]), len(pieces[0]) + len(pieces[1])]
    noise = random.Random(4)
    for place in range(whole.index(pieces[1]), len(whole)):
        content = bytearray(whole)
        content[place] ^= noise.randrange(1, 256)
        out, file = read(bytes(content))
        hit = sum(place >= begin for begin in begins) - 1
        texts = [FIRST, SECOND, THIRD]
        texts[hit] = b""
        # A byte of the header that says nothing of the content may be another one.
        assert out.replace(b"\n\n", b"\n") in {b"".join(texts), FIRST + SECOND + THIRD}, place
        assert out == FIRST + SECOND + THIRD or file.damaged or file.torn


def test_a_damaged_file_of_others_is_an_error() -> None:
    """There is no way to tell what comes after."""
    content = bytearray(gzip.compress(random.Random(1).randbytes(1000)))
    content[500] ^= 0xFF
    with pytest.raises(Fatal, match="x cannot be read any further: it is damaged"):
        read(bytes(content))


def test_a_member_with_another_number_of_lines_is_damaged() -> None:
    """The count is part of what is checked."""
    assert unpacked(packed(b"a\nb\n", 2)) == b"a\nb\n"
    assert unpacked(packed(b"a\nb\n", 3)) is None
    assert unpacked(packed(b"a\n", 1)[:-1]) is None
