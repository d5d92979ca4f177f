"""Draws the floors in `docs/design.md` from the code: the import contract, the docstrings and the imports.

`python -m scripts.build_floors` writes the page; a test fails when it differs from the code.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "design.md"
SRC = ROOT / "src" / "wakelog"
BEGIN, END = (
    "<!-- Floors: made by `python -m scripts.build_floors`. -->\n",
    "<!-- End of the floors. -->\n",
)


def floors() -> list[list[str]]:
    """Return the packages of each floor, from the ground up, by the import contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [re.findall(r"\w+", layer) for layer in reversed(layers)]


def files_of(package: str) -> list[Path]:
    """Return a package's files, the one with its docstring first."""
    inside = sorted((SRC / package).rglob("*.py"))
    return inside or [SRC / f"{package}.py"]


def knows(package: str) -> str:
    """Return the first sentence of a package's docstring."""
    docstring = ast.get_docstring(ast.parse(files_of(package)[0].read_text())) or ""
    sentence = " ".join(docstring.split("\n\n")[0].split()).replace("``", "`")
    return sentence.replace("|", "\\|")


def imports(package: str) -> set[str]:
    """Return the packages that a package imports, now or when it runs."""
    found = set()
    for path in files_of(package):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wakelog"):
                parts = str(node.module).split(".")[1:] or [one.name for one in node.names]
                found.update(parts[:1] if node.module != "wakelog" else parts)
    return {
        one for one in found - {package} if (SRC / one).is_dir() or (SRC / f"{one}.py").is_file()
    }


def needed(package: str, arrows: dict[str, set[str]]) -> list[str]:
    """Return the packages that are imported and not below another one that is."""
    below = {one: reached(one, arrows) for one in arrows[package]}
    return sorted(one for one in below if not any(one in below[other] for other in below))


def reached(package: str, arrows: dict[str, set[str]]) -> set[str]:
    """Return everything that a package stands on."""
    found: set[str] = set()
    for one in arrows[package]:
        found |= {one} | reached(one, arrows)
    return found


def picture() -> str:
    """Return the floors, the highest first, and what each package knows."""
    levels = floors()
    order = {one: number for number, level in enumerate(levels) for one in level}
    # For type checkers alone, an arrow may point upwards.
    arrows = {one: {two for two in imports(one) if order[two] < order[one]} for one in order}
    rows = [" · ".join(level) for level in reversed(levels)]
    width = max(map(len, rows))
    rule = "─" * (width + 6)
    lines = [f"│ {len(rows) - number - 1:>2}  {row:<{width}} │" for number, row in enumerate(rows)]
    table = [
        f"| {number} | `{one}` | {knows(one)} | {', '.join(needed(one, arrows)) or '-'} |"
        for number, level in enumerate(levels)
        for one in level
    ]
    return "\n".join([
        "```", f"┌{rule}┐", *lines, f"└{rule}┘", "```", "",
        "| floor | package | what it is | stands on |", "|---|---|---|---|", *table, "",
    ])  # fmt: skip


def page() -> str:
    """Return what the page has to hold."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{picture()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
