"""What the local page costs on a large journal, in a real browser.

    python benchmarks/bench_page.py [--events N] [--journal DIR]

Serves a journal of N events (1,000,000 unless told otherwise; one of bench_cli.py, which is made unless --journal
names it) with `wakelog view`, and prints the median of five: how long the list of sessions takes to be in the
document, a session of 10,000 events to its first screen with what was said in it, a search of the index, a search of the text,
and the statistics; what memory the server has had; and, with a journal of its own, how long after the call an
event is on the page. It needs Chromium.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bench_cli import LONG_SESSION, make_journal
from tests.cli.test_cli import recorder
from tests.support.browser import Browser
from tests.support.viewing import Viewing

TIMES = 5
# Goes to a view, and returns the milliseconds until a condition holds after a frame has been drawn.
MEASURE = """
new Promise((done) => {
  const begin = performance.now();
  const look = () => (%s) ? done(performance.now() - begin) : requestAnimationFrame(look);
  location.hash = %s;
  requestAnimationFrame(look);
})
"""
ROWS = "document.querySelectorAll('table.list tbody tr').length"
VIEWS = {
    "sessions": ("#/sessions", f"{ROWS} > 50"),
    "session of 10,000 events, first screen": (
        f"#/session/{LONG_SESSION}",
        "document.documentElement.dataset.filled > 50",
    ),
    "search of the index: failed type:tool_call": (
        "#/events?q=failed type:tool_call",
        "document.documentElement.dataset.filled > 50",
    ),
    "search of the index: sessions, agent:agent-3": (
        "#/sessions?q=agent:agent-3 failed",
        f"{ROWS} > 50",
    ),
    "runs by tokens": ("#/runs?sort=tokens", f"{ROWS} > 50"),
    "search of the text: gold silver card": (
        "#/events?q=gold silver card",
        "document.documentElement.dataset.filled > 50",
    ),
    "statistics": ("#/statistics", "document.documentElement.dataset.count > 0"),
}


def measure(browser: Browser, place: str, ready: str) -> float:
    browser.evaluate("location.hash = '#/compare/session/none'")
    browser.wait_for("document.querySelector('h1').textContent === 'Compare sessions'")
    return float(browser.evaluate(MEASURE % (ready, json.dumps(place))))


def views(browser: Browser, journal: Path) -> None:
    with Viewing(journal) as viewing:
        begin = time.perf_counter()
        browser.open(viewing.address)
        browser.wait_for(f"{ROWS} > 50")
        print(
            f"{'opening, from the address to the sessions':<48} {(time.perf_counter() - begin) * 1e3:6.0f} ms"
        )
        for name, (place, ready) in VIEWS.items():
            took = [measure(browser, place, ready) for _ in range(TIMES)]
            print(f"{name:<48} {statistics.median(took):6.0f} ms  (worst {max(took):.0f})")
        print(f"{'memory of the server, at most':<48} {viewing.memory() / 1e6:6.0f} MB")
        browser.open("about:blank")


def live(browser: Browser, root: Path) -> None:
    took = []
    with recorder(root) as log, log.run(session_id="s-1"), Viewing(root) as viewing:
        browser.open(viewing.address)
        browser.wait_for("!!document.querySelector('nav')")
        browser.evaluate("location.hash = '#/session/s-1'")
        browser.wait_for("document.querySelectorAll('.card').length === 1")
        for number in range(20):
            browser.evaluate(
                "window.seen = new Promise((done) => { const look = () => "
                f"document.querySelector('.feed').innerText.includes('number {number} came') ? "
                "done(Date.now()) : requestAnimationFrame(look); look(); }); 0"
            )
            time.sleep(0.1)
            begin = time.time()
            log.decision(f"number {number} came")
            took.append(browser.evaluate("window.seen") - begin * 1e3)
        browser.open("about:blank")
    print(
        f"{'an event on the page, after the call began':<48} {statistics.median(took):6.0f} ms  "
        f"(worst of {len(took)}: {max(took):.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--journal", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wakelog-bench-") as work:
        journal = arguments.journal
        if journal is None:
            journal = Path(work, "journal")
            make_journal(journal, arguments.events)
        profile = Path(work, "browser", "profile")
        profile.mkdir(parents=True)
        with Browser(profile) as browser:
            browser.resize(1360, 850)
            live(browser, Path(work, "live"))
            views(browser, journal)


if __name__ == "__main__":
    main()
