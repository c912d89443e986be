"""Prints the part of requirements.lock that an installation needs, hashes and all; the lock holds development's too.

python deploy/pins.py run [EXTRA…]    what the program needs to run, with these of its extras
python deploy/pins.py build           what its wheel is built with

pip-compile notes below each pin what asked for it; this follows the notes down from the names in pyproject.toml.
"""

# ruff: noqa: INP001 - a script, beside files that are no Python
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==")
NAME = re.compile(r"^\s*(?P<name>[A-Za-z0-9._-]+)")


def normalised(name: str) -> str:
    """The name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """Name, text and askers of each pin."""
    for text in re.split(r"\n(?=[A-Za-z0-9])", lock.strip()):
        if found := PIN.match(text):
            notes = text.partition("# via")[2]
            askers = {normalised(note.lstrip("# ").split(" ")[0]) for note in notes.splitlines() if note.strip(" #")}
            yield normalised(found["name"]), text, askers


def closure(lock: str, roots: Iterable[str]) -> list[str]:
    """The texts of these pins and of all that they need."""
    pins = {name: (text, askers) for name, text, askers in entries(lock)}
    wanted: set[str] = set()
    found = {normalised(root) for root in roots}
    while found:
        wanted |= found
        found = {name for name, (_, askers) in pins.items() if askers & wanted} - wanted
    if missing := wanted - pins.keys():
        sys.exit(f"requirements.lock has no {', '.join(sorted(missing))}: run `make lock`")
    return [pins[name][0] for name in sorted(wanted)]


def names(requirements: Iterable[str]) -> Iterator[str]:
    """The names alone, without versions and markers."""
    return (found["name"] for requirement in requirements if (found := NAME.match(requirement)))


def main(kind: str, *extras: str) -> None:
    """Prints the pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = list(project["build-system"]["requires"])
    if kind == "run":
        requirements = list(project["project"]["dependencies"])
        for extra in extras:
            requirements += project["project"]["optional-dependencies"][extra]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    print("\n".join(closure(lock, names(requirements))))


if __name__ == "__main__":
    if sys.argv[1:2] not in (["run"], ["build"]):
        sys.exit(__doc__)
    main(*sys.argv[1:])
