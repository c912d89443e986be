"""Facts as notifications to systemd (Type=notify): ready, stopping, a status line, keep-alives for its watchdog."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from consumer.domain.facts import (
    LISTENER,
    BacklogSampled,
    BatchRouted,
    Fact,
    ListenerLost,
    ListenerUnavailable,
    ListenerUp,
    LoopFailed,
    LoopRecovered,
    Progress,
    Stopping,
)
from consumer.ports import Clock, PartInfo

FEEDS_A_PERIOD = 4
"""How often the watchdog is fed within its period."""


class Systemd:
    """An observer that writes to the socket which systemd hands to a service.

    The unit is ready once each part that brings events has gone round, well or badly: a wrong password or a missing
    schema has ended the service by then, so `systemctl start` fails, while a database that is down is waited for.

    The watchdog is fed when the loops report something, and only while `stalled` names none of them: an event loop that
    hangs reports nothing, and a single loop that hangs is named.

    `send` returns whether systemd has taken the message: its queue may be full while it is busy. READY and
    keep-alives are then sent again with the next report.
    """

    def __init__(
        self,
        send: Callable[[bytes], bool],
        *,
        parts: Iterable[PartInfo],
        stalled: Callable[[], list[str]],
        clock: Clock,
        watchdog: float | None,
    ) -> None:
        self._send = send
        self._stalled = stalled
        self._clock = clock
        self._pause = None if watchdog is None else watchdog / FEEDS_A_PERIOD
        self._fed = float("-inf")
        self._awaited = {part.loop for part in parts if part.brings_events}
        """Those that have not gone round yet."""
        self._ready = False
        self._stopping = False
        self._trouble: dict[str, str] = {}
        self._listens = False
        self._backlog = 0

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        *,
        parts: Iterable[PartInfo],
        stalled: Callable[[], list[str]],
        clock: Clock,
    ) -> Self | None:
        """The observer for the unit whose main process this is; None if systemd has not started it."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        # A leading @ stands for the NUL of Linux's abstract names.
        link = Datagrams(f"\0{address[1:]}" if address.startswith("@") else address)
        period = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = int(period) / 1e6 if mine and period.isdecimal() and int(period) else None
        return cls(link.send, parts=parts, stalled=stalled, clock=clock, watchdog=watchdog)

    def __call__(self, fact: Fact) -> None:
        match fact:
            case Progress(loop=loop) if not (self._ready or self._stopping):
                self._awaited.discard(loop)
                if not self._awaited:
                    self._ready = self._send(f"READY=1\n{self._status()}".encode())
            case LoopFailed(loop=loop, reason=reason):
                self._trouble[loop] = reason
                self._tell()
            case LoopRecovered(loop=loop):
                self._trouble.pop(loop, None)
                self._tell()
            case ListenerUp():
                self._listens = True
                self._trouble.pop(LISTENER, None)
                self._tell()
            case ListenerLost() | ListenerUnavailable():
                self._listens = False
                self._tell()
            case BacklogSampled(backlog=backlog):
                self._backlog = backlog.ready
                self._tell()
            case Stopping(reason=reason):
                self._stopping = True
                self._send(f"STOPPING=1\nSTATUS=stopping: {reason}".encode())
            case _:
                pass
        if isinstance(fact, Progress | BatchRouted):
            self._feed()

    def _feed(self) -> None:
        now = self._clock.monotonic()
        if self._pause is None or now - self._fed < self._pause or self._stalled():
            return
        if self._send(b"WATCHDOG=1"):
            self._fed = now

    def _tell(self) -> None:
        if self._ready and not self._stopping:
            self._send(self._status().encode())

    def _status(self) -> str:
        if self._trouble:
            text = "; ".join(f"{loop}: {reason}" for loop, reason in self._trouble.items())
            return f"STATUS={' '.join(text.split())}"  # a line break would begin another assignment
        return f"STATUS=routing, {'listening' if self._listens else 'polling'}, backlog {self._backlog}"


class Datagrams:
    """One datagram per message, to a socket in the file system or in Linux's abstract name space; never blocks."""

    def __init__(self, address: str) -> None:
        self._address = address

    def send(self, message: bytes) -> bool:
        """Returns whether the message was taken; one that was not must not disturb the routing."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.settimeout(0)
            try:
                link.sendto(message, self._address)
            except OSError:
                return False
        return True
