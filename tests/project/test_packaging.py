"""What `make package` and `make pythons` try is what `pyproject.toml` offers; they need PyPI, and so are not run here."""

from __future__ import annotations

import re
import tomllib

from scripts import check_package, try_environments
from tests.conftest import ROOT

SOURCES = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_each_extra_is_tried_alone() -> None:
    assert check_package.EXTRAS.keys() == PROJECT["optional-dependencies"].keys()


def test_every_python_that_is_promised_is_tried_where_it_is() -> None:
    prefix = "Programming Language :: Python :: 3."
    promised = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if one.startswith(prefix)}

    assert promised <= set(try_environments.VERSIONS)
    assert PROJECT["requires-python"] == f">={min(promised, key=lambda v: int(v[2:]))}"


def test_no_statement_has_the_numbered_placeholders_that_python_3_14_refuses() -> None:
    """A warning from 3.12 on, which a run under 3.11 cannot show."""
    for path in SOURCES.rglob("*.py"):
        assert not re.search(r"[\s(=<>]\?\d", path.read_text()), path
