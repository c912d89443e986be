"""A disk that fills up, and then has room again."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.chaos.faults.courses import meanwhile
from tests.chaos.faults.fault import fault
from tests.chaos.scene import Scene
from tests.chaos.server import Server
from tests.waiting import wait_for

ROOM = "2g"
"""Of the small file system while it is not full; it takes memory only for what is in it."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, on which `fill` leaves no room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Shrinks it to its contents."""
    while True:
        room = os.statvfs(folder)
        with contextlib.suppress(subprocess.CalledProcessError):  # it has grown meanwhile and cannot be shrunk that far
            return _resize(folder, str((room.f_blocks - room.f_bfree) * room.f_frsize))


def make_room(folder: Path) -> None:
    """Makes room again."""
    _resize(folder, ROOM)


def _resize(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True, capture_output=True)


@fault(
    "disk-full",
    "no room on a file system that holds an index of messages (53100), then room again",
    needs="small-disk",
    seconds=(3, 10),
    alone=True,
)
def disk_full(scene: Scene) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(small_disk(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        space = folder / "space"
        space.mkdir(mode=0o700)
        scene.database.rows(f"create tablespace small location '{space}'")
        try:
            scene.database.rows(
                "create index on_small_disk on public.messages (provider_message_id, content_text) tablespace small"
            )
            fill(folder)
            yield
        finally:
            make_room(folder)
            scene.database.rows("drop index if exists public.on_small_disk")
            scene.database.rows("drop tablespace small")
            scene.database.rows("checkpoint")  # the server must not look for it when it recovers


@fault(
    "disk-full-log",
    "no room on the file system of the server's log, for which the server crashes; then room again",
    needs="small-disk",
    seconds=(2, 8),
    alone=True,
)
def disk_full_log(scene: Scene) -> Iterator[None]:
    server = scene.server
    log = server.data / "pg_wal"
    with tempfile.TemporaryDirectory() as empty, small_disk(Path(empty)) as folder:
        server._end("fast")
        shutil.move(log, folder / "pg_wal")
        log.symlink_to(folder / "pg_wal")
        server.restart()
        fill(folder)
        try:
            with meanwhile(lambda: scene.database.rows("select pg_switch_wal()", patience=0), every=0.2):
                wait_for(lambda: "No space left on device" in server.log_tail(), what="a server without room")
            yield
        finally:
            make_room(folder)
            wait_for(lambda: _serves(server), what="a server that is well again")
            server._end("fast")
            log.unlink()
            shutil.move(folder / "pg_wal", log)
            server.restart()


def _serves(server: Server) -> bool:
    """Whether the server answers; starts it if it has given up."""
    if not server.running:
        server.restart()
    try:
        psycopg.connect(server.dsn()).close()
    except psycopg.OperationalError:
        return False
    return True
