"""The table of `docs/guarantees.md`, written by the tests that try to break the guarantees.

A test hands its rows to `record_property`; rows for the same fault and durability are added up. As
a plugin (`pytest -p tests.support.guarantees`) this module writes the page after a run in which
nothing failed, and refuses to write one from which a row is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
PROPERTY = "guarantee"
ANSWER_PROPERTY = "answer"
BY_CHANCE = "twenty_kills_at_random_moments"

SIGKILL = "`SIGKILL` before and after each system call"
CLEANING = "`SIGKILL` before and after each system call, with cleaning and `evict_oldest`"
FULL_DISK = "a disk of 400 KiB is full, to its last byte"
QUOTA = "the quota is used up by undelivered events: `{}`"
ERROR = "`{}` from each `open`, `write`, `fdatasync`, `rename`"
POWER = "the power fails after any operation"
POWER_SYNC = "the power fails after an `fdatasync` has failed"
INTERRUPTED = "a signal's handler {} wherever one can come in between"
CUT = "the last segment is cut at each byte of its last lines"
FLIP = "each byte is flipped"
LEDGER = "the ledger is {}"
CHANCE = "20 `SIGKILL`s by chance, through a real Collector"
CODES = ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE"]
POLICIES = ["block", "refuse", "evict_oldest"]
LEDGERS = ["missing", "empty", "stale", "of another writer"]
FAULTS = [
    SIGKILL,
    CLEANING,
    CHANCE,
    POWER,
    POWER_SYNC,
    *(ERROR.format(code) for code in CODES),
    FULL_DISK,
    *(QUOTA.format(policy) for policy in POLICIES),
    *(INTERRUPTED.format(does) for does in ("raises", "records")),
    CUT,
    FLIP,
    *(LEDGER.format(state) for state in LEDGERS),
]

TEXT = """\
# Guarantees, tried

Every row is a fault that the tests cause, again and again, at every place where it can happen. The
tests write this page themselves (`make guarantees`), so it says what happened and not what was
hoped for.

| column | meaning |
|---|---|
| durability | what the append was asked for; `flush` is the same as `os_buffered` |
| faults | how many different faults were caused: one each, from a fresh start |
| tried | appends that were begun, added up over all faults |
| acknowledged | appends that returned a receipt before the fault |
| lost | acknowledged records that were neither readable nor delivered after recovery, nor under a tombstone |
| duplicated | deliveries of a record beyond its first, by the time everything was delivered |

After each fault the journal is recovered by the same code that a restart runs. Duplicates are what
at-least-once delivery costs: they have the same `log.record.uid`. A byte that is flipped in a record
costs that record; it is counted as corrupt, and no other is lost. What the power takes from records
that were not synced is not promised either way. What `evict_oldest` deletes is acknowledged, and not lost in
silence: a tombstone counts it, and the books do. Under every other policy there are none.

| fault | durability | faults | tried | acknowledged | lost | duplicated |
|---|---|---:|---:|---:|---:|---:|
"""


class Row(NamedTuple):
    """What came of a fault. None stands for a figure that nothing is promised about."""

    fault: str
    durability: str
    faults: int
    tried: int
    acknowledged: int
    lost: int | None
    duplicated: int | None

    def plus(self, other: Row) -> Row:
        return Row(
            self.fault,
            self.durability,
            self.faults + other.faults,
            self.tried + other.tried,
            self.acknowledged + other.acknowledged,
            None if self.lost is None or other.lost is None else self.lost + other.lost,
            None
            if self.duplicated is None or other.duplicated is None
            else self.duplicated + other.duplicated,
        )

    def line(self) -> str:
        figures = ("not promised" if figure is None else f"{figure:,}" for figure in self[2:])
        cells = [self.fault, f"`{self.durability}`", *figures]
        return f"| {' | '.join(cells)} |"


class AnswerRow(NamedTuple):
    """What becomes of eight records, by how often the next hop gives an answer."""

    answer: str
    protocol: str
    does: str
    once: str
    to_one: str
    always: str

    def line(self) -> str:
        return f"| {' | '.join(self)} |"


ANSWERS = """
## Answer by answer

Eight records go to a next hop that gives an answer once and then accepts everything; that gives it
whenever one certain record is in the request; and that gives it always. What is pending is in the
journal and sent again. *Sorted*: the batch is halved until the record that is not taken stands alone,
and it becomes a dead letter if the next hop takes others. *Halved*: the same, for what is too large. The
last figures are of a next hop that takes nothing: then nothing becomes a dead letter, unless it says each
time that it took the others. *Twice*: second copies that the next hop accepted. What each answer proves, and why, stands in [Delivery](delivery.md).

| answer | protocol | what Wakelog does | given once | to one record | always |
|---|---|---|---|---|---|
"""

_answers: list[AnswerRow] = []
_rows: dict[tuple[str, str], Row] = {}
_by_chance: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        if BY_CHANCE in report.nodeid:
            _by_chance.add(report.nodeid)
        for name, row in report.user_properties:
            if name == PROPERTY:
                assert isinstance(row, Row)
                key = (row.fault, row.durability)
                _rows[key] = _rows[key].plus(row) if key in _rows else row
            elif name == ANSWER_PROPERTY:
                assert isinstance(row, AnswerRow)
                _answers.append(row)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    missing = set(FAULTS) - {fault for fault, _ in _rows} - {CHANCE, FULL_DISK}
    if exitstatus or missing or not _answers:
        session.exitstatus = exitstatus or 1
        print(f"\n{PAGE.name} is not written: {sorted(missing) or 'tests failed'}")
        return
    lines = [row.line() for row in _rows.values()]
    figures = " | ".join(["varies"] * 2 + ["0", "varies"] if _by_chance else ["not run"] * 4)
    if not any(fault == FULL_DISK for fault, _ in _rows):
        lines.append(f"| {FULL_DISK} | `os_buffered` | 0 | {' | '.join(['not run'] * 4)} |")
    lines.append(f"| {CHANCE} | `os_buffered` | {20 * len(_by_chance)} | {figures} |")
    lines.sort(key=lambda line: (FAULTS.index(line[2:].partition(" | ")[0]), line))
    text = TEXT + "\n".join(lines) + "\n"
    text += ANSWERS + "\n".join(row.line() for row in _answers) + "\n"
    PAGE.write_text(text, encoding="utf-8")
