"""The watchdog: ends a process that has got stuck, so that its supervisor starts a new one."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import NoReturn, Protocol

from consumer.domain.errors import Fatal
from consumer.ports import Clock

LOOKS = 8
"""Looks within the time that a loop may go without progress."""
WHAT_NOW = "ending, so that a new process can take over (nothing is lost: what was under way is rolled back)"


class Watched(Protocol):
    """What knows how long ago each loop made progress; asked from a thread."""

    def stalled(self) -> list[str]:
        """Loops without progress for too long."""
        ...

    def forgive(self) -> None:
        """Gives every loop a new start."""
        ...


class Watchdog:
    """A thread that looks at the loops and at the event loop they run in, and ends the process when one is stuck.

    A loop that is stuck at two looks in a row ends the service in the ordinary way, by an error that `verdict` raises.
    If the process is still there after `patience` seconds, since a task ignores that it is cancelled, `last_resort`
    ends it. So it does at once when the event loop itself stands still (a blocked write, a driver that hangs): then
    nothing in it can end in the ordinary way.

    A process that was stopped as a whole (SIGSTOP, a suspended machine, a starved container) wakes up with old times
    and healthy loops. It shows in the thread's own sleep, which took much longer than it should; then the loops get a
    new start. For the same reason the silence of the event loop is counted in looks, not in seconds.
    """

    def __init__(
        self,
        *,
        watched: Watched,
        clock: Clock,
        stall_after: float,
        last_resort: Callable[[str], NoReturn],
        patience: float = 15.0,
    ) -> None:
        """`last_resort` ends the process from any thread; times in seconds."""
        self._watched = watched
        self._clock = clock
        self._stall_after = stall_after
        self._every = stall_after / LOOKS
        self._last_resort = last_resort
        self._patience = patience
        self._silent = 0
        """Looks since the event loop last answered."""
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._verdict: asyncio.Future[NoReturn]

    def start(self) -> None:
        """Begins to look; called in the event loop that is watched."""
        self._loop = asyncio.get_running_loop()
        self._verdict = self._loop.create_future()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    async def verdict(self) -> NoReturn:
        """Waits until a loop is stuck.

        Raises:
            Fatal: names the loops.
        """
        await self._verdict

    def stop(self) -> None:
        """Ends the watch."""
        self._ended.set()

    def beat(self) -> None:
        """The event loop answers."""
        self._silent = 0

    def still(self) -> bool:
        """Counts a look; returns whether the event loop has not answered for too many of them."""
        self._silent += 1
        return self._silent > LOOKS + 1

    def _watch(self) -> None:
        suspects: set[str] = set()
        before = self._clock.monotonic()
        while not self._ended.wait(self._every):
            now = self._clock.monotonic()
            if now - before > 3 * self._every:
                self._watched.forgive()
            before = now
            if self.still():
                self._last_resort(f"the event loop has stood still for more than {self._stall_after:g} s; {WHAT_NOW}")
            stalled = set(self._watched.stalled())
            if stuck := sorted(suspects & stalled):
                self._bite(stuck)
                return
            suspects = stalled
            self._ask(self.beat)

    def _bite(self, stuck: list[str]) -> None:
        message = (
            f"the {' and the '.join(stuck)} loop made no progress for more than {self._stall_after:g} s; {WHAT_NOW}"
        )
        self._ask(self._convict, message)
        if not self._ended.wait(self._patience):
            self._last_resort(message)

    def _convict(self, message: str) -> None:
        if not self._verdict.done():
            self._verdict.set_exception(Fatal(message))

    def _ask(self, question: Callable[..., object], *arguments: object) -> None:
        """Has the event loop make a call, if it has not ended meanwhile."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(question, *arguments)
