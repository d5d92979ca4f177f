"""Makes a site of README, docs/ and the project's other pages: `make docs`.

The pages are Markdown as GitHub reads it. What Sphinx needs besides, the order of the pages in the navigation, is taken from
the list in docs/README.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

project = "Wakelog"
author = "The Wakelog authors"
copyright = "The Wakelog authors, Apache-2.0"  # noqa: A001 - Sphinx's name for it
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = [
    ".*",
    "benchmarks",
    "build",
    "examples",
    "scripts",
    "src",
    "tests",
]  # not looked into
root_doc = "README"
source_suffix = {".md": "markdown"}

myst_heading_anchors = 6  # as GitHub makes them, which is what the pages link to

html_theme = "furo"
html_title = "Wakelog"
html_show_sphinx = False
html_copy_source = False
html_static_path: list[str] = []
nitpicky = True

PAGE = re.compile(r"\]\((?:\.\./)?([\w-]+)\.md\)")


def in_reading_order(_app: Any, name: str, source: list[str]) -> None:
    """Append the pages that a list of pages names, as Sphinx's navigation."""
    if name == "README":
        source[0] += navigation(["docs/README", "CONTRIBUTING", "CHANGELOG"])
    elif name == "docs/README":
        listed = [one for one in PAGE.findall(source[0]) if one != "README"]
        source[0] += navigation(["/SECURITY" if one == "SECURITY" else one for one in listed])


def navigation(pages: list[str]) -> str:
    """Return MyST's directive for a list of pages that is not shown in the text."""
    return "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(dict.fromkeys(pages)) + "\n```\n"


def setup(app: Any) -> None:
    """Connect the above to Sphinx."""
    app.connect("source-read", in_reading_order)
