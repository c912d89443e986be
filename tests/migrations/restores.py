"""Dumping and restoring with the programs of a server's own version."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.migrations.databases import Database


def dump(database: Database, *options: str) -> bytes:
    """What pg_dump writes, as a superuser."""
    return _run(database, "pg_dump", [*options, database.admin]).stdout


def restore_plain(database: Database, dumped: bytes, *, dsn: str) -> None:
    """By psql, which goes on after errors as it does when nothing else is asked for."""
    _run(database, "psql", ["--no-psqlrc", "--quiet", "--file", "-", dsn], stdin=dumped)


def restore_custom(database: Database, dumped: bytes, *options: str, dsn: str) -> None:
    """By pg_restore, which goes on after errors, too."""
    _run(database, "pg_restore", [*options, "--dbname", dsn], stdin=dumped, fails=True)


def _run(
    database: Database, program: str, arguments: Sequence[str], *, stdin: bytes = b"", fails: bool = False
) -> subprocess.CompletedProcess[bytes]:
    folder: Path = database.server.binaries.folder
    done = subprocess.run([folder / program, *arguments], input=stdin, capture_output=True, check=False)
    assert fails or done.returncode == 0, done.stderr.decode()
    return done
