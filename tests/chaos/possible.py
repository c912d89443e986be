"""Which faults this machine permits: some need privileges, or programs that may not be installed."""

import os
import subprocess
import tempfile
from pathlib import Path

from tests.chaos.link import Link
from tests.chaos.pair import missing
from tests.pgbouncer import installed, namespace
from tests.servers import newest_binaries


def possible(needs: str) -> str | None:
    """Why a fault that needs this cannot be made here; None when it can."""
    return _CHECKS[needs]()


def excused(reason: str) -> bool:
    """Whether a fault may be left out for this reason; in CI only where a container forbids it."""
    return os.environ.get("CI") != "true" or "(root" in reason


def faketime() -> Path | None:
    """The library that gives a process another clock."""
    for pattern in ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1"):
        for found in Path("/").glob(pattern.lstrip("/")):
            return found
    return None


def in_other_time(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is off, such as "+1d"; its monotonic clock is unchanged."""
    library = faketime()
    assert library is not None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PATH": os.environ.get("PATH", ""),
    }


def _link() -> str | None:
    try:
        with Link(99):
            return None
    except OSError:
        return "network namespaces or TUN devices cannot be made here (root, CAP_NET_ADMIN, /dev/net/tun)"


def _small_disk() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        if not _works(*mount):
            return "no file system of limited size can be mounted here (root, CAP_SYS_ADMIN)"
        subprocess.run(["umount", folder], check=True)
    return None


def _faketime() -> str | None:
    return None if faketime() else "libfaketime is not installed (Debian: apt install faketime)"


def _pgbouncer() -> str | None:
    if installed() is None:
        return "pgbouncer is not installed (Debian: apt install pgbouncer)"
    if not _works(*namespace(), "true"):
        return "pgbouncer does not run as root, and no user namespace can be made here (root in a container)"
    return None


def _standby() -> str | None:
    lacking = missing(newest_binaries())
    return f"this Postgres comes without {' and '.join(lacking)}" if lacking else None


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


_CHECKS = {
    "link": _link,
    "small-disk": _small_disk,
    "faketime": _faketime,
    "pgbouncer": _pgbouncer,
    "standby": _standby,
}
