"""The scripts of deploy/ are sound, and say what they cannot do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, ROOT, lacking, run, tool
from tests.waiting import PATIENCE

FETCHED = {"prometheus", "pypi", "kustomize", "compose", "grafana", "versitygw", "keda", "operator", "asyncapi"}
PROGRAMS = ("sh", "dirname", "mkdir", "mktemp", "rm", "cat", "tail", "cksum", "id", "sleep", "install")
FAILS_AT_FIRST = """#!/bin/sh
echo "$@" >>"$CALLS"
if [ "$(wc -l <"$CALLS")" -lt "$SUCCEEDS_AT" ]; then echo 'E: 503 try later' >&2; exit 100; fi
cp "$PACKAGE" prometheus_1_all.deb
"""
"""An apt-get whose archive answers from a certain call on."""


class Checkout:
    """A folder that has the script and the lock file, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.tools = folder / ".tools"
        self.programs = folder / "bin"
        self.script = folder / "deploy" / "tools.sh"
        self.environment = {**os.environ, "PATH": str(self.programs), "TOOLS_PAUSE": "0"}
        for made in (self.programs, self.script.parent):
            made.mkdir()
        for name in ("tools.sh", "tools.lock"):
            shutil.copy(DEPLOY / name, self.script.parent)
        shutil.copytree(DEPLOY / "grafana" / "types", self.script.parent / "grafana" / "types")
        self.give(*PROGRAMS)

    def give(self, *names: str) -> None:
        """Lets the script find these programs of the machine."""
        for name in names:
            found = shutil.which(name)
            assert found is not None, name
            (self.programs / name).symlink_to(found)

    def give_archive(self, folder: Path, *, succeeds_at: int) -> Path:
        """An apt-get that fails until the call of that number, counted by the lines of the file that is returned."""
        package = folder / "package"
        for name in ("prometheus", "promtool"):
            program = package / "usr" / "bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text("#!/bin/sh\n", encoding="utf-8")
        (package / "DEBIAN").mkdir()
        (package / "DEBIAN" / "control").write_text(
            "Package: prometheus\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n",
            encoding="utf-8",
        )
        run(["dpkg-deb", "--build", package, folder / "package.deb"])
        (self.programs / "apt-get").write_text(FAILS_AT_FIRST, encoding="utf-8")
        (self.programs / "apt-get").chmod(0o755)
        calls = folder / "calls"
        self.environment |= {
            "CALLS": str(calls),
            "PACKAGE": str(folder / "package.deb"),
            "SUCCEEDS_AT": str(succeeds_at),
        }
        self.give("dpkg-deb", "cp", "wc", "tar")
        return calls

    def fetch(self) -> str:
        """Runs the script, and returns what it says."""
        return run([self.programs / "sh", self.script], env=self.environment).stderr

    def missing(self) -> dict[str, str]:
        """What could not be had, with the reason."""
        return {file.name: file.read_text(encoding="utf-8") for file in (self.tools / "missing").iterdir()}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """With the programs that every machine has, and no more."""
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


@pytest.mark.parametrize("script", [DEPLOY / "build.sh", DEPLOY / "tools.sh", ROOT / ".ci" / "run"])
def test_scripts_are_clean(script: Path) -> None:
    """shellcheck has nothing to say."""
    run([tool("shellcheck"), script])


class TestTools:
    def test_say_what_is_missing(self, checkout: Checkout) -> None:
        """Where there is no archive, no Go and no Python, nothing fails, and each tool has its reason, at once."""
        said = checkout.fetch()
        reasons = checkout.missing()
        assert set(reasons) == FETCHED
        assert "no apt-get here" in reasons["prometheus"]
        assert "no go here" in reasons["kustomize"]
        assert all(reason.strip() in said for reason in reasons.values())
        assert "attempt" not in said
        assert not list(checkout.tools.glob("work.*"))

    def test_are_asked_for_again(self, checkout: Checkout, tmp_path: Path) -> None:
        """An archive that has hiccuped is asked again; what is there is not fetched another time."""
        if shutil.which("dpkg-deb") is None:
            lacking("dpkg-deb is not here: it comes with Debian")
        # Root's script has apt-get read the list anew after a failure.
        calls = checkout.give_archive(tmp_path, succeeds_at=6 if os.geteuid() == 0 else 1)
        checkout.fetch()
        asked = calls.read_text(encoding="utf-8")
        assert set(checkout.missing()) == FETCHED - {"prometheus"}
        assert os.access(checkout.tools / "bin" / "promtool", os.X_OK)
        checkout.fetch()
        assert calls.read_text(encoding="utf-8") == asked

    def test_that_do_not_come_are_named(self, checkout: Checkout, tmp_path: Path) -> None:
        """After three attempts it says what the archive has said."""
        if shutil.which("dpkg-deb") is None:
            lacking("dpkg-deb is not here: it comes with Debian")
        checkout.give_archive(tmp_path, succeeds_at=1000)
        said = checkout.fetch()
        assert "503 try later" in checkout.missing()["prometheus"] or os.geteuid() != 0
        assert "not to be had" in said

    def test_two_at_once_are_one_after_the_other(self, checkout: Checkout, tmp_path: Path) -> None:
        """The second waits, and finds what the first has fetched."""
        if shutil.which("dpkg-deb") is None or shutil.which("flock") is None:
            lacking("dpkg-deb and flock are not here")
        calls = checkout.give_archive(tmp_path, succeeds_at=1)
        checkout.give("flock")
        both = [subprocess.Popen([checkout.programs / "sh", checkout.script], env=checkout.environment) for _ in "ab"]
        assert [one.wait(timeout=PATIENCE) for one in both] == [0, 0]
        assert calls.read_text(encoding="utf-8").count("\n") == 1
