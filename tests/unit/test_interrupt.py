"""Ctrl-C before a command has begun. tests/acceptance/test_demo.py has it afterwards."""

import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal
import typer.main, typer.core
from consumer.cli import main

def interrupted(call):
    def first_the_signal(*arguments, **named):
        os.kill(os.getpid(), signal.SIGINT)
        return call(*arguments, **named)
    return first_the_signal

{place} = interrupted({place})
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where this test runs in the background
main()
"""


@pytest.mark.parametrize("place", ["typer.main.get_command", "typer.core.TyperGroup.make_context"])
def test_while_commands_are_made_and_the_line_is_read(place: str) -> None:
    """One line and 130, as while Python imports: no traceback."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(place=place), "config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stderr, ended.returncode) == ("stopped\n", 130)
