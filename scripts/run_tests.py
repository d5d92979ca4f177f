"""Runs the tests in two processes side by side, each with files of its own.

The tests try the code in Python. Where the compiled encoders are installed, a first part runs the tests of encoding
and writing again with them.

Arguments go to every pytest; with a path among them there is one pytest, and this is plain `pytest`.

pytest-xdist does not serve here: tests that fork, and tests that end processes, end its workers.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SIDE_BY_SIDE = 2
PARTS = 12  # many more than run at once, so that no process is idle for long at the end

# What needs the compiled encoders, and what the part with them runs.
ONLY_COMPILED = (
    "tests/evidence/test_compiled_sealing.py",
    "tests/journal/test_compiled_writer.py",
    "tests/otel/test_compiled_records.py",
    "tests/otel/test_compiled_span_events.py",
    "tests/sinks/test_compiled_events.py",
)
COMPILED = (
    *ONLY_COMPILED,
    "tests/otel/test_costs.py",
    "tests/otel/test_direct_encoding.py",
    "tests/otel/test_plain_lines.py",
    "tests/otel/test_processor.py",
    "tests/journal/test_damage_at_the_end.py",
    "tests/journal/test_faults.py",
    "tests/journal/test_interruptions.py::test_the_journal_keeps_what_it_acknowledged_whatever_comes_between",
    "tests/journal/test_interruptions.py::test_a_sink_of_lines_keeps_what_it_acknowledged_whatever_comes_between",
    "tests/journal/test_interruptions.py::test_signals_of_the_system_may_come_at_any_time",
    "tests/journal/test_journal.py",
    "tests/journal/test_reading.py",
    "tests/sinks/test_sinks.py",
    "tests/spans/test_ordinary_spans.py",
    "tests/spans/test_span_lines.py",
    "tests/spans/test_span_processor.py",
    "tests/delivery/test_end_to_end.py",
    "tests/evidence/test_evidence.py",
    "tests/evidence/test_evidence_forging.py",
    "tests/evidence/test_evidence_proofs.py",
)

_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")
_SAID_AGAIN = ("FAILED ", "ERROR ", "SKIPPED ")
_NO_TESTS = 5  # pytest's exit code where the arguments leave nothing of a part

_output = threading.Lock()


class Outcome(NamedTuple):
    """How one process ended: its exit code, its counts, and its lines that are said again at the end."""

    exit_code: int
    counts: Counter[str]
    lines: list[str]


def files() -> list[str]:
    """Returns the files of tests, relative to the repository."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


def parts(left_out: Sequence[str] = ()) -> list[list[str]]:
    """Returns the files of each part; what takes long together stands in one folder, so neighbours are separated."""
    shared_out = [file for file in files() if file not in left_out]
    return [shared_out[first::PARTS] for first in range(PARTS)]


def environment(native: str) -> dict[str, str]:
    """Returns the environment of a pytest.

    The thousands of programs that tests start compile the sources once, and not each for itself, even where
    the environment (as those of many containers) asks Python not to keep what it has compiled.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"WAKELOG_NATIVE": native}


def run(number: int, arguments: list[str], native: str) -> Outcome:
    """Runs one pytest, and prints what it printed when it has ended."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        exit_code = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=ROOT,
            env=environment(native),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
        output.seek(0)
        text = output.read()
    with _output:
        took = time.monotonic() - began
        with_them = " with the compiled encoders" if native == "true" else ""
        print(f"\n=== Part {number}{with_them}, {took:.0f} s ===\n{text}", flush=True)
    lines = text.splitlines()
    counts: Counter[str] = Counter()
    for count, what in _COUNT.findall(lines[-1] if lines else ""):
        counts[what] += int(count)
    return Outcome(exit_code, counts, [line for line in lines if line.startswith(_SAID_AGAIN)])


def main(arguments: list[str]) -> int:
    """Returns 0 when everything passed."""
    if any((ROOT / argument.partition("::")[0]).exists() for argument in arguments):
        command = [sys.executable, "-m", "pytest", *arguments]
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"{len(files())} files in {PARTS} parts, {SIDE_BY_SIDE} side by side", flush=True)
    with_native = importlib.util.find_spec("wakelog_native") is not None
    # It is the longest, so it comes first.
    of_each = [[*COMPILED], *parts(ONLY_COMPILED)] if with_native else parts()
    native = ["true"] * with_native + ["false"] * PARTS
    given = [[*arguments, *of_part] for of_part in of_each]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        outcomes = list(pool.map(run, range(1, len(given) + 1), given, native))

    total: Counter[str] = Counter()
    for outcome in outcomes:
        total += outcome.counts
        print(*outcome.lines, sep="\n", end="\n" if outcome.lines else "")
    failed = total["failed"] + total["error"]
    print(f"{total['passed']} passed, {failed} failed, {total['skipped']} skipped")
    bad = [one.exit_code for one in outcomes if one.exit_code not in (0, _NO_TESTS)]
    return bad[0] if bad else 0 if total["passed"] else _NO_TESTS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
