"""Where the files of `schemas/` are: SQL, and the JSON schema of events."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import consumer


def schemas_folder() -> Traversable:
    """`consumer/schemas` of an installed wheel, or `schemas/` beside the package in a checkout."""
    packaged = resources.files(consumer) / "schemas"
    if packaged.is_dir():
        return packaged
    return Path(consumer.__file__).resolve().parent.parent / "schemas"
