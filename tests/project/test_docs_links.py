"""Links, commands and figures of the documentation: where they lead, and whether what they name is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import build_road, external_links
from tests.support.pages import (
    EXTERNAL,
    FENCE,
    FURTHER,
    PAGES,
    ROOT,
    anchors_of,
    commands_in,
    links_of,
)

every_page = pytest.mark.parametrize(
    "page", [*PAGES, *FURTHER], ids=lambda page: str(page.relative_to(ROOT))
)
# What begins a command of a shell; a fence without a language has none of them.
PROGRAMS = ("bash", "docker", "export", "make", "openssl", "pip", "python", "pytest", "wakelog")
# A figure that somebody has measured: how long, how fast, how large or how many times as much.
MEASURED = re.compile(r"\| *(?:about )?[\d.,]+ ?(?:ns|µs|ms|s|MB|KB|records/s|events/s)? *(?=\|)")
# What measures: a benchmark, or a target of the Makefile.
BENCHMARK = re.compile(r"(?:python|python -m) (benchmarks[/.]bench_\w+)|make ([a-z-]+)")


@every_page
def test_a_link_within_the_project_leads_somewhere(page: Path) -> None:
    broken = []
    for target in links_of(page):
        if EXTERNAL.match(target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if (
            not file.exists()
            or not file.is_relative_to(ROOT)
            or (anchor and (file.suffix != ".md" or anchor not in anchors_of(file)))
        ):
            broken.append(target)

    assert broken == []


@every_page
def test_a_command_is_in_a_block_of_shell(page: Path) -> None:
    plain = [fence[2] for fence in FENCE.finditer(page.read_text("utf-8")) if not fence[1]]

    found = [line for code in plain for line in code.splitlines() if line.split(" ")[0] in PROGRAMS]

    assert found == []


@every_page
def test_the_files_that_a_command_names_are_there(page: Path) -> None:
    commands = [
        command
        for fence in FENCE.finditer(page.read_text("utf-8"))
        if fence[1] == "sh"
        for command in commands_in(fence[2])
    ]
    named = []
    for command in commands:
        words = shlex.split(command)
        named += [
            word for word in words if re.fullmatch(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|yaml|sh)", word)
        ]
        if "-m" in words:
            module = words[words.index("-m") + 1]
            if module.partition(".")[0] in ("benchmarks", "scripts", "examples"):
                named.append(module.replace(".", "/") + ".py")

    assert [name for name in named if not (ROOT / name).exists()] == []


def sections(page: Path) -> list[str]:
    return re.split(r"^(?=## )", page.read_text("utf-8"), flags=re.MULTILINE)[1:]


def is_there(program: re.Match[str]) -> bool:
    benchmark, target = program.groups()
    if benchmark:
        return (ROOT / (benchmark.replace(".", "/") + ".py")).exists()
    return (
        re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE) is not None
    )


@pytest.mark.parametrize("name", ["performance.md", "sizing.md"])
def test_measured_figures_stand_below_the_command_that_makes_them(name: str) -> None:
    without = []
    measured = 0
    for section in sections(ROOT / "docs" / name):
        figure = MEASURED.search(section)
        if figure is None:
            continue
        measured += 1
        program = BENCHMARK.search(section[: figure.start()])
        if program is None and "](performance.md" in section:
            continue  # arithmetic, with figures that it links to
        if program is None or not is_there(program):
            without.append(section.partition("\n")[0])

    assert without == []
    assert measured


def test_the_picture_of_the_road_is_that_of_its_script() -> None:
    assert build_road.PICTURE.read_text("utf-8") == build_road.picture()


def test_links_to_the_outside_are_listed_with_where_they_stand() -> None:
    command = [sys.executable, "-m", "scripts.external_links"]

    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    lines = listed.splitlines()
    assert {line.partition(" ")[0] for line in lines} == external_links.found().keys()
    assert "docs/versioning.md" in external_links.found()["https://semver.org/spec/v2.0.0.html"]
    assert not [line for line in lines if "localhost" in line or "example.com" in line]
