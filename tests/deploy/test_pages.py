"""The pages that take a user from nothing to events routed, followed to the letter on a database as in the wild."""

import re
import shlex
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import typer.main
from typer.core import TyperGroup

from consumer.adapters.postgres.migrations import migrator
from consumer.cli.app import app
from consumer.embedded_postgres.server import Binaries, all_binaries
from tests.conftest import StartPostgres
from tests.deploy.tls import certified
from tests.deploy.tools import DEPLOY, DOCS, ROOT, lacking, load_yaml, run, tool
from tests.migrations.databases import Database, brownfield_on, make_application_roles, make_brownfield
from tests.ports import free_port
from tests.processes import clean_environment
from tests.waiting import wait_for

PAGES = ("near-real-time.md", "reconciliation-only.md")
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "––– end of block –––"
EVENTS = 1000
"""Of which the last hundredth is not routed yet."""


class Step(NamedTuple):
    """A block that is run, and what the page says that it prints; None when it says nothing."""

    script: str
    output: str | None


def steps(page: str) -> list[Step]:
    """The blocks marked `sh`, each with the block marked `text` that follows it; `shell` needs what tests have not."""
    blocks = [(found["kind"], found["text"]) for found in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8"))]
    following = [*blocks[1:], ("", "")]
    return [
        Step(text, after if then == "text" else None)
        for (kind, text), (then, after) in zip(blocks, following, strict=True)
        if kind == "sh"
    ]


def sql_blocks(page: str) -> list[str]:
    """The blocks that a page gives to be run in a session of the database."""
    blocks = BLOCK.finditer((DOCS / page).read_text(encoding="utf-8"))
    return [found["text"] for found in blocks if found["kind"] == "sql"]


def matches(said: str, promised: str) -> bool:
    """Whether the output is the promised one; … stands for anything, and alone on a line for any lines or none."""
    pattern = re.escape(promised).replace("…\n", "…").replace(re.escape("…"), ".*")
    return re.fullmatch(pattern, f"{said.rstrip()}\n", re.DOTALL) is not None


def follow(page: str, real: Mapping[str, str], *, installed: Path, cwd: Path, **environment: str) -> None:
    """Runs the blocks of a page in one shell, with the installed program, and compares what they print.

    `real`: what is written on the page, and what stands for it here.
    """
    followed = steps(page)
    assert len(followed) >= 4
    script = "set -euo pipefail\n" + "".join(f"{step.script}\necho '{MARK}'\n" for step in followed)
    for written, there in real.items():
        assert written in script
        script = script.replace(written, there)
    done = subprocess.run(
        ["bash", "-c", script],
        env={**clean_environment(), "PATH": f"{installed / 'bin'}:{clean_environment()['PATH']}", "COLUMNS": "120"}
        | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for step, output in zip(followed, done.stdout.split(f"{MARK}\n"), strict=False):
        assert step.output is None or matches(output, step.output), f"{step.script}\nprinted:\n{output}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, private_postgres: StartPostgres, installed: Path, tmp_path: Path) -> None:
    """Each block succeeds, and prints what stands below it; the server is one that proves who it is."""
    (tmp_path / "tls").mkdir()
    server, certificates = certified(private_postgres, tmp_path / "tls")
    make_application_roles(server)
    port = str(free_port())
    with brownfield_on(server, owner="postgres", events=EVENTS) as database:
        place = f"127.0.0.1:{server.port}/{database.name}"
        real = {
            ":secret@db.example.com:5432/app?": f":{server.password}@{place}?",
            "@db.example.com:5432/app?": f"@{place}?",
            " on database app ": f" on database {database.name} ",
        }
        if page == PAGES[0]:
            real["localhost:9464"] = f"127.0.0.1:{port}"
        given = {"WEBHOOK_ROUTER_HTTP_PORT": port, "SSL_CERT_FILE": str(certificates.authority)}
        follow(page, real, installed=installed, cwd=tmp_path, **given)
        for file in ("owner-url", "service-url"):
            assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600
        unrouted = "select count(*) from public.webhook_events where routed_at is null"
        assert database.value(unrouted) == 0
        assert database.value("select count(*) from public.messages") == EVENTS + 1


def test_the_readme_can_be_typed(private_postgres: StartPostgres, installed: Path, tmp_path: Path) -> None:
    """From the URL of a database in the wild to a service that routes; only the installation is another one."""
    (tmp_path / "tls").mkdir()
    server, certificates = certified(private_postgres, tmp_path / "tls")
    make_application_roles(server)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```\nmake setup && (?:.*\n)(umask(?:.*\n)+?)```$", text, re.MULTILINE)
    port = str(free_port())
    with brownfield_on(server, owner="postgres", events=EVENTS) as database:
        script = block.replace(
            ":secret@db.example.com:5432/app?", f":{server.password}@127.0.0.1:{server.port}/{database.name}?"
        )
        script = script.replace("migrate --check ", "migrate --check || ").replace(
            "webhook-router run ", "exec webhook-router run "
        )
        with subprocess.Popen(
            ["bash", "-euc", script],
            env={
                **clean_environment(),
                "PATH": f"{installed / 'bin'}:{clean_environment()['PATH']}",
                "WEBHOOK_ROUTER_HTTP_PORT": port,
                "SSL_CERT_FILE": str(certificates.authority),
            },
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as typed:
            unrouted = "select count(*) from public.webhook_events where routed_at is null"
            try:
                wait_for(
                    lambda: typed.poll() is not None or database.value(unrouted) == 0, what="everything to be routed"
                )
            finally:
                typed.terminate()
            _, said = typed.communicate(timeout=60)
        assert typed.returncode == 0, said
        assert database.value(unrouted) == 0


def test_the_tutorial_does_what_it_says(installed: Path, tmp_path: Path) -> None:
    """Beside a demo that runs, in a second terminal: nothing is lost when a service is killed at work."""
    with (tmp_path / "demo.log").open("w") as log:
        demo = subprocess.Popen(
            [installed / "bin" / "webhook-router", "demo"],
            env=clean_environment(),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    try:

        def printed() -> list[str]:
            said = (tmp_path / "demo.log").read_text(encoding="utf-8")
            assert demo.poll() is None, said
            return re.findall(r"^ *(export WEBHOOK_ROUTER_DATABASE_URL_FILE=.*)$", said, re.MULTILINE)

        (line, *_), port = wait_for(printed, what="the demo to say where its URL is"), str(free_port())
        real = {
            "--http-port 9465": f"--http-port {port}",
            "localhost:9465": f"127.0.0.1:{port}",
            "export WEBHOOK_ROUTER_DATABASE_URL_FILE=/tmp/webhook-router-copied/database-url": line,
        }
        follow("tutorial.md", real, installed=installed, cwd=tmp_path)
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=60) == 0


def with_pg_cron() -> Binaries:
    """A Postgres of this machine that has the extension."""
    able = [found for found in all_binaries() if (found.folder.parent / "lib" / "pg_cron.so").exists()]
    return able[0] if able else lacking("no Postgres has pg_cron: on Debian 12 it comes with postgresql-15-cron")


def test_pg_cron_routes_each_minute(private_postgres: StartPostgres) -> None:
    """The page's statement, run by the owner of the tables, who is no superuser, makes a real pg_cron route events."""
    server = private_postgres(
        binaries=with_pg_cron(),
        settings={"shared_preload_libraries": "pg_cron", "cron.use_background_workers": "on", "timezone": "UTC"},
    )
    make_application_roles(server)
    database = Database(server=server, name=server.dsn().rsplit("/", 1)[1])
    for statement in ("database postgres", "schema public"):
        database.run(f"alter {statement} owner to {database.owner}")
    database.run("create extension pg_cron")
    make_brownfield(database, events=EVENTS)
    migrator.migrate(database.owned)
    usage, schedule = sql_blocks("reconciliation-only.md")
    database.run(usage.replace("app_owner", database.owner))
    database.run(schedule, role=database.owner)
    unrouted = "select count(*) from public.webhook_events where routed_at is null"
    assert database.value(unrouted) == EVENTS // 100
    runs = "select string_agg(status || ': ' || coalesce(return_message, ''), '; ') from cron.job_run_details"
    wait_for(lambda: database.value(unrouted) == 0, what=f"a minute to pass, {database.value(runs)}")
    wait_for(lambda: str(database.value(runs)).startswith("succeeded"), what="the run to be over")


def shell_lines(page: str, start: str) -> list[str]:
    """The lines that begin so, in the blocks which need a machine that tests have not."""
    blocks = BLOCK.finditer((DOCS / page).read_text(encoding="utf-8"))
    lines = "\n".join(found["text"] for found in blocks if found["kind"] == "shell").replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(start)]


def test_cron_gets_a_line_that_works(database: str, installed: Path, tmp_path: Path) -> None:
    """Five fields, a user, and a command that routes with what cron gives it, and says nothing when all is well."""
    (echo,) = shell_lines("reconciliation-only.md", "echo '* ")
    entry = shlex.split(echo)[1]
    *when, user, command = entry.split(" ", 6)
    assert when == ["*"] * 5
    assert [user] == [line.split()[-1] for line in shell_lines("reconciliation-only.md", "sudo useradd")]
    (tmp_path / "url").write_text(f"{database}\n", encoding="utf-8")
    command = command.replace("/etc/webhook-router/database-url", str(tmp_path / "url"))
    command = command.replace("/opt/webhook-router", str(installed))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into webhook_events (channel, type, event_id) values ('tiktok', 'comment', 'e')")
        done = run(["sh", "-c", command], env={"PATH": "/usr/bin:/bin", "HOME": "/", "SHELL": "/bin/sh"}, cwd=tmp_path)
        assert done.stdout + done.stderr == ""
        routed = connection.execute("select count(*) from webhook_events where routed_at is not null").fetchall()
    assert routed == [(1,)]


@pytest.mark.parametrize(
    ("page", "overlay"),
    [(PAGES[0], "postgres"), (PAGES[1], "reconcile"), ("more-than-one-database.md", "shards")],
)
def test_kustomize_takes_what_a_page_edits(page: str, overlay: str, tmp_path: Path) -> None:
    """With the edits of the page, its overlay names the reader's image everywhere, in the reader's namespace."""
    (enter,) = shell_lines(page, "cd ")
    assert enter == f"cd deploy/kubernetes/overlays/{overlay}"
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    place = tmp_path / "kubernetes" / "overlays" / overlay
    edits = [shlex.split(line)[1:] for line in shell_lines(page, "kustomize ")]
    for edit in edits:
        run([tool("kustomize"), *edit], cwd=place)
    rendered = run([tool("kustomize"), "build", place]).stdout
    images = re.findall(r"^ +image: (.*)$", rendered, re.MULTILINE)
    assert images
    assert set(images) == {"registry.example.com/webhook-router:0.1.0"}
    if ["edit", "set", "namespace", "webhook-router"] in edits:
        assert {manifest["metadata"].get("namespace") for manifest in load_yaml(rendered)} == {"webhook-router"}


def test_pages_name_commands_that_exist() -> None:
    """Each command and each of its options that a page writes as code is one that the program has."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        shells = "\n".join(found["text"] for found in BLOCK.finditer(text) if found["kind"] in {"sh", "shell"})
        lines = re.findall(r"`webhook-router ([^`]*)`", text)
        lines += re.findall(r"^(?:until )?webhook-router ([^|&<>\n]*)", shells, re.MULTILINE)
        for line in lines:
            name, *words = line.split()
            assert name in root.commands, f"{page.name}: {line}"
            command = root.commands[name]
            if isinstance(command, TyperGroup) and words:
                command = command.commands[words[0]]
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert used <= known | {"--help"}, f"{page.name}: {line}"


def test_pages_name_files_that_exist() -> None:
    """Each path below deploy/ that the pages name leads somewhere; tests/docs looks at their links."""
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        files = re.findall(r"\bdeploy/[\w/.-]*\w", text)
        assert not [file for file in files if not list(ROOT.glob(f"{file}*"))], page.name
