"""A real PgBouncer in front of a test server."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.ports import free_port
from tests.waiting import wait_for


def installed() -> str | None:
    """The program's path; None where it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def namespace() -> list[str]:
    """The beginning of its command: it refuses to run as root, and a user namespace of its own is enough."""
    return ["unshare", "--user", "--map-user=1000"] if os.geteuid() == 0 else []


def find_pgbouncer() -> str:
    """The program; skips the test where it is not installed, or fails it with CI=true."""
    found = installed()
    if found is None:
        reason = "pgbouncer is not installed (Debian: apt install pgbouncer)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextlib.contextmanager
def pooled(
    dsn: str, *, size: int = 20, mode: str = "transaction", round_robin: bool = False, reset: str = "discard all"
) -> Iterator[str]:
    """The DSN of the same database through a pool of up to `size` sessions, each used in turn if `round_robin`."""
    program = find_pgbouncer()
    target = conninfo_to_dict(dsn)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    try:
        users = folder / "users.txt"
        users.write_text(f'"{target["user"]}" "{target.get("password", "")}"\n')
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"""
[databases]
* = host={target["host"]} port={target["port"]} user={target["user"]} password={target.get("password", "")}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
server_reset_query = {reset}
server_round_robin = {int(round_robin)}
default_pool_size = {size}
ignore_startup_parameters = extra_float_digits
"""
        )
        process = subprocess.Popen(
            [*namespace(), program, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            through = make_conninfo(dsn, host="127.0.0.1", port=port)

            def answers() -> bool:
                try:
                    psycopg.connect(through, connect_timeout=2).close()
                except psycopg.OperationalError:
                    return False
                return True

            wait_for(answers, timeout=60, what="pgbouncer")
            yield through
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder)
