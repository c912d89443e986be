"""The files of a private cluster: how they are made, and what they say about the server that runs on them.

A cluster's folder holds `data` (Postgres's own), `password` (the superuser's, mode 0600) and `server.log`.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer.embedded_postgres.binaries import Binaries, EmbeddedPostgresError, Identity

SUPERUSER: Final = "postgres"
LOG_LINES: Final = 15
_INITDB_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A folder that has, or will have, a cluster in it."""

    folder: Path

    @property
    def data(self) -> Path:
        """What Postgres calls the data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "server.log"

    @property
    def pid_file(self) -> Path:
        """Exists while a server runs, and after it was killed."""
        return self.data / "postmaster.pid"

    def major(self) -> int | None:
        """Major version of the Postgres that made the data; None when there are none yet.

        Raises:
            EmbeddedPostgresError: this is another Postgres's data directory.
        """
        if (self.folder / "PG_VERSION").exists():
            raise EmbeddedPostgresError(f"{self.folder} is the data directory of another Postgres: name another folder")
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make(self, binaries: Binaries, identity: Identity, *, durable: bool) -> None:
        """Makes the data unless they exist. An interrupted initdb leaves nothing that looks like them.

        Args:
            binaries: whose initdb.
            identity: who will own the files.
            durable: whether the new files have to survive a power cut from the start.

        Raises:
            EmbeddedPostgresError: initdb failed; with what it said.
        """
        with _locked(self.folder):
            if self.data.exists():
                return
            identity.give(self.folder)
            partial = self.folder / "data.partial"
            shutil.rmtree(partial, ignore_errors=True)
            self._initdb(partial, binaries, identity, durable=durable)
            with (partial / "postgresql.conf").open("a") as conf:
                conf.write("include_if_exists = 'webhook-router.conf'\n")
            partial.rename(self.data)

    def _initdb(self, target: Path, binaries: Binaries, identity: Identity, *, durable: bool) -> None:
        secret = self.folder / "password"
        secret.unlink(missing_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(16) + "\n")
        identity.give(secret)
        try:
            done = identity.run(
                *(binaries.initdb, "-D", target, "-U", SUPERUSER, "-A", "scram-sha-256", f"--pwfile={secret}"),
                *("-E", "UTF8", "--locale=C", "--no-instructions"),
                *(() if durable else ("--no-sync",)),
                timeout=_INITDB_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise EmbeddedPostgresError(f"initdb could not make a database cluster in {self.folder}: {exc}") from exc
        if done.returncode != 0:
            last = "\n".join(done.stdout.splitlines()[-LOG_LINES:])
            raise EmbeddedPostgresError(f"initdb could not make a database cluster in {self.folder}:\n{last}")

    def password(self) -> str:
        """The superuser's password, from its file."""
        secret = self.folder / "password"
        try:
            return secret.read_text().strip()
        except FileNotFoundError as exc:
            raise EmbeddedPostgresError(
                f"{secret}, with the superuser's password, is gone: restore it, or delete {self.folder}"
            ) from exc

    def write_settings(self, settings: Mapping[str, str], identity: Identity) -> None:
        """Replaces our part of the server's configuration.

        It is a file, not the command line, so that ALTER SYSTEM and reload work as on any other server.

        Raises:
            EmbeddedPostgresError: a name or a value that cannot stand in a configuration file.
        """
        lines = []
        for name, value in settings.items():
            if not re.fullmatch(r"[A-Za-z_][\w.]*", name) or "\n" in value:
                raise EmbeddedPostgresError(f"not a server setting: {name} = {value!r}")
            quoted = value.replace("\\", "\\\\").replace("'", "''")
            lines.append(f"{name} = '{quoted}'\n")
        conf = self.data / "webhook-router.conf"
        conf.write_text("".join(lines))
        identity.give(conf)

    def status(self) -> tuple[int, str]:
        """The server's pid and state ("starting", "ready", "stopping"); (0, "") until it has written them."""
        try:
            lines = self.pid_file.read_text().splitlines()
            return int(lines[0]), lines[7].strip()
        except (FileNotFoundError, IndexError, ValueError):
            return 0, ""

    def log_tail(self, *, start: int = 0, lines: int = LOG_LINES) -> str:
        """The last lines of the log, from `start` bytes into it."""
        try:
            with self.log.open("rb") as log:
                log.seek(start)
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process that holds it."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
