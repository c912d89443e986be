"""The site: it is built strictly, every link and anchor leads somewhere, and nothing is loaded from elsewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.docs.pages import DOCS, OF_THE_REPOSITORY, PAGES, PLATFORM, ROOT, anchors, links


class Page(HTMLParser):
    """What a built page refers to, what it loads, and the fragments that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects; called by the parser."""
        given = {name: value for name, value in attrs if value}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.refers.append(given["href"])
        elif tag == "link" and given.get("rel") not in {"canonical", "prev", "next"}:
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs-build` builds it, where every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    """Its pages."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_every_page_is_in_the_site(built: dict[Path, Page], site: Path) -> None:
    """Nothing but pages, the style and what the theme brings: no data, no scripts of ours."""
    pages = {str(path.relative_to(site).with_suffix("")) for path in built} - {"404"}
    assert pages == {str(path.relative_to(DOCS).with_suffix("")) for path in PAGES}
    assert not [
        path for path in site.rglob("*") if path.suffix in {".py", ".json"} and path.name != "search_index.json"
    ]


def test_links_of_the_site_lead_somewhere(built: dict[Path, Page], site: Path) -> None:
    """Files exist, and so do the fragments in them."""
    wrong = []
    for path, page in built.items():
        for link in {*page.refers, *page.loads}:
            address, fragment = urldefrag(unquote(link))
            if urlsplit(address).scheme or path.name == "404.html":  # which does not know where it is asked for
                continue
            target = (path.parent / address).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (fragment and fragment not in built[target].ids):
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert not wrong


def test_nothing_is_loaded_from_elsewhere(built: dict[Path, Page], site: Path) -> None:
    """No fonts, styles, scripts or pictures of other hosts: the site works offline and tells nobody who reads it."""
    loaded = {link for page in built.values() for link in page.loads if urlsplit(link).netloc}
    assert not loaded
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert "url(http" not in styles
    assert "url(//" not in styles
    assert "@import" not in styles


def of_sources() -> Iterator[tuple[Path, str]]:
    """Each page with each of its links, as written."""
    return ((page, link) for page in (*PAGES, *OF_THE_REPOSITORY) for link in links(page))


def test_links_of_the_sources_lead_somewhere() -> None:
    """As the hosting platform shows the files, README.md and its siblings included."""
    wrong = []
    for page, link in of_sources():
        if link.startswith(PLATFORM):
            address, fragment = link.removeprefix(PLATFORM).removeprefix("/blob/main/"), ""
            target = ROOT / address.lstrip("/")
            known = address in {"", "/security/advisories/new", "/issues"} or target.exists()
        else:
            address, fragment = urldefrag(link)
            target = (page.parent / address).resolve() if address else page
            known = bool(urlsplit(link).scheme) or target.exists()
        if not known or (fragment and target.suffix == ".md" and fragment not in anchors(target)):
            wrong.append(f"{page.name}: {link}")
    assert not wrong
    assert len(list(of_sources())) > 50


def test_pages_link_within_the_site_only() -> None:
    """A link of a page to a file of the repository would be dead in the site."""
    outside = [
        f"{page.name}: {link}"
        for page, link in of_sources()
        if page in PAGES and not urlsplit(link).scheme and DOCS not in (page.parent / link).resolve().parents
    ]
    assert not outside
