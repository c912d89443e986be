"""Where a function's file stands says who calls it."""

import re
from pathlib import Path

import pytest

from consumer.adapters.postgres.migrations.sql_files import FOLDERS, SHIPPED

FUNCTIONS = Path(__file__).parents[2] / "schemas" / "functions"
FILES = sorted(FUNCTIONS.rglob("*.sql"))


def test_every_file_is_in_a_known_folder() -> None:
    """A file elsewhere would not be applied; and names are unique, since the database remembers files by name."""
    assert {file.relative_to(FUNCTIONS).parent.as_posix() for file in FILES} == set(FOLDERS)
    assert sorted(file.name for file in FILES) == sorted(file.name for file in SHIPPED.functions())
    assert len({file.name for file in FILES}) == len(FILES)
    readme = (FUNCTIONS / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{folder}/` |" in readme for folder in FOLDERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_folder_says_who_calls_it(file: Path) -> None:
    """api holds the public functions; whatever is entered from outside runs with the rights of its owner."""
    folder, text = file.parent.name, file.read_text(encoding="utf-8")
    assert (folder == "api") == file.name.startswith("public.")
    assert bool(re.search(r"^security definer\b", text, re.MULTILINE)) == (folder in {"api", "gates", "operating"})
    assert text.startswith(f"-- {file.stem}: ")
    assert f"create or replace function {file.stem}(" in text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_planner_settings_are_those_of_the_readme(file: Path) -> None:
    """In its order, those that belong together together, and all of them off but plan_cache_mode."""
    readme = (FUNCTIONS / "README.md").read_text(encoding="utf-8").partition("## Planner settings")[2]
    order = re.findall(
        r"`(plan_cache_mode|enable_\w+|jit)\b", readme.partition("Three forms")[0].partition("| setting")[2]
    )
    head = file.read_text(encoding="utf-8").partition("as $function$")[0]
    found = dict(re.findall(r"^set (\w+) = (\w+)", head, re.MULTILINE))
    found.pop("search_path", None)
    assert list(found) == [name for name in order if name in found]
    if file.stem == "router.scrub_subjects":  # the exception that the README names
        assert found.pop("enable_bitmapscan") == "on"
    assert {value for name, value in found.items() if name != "plan_cache_mode"} <= {"off"}
    assert ("jit" in found) == bool(found)
    for one, other in (("enable_hashjoin", "enable_mergejoin"), ("enable_sort", "enable_incremental_sort")):
        assert (one in found) == (other in found)
