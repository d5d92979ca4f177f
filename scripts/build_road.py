"""Draws how an event travels, for README: `python -m scripts.build_road` writes docs/images/road.svg."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "road.svg"
VIEW = "0 46 880 204"  # left, top, width and height, in pixels

STYLE = """
  text { font: 14px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328; text-anchor: middle }
  .small { font-size: 12px; fill: #59636e }
  rect { fill: #f6f8fa; stroke: #59636e; rx: 6px }
  .disk { fill: #ddf4ff; stroke: #0969da }
  path { fill: none; stroke: #59636e }
  marker path { fill: #59636e; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 }
    rect { fill: #151b23; stroke: #9198a1 } .disk { fill: #121d2f; stroke: #4493f8 }
    path { stroke: #9198a1 } marker path { fill: #9198a1 }
  }
"""


class Box(NamedTuple):
    """A rectangle with a title and a line below it; sizes in pixels."""

    x: int
    y: int
    width: int
    title: str
    below: str
    kind: str = ""

    def drawn(self) -> str:
        """Return the box as SVG."""
        middle = self.x + self.width // 2
        kind = f' class="{self.kind}"' if self.kind else ""
        return (
            f'<rect{kind} x="{self.x}" y="{self.y}" width="{self.width}" height="58"/>'
            f'<text x="{middle}" y="{self.y + 25}">{escape(self.title)}</text>'
            f'<text class="small" x="{middle}" y="{self.y + 45}">{escape(self.below)}</text>'
        )


BOXES = (
    Box(10, 60, 170, "your program", "events, log records, spans"),
    Box(300, 60, 130, "journal", "on the local disk", "disk"),
    Box(510, 60, 130, "delivery", "a thread, or ship"),
    Box(720, 60, 150, "Collector, backend", "whatever takes OTLP"),
    Box(255, 182, 220, "wakelog show, view, query", "stats, verify, export, erase"),
)
ARROWS = (
    "M180 89 H296",
    "M430 89 H506",
    "M640 89 H716",
    "M365 118 V178",
    "M795 118 V150 H575 V122",
)
WORDS = (
    (238, 66, "write(2);"),
    (238, 80, "the call returns"),
    (468, 80, "by position"),
    (678, 80, "OTLP"),
    (685, 168, "its response advances the position"),
)


def picture() -> str:
    """Return the SVG, which needs nothing from elsewhere."""
    arrows = "".join(f'<path d="{way}" marker-end="url(#tip)"/>' for way in ARROWS)
    words = "".join(
        f'<text class="small" x="{x}" y="{y}">{escape(said)}</text>' for x, y, said in WORDS
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{VIEW}" role="img"'
        ' aria-label="An event goes from the program into the journal, and from there to a backend">\n'
        f"<style>{STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>\n'
        + "\n".join(box.drawn() for box in BOXES)
        + f"\n{arrows}\n{words}\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
