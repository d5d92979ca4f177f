"""What the examples say where something that they need is not installed."""

from __future__ import annotations

import re
import runpy
import sys

import pytest

from tests.conftest import ROOT

NEEDED = {
    "chat_backend": "starlette",
    "fastapi_agent": "fastapi",
    "order_desk": "agents",
    "replayed_agent": "pydantic_ai",
    "sealed_journal": "cryptography",
    "structlog_app": "structlog",
    "tokens_and_replay": "genai_prices",  # Wakelog itself says so, when it is asked for prices
}


def install_lines() -> dict[str, str]:
    """Return what each example says to install, at its top."""
    found = {}
    for path in (ROOT / "examples").glob("*.py"):
        if line := re.search(
            r"^ +(pip install .*)$", path.read_text().split('"""')[1], re.MULTILINE
        ):
            found[path.stem] = line[1]
    return found


def test_every_example_that_says_what_to_install_is_tried_here() -> None:
    assert install_lines().keys() == NEEDED.keys()


@pytest.mark.parametrize("example", sorted(NEEDED.keys() - {"tokens_and_replay"}))
def test_an_example_without_what_it_needs_says_what_to_install(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = NEEDED[example]
    for name in [name for name in sys.modules if name.split(".")[0] == needed]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, needed, None)

    with pytest.raises(SystemExit) as raised:
        runpy.run_path(str(ROOT / "examples" / f"{example}.py"))

    assert needed in str(raised.value.code)
    assert str(raised.value.code).endswith(": " + install_lines()[example])
