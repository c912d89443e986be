"""The page that goes from the first run to the last, followed to the letter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.conftest import StartPostgres
from tests.docs.pages import DOCS
from tests.migrations.databases import Database, make_application_roles, make_brownfield, make_role
from tests.migrations.dumps import dump
from tests.processes import clean_environment

BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
MARK = "== end of block =="


@pytest.fixture
def server(private_postgres: StartPostgres) -> EmbeddedPostgres:
    """Its own: roles of ours are dropped, and databases made."""
    return private_postgres()


@pytest.fixture
def app(server: EmbeddedPostgres) -> Database:
    """The database that the page is about, of an owner who may make roles and databases."""
    make_role(server, "app_owner", "login createdb createrole")
    make_application_roles(server)
    with_name = Database(server=server, name="app")
    Database(server=server, name="postgres").run("create database app owner app_owner")
    make_brownfield(with_name, events=1000)
    with_name.run(
        "update webhook_events set created_at = '2025-01-01' where created_at < (select avg_at from"
        " (select percentile_disc(0.6) within group (order by created_at) as avg_at from webhook_events) a)",
        "alter table webhook_events drop column routed_at",
    )
    return with_name


def test_the_page_does_what_it_says(app: Database, tmp_path: Path) -> None:
    """Each block succeeds, and prints what stands below it; in the end only data are left."""
    before = dump(app)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    program = bin_folder / "webhook-router"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m consumer "$@"\n')
    program.chmod(0o755)
    binaries = app.server.binaries.postgres.parent
    for tool in ("pg_dump", "pg_restore", "createdb"):
        if not (binaries / tool).exists() and shutil.which(tool) is None:
            pytest.skip(f"no {tool} on this machine")
    (tmp_path / "pgpass").write_text(f"*:*:*:*:{app.server.password}\n")
    (tmp_path / "pgpass").chmod(0o600)
    blocks = BLOCK.findall((DOCS / "lifecycle.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 5
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + "".join(f"{script}\necho '{MARK}'\n" for script, _ in blocks)],
        env={
            **clean_environment(),
            "PATH": f"{bin_folder}:{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": str(DOCS.parent),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(app.server.port),
            "PGUSER": app.owner,
            "PGPASSFILE": str(tmp_path / "pgpass"),
            "WEBHOOK_ROUTER_DATABASE_URL": f"postgresql://{app.owner}@127.0.0.1:{app.server.port}/app",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for (script, promised), printed in zip(blocks, done.stdout.split(f"{MARK}\n"), strict=False):
        pattern = re.escape(promised).replace("…\n", "…").replace(re.escape("…"), ".*")
        assert not promised or re.fullmatch(pattern, printed.rstrip() + "\n", re.DOTALL), f"{script}\n{printed}"
    assert app.value("select count(*) from webhook_events where routed_at = '2026-01-01T00:00:00Z'")
    app.run("alter table webhook_events drop column routed_at")
    assert dump(app) == before
    assert app.value("select count(*) from messages")
