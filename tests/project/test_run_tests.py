"""How `make test` shares out the tests."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.run_tests import COMPILED, ONLY_COMPILED, PARTS, ROOT, environment, files, parts


def test_every_file_is_in_one_part() -> None:
    assert Counter(file for part in parts() for file in part) == Counter(files())
    assert "tests/project/test_run_tests.py" in files()
    without = {file for part in parts(ONLY_COMPILED) for file in part}
    assert without == set(files()) - set(ONLY_COMPILED)
    assert len(parts()) == PARTS
    assert all(parts())


def test_what_the_compiled_encoders_are_tried_with_is_there() -> None:
    for one in COMPILED:
        file, _, name = one.partition("::")
        assert file in files()
        assert f"def {name}(" in (ROOT / file).read_text() or not name


def test_programs_of_tests_keep_what_they_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "a_module.py").touch()

    command = [sys.executable, "-c", "import a_module"]
    subprocess.run(command, env=environment("false"), cwd=tmp_path, check=True)

    assert environment("true")["WAKELOG_NATIVE"] == "true"
    assert list(tmp_path.rglob("a_module.*.pyc"))
