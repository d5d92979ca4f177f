"""Damage of every kind at every place, for each durability; what comes of it is in the docs."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk._logs import LoggerProvider

from tests.support.figures import Meter
from tests.support.guarantees import (
    CUT,
    DELETED,
    FLIP,
    LEDGER,
    LEDGERS,
    OVERSIZED,
    POLICIES,
    PROPERTY,
    QUOTA,
    Row,
)
from wakelog.errors import QuotaExceededError
from wakelog.journal import Cursor, Durability, Journal, Mark, Space, books, folders, read
from wakelog.journal import _deletions as deletions
from wakelog.journal._ledger import load, save
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem
from wakelog.storage import segment_name, segments

LEVELS = [Durability.OS_BUFFERED, Durability.PERIODIC, Durability.FSYNC]
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)
COUNT = 6
SECONDS = 60


def written(root: Path, level: Durability) -> tuple[Path, list[str]]:
    journal = Journal(root, segment_bytes=400, sync_interval=3600, fs=UNSYNCED)
    ids = [uuid7() for _ in range(COUNT)]
    for record_id in ids:
        journal.append(record_id, encode({"body": "x" * 20}, 1 << 20), Resource({}), level)
    journal.close()
    [folder] = folders(root)
    return folder, ids


def deliver(folder: Path, limit: int = 1000) -> list[str]:
    cursor = Cursor(folder, load(folder, folder.name), complete=True)
    chunk = cursor.read(limit, 1 << 20)
    cursor.close()
    save(folder, folder.name, chunk.mark, UNSYNCED)
    return [entry.record.id for entry in chunk.entries]


@pytest.mark.parametrize("level", LEVELS)
def test_a_segment_cut_anywhere_in_its_last_lines_loses_no_line_that_is_whole(
    tmp_path: Path, level: Durability, record_property: Callable[[str, object], None]
) -> None:
    folder, ids = written(tmp_path, level)
    path = folder / segment_name(segments(folder)[-1])
    whole = path.read_bytes()
    header = whole.index(b"\n") + 1
    before = COUNT - whole[header:].count(b"\n")

    for size in range(header, len(whole)):
        path.write_bytes(whole[:size])
        (folder / "ledger").unlink(missing_ok=True)
        kept = before + whole[header:size].count(b"\n")  # the others' appends had not returned
        sent = deliver(folder)
        assert sent == ids[:kept] == [entry.record.id for entry in read(tmp_path)]
        assert [(b.accepted, b.pending, b.corrupt) for b in books(tmp_path)] == [(kept, 0, 0)]
        record_property(PROPERTY, Row(CUT, level, 1, kept + 1, kept, kept - len(sent), 0))


@pytest.mark.parametrize("level", LEVELS)
def test_a_flipped_byte_anywhere_costs_at_most_the_record_that_it_is_in(
    tmp_path: Path, level: Durability, record_property: Callable[[str, object], None]
) -> None:
    folder, ids = written(tmp_path, level)

    for index in segments(folder):
        path = folder / segment_name(index)
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
            (folder / "ledger").unlink(missing_ok=True)
            sent = deliver(folder)
            assert set(sent) <= set(ids)
            assert len(set(sent)) == len(sent) >= COUNT - 1
            lost = COUNT - len(sent)
            record_property(PROPERTY, Row(FLIP, level, 1, COUNT, COUNT, lost, 0))
        path.write_bytes(whole)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("state", LEDGERS)
@pytest.mark.parametrize("delivered", range(1, COUNT + 1))
def test_a_ledger_that_is_wrong_costs_duplicates_and_skips_nothing(
    tmp_path: Path,
    delivered: int,
    state: str,
    level: Durability,
    record_property: Callable[[str, object], None],
) -> None:
    folder, ids = written(tmp_path, level)
    ledger = folder / "ledger"
    sent = deliver(folder, delivered // 2)
    old = ledger.read_bytes()
    sent += deliver(folder, delivered - delivered // 2)
    if state == "missing":
        ledger.unlink()
    elif state == "empty":
        ledger.write_bytes(b"")
    elif state == "stale":
        ledger.write_bytes(old)
    else:
        save(folder, uuid7(), load(folder, folder.name), UNSYNCED)
        assert load(folder, folder.name) == Mark()

    sent += deliver(folder)
    times = Counter(sent)
    assert times.keys() == set(ids)
    duplicated = len(sent) - COUNT
    assert duplicated == delivered - (delivered // 2 if state == "stale" else 0)
    record_property(
        PROPERTY, Row(LEDGER.format(state), level, 1, COUNT, COUNT, COUNT - len(times), duplicated)
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("policy", POLICIES)
def test_at_the_quota_every_event_is_delivered_refused_or_under_a_tombstone(
    tmp_path: Path,
    policy: str,
    level: Durability,
    record_property: Callable[[str, object], None],
) -> None:
    space = Space(quota_bytes=60_000, quota_policy=policy, block_timeout=0.01)
    journal = Journal(tmp_path, segment_bytes=2000, sync_interval=3600, space=space, fs=UNSYNCED)
    acknowledged: list[str] = []
    for _ in range(300):
        record_id = uuid7()
        content = encode({"body": "x" * 100}, 1 << 20)
        try:
            journal.append(record_id, content, Resource({}), level)
            acknowledged.append(record_id)
        except QuotaExceededError:
            continue
    journal.close()
    [folder] = folders(tmp_path)

    stones = deletions.load(folder).tombstones
    evicted = {acknowledged[n - 1] for s in stones for n in range(s.first_seq, s.last_seq + 1)}
    sent = deliver(folder)
    assert len(sent) == len(set(sent))
    assert (len(acknowledged) == 300) == (policy == "evict_oldest") == bool(evicted)
    [kept] = books(tmp_path)
    assert (kept.accepted, kept.delivered) == (len(acknowledged), len(sent))
    assert (kept.evicted, kept.pending, kept.corrupt) == (len(evicted), 0, 0)
    lost = len(set(acknowledged) - set(sent) - evicted)
    assert lost == 0
    record_property(PROPERTY, Row(QUOTA.format(policy), level, 1, 300, len(acknowledged), lost, 0))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("whole", [False, True], ids=["its folder", "the directory"])
def test_what_is_deleted_under_the_writer_is_counted_and_recording_goes_on(
    tmp_path: Path, level: Durability, whole: bool, record_property: Callable[[str, object], None]
) -> None:
    root, meter = tmp_path / "journal", Meter()
    processor = DurableLogRecordProcessor(
        None, directory=root, durability=level, meter_provider=meter.provider
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger, tried = provider.get_logger("tests"), 0

    for _ in range(COUNT):
        logger.emit(body="before")
        tried += 1
    writer = processor.journal.writer
    assert writer is not None
    shutil.rmtree(root if whole else writer.folder.path)
    deadline = time.monotonic() + SECONDS
    while processor.journal.writer is writer and time.monotonic() < deadline:
        logger.emit(body="between")  # the journal looks once a second; until then it does not know
        tried += 1
        time.sleep(0.05)
    for _ in range(COUNT):
        logger.emit(body="after")
        tried += 1

    books_now = meter.read().balanced()
    kept = [entry.record.body for entry in read(root)]
    processor.shutdown()
    assert kept[-COUNT:] == ["after"] * COUNT
    lost = int(books_now["accepted"] - books_now["evicted"]) - len(kept)
    assert lost == 0
    row = Row(DELETED, level, 1, tried, int(books_now["accepted"]), lost, 0)
    record_property(PROPERTY, row)


@pytest.mark.parametrize("level", LEVELS)
def test_content_of_any_size_is_read_as_it_was_recorded(
    tmp_path: Path, level: Durability, record_property: Callable[[str, object], None]
) -> None:
    line = 4096
    sizes = [*range(line - 400, line + 100), *(line << power for power in range(13))]
    journal = Journal(tmp_path, sync_interval=3600, fs=UNSYNCED)
    for size in sizes:
        fields: dict[str, object] = {"body": "b", "attributes": {"content": "x" * size}}
        journal.append(uuid7(), encode(fields, line), Resource({}), level)
    journal.close()

    read_back = [len(str(entry.record.attributes["content"])) for entry in read(tmp_path)]
    assert read_back == sizes
    lost = len(sizes) - len(read_back)
    row = Row(OVERSIZED, level, len(sizes), len(sizes), len(sizes), lost, 0)
    record_property(PROPERTY, row)
