"""Draws the dashboards' panels from what a Prometheus has, for the docs, where there is no Grafana.

`python -m scripts.render_dashboards http://localhost:9090 60` writes `docs/images/*.svg` from the last minute.
"""

from __future__ import annotations

import html
import json
import math
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from scripts.build_dashboards import AGENTS, ALL, HEALTH, Panel, grafana

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
COLOURS = ("#3274d9", "#56a64b", "#e0752d", "#a352cc", "#e02f44", "#1f9e9e", "#7f7f7f", "#b8860b")
COLUMNS, WIDTH, HEIGHT, MARGIN = 3, 360, 190, 12
Series = tuple[str, list[tuple[float, float]]]


def series_of(url: str, panel: Panel, seconds: float) -> list[Series]:
    """Return the lines of a panel."""
    found: list[Series] = []
    end = time.time()
    for expression, legend in panel.queries.items():
        query = grafana(expression).replace("$service", ALL).replace("$__rate_interval", "5s")
        span = {"query": query, "start": end - seconds, "end": end, "step": 0.5}
        with urllib.request.urlopen(  # noqa: S310 - the caller's own Prometheus
            f"{url}/api/v1/query_range?{urllib.parse.urlencode(span)}", timeout=30
        ) as answer:
            result = json.load(answer)["data"]["result"]
        found += [(named(legend, one["metric"]), numbers(one["values"])) for one in result]
    return [one for one in found if one[1]]


def named(legend: str, labels: dict[str, str]) -> str:
    """Put labels into a legend."""
    for part in legend.split("{{")[1:]:
        label = part.partition("}}")[0]
        legend = legend.replace("{{" + label + "}}", labels.get(label) or "ok")
    return legend


def numbers(values: list[Any]) -> list[tuple[float, float]]:
    """Return points without those that are no number."""
    return [(float(at), float(v)) for at, v in values if math.isfinite(float(v))]


def short(value: float, unit: str) -> str:
    """Return a value as people read it."""
    if unit == "s" and value and value < 1:
        return f"{value * 1e3:.3g} ms"
    if unit == "bytes" and value >= 1:
        power = min(3, int(math.log(value, 1000)))
        return f"{value / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"
    return f"{value:.3g} s" if unit == "s" else f"{value:.4g}"


def drawn(panel: Panel, lines: list[Series], left: int, top: int) -> str:
    """Draw a panel."""
    parts = [
        f'<g transform="translate({left},{top})">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="4" fill="#fff" stroke="#ccc"/>',
        f'<text x="8" y="18" font-weight="bold">{html.escape(panel.title)}</text>',
    ]
    points = [point for _, line in lines for point in line]
    if panel.limit is not None:
        value = lines[0][1][-1][1] if lines else math.nan
        colour = "#56a64b" if value < panel.limit else "#e02f44"
        text = short(value, panel.unit) if lines else "no data"
        parts.append(
            f'<text x="{WIDTH / 2}" y="110" font-size="40" text-anchor="middle" fill="{colour}">{text}</text>'
        )
    elif points:
        first, last = min(at for at, _ in points), max(at for at, _ in points)
        highest = max(value for _, value in points) or 1.0
        base, width, height = 140, WIDTH - 90, 105
        for share in (0.0, 0.5, 1.0):
            y = base - share * height
            label = short(highest * share, panel.unit)
            parts.append(f'<path d="M70 {y}h{width}" stroke="#eee"/>')
            parts.append(f'<text x="64" y="{y + 4}" text-anchor="end" fill="#666">{label}</text>')
        for number, (_, line) in enumerate(lines):
            path = " ".join(
                f"{70 + (at - first) / (last - first or 1) * width:.1f},{base - v / highest * height:.1f}"
                for at, v in line
            )
            colour = COLOURS[number % len(COLOURS)]
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
    else:
        parts.append(f'<text x="{WIDTH / 2}" y="90" text-anchor="middle">no data</text>')
    if panel.limit is None:
        for number, (legend, _) in enumerate(lines[:8]):
            x, y = 8 + number % 3 * 118, 156 + number // 3 * 13
            colour = COLOURS[number % len(COLOURS)]
            parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{html.escape(legend[:22])}</text>')
    return "".join([*parts, "</g>"])


def rendered(url: str, title: str, rows: dict[str, list[Panel]], seconds: float) -> str:
    """Draw a dashboard."""
    parts, top = [f'<text x="{MARGIN}" y="26" font-size="18">{title}</text>'], 40
    for row, panels in rows.items():
        parts.append(f'<text x="{MARGIN}" y="{top + 14}" font-size="14">{row}</text>')
        top += 22
        for number, panel in enumerate(panels):
            left = MARGIN + number % COLUMNS * (WIDTH + MARGIN)
            place = top + number // COLUMNS * (HEIGHT + MARGIN)
            parts.append(drawn(panel, series_of(url, panel, seconds), left, place))
        top += -(-len(panels) // COLUMNS) * (HEIGHT + MARGIN)
    width = MARGIN + COLUMNS * (WIDTH + MARGIN)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" '
        f'font-family="sans-serif" font-size="11"><rect width="{width}" height="{top}" fill="#f7f8fa"/>{"".join(parts)}</svg>\n'
    )


def main(url: str, seconds: str = "60") -> None:
    """Write the images."""
    IMAGES.mkdir(exist_ok=True)
    for name, title, rows in (
        ("pipeline-health", "Wakelog: pipeline health", HEALTH),
        ("agents", "Wakelog: agents", AGENTS),
    ):
        image = rendered(url, title, rows, float(seconds))
        (IMAGES / f"{name}.svg").write_text(image, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
