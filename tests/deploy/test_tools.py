"""The scripts of deploy/ are sound, and say what they cannot do."""

import os
import shutil
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, run, tool


@pytest.mark.parametrize("script", ["build.sh", "tools.sh"])
def test_scripts_are_clean(script: str) -> None:
    """shellcheck has nothing to say."""
    run([tool("shellcheck"), DEPLOY / script])


def test_tools_say_what_is_missing(tmp_path: Path) -> None:
    """Where there is no archive, no Go and no Python, nothing fails, and each tool has its reason."""
    (tmp_path / "deploy").mkdir()
    for name in ("tools.sh", "tools.lock"):
        shutil.copy(DEPLOY / name, tmp_path / "deploy")
    (tmp_path / "bin").mkdir()
    for name in ("sh", "dirname", "mkdir", "mktemp", "rm", "cat", "tail", "cksum", "id"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "bin" / name).symlink_to(found)
    environment = {**os.environ, "PATH": str(tmp_path / "bin")}
    said = run([tmp_path / "bin" / "sh", tmp_path / "deploy" / "tools.sh"], env=environment).stderr
    reasons = {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / ".tools" / "missing").iterdir()}
    assert set(reasons) == {"prometheus", "pypi", "kustomize", "compose", "keda", "operator"}
    assert "no apt-get here" in reasons["prometheus"]
    assert "no go here" in reasons["kustomize"]
    assert all(reason.strip() in said for reason in reasons.values())
    assert not list((tmp_path / ".tools").glob("work.*"))
