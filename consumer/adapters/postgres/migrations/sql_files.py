"""The SQL files that belong to this version: where they lie, and in which order they are applied."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from consumer.adapters.shipped_files import schemas_folder

NO_TRANSACTION: Final = "-- webhook-router: no transaction"
"""First line of a migration whose statements commit one by one, as concurrent index builds must."""

FOLDERS: Final = ("api", "gates", "routing", "storing", "parking", "operating")
"""The groups of functions, each a folder of `schemas/functions/`; its README.md says what belongs where."""

_MIGRATION: Final = re.compile(r"(?P<version>\d{14})_\w+\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlFile:
    """One file below `schemas/`; `name` is its file name."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex; the same whatever line ends the checkout has."""
        return hashlib.sha256("\n".join(self.text.splitlines()).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration(SqlFile):
    """One step of the tables: applied once, in the order of versions."""

    version: str

    @property
    def transactional(self) -> bool:
        """Whether all of it commits together with its entry in router.schema_migrations."""
        return not self.text.startswith(NO_TRANSACTION)


def sql_file(*path: str) -> SqlFile:
    """The file at a path below `schemas/`, such as ("migrator", "preflight.sql").

    Raises:
        FileNotFoundError: there is none, so the installation is damaged.
    """
    return SqlFile(name=path[-1], text=schemas_folder().joinpath(*path).read_text(encoding="utf-8"))


def migrations() -> list[Migration]:
    """All migrations, oldest first."""
    found = [
        Migration(name=entry.name, text=entry.read_text(encoding="utf-8"), version=match["version"])
        for entry in (schemas_folder() / "migrations").iterdir()
        if (match := _MIGRATION.fullmatch(entry.name))
    ]
    return sorted(found, key=lambda migration: migration.version)


def functions() -> list[SqlFile]:
    """All functions, one a file <folder>/<schema>.<function>.sql; private ones first, which the public ones wrap."""
    entries = (entry for folder in FOLDERS for entry in (schemas_folder() / "functions" / folder).iterdir())
    found = [
        SqlFile(name=entry.name, text=entry.read_text(encoding="utf-8"))
        for entry in entries
        if entry.name.endswith(".sql")
    ]
    return sorted(found, key=lambda file: (not file.name.startswith("router."), file.name))


def types() -> list[SqlFile]:
    """All composite types, each in a file <schema>.<type>.sql; the functions use them."""
    entries = (entry for entry in (schemas_folder() / "types").iterdir() if entry.name.endswith(".sql"))
    found = [SqlFile(name=entry.name, text=entry.read_text(encoding="utf-8")) for entry in entries]
    return sorted(found, key=lambda file: file.name)


def rights() -> SqlFile:
    """Owners and grants, applied after the functions."""
    return sql_file("rights.sql")
