"""Dumps of databases, to compare what is in them."""

import os
import re
import subprocess

import pytest

from consumer.embedded_postgres.server import all_binaries
from tests.migrations.databases import Database

# Comments, and the key that newer versions of pg_dump make up for each dump.
_NOISE = re.compile(r"^(--.*|\\(un)?restrict .*|)\n", re.MULTILINE)


def dump(database: Database, *options: str) -> str:
    """What pg_dump writes of a database: with owners and grants; only the schema, unless other options are given."""
    program = next(
        (
            path
            for binaries in sorted(all_binaries(), key=lambda found: found.major)
            if binaries.major >= database.server.major and (path := binaries.postgres.parent / "pg_dump").exists()
        ),
        None,
    )
    if program is None:
        pytest.skip("no pg_dump on this machine")
    done = subprocess.run(
        [program, *(options or ["--schema-only"]), database.admin],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PGOPTIONS": "-c extra_float_digits=0"},
    )
    return _NOISE.sub("", done.stdout)
