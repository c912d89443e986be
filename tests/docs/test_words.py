"""The words of docs/glossary.md: each is defined once, and those that were given up are not used."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, GENERATED, OF_THE_REPOSITORY, PAGES, ROOT, read

WORDS = {
    *("event", "delivery", "record", "batch", "drain", "sweep", "doorbell", "lane", "watermark", "overlap"),
    *("parked", "dead", "dead letter", "retry", "ingest", "lines", "series", "facts", "schemas"),
}


def test_each_word_is_defined_once() -> None:
    """The glossary may define more of them, and none twice."""
    defined = re.findall(r"^- \*\*(.*?)\*\*: ", read(DOCS / "glossary.md"), re.MULTILINE)
    assert len(defined) == len(set(defined))
    assert set(defined) >= WORDS


def sources() -> Iterator[Path]:
    """Everything that users, operators and contributors read or call."""
    yield from (*PAGES, *(page for page in OF_THE_REPOSITORY if page.name != "CHANGELOG.md"))
    for folder, kinds in (
        ("consumer", {".py"}),
        ("schemas", {".sql", ".yaml", ".json"}),
        ("deploy", {".yml", ".yaml", ".json", ".sql"}),
    ):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in kinds)


DEAD_LETTER = re.compile(r"dead[ _-]?letter", re.IGNORECASE)
OF_KAFKA = re.compile(r"kafka|topic|record", re.IGNORECASE)
ELSEWHERE = {
    "consumer/cli/app.py": "the hidden alias of the command",
    "consumer/cli/parked.py": "the hidden alias of the command",
    "consumer/domain/records.py": "about Kafka",
    "deploy/prometheus/rules_test.yml": "the cases of Kafka's alerts",
    "docs/glossary.md": "the definition",
    "schemas/events/asyncapi.yaml": "about Kafka",
    "schemas/migrations/20260901000400_bulk_and_dead_letters.sql": "a migration is never edited",
}
"""Files that may say it wherever they like, each with the reason."""


def test_dead_letters_are_those_of_kafka() -> None:
    """A parked event is never called one: a line that says "dead letter" is in a file, or beside a word, of Kafka's."""
    wrong = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        if name in ELSEWHERE or "kafka" in name:
            continue
        lines = read(path).splitlines()
        for number, line in enumerate(lines):
            around = " ".join(lines[max(0, number - 2) : number + 3])
            if DEAD_LETTER.search(line) and not OF_KAFKA.search(around):
                wrong.append(f"{name}:{number + 1}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", sorted({*PAGES, *OF_THE_REPOSITORY} - set(GENERATED)), ids=lambda page: page.name)
def test_lists_begin_after_a_blank_line(page: Path) -> None:
    """Otherwise the site shows them as part of the paragraph before."""
    before, wrong, fenced = "", [], False
    for number, line in enumerate(read(page).splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        item = re.match(r"(- |\d+\. )", line)
        if not fenced and item and before.strip() and not re.match(r"(- |\d+\. |  )", before):
            wrong.append(f"{number}: {line}")
        before = line
    assert not wrong
