"""The pages of the documentation: their fenced blocks, links and headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Beside the documentation: their links, anchors and commands hold, too.
FURTHER = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^]]+\]\(([^)\s]+)\)")
SOURCE = re.compile(r'(?:src|srcset|href)="([^"\s]+)"')
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
EXTERNAL = re.compile(r"https?://[^\s)>\"'`|]+")
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*\Z")
RUN = re.compile(r"<!-- run -->\s*\Z")
OUTPUT = re.compile(r"[^`]*\bprints:\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block that runs, and what it prints, when the page says so."""

    language: str
    line: int
    code: str
    output: str | None


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page that run, in their order."""
    text = page.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    found = []
    for number, fence in enumerate(fences):
        before = text[fences[number - 1].end() if number else 0 : fence.start()]
        language, code = fence.groups()
        if not (language == "python" or RUN.search(before)) or NOT_RUN.search(before):
            continue
        output = None
        if number + 1 < len(fences) and fences[number + 1][1] == "text":
            following = fences[number + 1]
            if OUTPUT.fullmatch(text[fence.end() : following.start()]):
                output = following[2]
        found.append(Block(language, text.count("\n", 0, fence.start()) + 1, code, output))
    return found


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links_of(page: Path) -> list[str]:
    """Return what a page links to, and the pictures that it shows."""
    prose = prose_of(page)
    return LINK.findall(prose) + SOURCE.findall(prose)


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = LINK.sub(lambda link: link[0][1:].partition("]")[0], heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors_of(page: Path) -> list[str]:
    """Return the anchors of a page's headings; the second of one name has ``-1`` appended, and so on."""
    found = []
    times: Counter[str] = Counter()
    for heading in HEADING.findall(prose_of(page)):
        anchor = slug(heading)
        found.append(f"{anchor}-{times[anchor]}" if times[anchor] else anchor)
        times[anchor] += 1
    return found


def commands_in(code: str) -> Iterator[str]:
    """Yield the commands of a block of shell, each on one line and without its comment."""
    for line in code.replace("\\\n", " ").splitlines():
        command = re.sub(r"(?:^|\s)#.*", "", line).strip()
        if command:
            yield command
