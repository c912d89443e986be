"""The checkout's files, and the tools that deploy/tools.sh fetches. What is missing skips a test, in CI it fails."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
DOCS = ROOT / "docs"
TOOLS = ROOT / ".tools"

STEPS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "kustomize": "kustomize",
    "compose-spec": "compose",
    "grafana-types": "grafana",
    "versitygw": "versitygw",
    "hadolint": "pypi",
    "shellcheck": "pypi",
    "kubernetes-validate": "pypi",
    "python": "pypi",
}
"""The step of deploy/tools.sh that brings each tool."""

TO_JSON = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin)), default=str))"


def lacking(reason: str) -> NoReturn:
    """Skips the test for want of something that this machine cannot give; in CI such a machine is a mistake."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have everything, and here {reason}", pytrace=False)
    pytest.skip(reason)


def without(what: str, step: str) -> NoReturn:
    """As `lacking`, with the reason that deploy/tools.sh has found."""
    missing = TOOLS / "missing" / step
    reason = missing.read_text(encoding="utf-8").strip() if missing.exists() else "run `make tools`"
    lacking(f"{what} is not here: {reason}")


def tool(name: str) -> str:
    """The path of a tool: the one in .tools, or this machine's own."""
    for folder in (TOOLS / "bin", TOOLS / "venv" / "bin"):
        if (folder / name).exists():
            return str(folder / name)
    found = shutil.which(name) if name != "python" else None
    return found or without(name, STEPS[name])


def system_tool(name: str, package: str) -> str:
    """The path of a tool that only the machine itself can have."""
    return shutil.which(name) or lacking(f"{name} is not here: it comes with {package}")


def schema(name: str, step: str) -> Any:
    """A published schema, of a custom resource mostly."""
    path = TOOLS / "schemas" / name
    return load_yaml(path)[0] if path.exists() else without(name, step)


def load_yaml(source: Path | str) -> list[Any]:
    """The documents of a file, or of a text."""
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    documents: list[Any] = json.loads(run([tool("python"), "-c", TO_JSON], stdin=text).stdout)
    return documents


def run(command: Sequence[str | Path], *, stdin: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs to the end and expects success; the failure shows all that was said."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=1200, check=False, **options)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
