"""Wheel and source archive: what is in them, and that what was installed from them works with no checkout in sight."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT, run
from tests.processes import clean_environment


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it, with the build backend of the lock."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT], cwd=folder)
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return archive, wheel


@pytest.fixture(scope="module")
def from_archive(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment into which pip has installed the source archive as for a user, in the lock's versions."""
    folder = tmp_path_factory.mktemp("archive")
    pins = re.findall(r"^\S+==\S+", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    (folder / "constraints.txt").write_text("\n".join(pins), encoding="utf-8")
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "venv" / "bin" / "python",
        "--disable-pip-version-check",
    ]
    # A constraint in the environment holds for what the archive is built with, too.
    environment = {**os.environ, "PIP_CONSTRAINT": str(folder / "constraints.txt")}
    run([*pip, "install", "--quiet", "--no-compile", f"{distributions[0]}[embedded]"], cwd=folder, env=environment)
    yield folder / "venv"
    shutil.rmtree(folder)


@pytest.fixture
def away(installed: Path, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs the installed command in an empty folder, with nothing of the checkout or of this test's environment."""
    environment = {name: value for name, value in clean_environment().items() if not name.startswith("PYTHON")}

    def away(*arguments: str, where: Path = installed) -> "subprocess.CompletedProcess[str]":
        path = f"{where / 'bin'}:{environment['PATH']}"
        return run(["webhook-router", *arguments], env={**environment, "PATH": path}, cwd=tmp_path)

    return away


class TestContents:
    def test_the_wheel_is_whole(self, distributions: tuple[Path, Path]) -> None:
        """All modules, the pages' templates and files, all SQL, the mark that it is typed, and nothing else."""
        with zipfile.ZipFile(distributions[1]) as wheel:
            names = {name for name in wheel.namelist() if not name.endswith("/")}
            metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
            entries = wheel.read(metadata.replace("METADATA", "entry_points.txt")).decode()
        packed = {name for name in names if ".dist-info/" not in name}
        kinds = {".py", ".html", ".css", ".js", ".svg"}
        code = {str(path.relative_to(ROOT)) for path in (ROOT / "consumer").rglob("*") if path.suffix in kinds}
        schemas = {f"consumer/{path.relative_to(ROOT)}" for path in (ROOT / "schemas").rglob("*") if path.is_file()}
        assert packed == code | schemas | {"consumer/py.typed", "consumer/deploy/sql/roles.sql"}
        scripts = configparser.ConfigParser()
        scripts.read_string(entries)
        assert dict(scripts["console_scripts"]) == {"webhook-router": "consumer.cli:main"}

    def test_the_source_archive_can_be_worked_on(self, distributions: tuple[Path, Path]) -> None:
        """Sources, tests, deployment and pages are in it; caches and virtual environments are not."""
        with tarfile.open(distributions[0]) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        tops = {name.split("/")[0] for name in names}
        assert tops >= {"consumer", "schemas", "deploy", "tests", "docs", "pyproject.toml", "requirements.lock"}
        assert tops >= {"Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}
        assert tops >= {"benchmarks", "mkdocs.yml"}
        assert {"deploy/Dockerfile", "deploy/sql/roles.sql", "consumer/py.typed"} <= names
        assert not [name for name in names if "__pycache__" in name or name.startswith(("." + "venv", ".tools"))]

    def test_the_image_has_the_same_wheel(self, distributions: tuple[Path, Path], installed: Path) -> None:
        """What the Dockerfile copies makes the package that the source archive makes."""
        (site,) = (installed / "lib").glob("python*/site-packages")
        with zipfile.ZipFile(distributions[1]) as wheel:
            different = [
                name
                for name in wheel.namelist()
                if name.startswith("consumer/") and (site / name).read_bytes() != wheel.read(name)
            ]
        assert different == []


class TestInstalled:
    def test_is_not_the_checkout(self, installed: Path, tmp_path: Path) -> None:
        """Code, SQL and types come from the installation."""
        program = "import consumer, consumer.adapters.shipped_files as s; print(consumer.__file__, s.schemas_folder())"
        places = run([installed / "bin" / "python", "-I", "-c", program], cwd=tmp_path).stdout.split()
        assert all(place.startswith(str(installed)) for place in places), places
        assert (Path(places[0]).parent / "py.typed").exists()

    @pytest.mark.parametrize("installation", ["installed", "from_archive"])
    def test_the_demo_routes_every_event(
        self, away: Callable[..., "subprocess.CompletedProcess[str]"], request: pytest.FixtureRequest, installation: str
    ) -> None:
        """A Postgres of its own, the schema from the package, 1,000 deliveries: from the wheel and from the archive."""
        where = request.getfixturevalue(installation)
        figures = json.loads(away("demo", "--events", "1000", "--once", "--json", where=where).stdout)
        assert figures["events"] == 1000
        assert figures["routed"] + figures["parked"] + figures["duplicates"] == 1000
        assert figures["routed"] > 900

    def test_the_schema_can_be_printed(self, away: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
        """For those who apply SQL themselves."""
        printed = away("migrate", "--print").stdout
        for folder in ("migrations", "functions"):
            for file in (ROOT / "schemas" / folder).rglob("*.sql"):
                assert file.read_text(encoding="utf-8").strip() in printed, file.name

    def test_the_roles_can_be_printed(self, away: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
        """The script that makes the service's role, as the checkout has it."""
        printed = away("migrate", "--print-roles").stdout
        assert printed == (ROOT / "deploy" / "sql" / "roles.sql").read_text(encoding="utf-8")

    def test_knows_its_version(self, away: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
        """As pyproject.toml and CHANGELOG.md have it."""
        version = away("--version").stdout.split()[1]
        assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert version in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


class TestChangelog:
    def test_has_the_form_of_keep_a_changelog(self) -> None:
        """Versions, newest first, with their kinds of changes, each with at least one entry."""
        text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        assert text.startswith("# Changelog\n")
        versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert versions
        for version in versions:
            assert re.fullmatch(r"\[(Unreleased|\d+\.\d+\.\d+)\]( - (\d{4}-\d\d-\d\d|[Uu]nreleased))?", version), (
                version
            )
        for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
            kind, _, body = section.partition("\n")
            assert kind in {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
            assert re.search(r"^- ", body, re.MULTILINE), kind
