"""A network of our own between a replica and the database: latency, loss, and an unannounced cut.

The replica runs in a network namespace whose only way out is a TUN device; another one is on our side, and the process
started here carries the packets between the two, late, or not at all. A proxy could not do that, since
it answers in place of the other side; and neither netem nor a firewall is needed, which a kernel may lack.

Run as a program it is that process: `python -m tests.chaos.link NAME NUMBER`, with orders as JSON lines on its input.
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
ATTEMPTS = 3
"""Another run on this machine may have a link of the same number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to packets; times in seconds, loss from 0 to 1."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    cut: bool = False


class Link:
    """A namespace and its route to us, for the duration of the `with` block."""

    def __init__(self, number: int = 0) -> None:
        self.namespace = f"chaos-{os.getpid()}-{number}"
        self._number = (os.getpid() * 7 + number) % 250
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Our address, seen from the namespace."""
        return f"10.213.{self._number}.1"

    @property
    def inside(self) -> str:
        """The namespace's address, seen from here."""
        return f"10.213.{self._number}.2"

    def __enter__(self) -> Self:
        for _ in range(ATTEMPTS):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.link", self.namespace, str(self._number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline().strip() == b"up":
                return self
            self.__exit__(None, None, None)
            self._number = (self._number + 1) % 250
        raise OSError("no network namespace or TUN device can be made here")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    @property
    def prefix(self) -> tuple[str, ...]:
        """The beginning of a command that is to run in the namespace."""
        return ("ip", "netns", "exec", self.namespace)

    def set(self, weather: Weather) -> None:
        """Applies from now on."""
        assert self._process is not None
        assert self._process.stdin is not None
        order = {"delay": weather.delay, "jitter": weather.jitter, "loss": weather.loss, "cut": weather.cut}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()


def _tun(name: str) -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return handle


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _connect(namespace: str, number: int) -> tuple[int, int]:
    """Makes the namespace and both devices; returns our end and the other one."""
    ours, theirs = f"wr{number}a", f"wr{number}b"
    near, far = _tun(ours), _tun(theirs)
    _ip("netns", "add", namespace)
    _ip("link", "set", theirs, "netns", namespace)
    _ip("addr", "add", f"10.213.{number}.1/30", "dev", ours)
    _ip("link", "set", ours, "mtu", "16000", "up")
    _ip("-n", namespace, "addr", "add", f"10.213.{number}.2/30", "dev", theirs)
    _ip("-n", namespace, "link", "set", theirs, "mtu", "16000", "up")
    _ip("-n", namespace, "link", "set", "lo", "up")
    return near, far


def _carry(near: int, far: int) -> None:
    """Carries packets until its input is closed."""
    chance = random.Random(0)
    weather = Weather()
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    poll = select.poll()
    for handle in (near, far, 0):
        poll.register(handle, select.POLLIN)
    orders = b""
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for handle, _ in poll.poll(None if timeout is None else timeout * 1000):
            if handle == 0:
                got = os.read(0, 65_536)
                if not got:
                    return
                *lines, orders = (orders + got).split(b"\n")
                for line in lines:
                    weather = Weather(**json.loads(line))
                continue
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(handle, 65_536)
                    if weather.cut or chance.random() < weather.loss:
                        continue
                    number += 1
                    due = time.monotonic() + weather.delay + weather.jitter * chance.random()
                    heapq.heappush(waiting, (due, number, far if handle == near else near, packet))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(waiting)
            with contextlib.suppress(OSError):
                os.write(to, packet)


def main(namespace: str, number: int) -> None:
    """The process of one link. It cleans up and ends when its input is closed, and ignores a terminal's signals."""
    for number_of_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number_of_signal, signal.SIG_IGN)
    try:
        near, far = _connect(namespace, number)
        sys.stdout.write("up\n")
        sys.stdout.flush()
        _carry(near, far)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"link: {error}\n")
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
