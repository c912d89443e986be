"""The structure of the code, held by tests: imports, module sizes, no environment below the configuration."""

import re
import subprocess
import sys
from pathlib import Path

import consumer

PACKAGE = Path(consumer.__file__).parent
REPOSITORY = PACKAGE.parent


def test_imports_run_down_only() -> None:
    """cli → demo → service → pages → config → adapters | pipeline → ports → domain; each driver in its room."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_are_short() -> None:
    """No module has more than 600 lines."""
    too_long = {
        path.name: lines for path in PACKAGE.rglob("*.py") if (lines := len(path.read_text().splitlines())) > 600
    }
    assert not too_long


def test_the_environment_is_read_in_one_place() -> None:
    """Settings come from consumer.config; other modules that look at the environment do so for another reason."""
    reasons = {
        "config.py",
        "cli/app.py",  # --debug
        "embedded_postgres/binaries.py",  # PATH, and the environment of a child process
        "cli/starting.py",  # where OpenSSL finds the authorities of this machine
        "cli/run.py",  # hands NOTIFY_SOCKET to the adapter
        "adapters/telemetry/log.py",  # NO_COLOR
    }
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    }
    assert readers <= reasons


def test_the_map_shows_what_is_there() -> None:
    """Each file and folder that docs/architecture.md names exists."""
    said = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:consumer|schemas|tests|deploy)/[^`]*)`", said)
    assert len(named) > 30
    assert not [name for name in named if not list(REPOSITORY.glob(name.rstrip("/")))]
