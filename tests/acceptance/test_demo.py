"""`webhook-router demo`, which is what `make run` shows: figures that add up, and nothing that stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
