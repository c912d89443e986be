"""How commands run: event loop, signals, the terminal's colours."""

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console

from consumer.domain.errors import ConsumerError

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # not on Windows, not on every interpreter
    from asyncio import new_event_loop

Result = TypeVar("Result")


def run_async(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs on uvloop where there is one. Cancelled by a second signal, it ends with exit code 1."""
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.get_loop().set_exception_handler(_unforeseen)
            return runner.run(main)
    except asyncio.CancelledError:
        raise ConsumerError(
            "stopped at once by a second signal; what was under way is rolled back and routed later"
        ) from None
    finally:
        main.close()  # it has not begun if Ctrl-C came first


def _unforeseen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Reports what nobody waited for, but for names that are not found: uvloop keeps the look-up of an attempt to
    connect that was given up, and whoever gave it up has said why."""
    if not isinstance(context.get("exception"), socket.gaierror):
        loop.default_exception_handler(context)


@contextmanager
def on_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """The first SIGTERM or SIGINT calls `stop` with the signal's name, the second cancels the task that is in here."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    seen = False

    def arrived(name: str) -> None:
        nonlocal seen
        if seen:
            task.cancel()
        seen = True
        stop(name)

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, arrived, number.name)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def console(*, stderr: bool = False) -> Console:
    """Where tables and progress go. With NO_COLOR they have neither colours nor bold letters."""
    usual = Console(stderr=stderr)
    return Console(stderr=stderr, color_system=None) if usual.no_color else usual
