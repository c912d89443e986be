"""TCP ports for programs that must be told one."""

import contextlib
import fcntl
import functools
import os
import random
import socket

# Below the ports of outgoing connections, of which one could be taken before the program is there, and apart from those
# of the embedded Postgres.
RANGE = range(10_000, 15_000)
LOCKS = f"/tmp/webhook-router-test-ports-{os.getuid()}"


def free_port() -> int:
    """A port that nobody listens on, and that is given to nobody else while this process lives."""
    for port in random.SystemRandom().sample(RANGE, len(RANGE)):
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port
    raise AssertionError(f"no free port in {RANGE}")


_given: set[int] = set()


@functools.cache
def _locks() -> int:
    """An open file of which each process locks one byte a port; the locks go with the process."""
    return os.open(LOCKS, os.O_RDWR | os.O_CREAT, 0o600)
