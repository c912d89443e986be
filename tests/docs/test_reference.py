"""The reference: what is generated is up to date, what is written by hand is true."""

import re
import subprocess
import sys

from tests.docs.pages import DOCS, ROOT, read


def test_generated_pages_are_up_to_date() -> None:
    """Settings, metrics, commands and figures are those of the code and of the recorded runs."""
    done = subprocess.run(
        [sys.executable, "docs/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_functions_are_those_that_applications_may_call() -> None:
    """Each public function is named with its arguments, and no other one."""
    page = read(DOCS / "reference" / "functions.md")
    told = {
        name: re.findall(r"\bp_\w+", arguments)
        for name, arguments in re.findall(r"`(\w+)\((p_[^`]*)\)`", page.partition("\n|---|---|\n")[2])
    }
    files = (ROOT / "schemas" / "functions").rglob("public.*.sql")
    heads = [re.search(r"function public\.(\w+)\((.*?)\)\s*returns", read(file), re.DOTALL) for file in files]
    assert told == {head[1]: re.findall(r"\bp_\w+", head[2]) for head in heads if head}
    assert len(told) == len(heads)
