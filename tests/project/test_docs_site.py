"""The site that `make docs` builds: strictly, whole, and without a request to anybody else."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.pages import FURTHER, PAGES, ROOT

SECONDS = 120
# What a browser fetches by itself; an <a> is followed by its reader.
FETCHED = {"src", "srcset", "poster", "data"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")

    done = subprocess.run(
        [sys.executable, "-m", "scripts.build_docs", str(made)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert (done.returncode, done.stderr) == (0, "")
    return made


class Page(HTMLParser):
    """What a page links to, what it fetches, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in FETCHED or (tag == "link" and name == "href"):
                self.fetched.append((value or "").partition(" ")[0])
            elif name == "href" and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_is_in_the_site(site: Path) -> None:
    expected = {page.relative_to(ROOT).with_suffix(".html") for page in (*PAGES, *FURTHER)}

    assert {name for name in expected if not (site / name).is_file()} == set()
    assert (site / "index.html").read_text("utf-8") == (site / "README.html").read_text("utf-8")


def test_a_page_fetches_nothing_from_another_machine(site: Path, pages: dict[Path, Page]) -> None:
    elsewhere = {one for page in pages.values() for one in page.fetched if "//" in one}
    styles = "\n".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    scripts = "\n".join(path.read_text("utf-8") for path in site.rglob("*.js"))

    assert elsewhere == set()
    assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", styles) == []
    assert (
        re.findall(r"(?:fetch|import|src ?=|open)\(?[\"'` ]*(?:https?:)?//[^\"'`]*", scripts) == []
    )


def test_links_and_what_is_fetched_are_in_the_site(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for target in (*page.links, *page.fetched):
            if re.match(r"https?:|data:|mailto:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name.partition("?")[0]).resolve() if name else path
            if not file.is_file() or (
                anchor and file.suffix == ".html" and anchor not in pages[file].anchors
            ):
                broken.append((path.name, target))

    assert broken == []


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Here\n\n[there](docs/nowhere.md#at-all)\n")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "-c", str(ROOT / "docs" / "site")]

    done = subprocess.run(
        [*build, "-D", "root_doc=README", str(tmp_path), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
