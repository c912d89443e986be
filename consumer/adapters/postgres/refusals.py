"""Why a server refuses a connection, in whatever language it says so."""

import os
import re
import select
import sys
import time
from typing import Final

from psycopg import pq

# libpq's own messages, about a network for example, have no such place; "FATAL" is a word of the server's language.
SAID_BY_A_SERVER: Final = re.compile(r"\w\s?:  ")
CODE: Final = re.compile(rb'\tErrorResponse\t S .*? C "([0-9A-Z]{5})"')
ANSWER_WITHIN: Final = 5.0
"""Seconds for the attempt that asks."""


def will_go_on(sqlstate: str) -> bool:
    """Whether a refusal with this SQLSTATE ends only when somebody changes something.

    Login, password and pg_hba.conf (class 28), a database that is not there, one that the role may not connect to.
    """
    return sqlstate.startswith("28") or sqlstate in {"3D000", "42501"}


def sqlstate_of_refusal(conninfo: str) -> str | None:
    """Connects once more and returns the SQLSTATE with which the server refuses; None if it does not, or nobody knows.

    libpq keeps it to itself: it is read from libpq's trace, which exists on Linux only. The trace may show a password
    and never leaves the memory of this process. Blocks, for `ANSWER_WITHIN` seconds after the addresses are known.
    """
    if sys.platform != "linux":
        return None
    with os.fdopen(os.memfd_create("refusal"), "rb") as trace:
        attempt = pq.PGconn.connect_start(conninfo.encode())
        try:
            if attempt.status == pq.ConnStatus.BAD:
                return None
            attempt.trace(trace.fileno())
            _finish(attempt, time.monotonic() + ANSWER_WITHIN)
            attempt.untrace()  # writes what is not written yet
        finally:
            attempt.finish()
        trace.seek(0)
        codes = CODE.findall(trace.read())
    return codes[-1].decode() if codes else None


def _finish(attempt: pq.abc.PGconn, deadline: float) -> None:
    """Goes on with the attempt until it has succeeded or failed, or the time is up."""
    reading, writing = pq.PollingStatus.READING, pq.PollingStatus.WRITING
    while (state := attempt.connect_poll()) in {reading, writing} and (left := deadline - time.monotonic()) > 0:
        poll = select.poll()
        poll.register(attempt.socket, select.POLLIN if state == reading else select.POLLOUT)
        poll.poll(left * 1000)
