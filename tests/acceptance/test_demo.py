"""`webhook-router demo`, which is what `make run` shows: figures that add up, and nothing that stays behind."""

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.processes import clean_environment, command
from tests.waiting import PATIENCE, wait_for


def folders(parent: Path) -> list[str]:
    """What it has put into the folder for temporary files."""
    return sorted(path.name for path in parent.iterdir())


def servers(parent: Path) -> list[str]:
    """Processes that work in a folder below."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if str(parent) in line and "postgres" in line:
            found.append(line)
    return found


def test_figures_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delivery is routed, parked, or a duplicate; the JSON has the documented shape and goes out alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = command("demo", "--events", "3000", "--once", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == [
        "events",
        "routed",
        "parked",
        "duplicates",
        "seconds",
        "events_per_second",
        "latency_ms",
    ]
    assert figures["events"] == 3000 == figures["routed"] + figures["parked"] + figures["duplicates"]
    assert figures["parked"] > 0
    assert figures["duplicates"] > 0
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
    assert figures["events_per_second"] == pytest.approx(3000 / figures["seconds"], rel=0.01)
    assert servers(tmp_path) == []
    assert folders(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C ends the feed, what it has fed is routed, and the server and its data go with the service."""
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "demo"],
        env={**clean_environment(), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        wait_for(lambda: servers(tmp_path), what="a server")
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        figures = re.search(r"([\d,]+) deliveries: ([\d,]+) routed, ([\d,]+) duplicates, ([\d,]+) parked", said)
        assert figures, said
        fed, *parts = (int(figure.replace(",", "")) for figure in figures.groups())
        assert fed == sum(parts)
        assert servers(tmp_path) == []
        assert folders(tmp_path) == []
    finally:
        process.kill()
        process.wait()


def starting(tmp_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The demo in a process group of its own, as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", "demo", *arguments],
        env={**clean_environment(), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )


def importing(process: "subprocess.Popen[str]", tmp_path: Path) -> bool:
    """Whether the libraries of psycopg, which come early, are loaded, and nothing is started."""
    return "psycopg" in Path(f"/proc/{process.pid}/maps").read_text()


MOMENTS: dict[str, Callable[["subprocess.Popen[str]", Path], object]] = {
    "importing": importing,
    "making the data": lambda process, tmp_path: list(tmp_path.glob("*/password")),
    "starting the server": lambda process, tmp_path: list(tmp_path.glob("*/data/postmaster.pid")),
    "migrating": lambda process, tmp_path: servers(tmp_path),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_in_the_first_second(moment: str, tmp_path: Path) -> None:
    """The terminal's Ctrl-C strikes all processes of the group: one line says so, no traceback, and nothing stays."""
    process = starting(tmp_path)
    try:
        wait_for(lambda: MOMENTS[moment](process, tmp_path), what=moment)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in said
        # By the time that the signal arrives a fast demo may be routing, and then ends in order.
        if process.returncode == 0:
            assert said.splitlines()[-1] == "stopped: the service, and the Postgres with its data"
        else:
            assert (said.splitlines()[-1], process.returncode) == ("stopped", 130)
        assert servers(tmp_path) == []
        assert folders(tmp_path) == []
    finally:
        process.kill()
        process.wait()


def typed(lines: str) -> str:
    """What a shell prints for these lines."""
    done = subprocess.run(
        ["/bin/sh", "-c", lines], env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_says_how_to_look_at_its_database(tmp_path: Path) -> None:
    """The lines can be copied into a shell: for this program, and for psql. No password stands in them."""
    process = starting(tmp_path)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.strip())
            if "Ctrl-C" in line:
                break
        (named,) = (line for line in said if line.startswith("export WEBHOOK_ROUTER_DATABASE_URL_FILE="))
        (copied,) = (line for line in said if line.endswith(" sql -"))
        (psql,) = (line for line in said if line.startswith("PGPASSFILE="))
        secret = Path(shlex.split(named)[1].partition("=")[2])
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        password = str(conninfo_to_dict(secret.read_text().strip())["password"])
        assert password not in "".join(said)
        shown = typed(f"{named}\n{copied}")
        assert [cell.strip() for cell in shown.splitlines()[0].split("|")] == ["sent_at", "channel", "content_text"]
        if shutil.which("psql"):
            assert typed(f"{psql} --no-psqlrc --no-password -Atc 'select current_user'") == "postgres\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()


def test_says_what_the_latency_of_once_is() -> None:
    """Everything at once is a queue; paced deliveries are none."""
    assert "these times are those of a queue" in command("demo", "--events", "200", "--once").stderr
    assert "queue" not in command("demo", "--events", "200", "--once", "--rate", "1000").stderr


@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_is_honoured(no_color: str, tmp_path: Path) -> None:
    """On a terminal a table and the live figures have bold heads, with NO_COLOR they are plain text."""
    ours, terminal = pty.openpty()
    said = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(ours, 65_536):
                said.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    environment = {**clean_environment(), "TERM": "xterm-256color", "NO_COLOR": no_color, "TMPDIR": str(tmp_path)}
    for arguments in (["config"], ["demo", "--events", "100", "--once"]):
        done = subprocess.run(
            [sys.executable, "-m", "consumer", *arguments],
            env=environment,
            stdout=terminal,
            stderr=terminal,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0
    os.close(terminal)
    reader.join()
    os.close(ours)
    assert b"routed/s" in said
    styles = re.findall(rb"\x1b\[[0-9;]*m", bytes(said))
    assert bool(styles) is (no_color == "")


@pytest.mark.parametrize("arguments", [["--events", "0"], ["--events", "-1"], ["--rate", "0"], ["--json"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    """Before anything is started."""
    done = command("demo", *arguments)
    assert done.returncode == 2
    assert "Error" in done.stderr


def test_streams_that_the_caller_has_closed(tmp_path: Path) -> None:
    """No socket gets the number of standard output, which would write the figures into it."""
    script = f"exec {sys.executable} -m consumer demo --events 100 --once --json <&- >&- 2>&-"
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0
    assert servers(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_full_for_the_output() -> None:
    """One line instead of a traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "consumer", "config"],
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("webhook-router: ")
    assert done.stderr.count("\n") == 1


def test_the_line_for_curl_posts_a_message(tmp_path: Path) -> None:
    """It is signed, so that a shell can run it as it stands; the live line shows the message then."""
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "demo"],
        env={**clean_environment(), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.lstrip().startswith("curl "))
        posted = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert posted.stdout.startswith("HTTP/1.1 200 OK")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert "POSTed: 1; Ana from a terminal (whatsapp): Hello from curl" in said
