"""The examples in docstrings run: every indented block of code, and every ``>>>`` session."""

from __future__ import annotations

import ast
import doctest
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "wakelog"
SECONDS = 60
INLINE = re.compile(r"``((?:async )?with [^`]*)``")
BEFORE_INLINE = """\
from wakelog import AgentLogger, MemorySink
log = AgentLogger("agent", "workflow", MemorySink())
def search(text): return text
"""
CODE_IN_TEXT = re.compile(
    r"^(import \w+|from [\w.]+ import .*|(async )?(with|def) .*:)$", re.MULTILINE
)
HEADINGS = ("Args:", "Returns:", "Raises:", "Attributes:", "Yields:")


class Example(NamedTuple):
    where: str
    code: str
    is_session: bool


def blocks_of(docstring: str) -> Iterator[str]:
    """Yield the indented blocks after an empty line that are no list of arguments."""
    block: list[str] = []
    is_listing = False
    before = ""
    for line in [*docstring.splitlines(), "end"]:
        if line.startswith("    ") or (block and not line.strip()):
            if block or (not before.strip() and not is_listing):
                block.append(line)
        else:
            if block:
                yield textwrap.dedent("\n".join(block)).strip() + "\n"
                block = []
            if line.strip():
                is_listing = line.strip() in HEADINGS
        before = line


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield where each docstring is, and what it says."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            if isinstance(node, kinds) and (docstring := ast.get_docstring(node)):
                yield f"{path.relative_to(SOURCE)}:{getattr(node, 'name', 'module')}", docstring


def examples() -> list[Example]:
    found = []
    for where, docstring in docstrings():
        if ">>>" in docstring:
            found.append(Example(where, docstring, is_session=True))
        found += [
            Example(where, BEFORE_INLINE + with_a_body(line), is_session=False)
            for line in INLINE.findall(docstring)
        ]
        for block in blocks_of(docstring):
            if ">>>" in block or not is_python(block):
                continue
            found.append(Example(where, block, is_session=False))
    return found


def with_a_body(line: str) -> str:
    try:
        ast.parse(line)
    except SyntaxError:
        return f"{line}: pass\n"
    return f"{line}\n"


def is_python(block: str) -> bool:
    """Tell whether a block is meant to be Python: it imports, defines, awaits or calls something."""
    marks = ("import ", "def ", "await ", "async ", "with ", " = ", "print(")
    return any(line.lstrip().startswith(marks) or " = " in line for line in block.splitlines())


EXAMPLES = examples()


def test_there_are_examples_and_the_gateways_is_among_them() -> None:
    found = {example.where for example in EXAMPLES}
    assert {"__init__.py:module", "gateway/__init__.py:module"} <= found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.where)
def test_an_example_in_a_docstring_runs(tmp_path: Path, example: Example) -> None:
    if example.is_session:
        test = doctest.DocTestParser().get_doctest(example.code, {}, example.where, None, 0)
        assert doctest.DocTestRunner().run(test).failed == 0
        return
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example.code],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": ""},
    )
    assert (done.returncode, done.stderr) == (0, ""), example.code


def test_no_example_has_lost_its_indentation() -> None:
    """Ruff takes it away from a docstring of which every line but the first is indented."""
    lost = [where for where, docstring in docstrings() if CODE_IN_TEXT.search(docstring)]
    assert not lost


@pytest.mark.parametrize("quotes", ["``with log.run() as run_id``"])
def test_blocks_of_arguments_are_no_examples(quotes: str) -> None:
    docstring = f"A sentence. {quotes}\n\nArgs:\n    name: What = it is.\n\n    import nothing\n"
    assert list(blocks_of(docstring)) == []
    assert list(blocks_of("A sentence.\n\n    import os\n\n    os.name\n\nMore.\n")) == [
        "import os\n\nos.name\n"
    ]
