"""SQL means the same in every database: whatever its encoding, its locale, and how it reads backslashes."""

import re
from pathlib import Path

import pytest

from consumer.adapters.postgres.migrations import psql_script, types
from consumer.adapters.postgres.migrations.sql_files import SHIPPED

REPOSITORY = Path(__file__).parents[2]
FILES = sorted([*(REPOSITORY / "schemas").rglob("*.sql"), *(REPOSITORY / "deploy").rglob("*.sql")])
TEXTS = {
    **{str(file.relative_to(REPOSITORY)): file.read_text(encoding="utf-8") for file in FILES},
    "psql script": psql_script.script(),
    "types": "".join([*(types.in_force(file).text for file in SHIPPED.types()), types.noted(SHIPPED.types()).text]),
}

COMMENT = re.compile(r"--[^\n]*")
PLAIN_LITERAL = re.compile(r"(?<![eE\w])'(?:[^']|'')*'")
ESCAPED_LITERAL = re.compile(r"(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'")
CASE = re.compile(r"(?<![\w.])(?:pg_catalog\.)?(?:lower|upper|initcap)\s*\(")
BY_C = re.compile(r'collate (?:pg_catalog\.)?"C"')


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_ascii(name: str) -> None:
    """A database whose encoding lacks one letter of a function, or of a comment in it, would refuse the function."""
    assert TEXTS[name].isascii()


@pytest.mark.parametrize("name", TEXTS)
def test_no_plain_literal_has_a_backslash(name: str) -> None:
    """What is inside a function is read when it runs, by the setting standard_conforming_strings of that moment."""
    text = ESCAPED_LITERAL.sub("", COMMENT.sub("", TEXTS[name]))
    assert not [literal for literal in PLAIN_LITERAL.findall(text) if "\\" in literal]


@pytest.mark.parametrize("name", TEXTS)
def test_cases_are_those_of_c(name: str) -> None:
    """Upper and lower case, and patterns that ignore it, depend on the locale otherwise: a Turkish I is no i."""
    for line in COMMENT.sub("", TEXTS[name]).splitlines():
        if CASE.search(line) or "~*" in line or re.search(r"\bilike\b", line):
            assert BY_C.search(line), line


def test_there_is_one_path_of_the_application() -> None:
    """What fires the triggers before the function that says their path exists fires them as routing does."""
    texts = {Path(name).name: text for name, text in TEXTS.items()}
    path = re.search(r"^    select ('.*')$", texts["router.application_path.sql"], re.MULTILINE)
    assert path
    for name in ("history.sql", "20260901000100_router_schema.sql"):
        assert f"set_config('search_path', {path[1]}, true)" in texts[name]


def test_audit_and_notes_read_the_same_tables() -> None:
    """What a superuser may read without running anybody's code stands twice: psql runs the audit as it is."""
    found = [
        re.search(r"\), readable as \(\n(.*?)\n\), ", TEXTS[name], re.DOTALL)
        for name in ("schemas/audit/audit_phase9_readiness.sql", "schemas/migrator/notes.sql")
    ]
    texts = {match[1] for match in found if match}
    assert all(found)
    assert len(texts) == 1


LISTS = ("missing", "owners", "planted", "rights_differences", "taken_names", "uninstall_objects")


@pytest.mark.parametrize("name", LISTS)
def test_each_private_table_is_on_every_list(name: str) -> None:
    """A table of the schema "router" that one of them forgets is not repaired, not protected, or left behind."""
    made = {
        table
        for path, text in TEXTS.items()
        if path.startswith("schemas/migrat")
        for table in re.findall(r"create table (?:if not exists )?router\.(\w+)", text)
    }
    assert made >= {"installation", "parked_events", "schema_migrations"}
    text = TEXTS[f"schemas/migrator/{name}.sql"]
    assert {table for table in made if not re.search(rf"\b{table}\b", text)} == set()
