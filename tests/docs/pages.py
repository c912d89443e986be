"""The pages, and the parts of them that tests look at."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
OF_THE_REPOSITORY = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = sorted(DOCS.rglob("*.md"))
PLATFORM = "https://github.com/webhook-router/webhook-router"
"""Where the repository is public."""
GENERATED = [DOCS / "reference" / f"{name}.md" for name in ("settings", "metrics", "commands", "figures")]

FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def links(page: Path) -> list[str]:
    """Where its links lead, those in code left out."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", read(page))))


def anchors(page: Path) -> set[str]:
    """The fragments that its headings have on the hosting platform and in the site."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
