"""What the workers of pytest-xdist share: the process that deals out the tests makes it once, and ends it.

A fixture says how a thing is made, and gets it from there when it runs in a worker; without pytest-xdist it makes the
thing itself:

    with shared(config, partial(postgres, major)) as server: ...
"""

import atexit
import contextlib
import fcntl
import os
import pickle
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, TypeVar

import pytest

INPUT = "webhook_router_sharing"
"""Under this name a worker is told where to ask."""
MEMORY = Path("/dev/shm")
NEEDED = 4 * 1024**3
"""Bytes that must be free there, and as many again of memory; a run takes less than half of it."""
PREFIX = "router-tests-"

T = TypeVar("T")


@contextlib.contextmanager
def shared(config: pytest.Config, make: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """What `make` makes: the same thing in all workers, each of which has a copy of the object.

    Both `make` (a function of a module, or a partial of one) and what it makes must be picklable. An error in making
    it is raised in each worker that asks.
    """
    if is_worker(config):
        with _asking(config) as connection:
            connection.send(pickle.dumps(make))
            done, answer = connection.recv()
        if not done:
            raise answer
        yield answer
    else:
        with make() as made:
            yield made


def tell_groups(config: pytest.Config, groups: Mapping[str, str]) -> None:
    """A worker says which tests stay together, by their node ids; all workers say the same."""
    with _asking(config) as connection:
        connection.send(groups)
        connection.recv()


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is dealt its tests by another."""
    return hasattr(config, "workerinput")


def _asking(config: pytest.Config) -> Connection:
    address, key = config.workerinput[INPUT]  # type: ignore[attr-defined]
    return Client(address, authkey=bytes.fromhex(key))


class Sharing:
    """Makes what workers ask for, and ends all of it in the end, the last first."""

    def __init__(self) -> None:
        self.groups: Mapping[str, str] = {}
        """By node id."""
        self._key = secrets.token_hex(16)
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._listener = Listener(str(self._folder / "socket"), authkey=bytes.fromhex(self._key))
        self._made: dict[bytes, Future[Any]] = {}
        self._ending = contextlib.ExitStack()
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def input(self) -> tuple[str, str]:
        """What a worker needs to ask."""
        return str(self._listener.address), self._key

    def close(self) -> None:
        """Ends everything; the workers have ended before."""
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        with self._lock:
            self._ending.close()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection, contextlib.suppress(EOFError, OSError):  # a worker may be killed while it waits
            asked = connection.recv()
            if isinstance(asked, bytes):
                made = self._make(asked)
                failed = made.exception()
                connection.send((False, failed) if failed else (True, made.result()))
            else:
                self.groups = asked
                connection.send(None)

    def _make(self, asked: bytes) -> Future[Any]:
        """What was made, or the error, sooner or later."""
        with self._lock:
            if asked in self._made:
                return self._made[asked]
            made = self._made[asked] = Future()
        try:
            manager = pickle.loads(asked)()
            made.set_result(manager.__enter__())
        except BaseException as error:  # noqa: BLE001  # also pytest's for a skipped test, which is the worker's
            made.set_exception(error)
        else:
            with self._lock:
                self._ending.push(manager)
        return made


def temporary_files_in_memory() -> None:
    """Has this process and its children put temporary files into memory, where there is enough of it.

    A new database is 300 small files, which cost ten times as much on a disk.
    """
    if not _roomy():
        return
    for left in MEMORY.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _held(left):
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
    folder.chmod(0o755)  # as any folder for temporary files can be entered by everybody
    ending = contextlib.ExitStack()
    ending.callback(shutil.rmtree, folder, ignore_errors=True)
    ending.enter_context(_held(folder))
    atexit.register(ending.close)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Shows others that a folder is in use; BlockingIOError when they use it."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def _roomy() -> bool:
    """Whether there is memory for the files of a run, in a folder from which programs may be run."""
    try:
        space = os.statvfs(MEMORY)
        free = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return False
    return (
        os.access(MEMORY, os.W_OK)
        and not space.f_flag & os.ST_NOEXEC
        and space.f_bavail * space.f_frsize >= NEEDED
        and free is not None
        and int(free[1]) * 1024 >= 2 * NEEDED
    )
