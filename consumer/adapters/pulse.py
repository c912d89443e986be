"""The pulse of the event loop, felt from a thread: what blocks the loop blocks everything that runs in it."""

import threading
from collections.abc import Callable
from typing import NoReturn

LOOKS = 8
"""Looks within the time that the loop may go without a beat."""


class Pulse:
    """Ends the process when the event loop stands still: a blocked write, a driver that hangs, a busy piece of code.

    It counts its own looks instead of the time, so that a process that was stopped as a whole (SIGSTOP, a suspended
    machine) wakes up as if nothing had been.
    """

    def __init__(self, *, patience: float, last_resort: Callable[[str], NoReturn]) -> None:
        """`patience` in seconds; `last_resort` ends the process from whatever thread."""
        self._patience = patience
        self._last_resort = last_resort
        self._beats = 0
        self._heard = 0
        self._silent = 0
        self._ended = threading.Event()

    def start(self) -> None:
        """From now on beats are expected."""
        threading.Thread(target=self._feel, name="pulse", daemon=True).start()

    def stop(self) -> None:
        """Nobody expects beats any more."""
        self._ended.set()

    def beat(self) -> None:
        """Called in the loop, more often than there are looks."""
        self._beats += 1

    def look(self) -> bool:
        """Whether there was no beat for too many looks."""
        heard, self._heard = self._heard, self._beats
        self._silent = self._silent + 1 if self._heard == heard else 0
        return self._silent > LOOKS

    def _feel(self) -> None:
        while not self._ended.wait(self._patience / LOOKS):
            if self.look():
                self._last_resort(
                    f"the event loop has stood still for more than {self._patience:g} s; ending, so that a new process "
                    "can take over (nothing is lost: what was under way is rolled back)"
                )
