"""Takes the pictures of the local page for README and docs.

`python -m scripts.render_page` records the story of `scripts/page_story.py`, serves it with `wakelog view` and
writes `docs/images/view-*.png`. It needs Chromium.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.browser import Browser

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SESSION = "trip-lisbon-0413"
VIEWS = {
    "sessions": ("#/sessions", "document.documentElement.dataset.count > 0"),
    "session": (f"#/session/{SESSION}", "document.documentElement.dataset.filled > 30"),
    "health": ("#/health", "document.documentElement.dataset.pending !== undefined"),
}
WIDTH, HEIGHT = 1360, 850


def main(target: Path) -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as work:
        journal = Path(work, "travel")
        subprocess.run([sys.executable, "-m", "scripts.page_story", journal], check=True)
        shown = subprocess.Popen(
            [sys.executable, "-m", "wakelog", "view", journal, "--endpoint", "http://127.0.0.1:9"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        )
        try:
            assert shown.stdout is not None  # noqa: S101 - it is a pipe
            address = shown.stdout.readline().split()[1]
            profile = Path(work, "profile")
            profile.mkdir()
            with Browser(profile) as browser:
                browser.resize(WIDTH, HEIGHT)
                browser.open(address)
                browser.wait_for("!!document.querySelector('table.list tbody tr')")
                for name, (place, ready) in VIEWS.items():
                    take(browser, target / f"view-{name}.png", place, ready)
                browser.prefer("dark")
                take(browser, target / "view-session-dark.png", *VIEWS["session"])
        finally:
            shown.terminate()
            shown.wait()


def take(browser: Browser, path: Path, place: str, ready: str) -> None:
    """Go to a view, and take its picture when it is all there."""
    browser.evaluate("location.hash = '#/events'")
    browser.wait_for("!!document.querySelector('.feed.found')")
    browser.evaluate(f"location.hash = {place!r}")
    browser.wait_for(ready)
    browser.evaluate("new Promise((go) => requestAnimationFrame(() => setTimeout(go, 400)))")
    path.write_bytes(browser.screenshot())
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
