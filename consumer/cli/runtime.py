"""How commands run: event loop, signals, standard streams, the terminal's colours."""

import asyncio
import io
import os
import signal
import socket
import ssl
import sys
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


class Interrupted(Exception):
    """Ctrl-C, before the command was done."""


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


def trust_as_the_system_does() -> None:
    """Lets `sslrootcert=system` mean the authorities of this machine, unless the environment names others.

    The libpq of psycopg's wheels has an OpenSSL of its own, which looks for them in a folder that no machine has.
    """
    if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
        known = ssl.get_default_verify_paths()
        if known.cafile:
            os.environ["SSL_CERT_FILE"] = known.cafile
        if known.capath:
            os.environ["SSL_CERT_DIR"] = known.capath


def open_standard_streams() -> None:
    """Opens on /dev/null what the caller has closed: a socket with one of these numbers would be written to.

    What the encoding of a stream lacks is written as an escape, instead of ending the command.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of Latin-1 has no Greek, and no "…" either


def console(*, stderr: bool = False) -> Console:
    """Where tables and progress go. With NO_COLOR they have neither colours nor bold letters."""
    usual = Console(stderr=stderr)
    return Console(stderr=stderr, color_system=None) if usual.no_color else usual
