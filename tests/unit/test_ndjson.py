"""Reading NDJSON in pieces, and keeping what was rejected."""

import base64
import gzip
import io
import json
import os
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.ndjson import Line, LineReader, RejectedLines, Rejection, open_source
from consumer.domain.errors import Fatal, Misconfigured


class Pieces:
    """A source that gives its bytes in pieces of these sizes, over and over."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._content = io.BytesIO(content)
        self._sizes = sizes
        self._turn = 0

    def read(self, size: int, /) -> bytes:
        """The next piece."""
        self._turn += 1
        return self._content.read(min(size, self._sizes[self._turn % len(self._sizes)]))

    def fileno(self) -> int:
        """There is none."""
        raise OSError


def lines_of(content: bytes, sizes: list[int] | None = None, *, longest: int = 1000) -> list[Line]:
    reader = LineReader(Pieces(content, sizes or [1 << 20]), name="x", longest=longest)
    lines = [line for block in reader.blocks() for line in block]
    assert reader.bytes_read == len(content)
    return lines


@given(
    content=st.lists(st.sampled_from([b"a", b"bc" * 20, b"\n", b"\r\n", b" ", b"\t", b"\xff"])).map(b"".join),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5),
)
def test_lines_do_not_depend_on_the_pieces(content: bytes, sizes: list[int]) -> None:
    """However the bytes come, the lines and their numbers are the same; blank ones are left out, but counted."""
    expected = [
        Line(number, text.removesuffix(b"\r"))
        for number, text in enumerate(content.split(b"\n"), 1)
        if text and not text.isspace()
    ]
    if not content.startswith(b"\xff\xff"):
        assert lines_of(content, sizes) == expected


@given(
    lengths=st.lists(st.integers(0, 120), max_size=20),
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=5),
    last=st.booleans(),
)
def test_a_long_line_is_cut_and_the_next_one_is_not(lengths: list[int], sizes: list[int], last: bool) -> None:
    """A line over the limit is reported with its length, wherever the pieces end; all others are whole."""
    content = b"\n".join(b"x" * length for length in lengths) + (b"\n" if last else b"")
    expected = [(number, length) for number, length in enumerate(lengths, 1) if length]
    lines = lines_of(content, sizes, longest=50)
    assert [(line.number, line.cut or len(line.text)) for line in lines] == expected
    assert all(bool(line.cut) == (length > 50) for line, (_, length) in zip(lines, expected, strict=True))


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """Some programs of Windows begin UTF-8 with one."""
    assert lines_of(b"\xef\xbb\xbf{}\n{}") == [Line(1, b"{}"), Line(2, b"{}")]


@pytest.mark.parametrize(
    ("begin", "what"), [(b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "zip"), (b"\xff\xfe{\0", "UTF-16")]
)
def test_what_is_no_text_is_refused_at_once(begin: bytes, what: str) -> None:
    """A compressed file is not worth a million rejected lines."""
    with pytest.raises(Misconfigured, match=what):
        lines_of(begin)


def zipped(*contents: bytes) -> bytes:
    """An archive with these files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for number, content in enumerate(contents):
            files.writestr(f"{number}.ndjson", content)
    return archive.getvalue()


CSV = 'channel;"event_id";content\ninstagram;e1;"a ""b""\n c"\ninstagram;e2;\n'
FORMS = [
    (CSV.encode(), "CSV"),
    (b"\xef\xbb\xbf" + CSV.replace(";", ",").encode(), "CSV"),
    (CSV.replace(";", "\t").encode(), "CSV"),
    (b'{\n  "channel": "instagram",\n  "event_id": "e1"\n}\n{"channel": "instagram",\n"event_id": "e2"}', "JSON over"),
    (b'[\n{"channel": "instagram", "event_id": "e1"},\n{"channel": "instagram", "event_id": "e2"}]', "JSON over"),
    (
        gzip.compress(
            b'{"channel": "instagram", "event_id": "e1"}\n{"channel": "instagram", "event_id": "e2"}', mtime=0
        ),
        "gzip",
    ),
    (
        '\ufeff{"channel": "instagram", "event_id": "e1"}\n{"channel": "instagram", "event_id": "e2"}'.encode(
            "utf-16-le"
        ),
        "16",
    ),
    (zipped(b'{"channel": "instagram", "event_id": "e1"}\n', b'{"channel": "instagram", "event_id": "e2"}'), "zip"),
]


@pytest.mark.parametrize(("content", "what"), FORMS)
def test_another_form_is_named_and_the_advice_works(tmp_path: Path, content: bytes, what: str) -> None:
    """The message ends with a command that makes lines of JSON of the file, whatever it is called."""
    path = tmp_path / "it's a file"
    path.write_bytes(content)
    with open_source(str(path)) as source, pytest.raises(Misconfigured, match=what) as caught:
        list(LineReader(source, name=str(path), command="cat").blocks())
    advice = str(caught.value).partition("make it so: ")[2]
    done = subprocess.run(["sh", "-c", advice], capture_output=True, check=True, timeout=60)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(event["channel"], event["event_id"]) for event in events] == [("instagram", "e1"), ("instagram", "e2")]


@pytest.mark.parametrize(
    "content", [b"channel", b"a,b\n", b'{"channel,event_id":1}\n', b"[1,2]\n", b"\n\nx, {channel}"]
)
def test_lines_that_are_only_wrong_are_read(content: bytes) -> None:
    """They are rejected one by one, with their reasons."""
    assert lines_of(content)


def test_a_pause_of_the_source_shows() -> None:
    """Where there is nothing to read for the moment, an empty block says so before the read that waits."""
    reading, writing = os.pipe()
    with io.FileIO(reading) as source, io.FileIO(writing, "w") as target:
        blocks = LineReader(source, name="pipe").blocks()
        assert next(blocks) == []
        target.write(b"a\nb\nc")
        assert next(blocks) == [Line(1, b"a"), Line(2, b"b")]
        assert next(blocks) == []
        target.close()
        assert list(blocks) == [[Line(3, b"c")]]


def test_rejected_lines_lose_nothing(tmp_path: Path) -> None:
    """Text stays text, other bytes come as base64, of a line that is too long the beginning stays."""
    path = tmp_path / "rejected.ndjson"
    rejected = RejectedLines(path)
    rejected.write([])
    assert not path.exists()
    rejected.write([Rejection(Line(3, '"é\\u0000'.encode()), "a reason")])
    rejected.write([Rejection(Line(4, b"\xff"), "bytes"), Rejection(Line(9, b"xx", 17_000_000), "long")])
    rejected.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"line": 3, "reason": "a reason", "record": '"é\\u0000'},
        {"line": 4, "reason": "bytes", "record_base64": base64.b64encode(b"\xff").decode()},
        {"line": 9, "reason": "long", "record_start": "xx", "bytes": 17_000_000},
    ]


def test_an_older_file_is_replaced_under_its_readers(tmp_path: Path) -> None:
    """Lines rejected before can be corrected and piped in again, even if some are rejected once more."""
    path = tmp_path / "rejected.ndjson"
    path.write_bytes(b"older\n")
    with path.open("rb") as reader:
        rejected = RejectedLines(path)
        rejected.write([Rejection(Line(1, b"newer"), "r")])
        rejected.close()
        assert reader.read() == b"older\n"
    assert b"newer" in path.read_bytes()


def test_nobody_else_reads_rejected_lines(tmp_path: Path) -> None:
    """They hold what people wrote: mode 0600, also where an older file was open to all."""
    path = tmp_path / "rejected.ndjson"
    for _ in range(2):
        rejected = RejectedLines(path)
        rejected.write([Rejection(Line(1, b"x"), "r")])
        rejected.close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o666)


@pytest.mark.parametrize("there", [True, False])
def test_no_link_is_followed(tmp_path: Path, *, there: bool) -> None:
    """A link that somebody has put there would have the lines overwrite another file, or make one."""
    path, target = tmp_path / "rejected.ndjson", tmp_path / "precious"
    if there:
        target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(Fatal, match="cannot be written"):
        RejectedLines(path).write([Rejection(Line(1, b"x"), "r")])
    assert target.exists() == there
    assert not there or target.read_text() == "precious"


def test_a_place_is_found_where_none_was_named(tmp_path: Path) -> None:
    """A folder that cannot be written to, or a link there: the folder of temporary files does, with a new name."""
    for path in (tmp_path / "absent" / "rejected.ndjson", tmp_path / "link"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / "target")
        rejected = RejectedLines(path, elsewhere=True)
        rejected.write([Rejection(Line(1, b"x"), "r")])
        rejected.close()
        assert rejected.path is not None
        try:
            assert rejected.name == str(rejected.path) != str(path)
            assert stat.S_IMODE(rejected.path.stat().st_mode) == 0o600
            assert b'"x"' in rejected.path.read_bytes()
        finally:
            rejected.path.unlink()


def test_errors_of_files_are_ours(tmp_path: Path) -> None:
    """A missing file is the user's mistake; a place that cannot be written to ends the work."""
    with pytest.raises(Misconfigured, match="nothing: No such file"):
        open_source(str(tmp_path / "nothing"))
    with pytest.raises(Misconfigured, match="Is a directory"):
        open_source(str(tmp_path))
    with pytest.raises(Fatal, match="cannot be written"):
        RejectedLines(tmp_path).write([Rejection(Line(1, b"x"), "r")])


def test_a_source_that_breaks_off_is_fatal() -> None:
    """An error in the middle is not the end of the file."""

    class Broken(Pieces):
        def read(self, size: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(Fatal, match="tape cannot be read any further: Input/output error"):
        list(LineReader(Broken(b"", [1]), name="tape").blocks())


def test_standard_input_stays_open() -> None:
    """It belongs to the parent process."""
    before = os.fstat(0)
    open_source("-").close()
    assert stat.S_IFMT(os.fstat(0).st_mode) == stat.S_IFMT(before.st_mode)
