"""Where no extra is installed, every public name is there all the same, and says what it lacks."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import wakelog
from tests.conftest import ROOT

PYPROJECT = ROOT / "pyproject.toml"
FRAMEWORKS = {  # the module of an adapter: what it needs, and the extra that installs that
    "openai_agents": ("agents", "openai-agents"),
    "langchain": ("langchain_core", "langchain"),
    "mcp": ("mcp", "mcp"),
    "pydantic_ai": ("pydantic_ai", "pydantic-ai"),
}
EXTRAS = [
    "aio_pika",
    "aiokafka",
    "cryptography",
    "duckdb",
    "httpx",
    "loguru",
    "psycopg",
    "pydantic",
    "redis",
    "rfc3161_client",
    "rich",
    "starlette",
    "uvicorn",
]
PACKAGES = ["wakelog"] + [
    module.name
    for module in pkgutil.walk_packages(wakelog.__path__, "wakelog.")
    if module.ispkg and not module.name.rpartition(".")[2].startswith("_")
]
PROGRAM = """
import importlib, sys
package, *extras = sys.argv[1:]
for name in extras:
    sys.modules[name] = None  # as where it is not installed
namespace = {}
exec(f"from {package} import *", namespace)
module = importlib.import_module(package)
for name in getattr(module, "__all__", ()):
    assert name in namespace, name
    assert hasattr(module, name), name
assert not hasattr(module, "no_such_name")
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_package_is_there_where_no_extra_is_installed(
    package: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, package, *EXTRAS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", FRAMEWORKS)
def test_an_adapter_without_its_framework_names_the_extra(module: str, tmp_path: Path) -> None:
    package, extra = FRAMEWORKS[module]
    program = f"import sys; sys.modules[{package!r}] = None; import wakelog.integrations.{module}"

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert f"pip install 'wakelog[{extra}]'" in done.stderr.splitlines()[-1]
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert extra in extras
