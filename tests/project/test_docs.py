"""What the documentation says is so: its examples run, its links lead somewhere, its names exist."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk import environment_variables

import wakelog
from scripts import build_api_page
from scripts.build_metrics_page import TABLE as METRICS
from tests.support.pages import (
    FENCE,
    LINK,
    NOT_RUN,
    PAGES,
    ROOT,
    blocks_of,
)
from wakelog.cli import COMMANDS, build_parser
from wakelog.events import EVENT_TYPES, semconv
from wakelog.record import ERASED
from wakelog.telemetry import ORIGIN

SECONDS = 60

CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")

# What is different each time, in the order in which it is looked for.
VARYING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}[0-9a-f-]*"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "TIME"),
    (re.compile(r"[\d.]+ (ms|s)\b"), "DURATION"),
    (re.compile(r"[\d.]+ (B|KiB|GiB)(?!\w)|(?<=\"bytes\": )\d+|(?<=\"quota_bytes\": )\d+"), "SIZE"),
    (re.compile(r"/[\w./-]{8,}"), "PATH"),
    (re.compile(r"\b\d+\.\d+\.\d+[\w.]*"), "VERSION"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"\s+"), " "),
)

# Runs the blocks of a page, given as JSON, with a mark before each one's output: Python in one namespace, and shell in one
# that ends with the first command that fails. Only the last may, where a comment behind it says with which exit code.
DRIVER = """
import json, re, subprocess, sys
namespace = {"__name__": "__main__"}
for number, (language, where, line, code) in enumerate(json.load(sys.stdin)):
    print(f"=== {number}", flush=True)
    if language == "python":
        exec(compile("\\n" * line + code, where, "exec"), namespace)
    else:
        said = re.search(r"# exit code (\\d+)[^\\n]*\\s*\\Z", code)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", code])
        if done.returncode != int(said[1] if said else 0):
            sys.exit(f"{where}, line {line}: exit code {done.returncode}")
    sys.stdout.flush()
"""


def without_what_varies(text: str) -> str:
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text.strip()


def code_in(page: Path) -> list[str]:
    """Return what a page has in backticks, and the lines of its commands."""
    text = page.read_text(encoding="utf-8")
    prose = FENCE.sub("", text)
    commands = [
        line
        for fence in FENCE.finditer(text)
        if fence[1] in ("sh", "")
        for line in fence[2].split("\n")
    ]
    return [" ".join(word.split()) for word in CODE.findall(prose)] + commands


@functools.cache
def sources(*folders: str) -> str:
    files = (file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@functools.cache
def known_words() -> frozenset[str]:
    """Return every word of the code, and of the SDK's list of variables."""
    sdk = Path(environment_variables.__file__).read_text("utf-8")
    return frozenset(re.findall(r"\w+", sources("src", "tests", "scripts") + sdk))


def by_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=by_page)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p)], ids=by_page)
def test_every_example_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    blocks = blocks_of(page)
    work = tmp_path / "work"
    work.mkdir()
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    given = [(block.language, page.name, block.line, block.code) for block in blocks]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER],
        cwd=work,
        env={
            **kept,
            "WAKELOG_DIR": str(tmp_path / "journal-of-the-page"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    outputs = re.split(r"^=== \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(outputs) == len(blocks)
    for block, output in zip(blocks, outputs, strict=True):
        if block.output is not None:
            said, printed = without_what_varies(block.output), without_what_varies(output)
            assert printed == said, f"{page.name}, line {block.line}"


@every_page
def test_a_page_runs_its_examples_or_says_why_not(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = [fence for fence in FENCE.finditer(text) if fence[1] in ("python", "sh")]
    excused = [fence for fence in fences if NOT_RUN.search(text[: fence.start()])]
    blocks = blocks_of(page)

    assert text.count("<!-- not run") == len(excused)
    assert text.count("<!-- run -->") == len([b for b in blocks if b.language == "sh"])
    assert len(blocks) == len(fences) - len(excused)
    promised = len(re.findall(r"prints:\n\n```text", text))
    assert promised == len([b for b in blocks if b.output is not None])


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"

    listed = {
        target.partition("#")[0] for target in LINK.findall(index.read_text(encoding="utf-8"))
    }

    assert {page.name for page in PAGES if page.parent == index.parent} - {"README.md"} <= listed


def test_the_page_of_public_names_is_that_of_the_code() -> None:
    assert build_api_page.PAGE.read_text(encoding="utf-8") == build_api_page.page(), (
        "a public name has come, moved, changed or gone; python -m scripts.build_api_page writes "
        "docs/api.md, for a change that is meant"
    )


@every_page
def test_what_the_pages_import_is_public(page: Path) -> None:
    public = {package: set(names) for package, names in build_api_page.public()}
    used = re.findall(
        r"^from (wakelog[\w.]*) import (\([^)]+\)|.+)$",
        "\n".join(block.code for block in blocks_of(page)),
        re.MULTILINE,
    )

    wrong = [
        f"{package}.{name}"
        for package, names in used
        for name in re.findall(r"\w+", re.sub(r"#.*| as \w+", "", names))
        if name not in public.get(package, ()) and f"{package}.{name}" not in public
    ]

    assert wrong == []


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    named = {name for code in code_in(page) for name in re.findall(r"^make ([a-z-]+)", code)}

    assert named <= targets


def known_options(command: str) -> Iterator[str]:
    for action in build_parser(command)._actions:
        if isinstance(action.choices, dict):
            given = action.choices[command]._option_string_actions
            yield from (one for one in given if one.startswith("--") and one != "--help")


def options_in(source: str) -> set[str]:
    return set(re.findall(r'"(--[a-z-]+)"', source))


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """The options of each command, and under "" those of the scripts and all of them."""
    found = {name: set(known_options(name)) for name in COMMANDS}
    scripts = options_in(sources("benchmarks", "examples", "scripts"))
    return found | {"": scripts.union(*found.values())}


# Of gunicorn, uWSGI and docker, which are started with them.
OF_SERVERS = {"--init", "--preload", "--enable-threads", "--py-call-osafterfork"}


@every_page
def test_commands_and_their_options_exist(page: Path, options: dict[str, set[str]]) -> None:
    wrong = []
    for code in code_in(page):
        if "otelcol --" in code:
            continue  # somebody else's command
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)) - OF_SERVERS
        command = re.match(r"wakelog ([a-z-]+)\b(?!:)", code)
        known = options.get(command[1]) if command else options[""]
        if known is None or not named <= known:
            wrong.append(code)

    assert wrong == []


@every_page
def test_environment_variables_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = known_words()
    named = set(re.findall(r"\b(?:WAKELOG|OTEL|XDG)_[A-Z_]*[A-Z]\b(?!\*|_\*)", text))

    assert named - known == set()


@every_page
def test_dotted_names_exist(page: Path) -> None:
    attributes = [value for name, value in vars(semconv).items() if name.isupper()]
    constants = {value for value in attributes if isinstance(value, str)}
    constants |= {*semconv.RENAMED}  # names that lines of earlier versions have
    constants |= {semconv.EVENT_PREFIX + name for name in EVENT_TYPES}
    constants |= {one.name for one in METRICS} | {ORIGIN}
    files = {"wakelog.json"}
    files |= {ERASED}
    files |= {f"wakelog.too_large.{name}" for name in ("bytes", "sha256", "sizes")}

    named = {
        name
        for code in code_in(page)
        for name in re.findall(r"(?<![\w/.\"$-])(?:wakelog|gen_ai)(?:\.\w+)+(?![\w.*<{])", code)
    }

    assert {name for name in named - constants - files if not is_importable(name)} == set()


def is_importable(name: str) -> bool:
    found: Any = wakelog
    where = "wakelog"
    for part in name.split(".")[1:]:
        where += f".{part}"
        if not hasattr(found, part):
            try:
                importlib.import_module(where)
            except ImportError:
                return False
        found = getattr(found, part)
    return name.startswith("wakelog.")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_every_option_and_every_key_that_the_command_documents(
    command: str, options: dict[str, set[str]]
) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    _, _, rest = page.partition(f"\n## wakelog {command}\n")
    section, _, _ = rest.partition("\n## ")
    keys = re.findall(
        r'"([a-z_]+)"',
        importlib.import_module(f"wakelog.cli.{command.replace('-', '_')}").__doc__ or "",
    )

    assert section
    shared = page.partition("\n## Which events\n")[2].partition("\n## ")[0]
    told = section + (shared if "(#which-events)" in section else "")
    assert {option for option in options[command] if f"`{option}" not in told} == set()
    assert {key for key in keys if f"`{key}`" not in section and f'"{key}"' not in section} == set()
