"""Damage at the end of a writer's records is in the books: what was accepted stays accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

from tests.support.delivering import Bench, Hop
from tests.support.guarantees import DAMAGED_END, PROPERTY, Row
from wakelog.journal import Journal, books, read
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import Resource, encode, uuid7
from wakelog.storage import segment_name, segments

RECORDS = 6
RESOURCE = Resource({"service.name": "tests"})


def recorded(root: Path, records: int = RECORDS) -> Path:
    """Records some events as a process that is gone by now, and returns its last segment."""
    journal = Journal(root)
    for number in range(records):
        content = encode({"body": f"event {number}", "attributes": {"id": number}}, 1 << 20)
        journal.append(uuid7(), content, RESOURCE)
    writer = journal.writer
    assert writer is not None
    journal.close()
    return writer.folder.path / segment_name(segments(writer.folder.path)[-1])


def adopted(root: Path) -> list[str]:
    """Delivers what is there as the next process does, and returns the bodies that arrived."""
    bench = Bench(root, Hop())
    bench.step(40)
    bench.delivery.close()
    bench.journal.close()
    return [body for batch in bench.hop.batches for body in batch]


def figures(root: Path) -> tuple[int, int, int, int]:
    [only] = books(root)
    return only.accepted, only.delivered, only.pending, only.corrupt


def test_every_byte_of_the_last_line_damaged_costs_that_record_and_stays_in_the_books(
    tmp_path, record_property
):
    # Counted from the end: the times in the lines before have no fixed length.
    size = len(recorded(tmp_path / "whole").read_bytes().splitlines()[-1])
    for back in range(2, size + 2):
        for put in (0, ord("\n"), None):
            root = tmp_path / f"{back}-{put}"
            path = recorded(root)
            content = bytearray(path.read_bytes())
            new = content[-back] ^ 1 if put is None else put
            if content[-back] == new:
                continue
            content[-back] = new
            path.write_bytes(content)

            assert figures(root) == (RECORDS, 0, RECORDS - 1, 1), (back, put)
            lost = RECORDS - len(list(read(root)))
            row = Row(DAMAGED_END, "os_buffered", 1, RECORDS, RECORDS, lost, 0)
            record_property(PROPERTY, row)
        if back % 8 == 0:
            assert adopted(root) == [f"event {n}" for n in range(RECORDS - 1)]
            assert figures(root) == (RECORDS, RECORDS - 1, 0, 1), (back, put)


@settings(deadline=None, max_examples=40)
@given(good=st.integers(0, RECORDS), data=st.data())
def test_every_line_after_the_last_good_one_counts_as_one_that_was_accepted(
    tmp_path_factory, good, data
):
    root = tmp_path_factory.mktemp("damage") / "journal"
    path = recorded(root)
    header, *lines = path.read_bytes().splitlines(keepends=True)
    for number in range(good, RECORDS):
        at = data.draw(st.integers(0, len(lines[number]) - 22))  # before the checksum
        line = bytearray(lines[number])
        line[at] ^= data.draw(st.sampled_from([1, 2, 4, 64, 128]))
        lines[number] = bytes(line).replace(b"\n", b"?", bytes(line).count(b"\n") - 1)
    path.write_bytes(header + b"".join(lines))

    accepted, _, pending, corrupt = figures(root)
    assert (accepted, pending, corrupt) == (RECORDS, good, RECORDS - good)
    assert adopted(root) == [f"event {n}" for n in range(good)]
    assert figures(root) == (RECORDS, good, 0, RECORDS - good)


def test_a_folder_whose_every_line_is_damaged_is_not_empty(tmp_path):
    path = recorded(tmp_path)
    path.write_bytes(bytes(byte ^ 1 if byte != 10 else 10 for byte in path.read_bytes()))

    accepted, _, _, corrupt = figures(tmp_path)

    assert accepted == corrupt >= RECORDS - 1
    assert list(read(tmp_path)) == []
    assert adopted(tmp_path) == []
    assert figures(tmp_path)[2] == 0


def test_damage_that_is_followed_by_a_record_is_counted_by_its_number_and_once(tmp_path):
    journal = Journal(tmp_path)
    bench = Bench(tmp_path, Hop())
    bench.record("one", "two")
    bench.step(3)
    writer = bench.journal.writer
    assert writer is not None
    bench.record("three")
    path = writer.folder.path / segment_name(1)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"three"', b'"thr\n\n"'))
    bench.step(3)

    # Whoever looks from outside sees it; the writer goes on, and its next record tells the number.
    assert figures(tmp_path) == (3, 2, 0, 1)
    bench.record("four")
    bench.step(3)

    assert figures(tmp_path) == (4, 3, 0, 1)
    assert [body for batch in bench.hop.batches for body in batch] == ["one", "two", "four"]
    bench.delivery.close()
    bench.journal.close()
    journal.close()


def test_damage_that_a_living_process_has_passed_over_is_counted_by_the_next(tmp_path):
    bench = Bench(tmp_path, Hop())
    bench.record("one", "two")
    writer = bench.journal.writer
    assert writer is not None
    path = writer.folder.path / segment_name(1)
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"t_o"'))
    bench.step(5)
    assert bench.hop.batches == [["one"]]
    bench.delivery.close()
    bench.journal.close()

    assert adopted(tmp_path) == []

    assert figures(tmp_path) == (2, 1, 0, 1)


@pytest.mark.parametrize("more", [0, 1])
def test_a_flush_never_says_that_a_damaged_record_was_delivered(tmp_path, more):
    exporter = InMemoryLogRecordExporter()
    processor = DurableLogRecordProcessor(
        exporter, directory=tmp_path, schedule_delay_millis=3_600_000
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    log = provider.get_logger("test")
    log.emit(body="one")
    log.emit(body="two")
    writer = processor.journal.writer
    assert writer is not None
    path = writer.folder.path / segment_name(1)
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"t_o"'))
    for _ in range(more):
        log.emit(body="three")

    assert not processor.force_flush(500)

    bodies = [record.log_record.body for record in exporter.get_finished_logs()]
    assert bodies == ["one", "three"][: 1 + more]
    assert not processor.close(1)
