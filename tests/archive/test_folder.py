"""An archive in a folder: what was counted is on the disk, whatever happens."""

import gzip
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from consumer.adapters.archive.folder import Folder
from consumer.adapters.archive.members import SIGNATURE, Unpacking, packed
from consumer.domain.archives import ArchivedLine as Line
from consumer.domain.errors import Fatal, Misconfigured, Transient
from tests.processes import clean_environment

NINE = datetime(2026, 1, 31, 9, 59, 59, 999999, tzinfo=UTC)
FILE = "2026/01/31/events-20260131T09Z.ndjson.gz"


def lines(*texts: str, at: datetime = NINE) -> list[Line]:
    return [Line(at, text.encode()) for text in texts]


def texts_in(path: Path) -> list[str]:
    """By a reader that is not ours."""
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def texts_of(path: Path) -> tuple[list[str], Unpacking]:
    """By ours."""
    with path.open("rb", buffering=0) as source:
        file = Unpacking(source, name="x")
        out = b""
        while piece := file.read(1 << 20):
            out += piece
    return out.decode().splitlines(), file


def test_each_hour_has_its_file(tmp_path: Path) -> None:
    """Of routed_at in UTC, whatever the offset; events and payloads are apart; nobody else may read them."""
    folder = Folder(tmp_path / "made" / "archive")
    folder.check()
    there = timezone(timedelta(hours=5, minutes=30))
    written = [
        *lines("a", "b"),
        *lines("c", at=NINE.astimezone(there)),
        *lines("d", at=NINE + timedelta(microseconds=1)),
        *lines("e", at=datetime(987, 1, 1, tzinfo=UTC)),
    ]
    assert folder.write("events", written) == 5
    assert folder.write("payloads", lines("p")) == 1
    assert folder.write("events", lines("f")) == 1
    assert list(folder.files()) == [
        "0987/01/01/events-09870101T00Z.ndjson.gz",
        FILE,
        "2026/01/31/events-20260131T10Z.ndjson.gz",
        "2026/01/31/payloads-20260131T09Z.ndjson.gz",
    ]
    assert texts_in(folder.path / FILE) == ["a", "b", "c", "f"]
    assert stat.S_IMODE((folder.path / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_line_must_be_one_line(tmp_path: Path) -> None:
    """Or counting would be wrong."""
    for text in ("a\nb", ""):
        with pytest.raises(ValueError, match="must be one line"):
            Folder(tmp_path).write("events", lines("a", text))
    assert not list(tmp_path.iterdir())


def test_files_and_folders_are_on_the_disk_before_lines_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file after its content, and each folder that has a new name in it, also for whoever finds the file made."""
    synced: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    archive = tmp_path / "archive"
    folders = {str(archive / name) for name in ("", "2026", "2026/01", "2026/01/31")}
    first = Folder(archive)
    first.write("events", lines("a"))
    assert set(synced) >= folders | {str(tmp_path), str(archive / FILE)}
    synced.clear()
    first.write("events", lines("b"))
    assert synced == [str(archive / FILE)]
    synced.clear()
    Folder(archive).write("events", lines("c"))
    assert set(synced) >= folders | {str(archive / FILE)}


@pytest.mark.parametrize("zeros", [0, 3000], ids=["cut", "zeros"])
def test_what_a_crash_has_torn_is_cut_off(tmp_path: Path, zeros: int) -> None:
    """Wherever the write stopped: what was counted stays, what comes next is whole, for any reader."""
    torn = packed(b"".join(b"%d\n" % number for number in range(40)), 40)
    for cut in range(1, len(torn)):
        if zeros and not any(torn[cut:]):
            continue  # nothing is missing
        folder = Folder(tmp_path / str(cut))
        folder.write("events", lines("a", "b"))
        path = folder.path / FILE
        path.write_bytes(path.read_bytes() + torn[:cut] + bytes(zeros))
        assert Folder(folder.path).write("events", lines("c")) == 1
        assert texts_of(path)[0] == ["a", "b", "c"], cut
        assert texts_in(path) == ["a", "b", "c"], cut


def test_nothing_that_others_made_is_cut_off(tmp_path: Path) -> None:
    """A file packed anew, and damage in the middle: what can be read can still be read, and what comes after too."""
    folder = Folder(tmp_path)
    path = tmp_path / FILE
    folder.write("events", lines("a", "b"))
    path.write_bytes(gzip.compress(b"a\nb\n"))
    assert Folder(tmp_path).write("events", lines("c")) == 1
    assert Folder(tmp_path).write("events", lines("d")) == 1
    assert texts_in(path) == ["a", "b", "c", "d"]
    content = bytearray(path.read_bytes())
    content[content.rindex(SIGNATURE) - 12] ^= 0xFF  # in "c"
    path.write_bytes(content)
    assert Folder(tmp_path).write("events", lines("e")) == 1
    out, file = texts_of(path)
    assert (out, file.damaged) == (["a", "b", "d", "e"], 1)


@pytest.mark.parametrize("content", [b"text, of somebody\n", b"PK\x03\x04" * 20], ids=["text", "zip"])
def test_a_file_that_is_no_archive_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """It is not ours to append to."""
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(Fatal, match="is not a file of gzip; move it away"):
        Folder(tmp_path).write("events", lines("a"))
    assert path.read_bytes() == content


def test_no_link_is_followed(tmp_path: Path) -> None:
    """What lies where a file should be may have been put there by somebody else."""
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fatal, match="cannot be written"):
        Folder(tmp_path).write("events", lines("a"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """Finished hours may be moved at any time."""
    folder = Folder(tmp_path / "archive")
    folder.write("events", lines("a"))
    (folder.path / FILE).rename(tmp_path / "moved.gz")
    folder.write("events", lines("b"))
    assert texts_in(tmp_path / "moved.gz") == ["a"]
    assert texts_in(folder.path / FILE) == ["b"]
    os.truncate(folder.path / FILE, 0)
    folder.write("events", lines("c"))
    assert texts_in(folder.path / FILE) == ["c"]


def test_what_does_not_come_back_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses what it was given is found out before anything is deleted."""
    monkeypatch.setattr(os, "pwrite", lambda number, data, place: len(data))
    with pytest.raises(Fatal, match="does not have what was written into it; nothing was deleted"):
        Folder(tmp_path).write("events", lines("a"))


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before stays; the failed step is taken back, and written anew when it is tried again."""
    folder = Folder(tmp_path)
    folder.write("events", lines("a"))
    with monkeypatch.context() as patched:

        def fsync(number: int) -> None:
            raise OSError(5, "Input/output error")

        patched.setattr(os, "fsync", fsync)
        with pytest.raises(Fatal, match="Input/output error; nothing of this step was deleted"):
            folder.write("events", lines("b"))
    assert texts_in(tmp_path / FILE) == ["a"]
    assert folder.write("events", lines("b")) == 1
    assert texts_in(tmp_path / FILE) == ["a", "b"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_tears_nothing(small_disk: Path) -> None:
    """What was counted is whole; the step that found no room is not there at all, and comes when there is room."""
    folder = Folder(small_disk)
    noise = random.Random(3)
    written: list[str] = []
    while True:
        texts = [noise.randbytes(500).hex() for _ in range(30)]
        try:
            folder.write("events", lines(*texts))
        except Transient as error:
            said = str(error)
            break
        written += texts
    assert said.endswith("No space left on device; nothing of this step was deleted")
    assert len(written) > 100
    assert texts_in(small_disk / FILE) == written
    os.truncate(small_disk / FILE, 0)
    assert folder.write("events", lines(*texts)) == 30


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from consumer.adapters.archive.folder import Folder
from consumer.domain.archives import ArchivedLine as Line
folder, at, number = Folder(Path(sys.argv[1])), datetime(2026, 1, 31, 9, tzinfo=UTC), int(sys.argv[2])
while True:
    texts = [b"%d %s" % (number + step, b"x" * 2000) for step in range(50)]
    folder.write("events", [Line(at, text) for text in texts])
    number += 50
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_no_gap(tmp_path: Path) -> None:
    """kill -9 at any moment, over and over: each line that was counted is there, and any gzip reads the file."""
    begin = 0
    for round_ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(begin)], stdout=subprocess.PIPE, env=clean_environment()
        )
        assert process.stdout is not None
        for _ in range(20 + round_ * 7):
            begin = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        begin = max([begin, *map(int, process.communicate()[0].split())])
        numbers = Counter(int(text.split()[0]) for text in texts_of(tmp_path / FILE)[0])
        assert all(numbers[number] for number in range(begin))
    Folder(tmp_path).write("events", lines("0 last"))
    assert texts_in(tmp_path / FILE)[-1] == "0 last"


def test_writers_do_not_mix(tmp_path: Path) -> None:
    """Two at once into the same hour: all lines, each whole."""

    def write(name: str) -> None:
        folder = Folder(tmp_path)
        for number in range(40):
            folder.write("events", lines(f"{name} {number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts_in(tmp_path / FILE)) == sorted(f"{name} {number}" for name in "abc" for number in range(40))


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """Before anything is read."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match=r"cannot make the archive .*name another folder"):
        Folder(tmp_path / "file" / "archive").check()
