"""Running psql, where there is one."""

import shutil
import subprocess

import pytest

from tests.migrations.databases import Database


def run_psql(database: Database, script: str) -> None:
    """Runs a script as the owner of the tables, without a word; skips the test where there is no psql."""
    beside = database.server.binaries.postgres.parent / "psql"
    psql = str(beside) if beside.exists() else shutil.which("psql")
    if psql is None:
        pytest.skip("no psql on this machine")
    done = subprocess.run(
        [psql, "--no-psqlrc", "--quiet", "--file", "-", database.owned],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
