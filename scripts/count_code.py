"""Counts the code of a directory: lines, files, functions, and how long functions are.

`python -m scripts.count_code [DIRECTORY ...]` prints a line for each directory, `src` by default. Blank lines,
comments and docstrings are left out.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from pathlib import Path
from typing import NamedTuple

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


class Count(NamedTuple):
    """What a directory holds.

    Attributes:
        files: Python files.
        lines: Lines of code in them.
        functions: The length of each function, in lines of code.
    """

    files: int
    lines: int
    functions: list[int]


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        # A docstring is a string that is a statement, and so is the description of an attribute.
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            lines.difference_update(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    return lines


def count(directory: Path) -> Count:
    """Count what a directory holds."""
    files, total, functions = 0, 0, []
    for path in sorted(directory.rglob("*.py")):
        source = path.read_text()
        tree = ast.parse(source)
        lines = code_lines(source, tree)
        files, total = files + 1, total + len(lines)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                functions.append(len(lines.intersection(inside)))
    return Count(files, total, functions)


def main(directories: list[str]) -> None:
    """Count, and print."""
    for name in directories or ["src"]:
        found = count(Path(name))
        median = statistics.median(found.functions or [0])
        longest = sorted(found.functions or [0])
        print(
            f"{name}: {found.lines} lines of code in {found.files} files; {len(found.functions)} functions, "
            f"median {median:g}, 90th percentile {longest[int(len(longest) * 0.9)]}, longest {longest[-1]}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
