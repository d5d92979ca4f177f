"""One bad record costs one record: it is set aside with its reason, and the rest goes on."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult

from tests.conftest import ROOT
from tests.support.delivering import DOWN, TAKEN, Bench, Hop, refuses, rejects
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.events import semconv as s
from wakelog.journal import books, dead_letters
from wakelog.journal._dead_letters import DEAD_LETTERS
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._rebuilder import Rebuilder

STAND_IN = s.DEAD_LETTER_EVENT
Make = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def make(script: Any = lambda _: TAKEN, **options: Any) -> Bench:
        made.append(Bench(tmp_path, Hop(script), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def letters(root: Path) -> list[Any]:
    return [letter for folder in sorted(root.glob("*-*")) for letter in dead_letters(folder)]


def figures(root: Path) -> tuple[int, int, int, int]:
    found = books(root, exact=True)
    return (
        sum(b.accepted for b in found),
        sum(b.delivered for b in found),
        sum(b.pending for b in found),
        sum(b.dead_lettered for b in found),
    )


@pytest.mark.parametrize("guilty", [[0], [511], [200], [3, 4], [0, 511, 700], list(range(10, 20))])
@pytest.mark.parametrize("answer", [refuses, rejects])
def test_a_poison_record_costs_itself_and_no_other(
    tmp_path: Path, bench: Make, guilty: list[int], answer: Any
) -> None:
    one = bench(answer(*guilty))
    one.record(*range(1000))
    one.drain()

    assert set(one.hop.bodies) == set(range(1000)) - set(guilty)
    assert figures(tmp_path) == (1000, 1000 - len(guilty), 0, len(guilty))
    assert [orjson.loads(letter.line)["body"] for letter in letters(tmp_path)] == guilty


def test_a_dead_letter_says_what_why_and_when_and_a_stand_in_names_it(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(refuses(2, reason="400: body is not a number we like"))
    one.record(1, 2, 3)
    one.drain()

    [letter] = letters(tmp_path)
    lines = next(tmp_path.glob("*/00000001.jsonl")).read_text().splitlines()
    assert letter.line == lines[2]
    assert (letter.seq, letter.segment, letter.size) == (2, 1, len(lines[2]))
    assert letter.reason == "400: body is not a number we like"
    assert letter.outcome == "refused"
    assert letter.resource.attributes == {"service.name": "tests"}
    [stand_in] = one.hop.stand_ins
    assert stand_in[s.DEAD_LETTER_UID] == letter.id
    assert stand_in[s.LOG_RECORD_UID] != letter.id
    assert stand_in[s.SEQ] == 2
    assert stand_in[s.DEAD_LETTER_REASON] == letter.reason
    assert stand_in[s.DEAD_LETTER_SIZE] == letter.size


class Pickling(InMemoryLogRecordExporter):
    """Pickles what it exports, as exporters to another process do, and refuses one record."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        for one in batch:
            if one.log_record.body == "bad":
                raise TypeError
            pickle.loads(pickle.dumps(one.log_record))
        return super().export(batch)


def test_an_exporter_can_pickle_a_stand_in_as_it_can_every_record(tmp_path: Path) -> None:
    hop = Pickling()
    processor = DurableLogRecordProcessor(hop, directory=tmp_path)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    for body in ("good", "bad", "better"):
        provider.get_logger("shop").emit(LogRecord(body=body))
    processor.force_flush()
    processor.shutdown()

    bodies = [one.log_record.body for one in hop.get_finished_logs()]
    assert bodies == ["good", None, "better"]
    assert figures(tmp_path) == (3, 2, 0, 1)


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.TOO_LARGE])
def test_a_server_that_refuses_everything_makes_no_dead_letters(
    tmp_path: Path, bench: Make, outcome: Outcome
) -> None:
    """A wrong path or a wrong tenant says nothing about any record."""
    one = bench(lambda _: ExportOutcome(outcome, "404: no such page"))
    one.record(*range(600))
    one.step(20)

    assert figures(tmp_path) == (600, 0, 600, 0)
    assert len(one.hop.batches) < 20 * 10  # and it is not asked about each record

    one.hop.script = lambda _: TAKEN
    one.drain()
    assert one.hop.bodies == list(range(600))
    assert figures(tmp_path) == (600, 600, 0, 0)


def test_a_server_that_rejects_everything_in_its_answers_makes_no_dead_letters(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(lambda batch: ExportOutcome(Outcome.DELIVERED, "quota", rejected=len(batch)))
    one.record(*range(20))
    one.step(10)

    assert figures(tmp_path) == (20, 0, 20, 0)


def test_a_single_record_that_is_refused_waits_until_others_are_accepted(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(lambda _: ExportOutcome(Outcome.REJECTED, "400"))
    one.record("bad")
    one.step(5)
    assert figures(tmp_path) == (1, 0, 1, 0)

    one.hop.script = refuses("bad")
    one.drain()
    assert figures(tmp_path) == (1, 0, 0, 1)


def test_a_server_that_dislikes_stand_ins_still_gets_the_neighbours(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(refuses("bad", STAND_IN))
    one.record("bad", 1, 2)
    one.drain()

    assert set(one.hop.bodies) == {1, 2}
    assert figures(tmp_path) == (3, 2, 0, 1)


def test_a_batch_that_is_too_large_is_halved_and_nothing_is_set_aside(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(
        lambda batch: (
            TAKEN if len(batch) <= 100 else ExportOutcome(Outcome.TOO_LARGE, "413: too large")
        )
    )
    one.record(*range(512))
    one.drain()

    assert one.hop.bodies == list(range(512))
    assert figures(tmp_path) == (512, 512, 0, 0)


def test_a_record_that_is_too_large_alone_is_a_dead_letter(tmp_path: Path, bench: Make) -> None:
    one = bench(refuses("big", outcome=Outcome.TOO_LARGE, reason="413"))
    one.record(1, "big", 2)
    one.drain()

    assert one.hop.bodies == [1, 2]
    assert letters(tmp_path)[0].outcome == "too_large"


def test_an_outage_in_the_middle_of_a_search_accuses_nobody(tmp_path: Path, bench: Make) -> None:
    """The answer to the last of the requests that would prove it does not come."""
    for last in range(1, 12):
        answers = iter(range(100))
        one = bench(lambda batch, a=answers, n=last: DOWN if next(a) == n else refuses(5)(batch))
        one.record(*range(8))
        one.step(1)
        assert figures(tmp_path)[3] <= 1
        one.drain()
        assert set(one.hop.bodies) == set(range(8)) - {5}
        one.close()
        for folder in tmp_path.glob("*-*"):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


def test_what_cannot_be_made_into_a_record_is_set_aside(
    tmp_path: Path, bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Rebuilder.rebuild

    def rebuild(self: Rebuilder, entry: Any, **named: Any) -> Any:
        if entry.record.body == 3:
            raise ZeroDivisionError("odd")
        return real(self, entry, **named)

    monkeypatch.setattr(Rebuilder, "rebuild", rebuild)
    one = bench()
    one.record(*range(6))
    one.drain()

    assert one.hop.bodies == [0, 1, 2, 4, 5]
    assert "ZeroDivisionError: odd" in letters(tmp_path)[0].reason


def test_a_disk_that_refuses_a_dead_letter_keeps_the_record_pending(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(refuses(1))
    one.record(0, 1, 2)
    [folder] = tmp_path.glob("*-*")
    (folder / DEAD_LETTERS).mkdir()  # nothing can be written there
    one.step(3)
    assert figures_without_letters(folder) == 1

    (folder / DEAD_LETTERS).rmdir()
    one.drain()
    assert figures(tmp_path) == (3, 2, 0, 1)


def figures_without_letters(folder: Path) -> int:
    return int(orjson.loads((folder / "ledger").read_bytes())["mark"]["seq"])


def test_a_reason_may_be_anything(tmp_path: Path, bench: Make) -> None:
    one = bench(refuses(1, reason="\ud800 \x00 " + "x" * 100_000))
    one.record(0, 1)
    one.drain()

    [letter] = letters(tmp_path)
    assert letter.reason.startswith("? \x00 x")
    assert len(one.hop.stand_ins[0][s.DEAD_LETTER_REASON]) == 1000


def test_a_letter_that_a_crash_wrote_twice_counts_once(tmp_path: Path, bench: Make) -> None:
    one = bench(refuses(1))
    one.record(0, 1, 2)
    one.drain()
    [folder] = tmp_path.glob("*-*")
    one.close()
    (folder / "ledger").unlink()  # the crash came before it was written

    other = bench(refuses(1))
    other.drain()
    assert len((folder / DEAD_LETTERS).read_bytes().splitlines()) == 2
    assert len(letters(tmp_path)) == 1
    assert figures(tmp_path) == (3, 2, 0, 1)


def test_a_letter_that_a_crash_cut_off_is_not_joined_with_the_next(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(refuses(1))
    one.record(0)
    [folder] = tmp_path.glob("*-*")
    (folder / DEAD_LETTERS).write_bytes(b'{"id":"torn')
    one.record(1)
    one.drain()

    assert [letter.seq for letter in letters(tmp_path)] == [2]


DELIVERS = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.support import faults
faults.install()
from pathlib import Path
from tests.support.delivering import Bench, Hop, refuses
Bench(Path(sys.argv[1]), Hop(refuses(1, 5))).drain()
"""


@pytest.mark.parametrize("call", ["write:1", "write:2", "fdatasync:1", "fdatasync:2", "rename:1"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_between_dead_letter_and_ledger_loses_and_doubles_nothing(
    tmp_path: Path, bench: Make, call: str, when: str
) -> None:
    down = bench(lambda _: DOWN)
    down.record(*range(8))
    down.close()
    here = str(ROOT)
    codes = [
        subprocess.run(
            [sys.executable, "-c", DELIVERS, str(tmp_path), here],
            env={**os.environ, **fault},
            check=False,
            timeout=60,
        ).returncode
        for fault in ({"WAKELOG_TEST_FAULT": f"{when}:{call}"}, {})
    ]

    assert codes == [-signal.SIGKILL, 0]
    assert figures(tmp_path) == (8, 6, 0, 2)
    assert sorted(letter.seq for letter in letters(tmp_path)) == [2, 6]
