"""The files of the page, and the Content-Security-Policy for them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

SCRIPTS: Final = (
    "dom.js",
    "source.js",
    "model.js",
    "search.js",
    "cards.js",
    "timeline.js",
    "session.js",
    "lists.js",
    "compare.js",
    "figures.js",
    "health.js",
    "main.js",
)
"""The page's modules, each after the modules that it imports."""
STYLE: Final = "page.css"
PAGE: Final = "page.html"
MEDIA: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The Content-Security-Policy: no external resources, and no text that becomes markup or code."""
NAMES: Final = frozenset({*SCRIPTS, STYLE, PAGE, "icon.svg"})


@cache
def static(name: str) -> str:
    """Return the text of one of ``NAMES``."""
    return (files("wakelog.page") / "static" / name).read_text(encoding="utf-8")
