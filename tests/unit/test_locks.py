"""Every advisory lock has a name, and docs/reference/locks.md says who takes it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"19202981\d\d")


def documented() -> dict[str, str]:
    """Class id → name, as the table has them."""
    text = (ROOT / "docs" / "reference" / "locks.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (\d+) \| [^|]+ \| ([a-z ]+) \|", text, re.MULTILINE))


def test_lock_numbers_are_those_of_the_documentation() -> None:
    """In SQL a comment at the end of the line names the lock, in Python the constant does."""
    used: dict[str, set[str]] = {}
    for folder, suffix in (("schemas", "*.sql"), ("consumer", "*.py"), ("deploy", "*.sql")):
        for file in (ROOT / folder).rglob(suffix):
            for line in file.read_text(encoding="utf-8").splitlines():
                for number in NUMBER.findall(line):
                    named = re.search(r"-- lock: ([a-z ]+)$", line) or re.match(r"([A-Z_]+)_LOCK: Final = ", line)
                    assert named, f"{file.relative_to(ROOT)}: no name: {line.strip()}"
                    used.setdefault(number, set()).add(named[1].lower().replace("_", " "))
    assert used == {number: {name} for number, name in documented().items()}


def test_no_other_advisory_lock_is_taken() -> None:
    """A call with a number of another form would escape the test above."""
    calls = re.compile(r"pg_(?:try_)?advisory_(?:xact_)?(?:un)?lock(?:_shared)?\(([^)]*)")
    for folder, suffix in (("schemas", "*.sql"), ("consumer", "*.py"), ("deploy", "*.sql")):
        for file in (ROOT / folder).rglob(suffix):
            for arguments in calls.findall(file.read_text(encoding="utf-8")):
                known = NUMBER.match(arguments) or arguments in {"%s, %s", "{lock}", "{_LOCK}"}
                assert known, f"{file.relative_to(ROOT)}: {arguments}"
