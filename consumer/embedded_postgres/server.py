"""A private Postgres server on the loopback interface, for the demo and the tests.

It needs installed binaries, but no container, no service and no root. It works as root too, although Postgres itself
refuses to. The server ends with the process that started it, even if that one is killed: see `process`.
Everything here blocks; call it from a thread in asyncio code.
"""

import contextlib
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote

from consumer.embedded_postgres import process
from consumer.embedded_postgres.binaries import (
    Binaries,
    EmbeddedPostgresError,
    Identity,
    all_binaries,
    choose_identity,
    clean_environment,
    find_binaries,
    reachable,
)
from consumer.embedded_postgres.cluster import LOG_LINES, SUPERUSER, Cluster

__all__ = ["Binaries", "EmbeddedPostgres", "EmbeddedPostgresError", "StopMode", "all_binaries", "find_binaries"]

HOST: Final = "127.0.0.1"
DEFAULT_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}

# Below the ports that Linux and macOS lend to outgoing connections: a client that keeps trying to reach a stopped
# server on a port of that range sooner or later connects to itself and holds the port.
_PORTS: Final = range(15_000, 30_000)
_PORT_ATTEMPTS: Final = 10
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.01

StopMode = Literal["smart", "fast", "immediate"]
_ORDERS: Final[Mapping[str, bytes]] = {"smart": b"s", "fast": b"f", "immediate": b"i"}


class _StartError(EmbeddedPostgresError):
    """One attempt ended before the server was ready; `log` is what it logged."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(f"{message}\n{log}" if log else message)
        self.log = log


def free_port() -> int:
    """One that no program listens on at the moment."""
    for port in secrets.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise EmbeddedPostgresError(f"no free TCP port between {_PORTS.start} and {_PORTS.stop} on {HOST}")


class EmbeddedPostgres:
    """A running private server; made by `start`, ended by `stop` or by leaving its `with` block.

    Files, below a folder that only its owner can enter: `data` (the cluster), `password` (the superuser's, mode 0600)
    and `server.log`. It listens on the loopback interface only, without a socket file, and demands the password.
    """

    def __init__(
        self,
        *,
        folder: Path,
        temporary: bool,
        binaries: Binaries,
        identity: Identity,
        settings: Mapping[str, str],
        choose_port: Callable[[], int],
        predecessor_seconds: float,
    ) -> None:
        """Use `start`."""
        self._cluster = Cluster(folder=folder)
        self._temporary = temporary
        self._binaries = binaries
        self._identity = identity
        self._settings = {**DEFAULT_SETTINGS, **settings}
        self._choose_port = choose_port
        self._predecessor_seconds = predecessor_seconds
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._scratch: Path | None = None
        self._password = ""
        self._port = 0
        self._pid = 0

    @classmethod
    def start(
        cls,
        data_dir: Path | None = None,
        *,
        binaries: Binaries | None = None,
        settings: Mapping[str, str] | None = None,
        identity: Identity | None = None,
        choose_port: Callable[[], int] = free_port,
        predecessor_seconds: float = 3.0,
    ) -> Self:
        """Starts a server and returns when it answers.

        Args:
            data_dir: folder that keeps the data between runs, made when missing; None for a temporary one.
            binaries: what to run; by default what made the data, else what `find_binaries` prefers.
            settings: server settings over `DEFAULT_SETTINGS`, for instance {"fsync": "off"}.
            identity: as whom it runs; by default what `choose_identity` finds.
            choose_port: asked again when another program took the port first.
            predecessor_seconds: how long to wait for a server that still runs in `data_dir` but is about to end.

        Raises:
            EmbeddedPostgresError: no binaries, the folder is in use or of another version, or the server did not come
                up; then with the last lines of its log.
        """
        if platform.system() == "Windows":
            raise EmbeddedPostgresError("the embedded Postgres needs Linux or macOS; use WEBHOOK_ROUTER_DATABASE_URL")
        made_by = Cluster(folder=data_dir).major() if data_dir is not None else None
        chosen = binaries or find_binaries(major=made_by)
        if made_by not in {None, chosen.major}:
            raise EmbeddedPostgresError(
                f"{data_dir} holds data of Postgres {made_by}, which Postgres {chosen.major} cannot open: "
                f"install Postgres {made_by}, or name another folder"
            )
        identity = identity or choose_identity()
        if data_dir is None:
            folder = Path(tempfile.mkdtemp(prefix="webhook-router-postgres-")).resolve()
        else:
            folder = data_dir.resolve()
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as exc:
                raise EmbeddedPostgresError(f"{data_dir} cannot hold a database: {exc.strerror}") from exc
        server = cls(
            folder=folder,
            temporary=data_dir is None,
            binaries=chosen,
            identity=identity,
            settings=settings or {},
            choose_port=choose_port,
            predecessor_seconds=predecessor_seconds,
        )
        try:
            server._prepare()
            server._launch()
        except BaseException:
            server._end("immediate")
            server._delete_temporary()
            raise
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1; `restart` keeps it."""
        return self._port

    @property
    def major(self) -> int:
        """Major version, such as 18."""
        return self._binaries.major

    @property
    def pid(self) -> int:
        """The postmaster's process id; after the end, the last one."""
        return self._pid

    @property
    def running(self) -> bool:
        """Whether the postmaster runs."""
        return self._supervisor is not None and self._supervisor.poll() is None

    @property
    def binaries(self) -> Binaries:
        """What runs here; psql lies in the same folder when the installation has it."""
        return self._binaries

    @property
    def folder(self) -> Path:
        """Where the data, the password and the log are."""
        return self._cluster.folder

    @property
    def password(self) -> str:
        """The superuser's; a role made with the same one can be named in `dsn`."""
        return self._password

    def dsn(self, dbname: str = "postgres", user: str = SUPERUSER) -> str:
        """A libpq URL with the password in it, for drivers and psql alike."""
        return f"postgresql://{quote(user, safe='')}:{self._password}@{HOST}:{self._port}/{quote(dbname, safe='')}"

    def log_tail(self, lines: int = LOG_LINES) -> str:
        """The last lines of the server's log; empty when there is none."""
        return self._cluster.log_tail(lines=lines)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server, deletes a temporary folder; does nothing the second time.

        Harsher modes follow when a gentle one takes more than 60 s; "smart" waits that long for clients to leave.
        """
        self._end(mode)
        self._release_shared_memory()
        self._delete_temporary()

    def kill(self) -> None:
        """SIGKILL to the postmaster and every child, as in a power cut; `restart` recovers the data."""
        self._end("kill")

    def restart(self, mode: StopMode = "fast") -> None:
        """Stops the server if it runs and starts it on the same data, port and password.

        Raises:
            EmbeddedPostgresError: it did not come up, or its temporary folder is deleted already.
        """
        self._end(mode)
        if not self._cluster.data.is_dir():
            raise EmbeddedPostgresError("this server's temporary folder is deleted: start a new one")
        self._launch()

    def _prepare(self) -> None:
        if self._identity.uid is not None:
            self._scratch = Path(tempfile.mkdtemp(prefix="webhook-router-binaries-")).resolve()
            self._scratch.chmod(0o755)
            self._binaries = reachable(self._binaries, self._identity, self._scratch)
        durable = not self._temporary and self._settings.get("fsync") != "off"
        self._cluster.make(self._binaries, self._identity, durable=durable)
        self._password = self._cluster.password()
        self._cluster.log.unlink(missing_ok=True)

    def _launch(self) -> None:
        """Starts on a free port, or on the one it had before, and returns when the server takes connections."""
        self._await_predecessor()
        self._cluster.write_settings(self._settings, self._identity)
        keep_port = bool(self._port)
        deadline = time.monotonic() + _BUSY_SECONDS
        attempt = 0
        while True:
            attempt += 1
            self._port = self._port if keep_port else self._choose_port()
            try:
                self._attempt()
            except _StartError as exc:
                self._end("immediate")
                # Another program took the port first, or backends of a killed postmaster are not all gone yet.
                lost_port = "Address already in use" in exc.log
                if not (lost_port or "is still in use" in exc.log):
                    raise
                if time.monotonic() > deadline or (lost_port and not keep_port and attempt >= _PORT_ATTEMPTS):
                    raise
                time.sleep(_POLL_SECONDS * 10)
            else:
                return

    def _await_predecessor(self) -> None:
        """Waits for the server of a parent that died a moment ago; clears what a killed one left."""
        deadline = time.monotonic() + self._predecessor_seconds
        stopping_deadline = time.monotonic() + _STOP_SECONDS
        while (pid := process.live_postmaster(self._cluster.data)) is not None:
            stopping = self._cluster.status()[1] == "stopping"
            if time.monotonic() > (stopping_deadline if stopping else deadline):
                raise EmbeddedPostgresError(
                    f"{self._cluster.folder} is in use by a running Postgres (process {pid}): "
                    "stop it, or name another folder"
                )
            time.sleep(_POLL_SECONDS)
        # Postgres looks at the pid alone, and refuses to start when another process, or a zombie, has it by now. Its
        # other guard, the shared memory that backends of a killed server still use, does not need this file.
        self._cluster.pid_file.unlink(missing_ok=True)

    def _attempt(self, wanted: tuple[str, ...] = ("ready",)) -> None:
        """One start, which returns in one of the wanted states; `_StartError` when it does not get there."""
        leash: process.Leash = {
            "parent": os.getpid(),
            "command": [
                *self._identity.prefix,
                *(str(self._binaries.postgres), "-D", str(self._cluster.data), "-p", str(self._port)),
            ],
            "user": self._identity.uid,
            "group": self._identity.gid,
            "delete_when_orphaned": [str(folder) for folder in self._own_folders()],
        }
        log_fd = os.open(self._cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        log_start = os.fstat(log_fd).st_size
        try:
            self._supervisor = subprocess.Popen(  # noqa: S603  # our own script, without a shell
                # Isolated and without site-packages: it needs neither, and starts in half the time.
                [sys.executable, "-I", "-S", process.__file__, json.dumps(leash)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_fd,
                bufsize=0,
                cwd="/",
                env=clean_environment(),
                start_new_session=True,
            )
        finally:
            os.close(log_fd)
        assert self._supervisor.stdout is not None
        self._pid = int(self._supervisor.stdout.readline() or 0)
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_in(wanted):
            if self._supervisor.poll() is not None:
                raise _StartError("Postgres did not start; its log ends with:", self._cluster.log_tail(start=log_start))
            if time.monotonic() > deadline:
                raise _StartError(
                    f"Postgres was not ready after {_START_SECONDS:.0f} s; its log ends with:",
                    self._cluster.log_tail(start=log_start),
                )
            time.sleep(_POLL_SECONDS)

    def _is_in(self, states: tuple[str, ...]) -> bool:
        pid, state = self._cluster.status()
        return pid == self._pid and state in states

    def _end(self, mode: StopMode | Literal["kill"]) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        steps = [(process.KILL, _STOP_SECONDS)]
        if mode != "kill":
            steps = [(_ORDERS[mode], _STOP_SECONDS), (_ORDERS["immediate"], _STOP_SECONDS / 6), *steps]
        for order, seconds in steps:
            with contextlib.suppress(BrokenPipeError):
                supervisor.stdin.write(order)
            with contextlib.suppress(subprocess.TimeoutExpired):
                supervisor.wait(seconds)
                break
        else:
            raise EmbeddedPostgresError(f"Postgres (process {self._pid}) does not end, not even after SIGKILL")
        supervisor.stdin.close()
        supervisor.stdout.close()
        # If the supervisor alone was killed, nothing else ends the server.
        if self._pid and process.live_postmaster(self._cluster.data) == self._pid:
            process.kill_family(self._pid)

    def _release_shared_memory(self) -> None:
        # A killed server leaves 1 MB of /dev/shm and a System V segment, of which macOS has 32, to be found through
        # its data by the next one. When the data are about to be deleted, one is started for that, and stopped again.
        if self._temporary and self._cluster.pid_file.exists():
            with contextlib.suppress(EmbeddedPostgresError):
                self._await_predecessor()
                self._attempt(("starting", "ready"))
            self._end("immediate")

    def _own_folders(self) -> list[Path]:
        own = [self._cluster.folder] if self._temporary else []
        return [*own, self._scratch] if self._scratch else own

    def _delete_temporary(self) -> None:
        for folder in self._own_folders():
            shutil.rmtree(folder, ignore_errors=True)
