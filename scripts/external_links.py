"""Lists the links that leave the project, each with the pages that have it: `python -m scripts.external_links`.

Nothing is asked of any of them: CI has no network, and a list can be given to whatever opens links.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
LINK = re.compile(r"\]\((https?://[^)\s]+)\)")


def found() -> dict[str, list[str]]:
    """Return each address with the pages that link to it."""
    links: dict[str, list[str]] = {}
    for page in sorted(PAGES):
        for address in sorted(set(LINK.findall(page.read_text(encoding="utf-8")))):
            links.setdefault(address, []).append(str(page.relative_to(ROOT)))
    return dict(sorted(links.items()))


if __name__ == "__main__":
    for address, pages in found().items():
        print(address, *pages)
