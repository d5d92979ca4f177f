"""What tests need of others' programs, and what happens to a test where that is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from scripts.servers import PARTS, missing

REQUIRED = "WAKELOG_REQUIRE"


def unavailable(part: str, reason: str) -> NoReturn:
    """Skip the test; fail it where `WAKELOG_REQUIRE` names the part, so that CI cannot pass without it.

    Args:
        part: A name of `scripts.servers.PARTS`.
        reason: What is missing, and what to do about it.
    """
    assert part in PARTS
    if part in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"{part} is required here: {reason}")
    pytest.skip(reason)


def need(part: str) -> None:
    """Skip or fail the test when a part is not here."""
    if reason := missing(part):
        unavailable(part, f"{reason}: run `make servers`")
