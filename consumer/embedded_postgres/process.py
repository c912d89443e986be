"""The child that supervises a private Postgres: when its parent has ended, it ends the server.

Runs as a script, with nothing but the standard library, between our process and the postmaster. Its standard input
is a pipe whose other end only the parent holds: the kernel closes it however the parent ends, SIGKILL included, and
end-of-file means "shut down". It lives in a session of its own, so Ctrl-C in a terminal reaches the service, which
drains against a database that is still there.

Protocol: one JSON argument (`Leash`); the postmaster's pid as a line on standard output; then single bytes on standard
input, each a key of `ORDERS`. It exits when the postmaster has.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, TypedDict

KILL: Final = b"k"
ORDERS: Final = {b"s": signal.SIGTERM, b"f": signal.SIGINT, b"i": signal.SIGQUIT}
"""Orders and what they mean to a postmaster: smart, fast and immediate shutdown. `KILL` is SIGKILL to the family."""

_ORPHANED_STEPS: Final = ((b"f", 30.0), (b"i", 5.0), (KILL, 5.0))
"""What to try, and for how many seconds, once the parent has ended."""
_PARENT_CHECK_SECONDS: Final = 1.0
_GONE_SECONDS: Final = 10.0
_HAS_PROC: Final = sys.platform == "linux"


class Leash(TypedDict):
    """What the supervisor is told at its start."""

    parent: int
    command: list[str]
    user: int | None
    group: int | None
    delete_when_orphaned: list[str]


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that is never reaped (pid 1 of many containers does not) counts as gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if not _HAS_PROC:
        return True
    try:
        return _stat_fields(pid)[0] not in {"Z", "X"}
    except OSError:
        return False


def live_postmaster(data: Path) -> int | None:
    """Pid of the postmaster that runs on this data directory; an unrelated process with a recycled pid is not one."""
    try:
        pid = abs(int((data / "postmaster.pid").read_text().split("\n", 1)[0]))
    except (FileNotFoundError, ValueError):
        return None
    if not is_alive(pid):
        return None
    if _HAS_PROC:
        try:
            # A postmaster works in its data directory. One that we may not look at is another user's, and cannot be
            # on this directory, because Postgres insists on owning it.
            return pid if Path(f"/proc/{pid}/cwd").samefile(data) else None
        except OSError:
            return None
    return pid if str(data) in _ps("-ww", "-o", "command=", "-p", str(pid)) else None


def kill_family(pid: int) -> None:
    """SIGKILL to a process and its children, and wait until they are gone.

    A plain kill of the postmaster is milder than a power cut: busy backends go on, and even commit, until they notice.

    Raises:
        TimeoutError: something is still there after ten seconds (a process stuck in the kernel).
    """
    family = [pid]
    with contextlib.suppress(ProcessLookupError):
        # Stopped first, so that no child is started between the count and the kill.
        os.kill(pid, signal.SIGSTOP)
        with contextlib.suppress(ChildProcessError):
            if not os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]):
                return  # it has ended by itself, and its pid may be another process's by now
        family += _children(pid)
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    deadline = time.monotonic() + _GONE_SECONDS
    while any(map(is_alive, family)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {family} survived SIGKILL for {_GONE_SECONDS:.0f} s")
        time.sleep(0.005)


def _children(pid: int) -> list[int]:
    # By parent, not by process group: every Postgres child makes itself a group leader.
    if not _HAS_PROC:
        table = (line.split() for line in _ps("-ax", "-o", "pid=", "-o", "ppid=").splitlines())
        return [int(child) for child, parent in table if int(parent) == pid]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int(_stat_fields(int(entry.name))[1]) == pid:
                    found.append(int(entry.name))
    return found


def _stat_fields(pid: int) -> list[str]:
    """State, parent pid, … of /proc/<pid>/stat: what follows the command name, which may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _ps(*arguments: str) -> str:
    command = ["/bin/ps", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603  # fixed arguments


def _obey(server: "subprocess.Popen[bytes]", order: bytes) -> None:
    if order == KILL:
        kill_family(server.pid)
    elif order in ORDERS:
        # Through Popen, which never signals a pid that it has already reaped.
        server.send_signal(ORDERS[order])


def _supervise(server: "subprocess.Popen[bytes]", parent: int, wake: int) -> bool:
    """Carries out orders until the server has ended (True) or the parent has (False)."""
    while server.poll() is None:
        readable, _, _ = select.select([0, wake], [], [], _PARENT_CHECK_SECONDS)
        if wake in readable and signal.SIGTERM in os.read(wake, 64):
            _obey(server, b"f")
        if 0 in readable:
            orders = os.read(0, 64)
            if not orders:
                return False
            for order in orders:
                _obey(server, bytes([order]))
        # A fork of the parent may have inherited the pipe and keep it open.
        if os.getppid() != parent:
            return False
    return True


def main(leash: Leash) -> None:
    """Starts the server and stays until it has ended."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    # Handlers that do nothing, instead of SIG_IGN, which the postmaster would inherit.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    server = subprocess.Popen(  # noqa: S603  # what our parent told us to run, without a shell
        leash["command"],
        stdin=subprocess.DEVNULL,
        stdout=2,  # the log: our standard error
        user=leash["user"],
        group=leash["group"],
        extra_groups=[] if leash["user"] is not None else None,
    )
    ended = False
    try:
        os.write(1, b"%d\n" % server.pid)
        ended = _supervise(server, leash["parent"], wake_read)
    except BrokenPipeError:
        pass  # the parent was gone before it could hear of the server
    finally:
        if not ended:
            _end_orphan(server, leash["delete_when_orphaned"])


def _end_orphan(server: "subprocess.Popen[bytes]", folders: list[str]) -> None:
    for order, seconds in _ORPHANED_STEPS:
        with contextlib.suppress(subprocess.TimeoutExpired, TimeoutError):
            _obey(server, order)
            server.wait(seconds)
            break
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
