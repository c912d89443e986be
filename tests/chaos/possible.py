"""What this machine lets us do: some faults need privileges, or programs that may not be installed."""

import os
import subprocess
import tempfile
from pathlib import Path

from tests.chaos.link import Link
from tests.pgbouncer import installed


def excused(reason: str) -> bool:
    """Whether a fault may be left out for this reason: in CI only where a container forbids it, and nothing helps."""
    return os.environ.get("CI") != "true" or "(root" in reason


def possible(needs: str) -> str | None:
    """Why a fault that needs this cannot be made here; None when it can."""
    match needs:
        case "link":
            try:
                with Link(99):
                    return None
            except OSError:
                return "network namespaces or TUN devices cannot be made here (root, CAP_NET_ADMIN, /dev/net/tun)"
        case "small-disk":
            with tempfile.TemporaryDirectory() as folder:
                try:
                    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
                    subprocess.run(mount, check=True, capture_output=True)
                    subprocess.run(["umount", folder], check=True)
                except (OSError, subprocess.CalledProcessError):
                    return "no file system of limited size can be mounted here (root, CAP_SYS_ADMIN)"
                return None
        case "faketime":
            return None if faketime() else "libfaketime is not installed (Debian: apt install faketime)"
        case "pgbouncer":
            return None if installed() else "pgbouncer is not installed (Debian: apt install pgbouncer)"
        case _:
            raise AssertionError(needs)


def faketime() -> Path | None:
    """The library that gives a process another clock."""
    for pattern in ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1"):
        for found in Path("/").glob(pattern.lstrip("/")):
            return found
    return None


def in_other_time(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is off, such as "+1d"; its monotonic clock goes on as it is."""
    library = faketime()
    assert library is not None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PATH": os.environ.get("PATH", ""),
    }
