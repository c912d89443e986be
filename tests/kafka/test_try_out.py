"""`make kafka`, typed as the README says."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT
from tests.kafka.broker import Cluster
from tests.processes import clean_environment
from tests.waiting import wait_for

LINE = re.compile(r"^echo '[^']*' \|\n +\S.*$", re.MULTILINE)


class TryOut:
    """`make kafka` without make, since that ends in its own way at Ctrl-C."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where it makes its temporary ones."""
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.kafka"],
            cwd=ROOT,
            env=clean_environment() | {"TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def until_said(self, text: str) -> None:
        """Waits until it has said so."""
        wait_for(lambda: text in self.said, timeout=300, what=repr(text))


@pytest.fixture
def try_out(kafka: Cluster, tmp_path: Path) -> Iterator[TryOut]:
    """Runs where a broker can run at all."""
    started = TryOut(tmp_path)
    yield started
    started.process.kill()
    started.process.wait()
    assert started.process.stdout is not None
    started.process.stdout.close()


def test_the_lines_of_the_readme_show_an_event_going_in_and_a_message_coming_out(
    try_out: TryOut, tmp_path: Path
) -> None:
    """They are what it prints, except for the address where the usual one is taken; Ctrl-C leaves nothing."""
    try_out.until_said("partitions assigned")
    lines = LINE.findall(try_out.said)
    commands = [re.sub(r"localhost:\d+", "localhost:9092", line) for line in lines]
    here = os.path.relpath(Path(sys.executable).parent, ROOT)
    commands = [command.replace(f"{here}/", ".venv/bin/") for command in commands]
    assert LINE.findall((ROOT / "README.md").read_text(encoding="utf-8")) == commands
    assert LINE.findall((ROOT / "docs" / "kafka.md").read_text(encoding="utf-8")) == commands

    def typed(line: str) -> str:
        done = subprocess.run(
            ["sh", "-c", line], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    event_in, message_out = lines
    assert typed(event_in).startswith("1 event written to webhook-events")
    wait_for(lambda: "Do you ship?" in typed(message_out), timeout=120, what="the message")
    assert list(tmp_path.iterdir()), "the broker's data, and the database's"
    try_out.process.send_signal(signal.SIGINT)
    assert try_out.process.wait(timeout=120) == 0, try_out.said
    assert not list(tmp_path.iterdir())


def test_it_may_be_stopped_while_it_starts(try_out: TryOut, tmp_path: Path) -> None:
    """In one line, and nothing is left."""
    try_out.until_said("starting Kafka")
    wait_for(lambda: list(tmp_path.glob("*/broker-1/server.log")), timeout=120, what="a broker that starts")
    try_out.process.send_signal(signal.SIGINT)
    assert try_out.process.wait(timeout=120) == 1
    assert "Traceback" not in try_out.said
    assert not list(tmp_path.iterdir())
