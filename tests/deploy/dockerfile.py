"""The Dockerfile, as tests read it."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.deploy.tools import DEPLOY

DOCKERFILE = DEPLOY / "Dockerfile"


class Instruction(NamedTuple):
    """One instruction of a stage; the stage is a number from 0."""

    stage: int
    word: str
    text: str


def instructions() -> Iterator[Instruction]:
    """The instructions in order, continued lines joined; what stands before the first stage belongs to stage -1."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stage = -1
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage += 1
        if word:
            yield Instruction(stage, word, rest.strip())


def of_stage(stage: int, word: str) -> list[str]:
    """The texts of one kind of instruction in one stage."""
    return [found.text for found in instructions() if found.stage == stage and found.word == word]


def copied_sources(stage: int = 0) -> list[tuple[str, str]]:
    """Source and target, below the working directory, of each file or folder that a stage copies from the checkout."""
    pairs = []
    for text in of_stage(stage, "COPY"):
        if text.startswith("--from="):
            continue
        *sources, target = text.split()
        for source in sources:
            name = source.rsplit("/", 1)[-1]
            pairs.append((source, f"{target}{name}" if target.endswith("/") else target))
    return pairs


def exec_form(text: str) -> list[str]:
    """The arguments of a CMD or ENTRYPOINT."""
    arguments: list[str] = json.loads(text)
    return arguments
