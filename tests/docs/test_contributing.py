"""CONTRIBUTING.md: its recipes name files and tests that exist, and its commands are those of the makefile."""

import re

import pytest

from tests.docs.pages import ROOT, read

PAGE = ROOT / "CONTRIBUTING.md"
RECIPES = (
    "Add a channel",
    "Read something new in a provider's deliveries",
    "Add a metric",
    "Add a setting",
    "Add a form of Kafka record",
    "Add a command",
    "Add a migration",
    "Add an SQL function",
    "Add a loop",
    "Add a page",
    "Add a sink of facts",
    "Add an alert",
    "Add a fault",
)


def recipes() -> dict[str, str]:
    """Each recipe's text by its title."""
    told = read(PAGE).partition("\n## Recipes\n")[2].partition("\n## ")[0]
    return dict(part.split("\n", 1) for part in told.split("\n### ")[1:])


def files(text: str) -> list[str]:
    """The paths in a text; those with a name that is yet to be found are left out."""
    tops = {path.name for path in ROOT.iterdir()}
    return [name for name in re.findall(r"`([^`\s]+)`", text) if name.split("/")[0] in tops and "<" not in name]


def test_every_frequent_change_has_a_recipe() -> None:
    """A recipe that is added here is checked by the tests below as well."""
    assert tuple(recipes()) == RECIPES


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_names_files_that_exist(title: str) -> None:
    """Files to change first, then the tests that tell when one is done."""
    change, _, done = recipes()[title].partition("\nDone when: ")
    assert len(files(change)) >= 2, "it says where to begin"
    assert [name for name in files(done) if name.startswith("tests/")], "it says when one is done"
    assert not [name for name in files(change + done) if not (ROOT / name).exists()]


def test_files_outside_of_recipes_exist() -> None:
    """Those of the rules and of the release."""
    assert not [name for name in files(read(PAGE)) if not (ROOT / name).exists()]


def test_targets_exist() -> None:
    """Each `make …` of the pages is a target, and each target has its line of help."""
    makefile = read(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE))
    assert targets <= set(phony.split())
    for page in (PAGE, ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        code = re.findall(r"`make ([a-z-]+)", read(page)) + re.findall(
            r"^\$? ?make ([a-z-]+)", read(page), re.MULTILINE
        )
        assert set(code) <= targets, page.name
