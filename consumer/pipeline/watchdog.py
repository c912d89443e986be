"""The watchdog: ends a process that has got stuck, so that whoever supervises it starts a new one."""

import asyncio
from collections.abc import Callable
from typing import NoReturn, Protocol

from consumer.domain.errors import Fatal
from consumer.ports import Clock

LOOKS = 8
"""Looks within the time that a loop may go without progress."""
LAST_RESORT = 15.0
"""Seconds for the ordinary end. A task that is stuck may also be deaf to being cancelled."""


class Watched(Protocol):
    """What knows how long ago each loop made progress."""

    def stalled(self) -> list[str]:
        """Loops without progress for too long."""
        ...

    def forgive(self) -> None:
        """Starts to count anew."""
        ...


class Watchdog:
    """Looks at the loops every now and then, and bites when one is stuck at two looks in a row.

    A process that was stopped (SIGSTOP, a suspended machine, a starved container) wakes up with old times and healthy
    loops. It shows in the watchdog's own sleep, which took much longer than it should; then everybody gets a new start.
    """

    def __init__(
        self,
        *,
        watched: Watched,
        clock: Clock,
        stall_after: float,
        beat: Callable[[], None],
        last_resort: Callable[[str], NoReturn],
    ) -> None:
        """`beat` is called at each look, for whoever watches the watchdog; `last_resort` ends the process at once."""
        self._watched = watched
        self._clock = clock
        self._stall_after = stall_after
        self._every = stall_after / LOOKS
        self._beat = beat
        self._last_resort = last_resort

    async def run(self) -> NoReturn:
        """Watches until cancelled.

        Raises:
            Fatal: names the loops that are stuck.
        """
        suspects: set[str] = set()
        while True:
            self._beat()
            before = self._clock.monotonic()
            await asyncio.sleep(self._every)
            if self._clock.monotonic() - before > 3 * self._every:
                self._watched.forgive()
            stalled = set(self._watched.stalled())
            if stuck := sorted(suspects & stalled):
                self._bite(stuck)
            suspects = stalled

    def _bite(self, stuck: list[str]) -> NoReturn:
        message = (
            f"the {' and the '.join(stuck)} loop made no progress for more than {self._stall_after:g} s; ending, so "
            "that a new process can take over (nothing is lost: what was under way is rolled back)"
        )
        asyncio.get_running_loop().call_later(LAST_RESORT, self._last_resort, message)
        raise Fatal(message)
