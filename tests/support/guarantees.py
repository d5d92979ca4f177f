"""The table of `docs/guarantees.md`, written by the tests that try to break the guarantees.

A test hands its rows to `record_property`; rows for the same fault and durability are added up. As
a plugin (`pytest -p tests.support.guarantees`) this module writes the page after a run in which
nothing failed, and refuses to write one from which a row is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
PROPERTY = "guarantee"
ANSWER_PROPERTY = "answer"
EVIDENCE_PROPERTY = "evidence"
BY_CHANCE = "twenty_kills_at_random_moments"

SIGKILL = "`SIGKILL` before and after each system call"
SPANS_KILLED = "spans: `SIGKILL` before and after each system call of start, end and adoption"
SPANS_ERROR = "spans: an error from each `open`, `write`, `fdatasync`, `rename`"
SPANS_POWER = "spans: the power fails after any operation"
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
OWNERS = "a `SIGKILL`, then the other service starts first in the same directory"
CODES = ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE"]
APPENDERS = [
    "named file",
    "gateway, lines",
    "gateway, document",
    "audit",
    "dead letters",
    "blobs",
    "content apart",
    "streams",
]
APPENDING = {
    "kill": "{}: `SIGKILL` before and after each system call",
    "error": "{}: an error from each `open`, `write`, `fdatasync`, `rename`, of five kinds",
    "short": "{}: each `write` takes a half, then the disk is full",
    "power": "{}: the power fails after any operation",
    "power_sync": "{}: the power fails after an `fdatasync` has failed",
}
POLICIES = ["block", "refuse", "evict_oldest"]
LEDGERS = ["missing", "empty", "stale", "of another writer"]
FAULTS = [
    SIGKILL,
    CLEANING,
    SPANS_KILLED,
    SPANS_ERROR,
    SPANS_POWER,
    CHANCE,
    POWER,
    POWER_SYNC,
    *(ERROR.format(code) for code in CODES),
    FULL_DISK,
    *(QUOTA.format(policy) for policy in POLICIES),
    *(INTERRUPTED.format(does) for does in ("raises", "records")),
    OWNERS,
    CUT,
    FLIP,
    *(LEDGER.format(state) for state in LEDGERS),
    *(fault.format(name) for name in APPENDERS for fault in APPENDING.values()),
]

TEXT = """\
# Guarantees, tried

**A failure to record does not stop the agent, and is never silent.** Where an event is not accepted, a
logger of `configure()` or of zero code counts it by reason, says so once a minute, and goes on. A call
with `durability=FSYNC`, a sink, an audit log and the gateway raise, and so does everything with
`on_error="raise"` ([getting started](getting-started.md#when-an-event-is-not-recorded)). A journal from
which nobody delivers keeps the newest: at its quota the oldest events are deleted under a tombstone,
which is said before and when it happens ([space](journal.md#space)).

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

Rows that begin with a name are of what appends beside the journal's own records, and of values that stand beside their
lines. Nothing is delivered there: *lost* is what cannot be read back, and *duplicated* what is read twice, because it was
written again, into another file, after a failed sync.

In the rows of spans, an append is that of a start, and of a start or an end where an error was caused. A span is not
lost when it was exported, with its own end or with outcome unknown, and each missing end was recorded once.

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


def is_written(config: pytest.Config) -> bool:
    """Tell whether this run writes the page, so that faults of which others try some are all tried."""
    return config.pluginmanager.has_plugin(__name__)


EVIDENCE = """
## Who can alter a sealed journal

With sealing on ([evidence](evidence.md)), somebody alters what is sealed, and knows the format: numbers and checksums
fit again. The outsider has the disk; the agent's process has no key where the shipping process signs; the operator may
do anything on the machine. Each cell is a test: the seals tell (`wakelog verify --keys PATH`), or only an anchor that the
altering hand does not reach (`--anchors`), or nothing does. A deletion or an erasure for which somebody with the key has signed is
named with its reason, and is no alteration here; who has no key can [ask for a deletion](evidence.md#retention-eviction-and-prune) of
what is older than `--seal-keep`.

| altered by | {} |
|---|{}|
"""
ATTACKERS = (
    "an outsider with the disk",
    "the agent's process",
    "the operator without the key",
    "the operator with the key",
)
WHAT = (
    "edit",
    "delete",
    "insert",
    "reorder",
    "cut off the end, seals too",
    "put an earlier copy back",
    "replace the folder",
    "copy under another writer's name",
)


class EvidenceCell(NamedTuple):
    """By what it is detected that somebody has altered something."""

    who: str
    what: str
    detected: str


def evidence_table(cells: Iterable[EvidenceCell]) -> str:
    found = {(who, what): detected for who, what, detected in cells}
    rows = [f"| {who} | {' | '.join(found[who, what] for what in WHAT)} |\n" for who in ATTACKERS]
    return EVIDENCE.format(" | ".join(WHAT), "|".join(["---"] * len(WHAT))) + "".join(rows)


_cells: list[EvidenceCell] = []
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
            elif name == EVIDENCE_PROPERTY:
                assert isinstance(row, EvidenceCell)
                _cells.append(row)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    missing = set(FAULTS) - {fault for fault, _ in _rows} - {CHANCE, FULL_DISK}
    if exitstatus or missing or not _answers or not _cells:
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
    text += evidence_table(_cells)
    PAGE.write_text(text, encoding="utf-8")
