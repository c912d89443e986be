"""Where the files are that come with the code: SQL, and the JSON schema of events."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import consumer


def schemas_folder() -> Traversable:
    """The folder `schemas`."""
    return _shipped("schemas")


def roles_script() -> str:
    """The script for psql that makes the service's role."""
    return (_shipped("deploy") / "sql" / "roles.sql").read_text(encoding="utf-8")


def _shipped(folder: str) -> Traversable:
    """Inside the package of an installed wheel, beside it in a checkout."""
    packaged = resources.files(consumer) / folder
    if packaged.is_dir():
        return packaged
    return Path(consumer.__file__).resolve().parent.parent / folder
