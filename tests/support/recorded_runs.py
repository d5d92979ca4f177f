"""What tests of commands that find things share: a journal with runs, and what a command prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import recorder, run

PROMPT = "Which flight leaves\nfor Lisbon? \x1b[31m" + "word " * 200


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    root = tmp_path / "journal"
    with recorder(root) as log:
        log.emit("custom", {"note": "before everything"})
        for number in range(3):
            with log.run("book", session_id=f"s-{number}", run_id=f"run-{number}"):
                with log.model("gpt-4o", "openai", input=PROMPT) as call:
                    call.respond("TP 571", input_tokens=100 * (number % 2), output_tokens=10)
                try:
                    with log.tool("book", {"seat": "14C"}):
                        raise TimeoutError("too slow")
                except TimeoutError:
                    pass
    return root


def printed(*arguments: object, **more: str) -> str:
    done = run(*arguments, **more)
    assert (done.returncode, done.stderr) == (0, ""), arguments
    return done.stdout


def data(*arguments: object, **more: str) -> Any:
    return json.loads(printed(*arguments, "--json", **more))
