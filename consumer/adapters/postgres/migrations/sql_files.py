"""The SQL files that belong to this version, and the order in which they are applied."""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

from consumer.adapters.shipped_files import schemas_folder

NO_TRANSACTION: Final = "-- webhook-router: no transaction"
"""First line of a migration whose statements commit one by one, as concurrent index builds must."""

FOLDERS: Final = ("api", "gates", "routing", "storing", "effects", "intake", "parking", "retention", "operating")
"""The groups of functions, each a folder of `schemas/functions/`; its README.md says what belongs where."""

_PREFLIGHT: Final = ("preflight.sql", "owners.sql", "planted.sql", "taken_names.sql", "obstacles.sql")
_DECIDED: Final = "/* decided */"
_DIFFERENCES: Final = "/* differences */"
_FILES: Final = "/* files */"
_SERVICE: Final = "/* service */"
_REMEMBERED: Final = """
    select i.public_api, i.service, i.callers, coalesce(i.made, '{}') as made from router.installation i
    """
_SERVICE_FUNCTION: Final = re.compile(r"^ +('router\.\w+\([^')]*\)')", re.MULTILINE)
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


class SqlFiles:
    """The files below one folder; by default those that belong to this version."""

    def __init__(self, folder: Traversable | None = None) -> None:
        self._folder = folder or schemas_folder()

    def file(self, *path: str) -> SqlFile:
        """The file at a path below the folder, such as ("migrator", "preflight.sql").

        Raises:
            FileNotFoundError: there is none, so the installation is damaged.
        """
        return SqlFile(name=path[-1], text=self._folder.joinpath(*path).read_text(encoding="utf-8"))

    def preflight(self) -> list[SqlFile]:
        """Queries for what stands in the way of migrating, as rows of problem and remedy."""
        return [self._with_names(self.file("migrator", name)) for name in _PREFLIGHT]

    def taken_functions(self, listed: str = "select file, signature from router.schema_functions") -> SqlFile:
        """A query as those of `preflight`, for databases that have the list of functions, which `listed` reads."""
        query = self._with_names(self.file("migrator", "taken_functions.sql"))
        return SqlFile(name=query.name, text=query.text.replace("/* listed */", listed))

    def migrator(self) -> set[str]:
        """The names of the files in the folder "migrator"."""
        return {file.name for file in self._in("migrator")}

    def fingerprints(self) -> SqlFile:
        """A query for what the catalogue has made of types and functions, to be put in the place of a table."""
        return self.file("migrator", "fingerprints.sql")

    def functions_end(self) -> SqlFile:
        """What closes the list of functions, in the transaction that has made them."""
        end = self.file("migrator", "functions_end.sql")
        return SqlFile(name=end.name, text=end.text.replace("/* fingerprints */", self.fingerprints().text))

    def migrations(self) -> list[Migration]:
        """All migrations, oldest first."""
        found = [
            Migration(name=file.name, text=file.text, version=match["version"])
            for file in self._in("migrations")
            if (match := _MIGRATION.fullmatch(file.name))
        ]
        return sorted(found, key=lambda migration: migration.version)

    def types(self) -> list[SqlFile]:
        """All composite types, each in a file <schema>.<type>.sql; the functions use them."""
        return sorted(self._in("types"), key=lambda file: file.name)

    def functions(self) -> list[SqlFile]:
        """All functions, each in a file <folder>/<schema>.<function>.sql; private ones first: public ones wrap them."""
        found = [file for folder in FOLDERS for file in self._in("functions", folder)]
        return sorted(found, key=lambda file: (not file.name.startswith("router."), file.name))

    def rights(self) -> SqlFile:
        """Owners and grants, applied after the functions."""
        file = self.file("rights.sql")
        differences = self.rights_differences(_REMEMBERED).text
        return SqlFile(name=file.name, text=file.text.replace(_DIFFERENCES, differences))

    def rights_differences(self, decided: str) -> SqlFile:
        """A query for what `rights` would change; `decided` is one for what is remembered of this database."""
        query = self.file("migrator", "rights_differences.sql")
        before, _, after = query.text.split(_DECIDED)
        grants = self.file("functions", "operating", "router.grant_service.sql").text
        service = ", ".join(_SERVICE_FUNCTION.findall(grants))
        text = f"{before}{decided}{after}".replace(_SERVICE, service)
        return self._with_names(SqlFile(name=query.name, text=text))

    def _with_names(self, query: SqlFile) -> SqlFile:
        names = ", ".join(f"'{file.name}'" for file in [*self.types(), *self.functions()])
        return SqlFile(name=query.name, text=query.text.replace(_FILES, names))

    def _in(self, *path: str) -> list[SqlFile]:
        entries = self._folder.joinpath(*path).iterdir()
        return [self.file(*path, entry.name) for entry in entries if entry.name.endswith(".sql")]


SHIPPED: Final = SqlFiles()
