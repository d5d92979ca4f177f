"""How the source is cut: what a reader may rely on in any room of it. The floors are in pyproject.toml."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from scripts import build_floors
from scripts.count_code import code_lines
from tests.conftest import ROOT

SRC, DOCS = ROOT / "src", ROOT / "docs"
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 500, 60
# A function that is longer says why, on the line above it.
REASON = "# Long:"
# What is still as it should not be.
STILL_LONGER: set[str] = set()
STILL_TWICE: set[str] = set()


@cache
def sources() -> dict[str, tuple[Path, str, ast.Module]]:
    """Return path, text and tree of every module, by its name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        found[name] = (path, text, ast.parse(text))
    return found


def room(name: str) -> str:
    """Return the package that a module is in, which a package itself is too."""
    path = sources()[name][0]
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Return what is imported of Wakelog's when the code runs, also later: module and name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names if one.name.startswith("wakelog"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wakelog"):
            yield from ((str(node.module), one.name) for one in node.names)
        else:
            yield from imported(node)


def test_no_module_is_longer_than_500_lines() -> None:
    longer = {
        name: count
        for name, (_, text, _) in sources().items()
        if (count := len(text.splitlines())) > MOST_LINES
    }
    assert longer.keys() <= STILL_LONGER, longer


def test_a_function_of_more_than_60_lines_says_why_it_is_one() -> None:
    longer = []
    for name, (_, text, tree) in sources().items():
        lines, code = text.splitlines(), code_lines(text, tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                count = len(code.intersection(range(node.lineno, (node.end_lineno or 0) + 1)))
                above = lines[first - 2].strip()
                if count > MOST_LINES_OF_A_FUNCTION and not above.startswith(REASON):
                    longer.append(f"{name}.{node.name}: {count} lines of code")
    assert longer == []


def test_no_two_classes_have_one_name() -> None:
    where = defaultdict(list)
    for name, (_, _, tree) in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(name)
    twice = {name: places for name, places in where.items() if len(places) > 1}
    assert twice.keys() <= STILL_TWICE, twice


def test_no_circle_of_files_inside_a_package() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for name, (_, _, tree) in sources().items():
        for module, attribute in imported(tree):
            target = f"{module}.{attribute}" if f"{module}.{attribute}" in sources() else module
            if target != name and room(target) == room(name):
                graph[name].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' <- '.join(error.args[1])}") from None


def test_nobody_imports_what_is_private_to_another_package() -> None:
    found = []
    for name, (_, _, tree) in sources().items():
        for module, attribute in imported(tree):
            parts = [*module.split("."), attribute]
            for place, part in enumerate(parts):
                if part.startswith("_") and not part.startswith("__"):
                    owner = room(".".join(parts[:place]))
                    if not f"{room(name)}.".startswith(f"{owner}."):
                        found.append(f"{name}: {module} {attribute}".strip())
    assert found == []


def test_the_picture_of_the_floors_is_that_of_the_code() -> None:
    assert build_floors.PAGE.read_text() == build_floors.page(), (
        "python -m scripts.build_floors brings docs/design.md up to date"
    )


def entries() -> list[tuple[str, str, str]]:
    """Return term, name in code and sentence of each entry of the glossary."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    return re.findall(r"^- \*\*(.+?)\*\*(?: \(`(.+?)`\))?: (.+)$", text, re.MULTILINE)


def test_each_term_of_the_glossary_is_one_sentence_and_in_use() -> None:
    pages = [page for page in DOCS.glob("*.md") if page.name != "glossary.md"]
    words = " ".join(text for _, text, _ in sources().values())
    words += " ".join(page.read_text(encoding="utf-8") for page in pages)
    # A name counts for the words that it is made of.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", " ".join([*words.split(), *sources()]))
    terms = [term for term, _, _ in entries()]

    assert len(terms) == len(set(terms)) > 50
    for term, _, sentence in entries():
        used = re.search(rf"(?<![a-z]){term.replace(' ', '[ _]')}s?(?![a-z])", words, re.IGNORECASE)
        assert used, f"{term!r} is used nowhere"
        assert re.fullmatch(r"[A-Z][^.]*\.", sentence), f"{term!r} needs one sentence"


@pytest.mark.parametrize("name", sorted({name for _, name, _ in entries() if name}))
def test_each_name_in_the_glossary_is_one_in_the_code(name: str) -> None:
    assert pkgutil.resolve_name(name) is not None


def test_every_module_with_figures_for_the_guarantees_is_asked_for_them() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nguarantees:")[2].partition("\n\n")[0]
    with_figures = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(
            r"^from tests\.support\.guarantees import", path.read_text("utf-8"), re.MULTILINE
        )
    }

    assert len(with_figures) > 10
    assert {path for path in with_figures if path not in recipe} == set()
