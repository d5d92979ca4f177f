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
FORKED = "a fork in C that Python does not see: parent, children and grandchild"
CHANGED_DIRECTORY = "the working directory changes, and is deleted"
DAMAGED_END = "the last record is damaged, at each byte, in three ways"
DELETED = "the folder, or the whole directory, is deleted under the writer"
OVERSIZED = "content of each size around the longest line, and of up to 16 MiB"
ERASING = "erasing: `SIGKILL` before, after and inside each system call"
ERASING_POWER = "erasing: the power fails after any operation"
OWNERS = "a `SIGKILL`, then the other service starts first in the same directory"
CODES = ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE"]
APPENDERS = [
    "named file",
    "gateway, lines",
    "gateway, document",
    "audit",
    "dead letters",
    "blobs",
    "erasable content",
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
    FORKED,
    CHANGED_DIRECTORY,
    DELETED,
    OVERSIZED,
    CUT,
    DAMAGED_END,
    FLIP,
    *(LEDGER.format(state) for state in LEDGERS),
    *(fault.format(name) for name in APPENDERS for fault in APPENDING.values()),
    ERASING,
    ERASING_POWER,
]

TEXT = """\
# Guarantees and how they are tested

**A failure to record does not stop the agent, and is never silent.** When an event is not accepted, a logger of
`configure()` or of zero code counts it by reason, logs the failure at most once a minute, and continues. A call with
`durability=FSYNC`, a sink, an audit log and the gateway raise, and so does every call with `on_error="raise"`
([getting started](getting-started.md#when-an-event-is-not-recorded)). A journal without delivery keeps the newest
events: at its quota the oldest ones are deleted and recorded in a tombstone. Wakelog logs a warning before the first
deletion and a message when it happens ([space](journal.md#space)).

Each row of the table is a fault that the tests inject repeatedly, at every place where it can occur. The tests write
this page themselves (`make guarantees`), so the figures are results and not claims.

| column | meaning |
|---|---|
| durability | the durability that the append asked for; `flush` is the same as `os_buffered` |
| faults | how many different faults were injected, each from a fresh start |
| tried | appends that were started, summed over all faults |
| acknowledged | appends that returned a receipt before the fault |
| lost | acknowledged records that were neither readable nor delivered after recovery, and not counted in a tombstone |
| duplicated | deliveries of a record after its first, counted when everything was delivered |

After each fault, the code that runs at a restart recovers the journal. Duplicates come from at-least-once delivery; they
have the same `log.record.uid`. A damaged byte in a record loses that record, which is counted as corrupt, and no other
record. If another program deletes a writer's folder, its undelivered records count as evicted, with the reason
`deleted`. Nothing is promised about unsynced records after a power failure. Records that `evict_oldest` deletes were
acknowledged; they do not count as lost, because a tombstone and the books count them. The other policies in the table
delete no undelivered record.

Rows that begin with a name are about other files to which Wakelog appends, and about values that are stored outside
their lines. These are not delivered: *lost* counts records that cannot be read back, and *duplicated* counts records that
are read twice because they were written again, to another file, after a failed sync.

In the rows about erasing, the content of one of two people is erased from a sealed journal. *Tried* and *acknowledged*
count its records, and *lost* counts those that a reader then calls damaged. After each fault every seal is valid, and a
second run completes the erasure.

In the rows about spans, an append is the start of a span, or, in the row about errors, a start or an end. A span counts
as not lost if it was exported, with its own end or with an unknown outcome, and each missing end was recorded once.

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

For each answer, a test sends eight records to three next hops: one gives the answer once and then accepts everything,
one gives it whenever a certain record is in the request, and one always gives it. Pending records stay in the journal and
are sent again. *Sorted*: the batch is halved until the refused record is alone, and that record becomes a dead letter if
the next hop accepts others. *Halved*: the same for a batch that is too large. In the last column the next hop accepts
nothing; then no record becomes a dead letter, unless each response says that the other records were accepted. *Twice*:
duplicates that the next hop accepted. [Delivery](delivery.md#what-an-answer-proves) explains what each answer proves.

| answer | protocol | what Wakelog does | given once | to one record | always |
|---|---|---|---|---|---|
"""


def is_written(config: pytest.Config) -> bool:
    """Tell whether this run writes the page, so that faults of which others try some are all tried."""
    return config.pluginmanager.has_plugin(__name__)


EVIDENCE = """
## Who can alter a sealed journal

In these tests [sealing](evidence.md) is on, and an attacker who knows the format alters sealed records so that their
numbers and checksums are consistent. The outsider has access to the disk. The agent's process has no key, because the
shipping process signs. The operator may do anything on the machine. Each cell is a test and says what detects the
alteration: the seals (`wakelog verify --keys PATH`), only an anchor that the attacker cannot alter (`--anchors`), or
nothing. A deletion or an erasure that was signed with the key is reported with its reason and is not an alteration. A
process without the key can [request the deletion](evidence.md#retention-eviction-and-prune) of records older than
`--seal-keep`.

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
