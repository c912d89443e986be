"""A process whose event loop stands still: nothing that runs in the loop can notice."""

import fcntl
import os
import subprocess
import sys

from tests.processes import clean_environment
from tests.waiting import PATIENCE

SMALLEST_PIPE = 4096
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
"""Nobody listens there, so there is something to say."""


def test_nobody_reads_the_log() -> None:
    """The pipe is full and a write of the loop blocks for ever: the process ends with exit code 1 all the same."""
    reading, writing = os.pipe()
    capacity = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
    unread = b"." * capacity
    assert os.write(writing, unread) == capacity
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "run", "--http-port", "0", "--stall-after", "5"],
        env={**clean_environment(), "WEBHOOK_ROUTER_DATABASE_URL": NOWHERE, "WEBHOOK_ROUTER_LOG_FORMAT": "json"},
        stderr=writing,
    )
    os.close(writing)
    try:
        assert process.wait(PATIENCE) == 1
        assert os.read(reading, capacity) == unread, "something else had been said before the pipe was full"
    finally:
        process.kill()
        process.wait()
        os.close(reading)
