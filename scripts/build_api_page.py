"""Makes `docs/api.md` from the code: every public name, what it is, and the page that explains it.

`python -m scripts.build_api_page` writes the page; a test fails when it differs from the code, so that no
public name comes, changes its place or goes without being seen in a change.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGE = DOCS / "api.md"

AGENTS = ("openai_agents", "langchain", "pydantic_ai", "claude", "mcp", "clients")
# Packages whose whole `__all__` is public, in the order of the page.
WHOLE = (
    "wakelog",
    "wakelog.otel",
    "wakelog.gateway",
    "wakelog.audit",
    "wakelog.streams",
    "wakelog.integrations.structlog",
    "wakelog.integrations.logging",
    "wakelog.integrations.loguru",
    "wakelog.integrations.genai",
    "wakelog.integrations.celery",
    *(f"wakelog.integrations.{name}" for name in AGENTS),
    "wakelog.integrations.testing",
)
# Packages whose other names serve Wakelog alone, and may change in any release.
PARTS = {
    "wakelog.evidence": ("Anchor", "FileAnchor", "Sealing", "Signer", "TimestampAnchor"),
    "wakelog.integrations.pytest": ("wakelog_recording",),
    "wakelog.journal": ("read",),
    "wakelog.otel": ("Redactor",),
    "wakelog.viewer": ("load", "totals"),
}
# The page of a package, for names that have no page of their own.
HOME = {
    "wakelog": "sinks.md",
    "wakelog.audit": "audit.md",
    "wakelog.evidence": "evidence.md",
    "wakelog.gateway": "gateway.md",
    "wakelog.integrations": "integrations.md",
    "wakelog.integrations.celery": "context.md",
    **{f"wakelog.integrations.{name}": "agents.md" for name in AGENTS},
    "wakelog.journal": "journal.md",
    "wakelog.streams": "streams.md",
    "wakelog.viewer": "tokens-and-cost.md",
}
# Names that other pages have more often than the one which explains them, or that no page has yet.
EXPLAINED = {
    "CorruptLineError": "journal.md",
    "LimitExceeded": "tokens-and-cost.md",
    "QuotaPolicy": "journal.md",
    "RedactionDetector": "content.md",
    "RedactionStrategy": "content.md",
    "AgentEvent": "getting-started.md",
    "Budget": "tokens-and-cost.md",
    "BufferedSink": "sinks.md",
    "EventSink": "sinks.md",
    "InvalidEventTypeError": "getting-started.md",
    "JSONLSink": "sinks.md",
    "NullSink": "sinks.md",
    "OverflowPolicy": "sinks.md",
    "Receipt": "journal.md",
    "bound": "getting-started.md",
    "configure": "getting-started.md",
    "register_event_type": "getting-started.md",
}
# Pages that name everything and explain nothing, which are taken where no other page has a name.
LAST = ("design.md", "guarantees.md", "glossary.md", "performance.md", "versioning.md")
LONGEST_VALUE = 80  # characters of a constant
INTRODUCTION = """\
# Public names

<!-- Made by `python -m scripts.build_api_page`. -->

The [promise about versions](versioning.md) covers these names, their arguments and their docstrings. Everything else in
the package is internal and may change in any release. `help(wakelog.configure)`, for example, shows the arguments of a
name, with their units, and the errors that it raises.
"""


def public() -> Iterator[tuple[str, list[str]]]:
    """Yields each public package with its public names, in the order of the page."""
    for package in (*WHOLE, *sorted(PARTS.keys() - set(WHOLE))):
        names = {*getattr(import_module(package), "__all__", ())} if package in WHOLE else set()
        names.update(PARTS.get(package, ()))
        yield package, sorted((n for n in names if not n.startswith("_")), key=str.lower)


def sentence(package: str, name: str) -> str:
    """Returns the first sentence about a name, or its value where it is a constant."""
    value = getattr(import_module(package), name)
    if isinstance(value, str | int | float | tuple | frozenset | set | list):
        text = f"`{value!r}`"
        return text if len(text) <= LONGEST_VALUE else "A constant."
    described = getattr(value, "__wrapped__", value)
    paragraph = " ".join((inspect.getdoc(described) or "").split("\n\n")[0].split())
    first = re.split(r"(?<=[.:])\s", paragraph)[0].rstrip(":.")
    return first.replace("``", "`").replace("|", "\\|") + "." if first else ""


def pages() -> dict[str, str]:
    """Returns the text of every page that may explain a name."""
    return {
        page.name: page.read_text(encoding="utf-8")
        for page in sorted(DOCS.glob("*.md"))
        if page.name not in (PAGE.name, "README.md")
    }


def explained(package: str, name: str, texts: dict[str, str]) -> str:
    """Returns a link to the page that explains a name."""
    home = HOME.get(package) or HOME.get(package.rpartition(".")[0], "")
    if package == "wakelog":
        in_code = re.compile(rf"`[^`\n]*\b{name}\b")
        counts = {page: len(in_code.findall(text)) for page, text in texts.items()}
        best = max(counts, key=lambda page: (counts[page] > 0, page not in LAST, counts[page]))
        home = EXPLAINED.get(name) or (best if counts[best] else home)
    elif not home or package == "wakelog.otel":
        counts = {page: len(re.findall(rf"\b{name}\b", text)) for page, text in texts.items()}
        home = max(counts, key=counts.__getitem__)
    return f"[{home.removesuffix('.md')}]({home})"


def page() -> str:
    """Returns what the page has to hold."""
    texts = pages()
    lines = [INTRODUCTION]
    seen: set[str] = set()
    for package, names in public():
        lines += [f"## {package}", "", "| name | what it is | page |", "|---|---|---|"]
        for name in names:
            what = "The same as in `wakelog`." if name in seen else sentence(package, name)
            lines.append(f"| `{name}` | {what} | {explained(package, name, texts)} |")
        seen.update(names if package == "wakelog" else ())
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
