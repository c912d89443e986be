"""Running psql, where there is one."""

import os
import shutil
import subprocess
from collections.abc import Mapping

import pytest

from tests.migrations.databases import Database


def psql(
    database: Database, script: str, *, dsn: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script as the owner of the tables, or through that DSN; skips the test where there is no psql."""
    beside = database.server.binaries.postgres.parent / "psql"
    program = str(beside) if beside.exists() else shutil.which("psql")
    if program is None:
        pytest.skip("no psql on this machine")
    return subprocess.run(
        [program, "--no-psqlrc", "--quiet", "--file", "-", dsn or database.owned],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )


def run_psql(database: Database, script: str) -> None:
    """As `psql`, and it must succeed without a word."""
    done = psql(database, script)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
