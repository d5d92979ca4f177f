"""How often tests that go by chance try: `make attack` has the full counts, every other run a tenth.

A test that has a count from here is marked `attack`, so that `make attack` runs it. `WAKELOG_TEST_SEED` repeats a run;
pytest's header has the seed.
"""

from __future__ import annotations

import os
import time

import pytest

VARIABLE, SEED_VARIABLE = "WAKELOG_ATTACK", "WAKELOG_TEST_SEED"
ATTACKING = os.environ.get(VARIABLE) == "1"
SEED = int(os.environ.get(SEED_VARIABLE) or time.time_ns() % 2**32)
_LONGER = 20


def times(full: int) -> int:
    """Return a count under attack, else a tenth of it and at least one."""
    return full if ATTACKING else max(1, full // 10)


def header() -> str:
    """Return what the tests say first, so that a run can be repeated."""
    return f"wakelog: {SEED_VARIABLE}={SEED}" + (f", {VARIABLE}=1" if ATTACKING else "")


def repeat(metafunc: pytest.Metafunc) -> None:
    """Run a test marked `attack(runs=10)` so often under attack; once else, under its own name."""
    marker = metafunc.definition.get_closest_marker("attack")
    if ATTACKING and marker is not None and (runs := marker.kwargs.get("runs")):
        metafunc.fixturenames.append("attack_run")
        metafunc.parametrize("attack_run", range(runs))


def lengthen(items: list[pytest.Item], usual: float) -> None:
    """Give tests with the full counts more time.

    Args:
        items: The tests.
        usual: The time of a test that has none of its own, in seconds.
    """
    for item in items if ATTACKING else ():
        if item.get_closest_marker("attack") is not None:
            own = item.get_closest_marker("timeout")
            seconds = own.args[0] if own is not None else usual
            item.add_marker(pytest.mark.timeout(_LONGER * seconds), append=False)
