"""Holds the golden conversation with the oldest and the newest version of each agent framework.

    python -m scripts.framework_versions [FRAMEWORK ...] [--only oldest|newest]

Each version has an environment of its own outside the repository, in ``$WAKELOG_FRAMEWORKS`` or
``~/.cache/wakelog-frameworks``; it is made anew when the table below or pyproject.toml has changed. The Claude SDK brings
a program of 385 MB, so it is tried only where it is named.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]


class Framework(NamedTuple):
    """What is installed for a framework, and what holds a conversation with it.

    Attributes:
        oldest: The oldest versions that are supported.
        newest: The packages, of which the newest versions are installed.
        only_by_name: Whether it is left out where no framework is named.
        program: The module that holds the conversation.
    """

    oldest: tuple[str, ...]
    newest: tuple[str, ...]
    only_by_name: bool = False
    program: str = "tests.support.golden"


def _other(package: str, *instrumentation: str) -> Framework:
    """Return a framework without an adapter, which is tried only by its name, in its newest version."""
    program = "tests.support.other_agents"
    return Framework((), (package, *instrumentation), only_by_name=True, program=program)


FRAMEWORKS: Final = {
    "openai_agents": Framework(("openai-agents==0.19.0",), ("openai-agents",)),
    "langchain": Framework(
        ("langchain-core==1.4.0", "langgraph==1.2.0"), ("langchain-core", "langgraph")
    ),
    "pydantic_ai": Framework(("pydantic-ai-slim==2.10.0",), ("pydantic-ai-slim",)),
    "mcp": Framework(("mcp==2.0.0",), ("mcp",)),
    "claude": Framework(
        ("claude-agent-sdk==0.2.150",),
        ("claude-agent-sdk",),
        only_by_name=True,
        program="tests.support.real_claude",
    ),
    "google-adk": _other("google-adk"),
    "agent-framework-core": _other("agent-framework-core"),
    "crewai": _other("crewai", "openinference-instrumentation-crewai"),
    "llama-index-core": _other("llama-index-core", "openinference-instrumentation-llama-index"),
    "smolagents": _other("smolagents", "openinference-instrumentation-smolagents"),
    "strands-agents": _other("strands-agents"),
}


def environment(name: str, packages: tuple[str, ...]) -> Path:
    """Make an environment, or find it made, and return its Python.

    Args:
        name: The name of its folder.
        packages: What is installed beside Wakelog.
    """
    cache = Path(os.environ.get("WAKELOG_FRAMEWORKS") or Path.home() / ".cache/wakelog-frameworks")
    folder = cache / name
    python = folder / "bin" / "python"
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    said = hashlib.sha256(f"{ROOT}\n{packages}\n{project}".encode()).hexdigest()
    stamp = folder / "made-of"
    if stamp.exists() and stamp.read_text() == said:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--editable", str(ROOT), *packages], check=True)
    stamp.write_text(said)
    return python


def main() -> int:
    """Try each version, and return 1 when one of them records something else."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help=", ".join(FRAMEWORKS))
    parser.add_argument("--only", choices=("oldest", "newest"))
    asked = parser.parse_args()
    if unknown := set(asked.frameworks) - FRAMEWORKS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(FRAMEWORKS)}")
    failed = False
    for name, framework in FRAMEWORKS.items():
        if name not in asked.frameworks and (asked.frameworks or framework.only_by_name):
            continue
        for age in (asked.only,) if asked.only else ("oldest", "newest"):
            if not (packages := getattr(framework, age)):
                continue
            python = environment(f"{name}-{age}", packages)
            command = [str(python), "-m", framework.program, name]
            done = subprocess.run(command, cwd=ROOT, timeout=300, check=False)
            failed = failed or done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
